//! Each rule by itself, then several candidates in a world where messages are lost, late and out of order, processes
//! stand still, end and are started anew, and no two clocks agree.

use std::{cmp::Reverse, collections::BTreeMap};

use proptest::{prelude::*, sample::Index};

use super::*;

const LEASE_DURATION: Duration = Duration::from_secs(15);

const RENEW_DEADLINE: Duration = Duration::from_secs(10);

const RETRY_PERIOD: Duration = Duration::from_secs(2);

fn timings() -> Timings {
    Timings::new(LEASE_DURATION, RENEW_DEADLINE, RETRY_PERIOD).unwrap()
}

fn election(me: &str) -> Election {
    Election::new("operator".into(), me.into(), timings())
}

/// A lease as `holder` writes it, so many seconds after 1970.
fn held(holder: &str, second: i64) -> Lease {
    let mut lease = election(holder).claim(Timestamp::from_second(second).unwrap());
    lease.metadata.resource_version = Some(second.to_string());
    lease
}

fn seconds_of(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_lease_that_is_not_there_or_was_given_back_is_taken_at_once() {
    let now = Instant::now();
    let mut election = election("me");
    assert_eq!(election.step(now), Step::Acquire);
    election.saw(None, now);
    assert_eq!(election.step(now), Step::Acquire);

    let mut holder = self::election("other");
    holder.wrote(held("other", 1), now, now);
    let released = holder.release(Timestamp::from_second(2).unwrap()).unwrap();
    assert_eq!(
        released.spec.as_ref().unwrap().lease_duration_seconds,
        Some(1)
    );
    election.saw(Some(held("other", 1)), now);
    election.saw(Some(released), now);
    assert_eq!(election.step(now), Step::Acquire);
}

#[test]
fn a_lease_expires_15_seconds_after_its_last_change_was_seen_whatever_time_is_written_in_it() {
    let start = Instant::now();
    let mut election = election("me");
    election.saw(Some(held("other", 4_000_000_000)), start);
    assert_eq!(election.step(start), Step::Wait(RETRY_PERIOD));
    // Seen again, unchanged, it is no younger.
    let now = start + seconds_of(14);
    election.saw(Some(held("other", 4_000_000_000)), now);
    assert_eq!(election.step(now), Step::Wait(seconds_of(1)));
    assert_eq!(election.step(start + LEASE_DURATION), Step::Acquire);
    // A change is a sign of life, even one that says an earlier time.
    election.saw(Some(held("other", 0)), now);
    assert_eq!(
        election.step(now + seconds_of(14)),
        Step::Wait(seconds_of(1))
    );
    assert_eq!(election.step(now + LEASE_DURATION), Step::Acquire);
}

#[test]
fn a_holder_that_asks_for_longer_is_given_longer() {
    let start = Instant::now();
    let mut election = election("me");
    let mut lease = held("other", 1);
    lease.spec.as_mut().unwrap().lease_duration_seconds = Some(60);
    election.saw(Some(lease), start);
    let wait = Step::Wait(seconds_of(1));
    assert_eq!(election.step(start + seconds_of(59)), wait);
    assert_eq!(election.step(start + seconds_of(60)), Step::Acquire);
}

#[test]
fn a_lease_that_was_deleted_is_not_taken_while_its_holder_may_act() {
    let start = Instant::now();
    let mut election = election("me");
    election.saw(Some(held("other", 1)), start);
    let now = start + seconds_of(5);
    election.saw(None, now);
    assert_eq!(election.step(now), Step::Wait(RETRY_PERIOD));
    assert_eq!(election.step(start + LEASE_DURATION), Step::Acquire);
}

#[test]
fn a_claim_whose_answer_did_not_arrive_is_made_again() {
    let now = Instant::now();
    let mut election = election("me");
    election.saw(Some(held("me", 1)), now);
    assert_eq!(election.step(now), Step::Acquire);
    assert_eq!(election.deadline(), None);
}

#[test]
fn a_leader_renews_until_10_seconds_after_its_last_renewal_began() {
    let began = Instant::now();
    let mut election = election("me");
    election.wrote(held("me", 1), began, began + seconds_of(4));
    assert_eq!(election.deadline(), Some(began + seconds_of(10)));
    let millisecond = Duration::from_millis(1);
    let deadline = began + RENEW_DEADLINE;
    assert_eq!(election.step(deadline - millisecond), Step::Renew);
    assert_eq!(election.step(deadline), Step::Lost(Loss::NotRenewed));
}

#[test]
fn a_leader_makes_a_deleted_lease_anew_and_goes_where_somebody_else_is_in_it_or_nobody() {
    let now = Instant::now();
    let mut leader = election("me");
    leader.wrote(held("me", 1), now, now);
    leader.saw(None, now);
    assert_eq!(leader.step(now), Step::Renew);
    assert_eq!(
        leader
            .claim(Timestamp::UNIX_EPOCH)
            .metadata
            .resource_version,
        None
    );

    leader.saw(Some(held("other", 2)), now);
    assert_eq!(leader.step(now), Step::Lost(Loss::Taken));
    assert_eq!(leader.release(Timestamp::UNIX_EPOCH), None);

    let mut nobodys = held("me", 3);
    nobodys.spec.as_mut().unwrap().holder_identity = None;
    leader.saw(Some(nobodys), now);
    assert_eq!(leader.step(now), Step::Lost(Loss::Taken));
}

#[test]
fn a_claim_counts_changes_of_holders_and_keeps_what_is_not_its_own() {
    let time = |second| Timestamp::from_second(second).unwrap();
    let now = Instant::now();
    let mut first = election("first");
    let created = first.claim(time(1));
    assert_eq!(created.metadata.name, first.claim(time(2)).metadata.name);
    assert!(created.metadata.name.is_some());
    let created = created.spec.unwrap();
    assert_eq!(created.holder_identity.as_deref(), Some("first"));
    assert_eq!(created.lease_transitions, Some(0));
    assert_eq!(created.lease_duration_seconds, Some(15));
    assert_eq!(created.acquire_time, Some(MicroTime(time(1))));

    let mut lease = held("first", 1);
    lease.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    first.wrote(lease.clone(), now, now);
    let renewed = first.claim(time(3));
    assert_eq!(renewed.metadata, lease.metadata);
    let spec = renewed.spec.unwrap();
    assert_eq!(spec.lease_transitions, Some(0));
    assert_eq!(spec.acquire_time, Some(MicroTime(time(1))));
    assert_eq!(spec.renew_time, Some(MicroTime(time(3))));

    let released = first.release(time(4)).unwrap();
    assert_eq!(released.metadata, lease.metadata);
    assert_eq!(
        released.spec.as_ref().unwrap().renew_time,
        Some(MicroTime(time(4)))
    );
    let mut second = election("second");
    second.saw(Some(released), now);
    let taken = second.claim(time(5)).spec.unwrap();
    assert_eq!(taken.holder_identity.as_deref(), Some("second"));
    assert_eq!(taken.lease_transitions, Some(1));
    assert_eq!(taken.acquire_time, Some(MicroTime(time(5))));
    assert_eq!(taken.lease_duration_seconds, Some(15));
}

/// The longest a call is waited for, as the driver has it.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long everything goes wrong.
const TROUBLE: u64 = 150_000;

/// For how long nothing does, at the end. What was sent before arrives in its first half.
const CALM: u64 = 100_000;

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// Milliseconds until the request arrives; `None` where it never does.
    there: Option<u64>,
    /// The same for the answer.
    back: Option<u64>,
    /// By how much the wait before the call is prolonged, in per cent.
    jitter: u64,
}

/// What happens to a candidate.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// It stands still for so many milliseconds.
    Pause(u64),
    /// Its wall clock is set, by so many milliseconds.
    SetClock(i64),
    /// It is killed, and started anew.
    Kill,
    /// It is asked to end, and started anew.
    Terminate,
}

#[derive(Clone, Debug)]
struct Schedule {
    /// How fast the monotonic clock of each candidate goes, in thousandths.
    rates: Vec<u64>,
    /// One for each call, from the start again after the last.
    fates: Vec<Fate>,
    /// When, to whom, what.
    blows: Vec<(u64, Index, Blow)>,
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let way = || {
        prop_oneof![
            12 => (0..300_u64).prop_map(Some),
            2 => (300..6_000_u64).prop_map(Some),
            1 => (6_000..40_000_u64).prop_map(Some),
            1 => Just(None),
        ]
    };
    let fate = (way(), way(), 0..=20_u64).prop_map(|(there, back, jitter)| Fate {
        there,
        back,
        jitter,
    });
    let blow = prop_oneof![
        3 => (0..40_000_u64).prop_map(Blow::Pause),
        1 => (-3_600_000..3_600_000_i64).prop_map(Blow::SetClock),
        1 => Just(Blow::Kill),
        1 => Just(Blow::Terminate),
    ];
    let blows = prop::collection::vec((0..TROUBLE, any::<Index>(), blow), 0..20);
    // 10 s of the slowest clock are less than 15 s of the fastest.
    let rates = prop::collection::vec(850..=1150_u64, 2..=4);
    let fates = prop::collection::vec(fate, 1..80);
    (rates, fates, blows).prop_map(|(rates, fates, blows)| Schedule {
        rates,
        fates,
        blows,
    })
}

#[derive(Clone, Debug)]
enum Call {
    Look,
    Claim(Lease),
    Release(Lease),
}

#[derive(Clone, Debug)]
enum Answer {
    Found(Option<Lease>),
    Written(Lease),
    Conflict,
    None,
}

#[derive(Clone, Debug)]
enum Event {
    Blow(Blow),
    Wake,
    /// A call arrives at the API server, and its answer takes so long.
    Arrive(Call, Option<u64>),
    Answer(Answer),
}

/// The process in one place; another one takes its place when it ends.
struct Process {
    rate: u64,
    election: Election,
    /// How far the wall clock is off, in milliseconds.
    wall: i64,
    paused_until: u64,
    terminating: bool,
    current: bool,
    /// The call under way, and when it began.
    call: Option<(Call, Instant)>,
    /// Distinguishes processes and calls: what comes for an earlier one comes too late.
    serial: u64,
}

struct World {
    schedule: Schedule,
    base: Instant,
    time: u64,
    /// By time, then in the order in which they were entered.
    queue: BTreeMap<(u64, Reverse<u64>), (usize, u64, Event)>,
    entered: u64,
    calls: usize,
    serials: u64,
    lease: Option<Lease>,
    version: u64,
    processes: Vec<Process>,
    /// How often somebody began to lead.
    terms: usize,
}

impl World {
    fn new(schedule: Schedule) -> Self {
        let mut world = Self {
            base: Instant::now(),
            time: 0,
            queue: BTreeMap::new(),
            entered: u64::MAX,
            calls: 0,
            serials: 0,
            lease: None,
            version: 0,
            processes: Vec::new(),
            terms: 0,
            schedule: schedule.clone(),
        };
        for rate in schedule.rates {
            let process = world.process(rate, 0);
            world.processes.push(process);
            world.enter(0, world.processes.len() - 1, Event::Wake);
        }
        for (at, place, blow) in schedule.blows {
            let place = place.index(world.processes.len());
            world.enter(at, place, Event::Blow(blow));
        }
        world
    }

    fn process(&mut self, rate: u64, wall: i64) -> Process {
        self.serials += 1;
        Process {
            rate,
            election: election(&format!("candidate-{}", self.serials)),
            wall,
            paused_until: 0,
            terminating: false,
            current: false,
            call: None,
            serial: self.serials,
        }
    }

    fn enter(&mut self, at: u64, place: usize, event: Event) {
        let serial = self.processes[place].serial;
        self.enter_for(at, place, serial, event);
    }

    fn enter_for(&mut self, at: u64, place: usize, serial: u64, event: Event) {
        self.entered -= 1;
        self.queue
            .insert((at, Reverse(self.entered)), (place, serial, event));
    }

    /// What the monotonic clock of a process shows.
    fn clock(&self, place: usize) -> Instant {
        self.base + Duration::from_micros(self.time * self.processes[place].rate)
    }

    fn wall(&self, place: usize) -> Timestamp {
        let millisecond = 10_000_000 + i64::try_from(self.time).unwrap();
        Timestamp::from_millisecond(millisecond + self.processes[place].wall).unwrap()
    }

    /// When a wait of so long ends, by the clock of a process.
    fn after(&self, place: usize, wait: Duration) -> u64 {
        let milliseconds = u64::try_from(wait.as_millis()).unwrap();
        self.time + milliseconds * 1000 / self.processes[place].rate + 1
    }

    /// Whether a process would act now, if it were to take a step.
    fn may_act(&self, place: usize) -> bool {
        let process = &self.processes[place];
        let renewed_at = process.election.renewed_at;
        !process.terminating
            && renewed_at.is_some_and(|at| self.clock(place).duration_since(at) < RENEW_DEADLINE)
    }

    fn leaders(&self) -> Vec<usize> {
        (0..self.processes.len())
            .filter(|place| self.may_act(*place))
            .collect()
    }

    fn run(&mut self, until: u64) -> Result<(), TestCaseError> {
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= until
        {
            let ((time, _), (place, serial, event)) = entry.remove_entry();
            self.time = time;
            let process = &mut self.processes[place];
            match event {
                Event::Arrive(call, back) => {
                    let answer = self.serve(call);
                    if let Some(back) = back {
                        self.enter_for(time + back, place, serial, Event::Answer(answer));
                    }
                }
                Event::Blow(Blow::Pause(length)) => {
                    process.paused_until = process.paused_until.max(time + length);
                }
                Event::Blow(Blow::SetClock(by)) => process.wall += by,
                Event::Blow(Blow::Kill) => self.restart(place),
                event if process.paused_until > time => {
                    let until = process.paused_until;
                    self.enter_for(until, place, serial, event);
                }
                Event::Blow(Blow::Terminate) => {
                    process.terminating = true;
                    self.call(place, Call::Look);
                }
                _ if process.serial != serial => {}
                Event::Wake => self.wake(place),
                Event::Answer(answer) => self.answered(place, answer)?,
            }
        }
        self.time = until;
        Ok(())
    }

    fn restart(&mut self, place: usize) {
        let Process { rate, wall, .. } = self.processes[place];
        self.processes[place] = self.process(rate, wall);
        self.enter(self.time + 1000, place, Event::Wake);
    }

    fn sleep(&mut self, place: usize, wait: Duration) {
        let jitter = self.schedule.fates[self.calls % self.schedule.fates.len()].jitter;
        let wait = wait.mul_f64(1.0 + jitter as f64 / 100.0);
        self.enter(self.after(place, wait), place, Event::Wake);
    }

    fn wake(&mut self, place: usize) {
        if self.processes[place].current {
            self.step(place);
        } else {
            self.call(place, Call::Look);
        }
    }

    fn step(&mut self, place: usize) {
        let (now, wall) = (self.clock(place), self.wall(place));
        let process = &mut self.processes[place];
        match process.election.step(now) {
            Step::Acquire | Step::Renew => {
                process.current = false;
                let claim = process.election.claim(wall);
                self.call(place, Call::Claim(claim));
            }
            Step::Wait(wait) => self.sleep(place, wait),
            Step::Lost(_) => self.restart(place),
        }
    }

    fn call(&mut self, place: usize, call: Call) {
        // In the end nothing is lost any more, and nothing late.
        let fate = if self.time < TROUBLE {
            self.schedule.fates[self.calls % self.schedule.fates.len()]
        } else {
            Fate {
                there: Some(10),
                back: Some(10),
                jitter: 10,
            }
        };
        self.calls += 1;
        self.serials += 1;
        let began = self.clock(place);
        let process = &mut self.processes[place];
        process.serial = self.serials;
        process.call = Some((call.clone(), began));
        if let Some(there) = fate.there {
            self.enter(self.time + there, place, Event::Arrive(call, fate.back));
        }
        self.enter(
            self.after(place, CALL_TIMEOUT),
            place,
            Event::Answer(Answer::None),
        );
    }

    fn serve(&mut self, call: Call) -> Answer {
        let mut lease = match call {
            Call::Look => return Answer::Found(self.lease.clone()),
            Call::Claim(lease) | Call::Release(lease) => lease,
        };
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        if version(&lease) != self.lease.as_ref().and_then(version) {
            return Answer::Conflict;
        }
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        Answer::Written(lease)
    }

    fn answered(&mut self, place: usize, answer: Answer) -> Result<(), TestCaseError> {
        let (now, wall) = (self.clock(place), self.wall(place));
        self.serials += 1;
        let process = &mut self.processes[place];
        // The other answer to this call, or its end, finds nobody.
        process.serial = self.serials;
        let Some((call, began)) = process.call.take() else {
            return Ok(());
        };
        let in_time = now.duration_since(began) < CALL_TIMEOUT;
        match (call, answer) {
            (Call::Look, Answer::Found(lease)) => {
                process.election.saw(lease, now);
                if process.terminating {
                    match process.election.release(wall) {
                        Some(lease) => self.call(place, Call::Release(lease)),
                        None => self.restart(place),
                    }
                } else {
                    self.step(place);
                }
            }
            (Call::Claim(_), Answer::Written(lease)) => {
                process.election.wrote(lease, began, now);
                process.current = true;
                if self.may_act(place) {
                    self.terms += 1;
                    prop_assert_eq!(self.leaders(), [place], "at {} ms", self.time);
                } else {
                    prop_assert!(!in_time, "a fresh renewal counts");
                }
                self.settle(place);
            }
            (Call::Claim(_), Answer::Conflict) => {
                self.call(place, Call::Look);
            }
            (Call::Release(_), _) => self.restart(place),
            _ if process.terminating => self.restart(place),
            _ => self.settle(place),
        }
        Ok(())
    }

    /// Waits for the next attempt, or ends.
    fn settle(&mut self, place: usize) {
        match self.processes[place].election.step(self.clock(place)) {
            Step::Lost(_) => self.restart(place),
            Step::Wait(wait) => self.sleep(place, wait),
            Step::Acquire | Step::Renew => self.sleep(place, RETRY_PERIOD),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn never_do_two_act_at_once_and_in_the_end_one_does(schedule in schedule()) {
        let mut world = World::new(schedule);
        world.run(TROUBLE + CALM)?;
        prop_assert!(world.terms > 0);
        prop_assert_eq!(world.leaders().len(), 1);
    }
}
