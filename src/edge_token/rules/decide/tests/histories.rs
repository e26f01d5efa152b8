//! The rules, in random histories: of one object until it is deleted, one or two processes that are stopped and go on anywhere,
//! and a service whose answers are lost, come late, or are never given.

use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// For how long a request may take effect after its answer was given up, and for how long a list may lag behind, in seconds.
/// Together they are less than [`LISTED_WITHIN`], which is what the rules assume of the service.
const LATE: i64 = 7 * MINUTE;
const LAG: i64 = 6 * MINUTE;

/// What differs between histories.
#[derive(Clone, Copy, Debug)]
struct Kind {
    processes: usize,
    /// Whether requests may take effect late.
    is_late: bool,
    /// Whether lists may lag behind.
    lags: bool,
    /// Whether the status is lost now and then.
    is_wiped: bool,
    /// Whether the object is deleted.
    is_deleted: bool,
}

/// A key as the service has it.
#[derive(Clone, Debug)]
struct Key {
    number: u64,
    label: String,
    /// From when on lists have it.
    listed_at: i64,
    is_live: bool,
    is_foreign: bool,
}

/// What decisions rest on of the object.
#[derive(Clone, Debug, Default, PartialEq)]
struct Object {
    /// Whether its keys are revoked when it is deleted.
    revokes: bool,
    has_finalizer: bool,
    deleted_at: Option<Timestamp>,
    ledger: Ledger,
    /// The attempt whose key was seen in a list.
    listed: Option<Mark>,
    rotate_handled: Option<u64>,
    end_handled: Option<u64>,
}

#[derive(Clone, Debug)]
struct Target {
    record: Record,
    key: u64,
    is_garbled: bool,
}

/// What a process remembers from one visit to the next.
#[derive(Clone, Debug, Default)]
struct Process {
    /// The current key as it was read or written last.
    value: Option<(Mark, u64, Timestamp)>,
    made: Option<(Made, u64)>,
    creates_from: Option<Timestamp>,
    last_survey: Option<Timestamp>,
    /// Whether it has read the credentials of an object whose keys are revoked.
    knows_credentials: bool,
    under_way: Option<UnderWay>,
}

/// A visit that has begun.
#[derive(Clone, Debug)]
struct UnderWay {
    object: (Object, u64),
    target: (Option<Target>, u64),
    visit: Visit,
    steps: usize,
    /// When the object was read or written, if it is not as a watch showed it some time ago.
    read_at: Option<Timestamp>,
    /// Whether the object was found to be gone.
    is_over: bool,
}

struct World {
    random: fastrand::Rng,
    kind: Kind,
    now: i64,
    /// The object as it is, or as it was last.
    object: (Object, u64),
    /// Earlier ones, which a watch may still show.
    earlier: Vec<(Object, u64)>,
    is_gone: bool,
    /// Of which keys people were told that they may work on after the object.
    left: Vec<Mark>,
    /// Whether the object was let go though a key may not be revoked.
    was_let_go: bool,
    has_credentials: bool,
    target: (Option<Target>, u64),
    keys: Vec<Key>,
    /// Requests that have not taken effect yet: when they do, and for which label.
    late: Vec<(i64, String)>,
    processes: Vec<Process>,
    rotate_requested: Option<u64>,
    end_requested: Option<u64>,
    rotate_every: Option<i64>,
    /// The key that a workload has, and when it was read.
    reader: Option<(u64, i64)>,
}

impl World {
    fn new(seed: u64, kind: Kind) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let rotate_every = [None, Some(50 * HOUR), Some(90 * 24 * HOUR)][random.usize(0..3)];
        let object = Object {
            revokes: random.bool(),
            ..Object::default()
        };
        let mut world = Self {
            random,
            kind,
            now: 1_800_000_000,
            object: (object, 0),
            earlier: Vec::new(),
            is_gone: false,
            left: Vec::new(),
            was_let_go: false,
            has_credentials: true,
            target: (None, 0),
            keys: Vec::new(),
            late: Vec::new(),
            processes: vec![Process::default(); kind.processes],
            rotate_requested: None,
            end_requested: None,
            rotate_every,
            reader: None,
        };
        for label in [
            Mark::new("another-uid", 7).label("shop", "edge"),
            "by hand".into(),
        ] {
            let key = world.make_key(label, 0);
            world.keys[key].is_foreign = true;
        }
        world
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.u32(0..100) < percent
    }

    fn make_key(&mut self, label: String, lag: i64) -> usize {
        let number = self.keys.len() as u64;
        self.keys.push(Key {
            number,
            label,
            listed_at: self.now + lag,
            is_live: true,
            is_foreign: false,
        });
        self.keys.len() - 1
    }

    fn lag(&mut self) -> i64 {
        if self.kind.lags {
            self.random.i64(0..LAG)
        } else {
            0
        }
    }

    // === What happens meanwhile ===

    /// Lets time pass. A workload reads the target anew at least once in an overlap.
    fn pass(&mut self, seconds: i64) {
        let end = self.now + seconds;
        while self.now < end {
            let next = self.late.iter().map(|(at, _)| *at).min().unwrap_or(end);
            let again = self.reader.map_or(end, |(_, at)| at + OVERLAP - 1);
            self.now = next.min(again).min(end).max(self.now);
            let due: Vec<_> = self
                .late
                .extract_if(.., |(at, _)| *at <= self.now)
                .collect();
            for (_, label) in due {
                let lag = self.lag();
                self.make_key(label, lag);
            }
            if self
                .reader
                .is_some_and(|(_, at)| at + OVERLAP - 1 <= self.now)
            {
                self.read();
            }
            self.check();
        }
    }

    fn read(&mut self) {
        if self.object.0.deleted_at.is_some() {
            self.reader = None;
            return;
        }
        let target = self.target.0.as_ref().filter(|target| !target.is_garbled);
        self.reader = target.map(|target| (target.key, self.now));
        println!("{} read {:?}", self.now - 1_800_000_000, self.reader);
        if let Some((key, _)) = self.reader {
            assert!(
                self.keys[key as usize].is_live,
                "a workload read a key that is revoked"
            );
        }
    }

    fn happen(&mut self) {
        match self.random.u32(0..100) {
            0..60 => {
                let process = self.random.usize(0..self.processes.len());
                self.step(process);
            }
            60..75 => {
                let longest = [5, 40, 20 * MINUTE, 30 * HOUR][self.random.usize(0..4)];
                let seconds = self.random.i64(0..longest);
                self.pass(seconds);
            }
            75..80 => self.read(),
            80..84 => self.rotate_requested = Some(self.random.u64(..)),
            84..87 => self.change_target(|_| None),
            87..89 => self.change_target(|target| {
                Some(Target {
                    is_garbled: true,
                    ..target
                })
            }),
            89..92 => {
                let process = self.random.usize(0..self.processes.len());
                self.processes[process] = Process::default();
            }
            92..93 => {
                // After a leak: what read the former key is restarted first.
                self.read();
                let current = self.target.0.as_ref().map(|target| &target.record.mark);
                if self.reader.is_none() || current == self.object.0.ledger.current.as_ref() {
                    println!("{} END", self.now - 1_800_000_000);
                    self.end_requested = Some(self.random.u64(..));
                }
            }
            93..94 if self.kind.is_wiped => self.edit(|object| {
                *object = Object {
                    revokes: object.revokes,
                    has_finalizer: object.has_finalizer,
                    deleted_at: object.deleted_at,
                    ..Object::default()
                };
            }),
            94..96 if self.object.0.deleted_at.is_none() => {
                self.edit(|object| object.revokes = !object.revokes);
            }
            96..97 if self.kind.is_deleted => self.delete(),
            _ => {}
        }
        self.check();
    }

    fn change_target(&mut self, change: impl FnOnce(Target) -> Option<Target>) {
        if let Some(target) = self.target.0.take() {
            self.target = (change(target), self.target.1 + 1);
        }
    }

    /// Somebody deletes the object. What has no finalizer is gone at once.
    fn delete(&mut self) {
        if self.object.0.deleted_at.is_some() {
            return;
        }
        // With the namespace.
        if self.chance(20) {
            self.has_credentials = false;
        }
        let now = at(self.now);
        println!("{} delete", self.now - 1_800_000_000);
        self.edit(|object| object.deleted_at = Some(now));
        self.reader = None;
        if !self.object.0.has_finalizer {
            self.was_let_go = true;
            self.vanish(self.object.0.ledger.marks().cloned().collect());
        }
    }

    /// The object is gone, its target is collected, and people were told of these keys.
    fn vanish(&mut self, left: Vec<Mark>) {
        self.is_gone = true;
        self.left = left;
        self.change_target(|_| None);
    }

    /// Somebody changes the object.
    fn edit(&mut self, change: impl FnOnce(&mut Object)) {
        if !self.is_gone {
            let mut object = self.object.0.clone();
            change(&mut object);
            self.set_object(object);
        }
    }

    fn set_object(&mut self, object: Object) {
        let next = (object, self.object.1 + 1);
        self.earlier.push(std::mem::replace(&mut self.object, next));
        let keep = self.earlier.len().saturating_sub(4);
        self.earlier.drain(..keep);
    }

    // === A process ===

    /// Begins a visit with the object as a watch shows it: `None` where that shows that it is gone.
    fn begin(&mut self) -> Option<UnderWay> {
        let object = if self.earlier.is_empty() || self.chance(60) {
            (!self.is_gone).then(|| self.object.clone())?
        } else {
            self.earlier[self.random.usize(0..self.earlier.len())].clone()
        };
        Some(UnderWay {
            object,
            target: self.target.clone(),
            visit: Visit::default(),
            steps: 0,
            read_at: None,
            is_over: false,
        })
    }

    /// One step of a process: it observes what it has read, decides, and acts.
    fn step(&mut self, number: usize) {
        let mut process = std::mem::take(&mut self.processes[number]);
        let Some(mut under_way) = process.under_way.take().or_else(|| self.begin()) else {
            return;
        };
        let step = self.decide(&mut process, &under_way);
        if !matches!(step, Step::Hold(_)) {
            println!("{} p{number} {step:?}", self.now - 1_800_000_000);
        }
        under_way.steps += 1;
        let goes_on = self.act(step, &mut process, &mut under_way);
        if goes_on && !under_way.is_over && under_way.steps < 16 {
            process.under_way = Some(under_way);
        }
        // Killed right after what it did.
        if self.chance(4) {
            process = Process::default();
        }
        self.processes[number] = process;
    }

    fn refresh(&self, under_way: &mut UnderWay) {
        under_way.is_over = self.is_gone;
        under_way.object = self.object.clone();
        under_way.target = self.target.clone();
        under_way.read_at = Some(at(self.now));
    }

    fn decide(&self, process: &mut Process, under_way: &UnderWay) -> Step {
        let (object, _) = &under_way.object;
        let target = under_way.target.0.as_ref();
        let target = target.filter(|target| !target.is_garbled);
        let mut ledger = object.ledger.clone();
        process.knows_credentials |= self.has_credentials && object.revokes;
        let was_lost = target.is_some_and(|target| ledger.adopt(&target.record.mark));
        let current = ledger.current.as_ref();
        let proven = target.filter(|target| Some(&target.record.mark) == current);
        if let Some(Target { record, key, .. }) = proven {
            process.value = Some((record.mark.clone(), *key, record.created_at));
        }
        let made = process.made.as_ref();
        if let Some((made, key)) = made.filter(|(made, _)| Some(&made.mark) == current) {
            process.value = Some((made.mark.clone(), *key, made.created_at));
        }
        let value = process.value.as_ref();
        let value = value.filter(|(mark, ..)| Some(mark) == current);
        let answered = proven.and_then(|target| target.record.rotate_request.clone());
        let created_at = value.map(|(_, _, created_at)| *created_at);
        let observed = Observed {
            prefix: &prefix(UID),
            deleted_at: object.deleted_at,
            is_abandoned: object.deleted_at.is_some()
                && !self.has_credentials
                && !process.knows_credentials,
            has_finalizer: object.has_finalizer,
            wants_finalizer: object.revokes,
            is_blocked: false,
            ledger: &ledger,
            lists: true,
            is_listed: object.listed.is_some() && object.listed == ledger.current,
            proven: proven.map(|target| &target.record),
            has_value: value.is_some(),
            is_rendered: proven.is_some(),
            read_at: under_way.read_at,
            made: made.map(|(made, _)| made),
            visit: &under_way.visit,
            overlap: SignedDuration::from_secs(OVERLAP),
            rotate_at: created_at
                .zip(self.rotate_every)
                .map(|(at, every)| at + SignedDuration::from_secs(every)),
            is_rotation_requested: self.rotate_requested.is_some()
                && self.rotate_requested != object.rotate_handled
                && self.rotate_requested.map(|request| request.to_string()) != answered,
            is_end_requested: !was_lost
                && self.end_requested.is_some()
                && self.end_requested != object.end_handled,
            not_before: None,
            creates_from: process.creates_from,
            last_survey: process.last_survey,
            rests_until: None,
            probes_from: None,
        };
        decide(&observed, at(self.now))
    }

    /// Acts, and returns whether the visit goes on.
    fn act(&mut self, step: Step, process: &mut Process, under_way: &mut UnderWay) -> bool {
        let now = at(self.now);
        match step {
            Step::Hold(_) => {
                self.note_listed(under_way);
                return false;
            }
            Step::Read => self.refresh(under_way),
            Step::Secure => {
                self.patch(under_way, |object| object.has_finalizer = object.revokes);
            }
            Step::Release => return self.release(under_way),
            Step::Survey => {
                under_way.visit.listed_in_deletion = under_way.object.0.deleted_at.is_some();
                under_way.visit.survey = Some(self.survey());
                process.last_survey = Some(now);
                // A list takes a while.
                let seconds = self.random.i64(0..3);
                self.pass(seconds);
            }
            Step::Probe(mark) => {
                let verdict = self.probe(&mark);
                under_way.visit.verdict = Some((mark, verdict));
            }
            Step::Intend => {
                let mark = Mark::new(UID, self.random.u64(..));
                let intended = mark.clone();
                let is_written = self.patch(under_way, |object| object.ledger.intend(mark, now));
                if is_written {
                    under_way.visit.intended = Some((intended, now));
                }
            }
            Step::Discard => {
                self.patch(under_way, |object| object.ledger.discard(now));
            }
            Step::Promote => {
                let request = process
                    .made
                    .as_ref()
                    .and_then(|(made, _)| made.rotate_request.clone());
                self.patch(under_way, |object| {
                    object
                        .ledger
                        .promote(now, SignedDuration::from_secs(OVERLAP));
                    if let Some(request) = request {
                        object.rotate_handled = request.parse().ok();
                    }
                });
            }
            Step::EndOverlaps => {
                let requested = self.end_requested;
                self.patch(under_way, |object| {
                    object.ledger.end_overlaps(now);
                    object.end_handled = requested;
                });
            }
            Step::Forget(marks) => {
                self.patch(under_way, |object| object.ledger.forget(&marks));
            }
            Step::Create => self.create(process, under_way),
            Step::Revoke(marks) => {
                self.revoke(&marks, under_way);
                under_way.visit.revoked.extend(marks);
                under_way.visit.survey = None;
                process.last_survey = None;
            }
            Step::Write => self.write(process, under_way),
        }
        true
    }

    /// Records, at the end of a visit, whether the current key was listed in it.
    fn note_listed(&mut self, under_way: &mut UnderWay) {
        let current = under_way.object.0.ledger.current.clone();
        let survey = under_way.visit.survey.as_ref();
        let is_live =
            |mark: &Mark| survey.is_some_and(|survey| survey.state(mark) == KeyState::Live);
        let listed = current.filter(is_live);
        if listed.is_some() && listed != under_way.object.0.listed {
            self.patch(under_way, |object| object.listed = listed);
        }
    }

    /// Removes the finalizer, and tells what stays. Returns whether the visit goes on.
    fn release(&mut self, under_way: &mut UnderWay) -> bool {
        let (object, _) = &under_way.object;
        let left = find_left(&object.ledger, under_way.visit.survey_of_deletion(), UID);
        let deleted_at = object.deleted_at.expect("a deletion");
        let is_overdue = is_overdue(deleted_at, at(self.now));
        let is_removed = self.patch(under_way, |object| object.has_finalizer = false);
        if is_removed {
            self.was_let_go = is_overdue || !self.has_credentials;
            self.vanish(left);
        }
        !is_removed
    }

    /// Changes the object, if nobody else did since it was read. Returns whether it was changed.
    fn patch(&mut self, under_way: &mut UnderWay, change: impl FnOnce(&mut Object)) -> bool {
        let (mut object, version) = under_way.object.clone();
        if self.is_gone || version != self.object.1 || self.chance(3) {
            self.refresh(under_way);
            return false;
        }
        let target = under_way
            .target
            .0
            .as_ref()
            .filter(|target| !target.is_garbled);
        if target.is_some_and(|target| object.ledger.adopt(&target.record.mark)) {
            object.end_handled = self.end_requested;
        }
        change(&mut object);
        self.set_object(object);
        under_way.object = self.object.clone();
        under_way.read_at = Some(at(self.now));
        true
    }

    fn survey(&self) -> Survey {
        let is_listed = |key: &&Key| key.listed_at <= self.now;
        let listed = |key: &Key| ListedKey {
            label: key.label.clone(),
            hash: key.number.to_string(),
            is_revoked: !key.is_live,
            tenant_id: None,
        };
        Survey {
            begun_at: at(self.now),
            server_time: Some(at(self.now)),
            keys: self.keys.iter().filter(is_listed).map(listed).collect(),
        }
    }

    fn probe(&mut self, mark: &Mark) -> Verdict {
        if self.chance(10) {
            return Verdict::Unknown;
        }
        let is_live = self
            .keys
            .iter()
            .any(|key| key.is_live && mark.is_of(&key.label));
        if is_live {
            Verdict::Accepted
        } else {
            Verdict::Refused
        }
    }

    fn create(&mut self, process: &mut Process, under_way: &mut UnderWay) {
        let now = at(self.now);
        let (mark, _) = under_way.visit.intended.take().expect("an attempt");
        under_way.visit.has_created = true;
        // No list of before has the new key.
        under_way.visit.survey = None;
        process.creates_from = Some(now + create_interval(1));
        let label = mark.label("shop", "edge");
        match self.random.u32(0..100) {
            0..70 => {
                let lag = self.lag();
                let key = self.make_key(label, lag) as u64;
                let made = Made {
                    mark,
                    created_at: now,
                    rotate_request: self.rotate_requested.map(|request| request.to_string()),
                };
                process.made = Some((made, key));
            }
            // The answer is lost.
            70..80 => {
                let lag = self.lag();
                self.make_key(label, lag);
            }
            80..90 if self.kind.is_late => {
                let seconds = self.random.i64(1..LATE);
                self.late.push((self.now + seconds, label));
            }
            _ => {}
        }
    }

    fn revoke(&mut self, marks: &[Mark], under_way: &UnderWay) {
        let survey = under_way.visit.survey.as_ref().expect("a survey");
        let hashes: Vec<u64> = marks
            .iter()
            .flat_map(|mark| survey.live_keys(mark))
            .map(|key| &*key.hash)
            .map(|hash| hash.parse().unwrap())
            .collect();
        for number in hashes {
            // The service is down for this one.
            if self.chance(10) {
                continue;
            }
            let key = &mut self.keys[number as usize];
            println!(
                "revoke {key:?} ledger {:?} target {:?}",
                self.object.0.ledger, self.target
            );
            assert!(!key.is_foreign, "somebody else's key is revoked");
            key.is_live = false;
            if under_way.object.0.deleted_at.is_some() {
                assert!(
                    under_way.object.0.revokes,
                    "a key is revoked that is to be kept"
                );
                continue;
            }
            let in_target = self.target.0.as_ref().filter(|target| !target.is_garbled);
            assert!(
                in_target.is_none_or(|target| target.key != number),
                "the key in the target is revoked"
            );
            assert!(
                self.reader.is_none_or(|(key, _)| key != number),
                "a key that a workload has is revoked"
            );
        }
    }

    fn write(&mut self, process: &mut Process, under_way: &mut UnderWay) {
        let (mark, key, created_at) = process.value.clone().expect("a value");
        if self.is_gone {
            // What has an owner that is gone is collected.
            under_way.is_over = true;
            return;
        }
        if under_way.target.1 != self.target.1 || self.chance(5) {
            under_way.target = self.target.clone();
            return;
        }
        let made = process.made.as_ref().filter(|(made, _)| made.mark == mark);
        let record = Record {
            mark,
            created_at,
            written_at: at(self.now),
            rotate_request: made.and_then(|(made, _)| made.rotate_request.clone()),
        };
        let target = Target {
            record,
            key,
            is_garbled: false,
        };
        self.target = (Some(target), self.target.1 + 1);
        under_way.target = self.target.clone();
    }

    // === What has to be so ===

    fn is_recorded(&self, key: &Key) -> bool {
        let mut marks = self.object.0.ledger.marks();
        marks.any(|mark| mark.is_of(&key.label))
    }

    fn live(&self) -> impl Iterator<Item = &Key> {
        self.keys
            .iter()
            .filter(|key| key.is_live && !key.is_foreign)
    }

    /// At any moment.
    fn check(&self) {
        let ledger = &self.object.0.ledger;
        assert!(ledger.retired.len() <= MAX_RETIRED);
        if self.kind.is_wiped {
            return;
        }
        for key in self.live() {
            assert!(
                self.is_recorded(key),
                "a live key without a record: {key:?}"
            );
        }
        let is_in_memory = |key: &Key| {
            let mut made = self
                .processes
                .iter()
                .filter_map(|process| process.made.as_ref());
            made.any(|(made, _)| made.mark.is_of(&key.label))
        };
        let discarded = ledger.retired.iter().filter(|it| it.end == End::Discarded);
        let pending = ledger.pending.iter().map(|pending| &pending.mark);
        let unused: Vec<_> = discarded.map(|it| &it.mark).chain(pending).collect();
        let is_orphan =
            |key: &&Key| unused.iter().any(|mark| mark.is_of(&key.label)) && !is_in_memory(key);
        let orphans = self.live().filter(is_orphan).count();
        let is_listed_at_once = !self.kind.is_late && !self.kind.lags;
        assert!(
            orphans <= 1 || !is_listed_at_once,
            "{orphans} live keys that nobody has"
        );
    }

    /// Lets a deletion come to its end, and looks at what there is then.
    fn end(&mut self) {
        self.delete();
        for _ in 0..200 {
            if !self.is_gone {
                self.step(0);
            }
            if !self.is_gone && self.processes[0].under_way.is_none() {
                self.pass(MINUTE);
            }
        }
        assert!(self.is_gone, "the deletion has no end");
        // What was under way goes on.
        for number in 0..self.processes.len() {
            while self.processes[number].under_way.is_some() {
                self.step(number);
            }
        }
        self.pass(LATE + LAG);
        for foreign in self.keys.iter().filter(|key| key.is_foreign) {
            assert!(foreign.is_live);
        }
        if self.kind.is_wiped {
            return;
        }
        for key in self.live() {
            let is_told = self.left.iter().any(|mark| mark.is_of(&key.label));
            assert!(is_told, "nobody knows of {key:?}");
        }
        let is_calm = !self.kind.is_late && !self.kind.lags && !self.was_let_go;
        if self.object.0.revokes && is_calm {
            let live: Vec<_> = self.live().collect();
            assert!(live.is_empty(), "{live:?}");
        }
    }

    /// Lets everything come to rest, and looks at what there is then.
    fn settle(&mut self) {
        for process in &mut self.processes[1..] {
            process.under_way = None;
        }
        self.rotate_every = None;
        for _ in 0..400 {
            self.step(0);
            if self.processes[0].under_way.is_none() {
                self.pass(20 * MINUTE);
            }
        }
        for foreign in self.keys.iter().filter(|key| key.is_foreign) {
            assert!(foreign.is_live);
        }
        if self.kind.is_wiped {
            return;
        }
        let ledger = &self.object.0.ledger;
        assert!(
            ledger.pending.is_none() && ledger.retired.is_empty(),
            "{ledger:?}"
        );
        let live: Vec<_> = self.live().collect();
        let target = self.target.0.as_ref().expect("a target");
        assert_eq!(live.len(), 1, "{live:?}");
        assert_eq!(live[0].number, target.key);
        assert!(!target.is_garbled);
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    (
        1..=2_usize,
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.4),
    )
        .prop_map(|(processes, is_late, lags, is_wiped, is_deleted)| Kind {
            processes,
            is_late,
            lags,
            is_wiped,
            is_deleted,
        })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() {
            ProptestConfig::default().cases
        } else {
            2_000
        },
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    })]

    /// Whatever is lost, late or stopped: no key is revoked that is not ours or that anybody uses, no live key is without a
    /// record, at most one is there that nobody has (more where what was asked for is not listed at once), and in the end
    /// there is one key, which is in the target. What is left of an object that was deleted was told, and is nothing where all
    /// could be revoked.
    #[test]
    fn no_key_in_use_is_revoked_and_none_is_left_behind(seed: u64, kind in kinds()) {
        let mut world = World::new(seed, kind);
        for _ in 0..world.random.usize(20..200) {
            world.happen();
        }
        if kind.is_deleted {
            world.end();
        } else {
            world.settle();
        }
    }
}
