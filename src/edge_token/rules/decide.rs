//! What is to be done next about one EdgeToken, from what was observed and the time.
//!
//! A visit observes, decides on one step, acts and observes again, until nothing is left to do. Why no step can revoke a key
//! that is in use, or leave one behind that nobody knows of: a key is revoked only by its mark, and a mark is in the status
//! before its key can be there ([`Step::Intend`] before [`Step::Create`]). It was either never handed out, since that is
//! recorded first too ([`Step::Promote`] before [`Step::Write`]); or it is not current any more, and its overlap is over
//! since the present key was written, which works and is listed.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{
    ledger::{End, Ledger, MAX_RETIRED, Retired},
    mark::{Mark, prefix},
    survey::{KeyState, Survey},
};
use crate::edge_api::Verdict;

/// How long after its record an attempt may still be made. A process that was stopped in between makes none: another one may
/// have given the attempt up meanwhile, and forgotten it.
const CREATE_WITHIN: SignedDuration = SignedDuration::from_secs(10);

/// How long after an attempt was given up no other one is made: the process that recorded it may be about to make it.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// How long after an attempt was given up its key may still turn up in a list: a request that takes effect late, and a list
/// that lags behind.
const LISTED_WITHIN: SignedDuration = SignedDuration::from_mins(15);

/// How long after the object was read a target may get another key than it has. A process that was stopped in between, or that
/// a watch shows what is long over, would else bring back a key that was replaced meanwhile, and may be revoked.
const READ_WITHIN: SignedDuration = SignedDuration::from_secs(10);

/// How long after a key was asked for no other one is: for the first time, and at most. None is ever deleted at Sitecore.
const CREATE_INTERVALS: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(60), SignedDuration::from_mins(5));

/// How long a new key is held back that no answer says to work, where the target has none that does.
const UNPROBED_FOR: SignedDuration = SignedDuration::from_secs(60);

/// How long after a list another one is asked for, where what is to be revoked could not be.
const SURVEY_INTERVAL: SignedDuration = SignedDuration::from_hours(1);

/// How soon a key is tried again that does not work yet: after as long as it is old, or as the revocation of the former one is
/// overdue, but not sooner and not later.
const PROBE_INTERVALS: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(2), SignedDuration::from_mins(5));

/// How long the deletion of an object waits until its keys are revoked.
const DELETION_LIMIT: SignedDuration = SignedDuration::from_mins(10);

/// How often it is looked meanwhile whether they are.
const DELETION_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, for what is in the way.
    Hold(Option<Obstacle>),
    /// Read the object anew: what a watch has shown of it may be old.
    Read,
    /// Add the finalizer that the deletion policy wants, or remove one that it does not.
    Secure,
    /// List the object's keys.
    Survey,
    /// Record a new attempt as pending.
    Intend,
    /// Ask for the key of the pending attempt.
    Create,
    /// Give up the pending attempt.
    Discard,
    /// Ask the Delivery API whether it takes the key of this attempt.
    Probe(Mark),
    /// Make the pending attempt the current one.
    Promote,
    /// Write the current key to the target.
    Write,
    /// Record that a person ended all overlaps.
    EndOverlaps,
    /// Revoke all live keys of these attempts.
    Revoke(Vec<Mark>),
    /// Forget these attempts.
    Forget(Vec<Mark>),
    /// Remove the finalizer from an object that is being deleted.
    Release,
}

impl Step {
    /// Whether it leads to a call of an API.
    fn calls(&self) -> bool {
        matches!(
            self,
            Self::Survey | Self::Probe(_) | Self::Intend | Self::Create | Self::Revoke(_)
        )
    }
}

/// What keeps an object from being all right, until a person acts or it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// There are live keys of the object that no record explains.
    UnrecordedKeys,
    /// The environment that the credentials open does not have the current key.
    EnvironmentChanged,
    /// A key that was revoked is still listed as live.
    KeyNotRevoked,
    /// So many keys are to be revoked that none more is made.
    TooManyKeys,
    /// The Delivery API refuses a key that was made for the object.
    DeliveryRefused,
    /// The Delivery API does not say whether it takes the key.
    DeliveryUnavailable,
    /// The key that is in use is not listed.
    KeyNotListed,
}

/// What a decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// What the labels of the object's keys begin with.
    pub prefix: &'a str,
    /// Since when the object is being deleted.
    pub deleted_at: Option<Timestamp>,
    /// Whether nothing can be revoked any more, because the credentials went with the namespace.
    pub is_abandoned: bool,
    pub has_finalizer: bool,
    pub wants_finalizer: bool,
    /// Whether something is in the way of everything: suspended, a spec that is not sound, a target that is not ours.
    pub is_blocked: bool,
    pub ledger: &'a Ledger,
    /// Whether keys can be listed and revoked where they are from.
    pub lists: bool,
    /// Whether the current key was seen in a list.
    pub is_listed: bool,
    /// What the target proves of the current key.
    pub proven: Option<&'a Record>,
    /// Whether the current key is at hand, in the target or in memory.
    pub has_value: bool,
    /// Whether the target is as it should be.
    pub is_rendered: bool,
    /// When this visit read the object last, or wrote its status. `None` where all is as a watch has shown it.
    pub read_at: Option<Timestamp>,
    /// The key that this process made last, if it is still of use.
    pub made: Option<&'a Made>,
    pub visit: &'a Visit,
    /// How long a former key is good.
    pub overlap: SignedDuration,
    /// When the current key is to be replaced, if ever.
    pub rotate_at: Option<Timestamp>,
    /// Whether a person asked for another key.
    pub is_rotation_requested: bool,
    /// Whether a person asked to end the overlaps.
    pub is_end_requested: bool,
    /// When the next key may be asked for, after failures.
    pub not_before: Option<Timestamp>,
    /// When this process may ask for another key.
    pub creates_from: Option<Timestamp>,
    /// When this process listed the keys last.
    pub last_survey: Option<Timestamp>,
    /// Until when no API is called, because what its answers led to could not be written.
    pub rests_until: Option<Timestamp>,
    /// Until when the Delivery API asked not to be called.
    pub probes_from: Option<Timestamp>,
}

/// What the target proves of the key in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub mark: Mark,
    pub created_at: Timestamp,
    pub written_at: Timestamp,
    /// The rotation request that it answers.
    pub rotate_request: Option<String>,
}

/// A key that this process made, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub mark: Mark,
    pub created_at: Timestamp,
    /// The rotation request that it answers.
    pub rotate_request: Option<String>,
}

/// What one visit has found and done so far.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// What was listed, and nothing was revoked since.
    pub survey: Option<Survey>,
    /// Whether the object was being deleted when that was listed: then no attempt was recorded since.
    pub listed_in_deletion: bool,
    /// What the Delivery API said of a key.
    pub verdict: Option<(Mark, Verdict)>,
    /// The attempt that was recorded and not made yet, and when it was recorded.
    pub intended: Option<(Mark, Timestamp)>,
    /// Whether a key was asked for: at most once in a visit.
    pub has_created: bool,
    /// Whose keys were revoked.
    pub revoked: Vec<Mark>,
}

impl Visit {
    /// What was listed while the object was being deleted.
    pub fn survey_of_deletion(&self) -> Option<&Survey> {
        self.survey.as_ref().filter(|_| self.listed_in_deletion)
    }
}

/// How long after a key was asked for no other one is, where it is not known of so many in a row whether they were made: twice
/// as long each time.
pub fn create_interval(unknown: u32) -> SignedDuration {
    let (first, longest) = CREATE_INTERVALS;
    let doubled = 2_i32.checked_pow(unknown.saturating_sub(1));
    let wait = doubled.and_then(|times| first.checked_mul(times));
    wait.map_or(longest, |wait| wait.min(longest))
}

/// Whether a deletion has waited for as long as it may.
pub fn is_overdue(deleted_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(deleted_at) >= DELETION_LIMIT
}

/// The attempts whose keys may work on once the object with this uid is gone: those recorded that no list shows to be revoked, or
/// not to have been made, and those that no record explains.
pub fn find_left(ledger: &Ledger, survey: Option<&Survey>, uid: &str) -> Vec<Mark> {
    let prefix = prefix(uid);
    let unrecorded = survey.iter();
    let unrecorded = unrecorded.flat_map(|survey| survey.unrecorded(ledger, &prefix));
    let unrecorded = unrecorded.filter_map(|key| Mark::find(&key.label, uid));
    let recorded = ledger.marks().filter(|mark| {
        let Some(survey) = survey else {
            return true;
        };
        let mut unused = ledger.unused();
        match survey.state(mark) {
            KeyState::Live => true,
            KeyState::Revoked => false,
            KeyState::Absent => unused
                .find(|(other, _)| other == mark)
                .is_none_or(|(_, since)| survey.begun_at.duration_since(since) < LISTED_WITHIN),
        }
    });
    recorded.cloned().chain(unrecorded).collect()
}

/// What one rule says.
enum Rule {
    Act(Step),
    Pass,
    Blocked(Obstacle),
}

use Rule::{Act, Blocked, Pass};

/// Decides what is to be done next.
pub fn decide(observed: &Observed<'_>, now: Timestamp) -> Step {
    let step = find_step(observed, now);
    if observed.is_known_well_enough(&step, now) {
        step
    } else {
        Step::Read
    }
}

fn find_step(observed: &Observed<'_>, now: Timestamp) -> Step {
    let rests = observed.rests_until.is_some_and(|until| now < until);
    if let Some(deleted_at) = observed.deleted_at {
        let step = observed.end(deleted_at, now);
        return if rests && step.calls() {
            Step::Hold(None)
        } else {
            step
        };
    }
    if observed.is_blocked {
        return Step::Hold(None);
    }
    if observed.has_finalizer != observed.wants_finalizer {
        return Step::Secure;
    }
    let rules = [
        Observed::end_overlaps,
        Observed::hand_out,
        Observed::settle_pending,
        Observed::revoke_retired,
        Observed::rotate,
        Observed::write,
        Observed::find_listed,
    ];
    let mut obstacle = None;
    for rule in rules {
        match rule(observed, now) {
            Act(step) if rests && step.calls() => {}
            Act(step) => return step,
            Pass => {}
            Blocked(found) => obstacle = obstacle.or(Some(found)),
        }
    }
    Step::Hold(obstacle)
}

impl Observed<'_> {
    /// Revokes all keys of an object that is being deleted, unless its policy has become to keep them.
    fn end(&self, deleted_at: Timestamp, now: Timestamp) -> Step {
        if !self.has_finalizer {
            return Step::Hold(None);
        }
        let is_kept = !self.wants_finalizer;
        if is_kept || self.is_abandoned || is_overdue(deleted_at, now) {
            return Step::Release;
        }
        let Some(survey) = self.visit.survey_of_deletion() else {
            return Step::Survey;
        };
        // Another cluster has the object too, as a copy of this one has, and uses its keys.
        if survey.unrecorded(self.ledger, self.prefix).next().is_some() {
            return Step::Release;
        }
        let is_live = |mark: &&Mark| survey.state(mark) == KeyState::Live;
        let (revoked, live): (Vec<_>, Vec<_>) = self
            .ledger
            .marks()
            .filter(is_live)
            .cloned()
            .partition(|mark| self.visit.revoked.contains(mark));
        if !live.is_empty() {
            return Step::Revoke(live);
        }
        if !revoked.is_empty() {
            return Step::Hold(Some(Obstacle::KeyNotRevoked));
        }
        // The process that recorded an attempt may be about to make it.
        let mut attempts = self.ledger.unused();
        let is_under_way = attempts.any(|(mark, since)| {
            let is_settled = survey.begun_at.duration_since(since) >= SETTLED_AFTER;
            !is_settled && survey.state(mark) == KeyState::Absent
        });
        if is_under_way {
            Step::Hold(None)
        } else {
            Step::Release
        }
    }

    /// First of all: what is retired only now was in the target when the person asked.
    fn end_overlaps(&self, _: Timestamp) -> Rule {
        if self.is_end_requested {
            Act(Step::EndOverlaps)
        } else {
            Pass
        }
    }

    /// A key that was made is handed out once the Delivery API takes it: a service may know it only minutes later.
    fn hand_out(&self, now: Timestamp) -> Rule {
        let Some(made) = self.made.filter(|made| self.is_pending(&made.mark)) else {
            return Pass;
        };
        let waited = now.duration_since(made.created_at) >= UNPROBED_FOR;
        match self.verdict(&made.mark, now) {
            None => Act(Step::Probe(made.mark.clone())),
            Some(Verdict::Accepted) => Act(Step::Promote),
            Some(Verdict::Unknown) if self.proven.is_none() && waited => Act(Step::Promote),
            Some(Verdict::Unknown) => Blocked(Obstacle::DeliveryUnavailable),
            Some(Verdict::Refused) => Blocked(Obstacle::DeliveryRefused),
        }
    }

    /// An attempt that was just recorded is made. One whose key this process does not have is given up: it was never handed
    /// out, so that harms nobody.
    fn settle_pending(&self, now: Timestamp) -> Rule {
        let Some(pending) = &self.ledger.pending else {
            return Pass;
        };
        if self.made.is_some_and(|made| made.mark == pending.mark) {
            return Pass;
        }
        match &self.visit.intended {
            Some((mark, at))
                if *mark == pending.mark && now.duration_since(*at) <= CREATE_WITHIN =>
            {
                Act(Step::Create)
            }
            _ => Act(Step::Discard),
        }
    }

    fn revoke_retired(&self, now: Timestamp) -> Rule {
        let due = |retired: &&Retired| self.due_at(retired).is_some_and(|at| at <= now);
        let due: Vec<_> = self.ledger.retired.iter().filter(due).collect();
        let Some(survey) = &self.visit.survey else {
            // A former key is not revoked before the Delivery API was asked about the present one.
            let waits =
                |retired: &&Retired| retired.end != End::Discarded && self.waits_for_delivery(now);
            let (waiting, due): (Vec<&Retired>, Vec<&Retired>) = due.into_iter().partition(waits);
            return if due.iter().any(|retired| self.must_survey(retired, now)) {
                Act(Step::Survey)
            } else if waiting.is_empty() {
                Pass
            } else {
                Blocked(Obstacle::DeliveryUnavailable)
            };
        };
        let marks = |retired: &[&Retired]| -> Vec<Mark> {
            retired.iter().map(|retired| retired.mark.clone()).collect()
        };
        let is_gone = |retired: &&Retired| match survey.state(&retired.mark) {
            KeyState::Live => false,
            KeyState::Revoked => true,
            KeyState::Absent => survey.begun_at.duration_since(retired.since) >= LISTED_WITHIN,
        };
        let gone: Vec<_> = due.iter().copied().filter(is_gone).collect();
        if !gone.is_empty() {
            return Act(Step::Forget(marks(&gone)));
        }
        let is_live = |retired: &&Retired| survey.state(&retired.mark) == KeyState::Live;
        let live = due.iter().copied().filter(is_live);
        let (revoked, live): (Vec<&Retired>, Vec<&Retired>) =
            live.partition(|retired| self.visit.revoked.contains(&retired.mark));
        let (discarded, former): (Vec<&Retired>, Vec<&Retired>) = live
            .into_iter()
            .partition(|retired| retired.end == End::Discarded);
        if !discarded.is_empty() {
            return Act(Step::Revoke(marks(&discarded)));
        }
        // What a person ended is over whatever the server's clock says.
        let has_come = |retired: &&Retired| {
            matches!(retired.end, End::Ended(_))
                || self
                    .due_at(retired)
                    .is_some_and(|at| survey.has_come(at, now))
        };
        let former: Vec<_> = former.into_iter().filter(has_come).collect();
        match self.proven {
            _ if former.is_empty() && revoked.is_empty() => Pass,
            _ if former.is_empty() => Blocked(Obstacle::KeyNotRevoked),
            _ if survey.count_unknown(self.ledger, self.prefix) > 0 => {
                Blocked(Obstacle::UnrecordedKeys)
            }
            // What works is not taken away before something else does.
            None => Pass,
            Some(record) if survey.state(&record.mark) != KeyState::Live => Pass,
            Some(record) => match self.verdict(&record.mark, now) {
                None => Act(Step::Probe(record.mark.clone())),
                Some(Verdict::Accepted) => Act(Step::Revoke(marks(&former))),
                Some(Verdict::Refused) => Blocked(Obstacle::DeliveryRefused),
                Some(Verdict::Unknown) => Blocked(Obstacle::DeliveryUnavailable),
            },
        }
    }

    /// Records an attempt to make another key where one is needed, once it is known that the last one left none behind.
    fn rotate(&self, now: Timestamp) -> Rule {
        if self.ledger.pending.is_some() || !self.needs_key(now) {
            return Pass;
        }
        let discarded = self.ledger.retired.iter();
        let discarded = discarded.filter(|retired| retired.end == End::Discarded);
        let settled_at = discarded
            .clone()
            .map(|retired| retired.since + SETTLED_AFTER)
            .max();
        let not_before = self.not_before.max(settled_at).max(self.creates_from);
        // What works can wait until it is known for sure what became of the last attempt.
        let can_wait = self.proven.is_some() && settled_at.is_some();
        if can_wait || self.visit.has_created || not_before.is_some_and(|at| now < at) {
            return Pass;
        }
        if self.ledger.retired.len() >= MAX_RETIRED {
            return Blocked(Obstacle::TooManyKeys);
        }
        if !self.lists || self.ledger.marks().next().is_none() {
            return Act(Step::Intend);
        }
        let survey = self.visit.survey.as_ref();
        let is_new = |survey: &&Survey| settled_at.is_none_or(|at| at <= survey.begun_at);
        let Some(survey) = survey.filter(is_new) else {
            return Act(Step::Survey);
        };
        let mut discarded = discarded.map(|retired| survey.state(&retired.mark));
        if discarded.any(|state| state == KeyState::Live) {
            return Blocked(Obstacle::KeyNotRevoked);
        }
        if let Some(record) = self.proven {
            if survey.count_unknown(self.ledger, self.prefix) > 0 {
                return Blocked(Obstacle::UnrecordedKeys);
            }
            if !self.is_rotation_requested && survey.state(&record.mark) == KeyState::Absent {
                return Blocked(Obstacle::EnvironmentChanged);
            }
        }
        Act(Step::Intend)
    }

    fn write(&self, _: Timestamp) -> Rule {
        if self.has_value && !self.is_rendered {
            Act(Step::Write)
        } else {
            Pass
        }
    }

    /// A key is listed once after it was handed out. It could not be revoked otherwise, and no attempt could be told from
    /// another.
    fn find_listed(&self, now: Timestamp) -> Rule {
        let Some(record) = self.proven.filter(|_| self.lists && !self.is_listed) else {
            return Pass;
        };
        let listed_by = record.created_at.saturating_add(LISTED_WITHIN);
        let listed_by = listed_by.unwrap_or(now);
        if let Some(survey) = &self.visit.survey {
            let is_missing = survey.state(&record.mark) == KeyState::Absent;
            return if is_missing && listed_by <= survey.begun_at {
                Blocked(Obstacle::KeyNotListed)
            } else {
                Pass
            };
        }
        let is_over = |last: Timestamp| {
            last < record.created_at
                || (last < listed_by && listed_by <= now)
                || now.duration_since(last) >= SURVEY_INTERVAL
        };
        if self.last_survey.is_none_or(is_over) {
            Act(Step::Survey)
        } else {
            Pass
        }
    }

    /// Whether another key is needed: none is at hand, a person asked for one, it is time, or the current one was revoked.
    pub fn needs_key(&self, now: Timestamp) -> bool {
        let is_revoked = |survey: &Survey| {
            let current = self.ledger.current.as_ref();
            current.is_some_and(|mark| survey.state(mark) == KeyState::Revoked)
        };
        !self.has_value
            || self.is_rotation_requested
            || self.rotate_at.is_some_and(|at| at <= now)
            || self.visit.survey.as_ref().is_some_and(is_revoked)
    }

    /// Whether the object is known as it is now, as far as a step needs it. What changes its status is refused by the API server
    /// where it is not.
    fn is_known_well_enough(&self, step: &Step, now: Timestamp) -> bool {
        let is_new = |at: Timestamp| now.duration_since(at) <= READ_WITHIN;
        match step {
            Step::Survey | Step::Probe(_) | Step::Create | Step::Revoke(_) => {
                self.read_at.is_some()
            }
            Step::Write if self.proven.is_none() => self.read_at.is_some_and(is_new),
            _ => true,
        }
    }

    /// When something may have to be done next, if anything.
    pub fn next_look(&self, now: Timestamp) -> Option<Timestamp> {
        let later = |at: Timestamp, wait: SignedDuration| at.saturating_add(wait).ok();
        let again = self.last_survey.and_then(|at| later(at, SURVEY_INTERVAL));
        let mut times = vec![self.rotate_at, self.not_before, self.rests_until];
        if let Some(deleted_at) = self.deleted_at {
            times.push(later(deleted_at, DELETION_LIMIT));
            times.push(later(now, DELETION_INTERVAL));
        }
        for retired in &self.ledger.retired {
            let due_at = self.due_at(retired);
            times.push(due_at);
            times.push(later(retired.since, LISTED_WITHIN));
            times.push(again.filter(|_| due_at.is_some_and(|at| at <= now)));
            if retired.end == End::Discarded {
                times.push(later(retired.since, SETTLED_AFTER));
            }
        }
        if self.needs_key(now) {
            times.push(self.creates_from);
        }
        let refused = |(_, verdict): &&(Mark, Verdict)| *verdict != Verdict::Accepted;
        if self.visit.verdict.as_ref().filter(refused).is_some() {
            // A former key that could not be revoked for that.
            let former = self.ledger.retired.iter();
            let former = former.filter(|retired| retired.end != End::Discarded);
            let due = former.filter_map(|retired| self.due_at(retired));
            if let Some(due) = due.filter(|at| *at <= now).min() {
                let overdue = now.duration_since(due);
                let wait = overdue.clamp(PROBE_INTERVALS.0, PROBE_INTERVALS.1);
                times.push(later(now, wait));
            }
        }
        if let Some(made) = self.made.filter(|made| self.is_pending(&made.mark)) {
            let age = now.duration_since(made.created_at);
            let probed = later(now, age.clamp(PROBE_INTERVALS.0, PROBE_INTERVALS.1));
            times.push(probed.max(self.probes_from));
            times.push(later(made.created_at, UNPROBED_FOR));
        } else {
            times.push(self.probes_from);
        }
        if let Some(record) = self.proven.filter(|_| self.lists && !self.is_listed) {
            times.push(later(record.created_at, LISTED_WITHIN));
            times.push(again);
        }
        times.into_iter().flatten().filter(|at| now < *at).min()
    }

    fn is_pending(&self, mark: &Mark) -> bool {
        let pending = self.ledger.pending.as_ref();
        pending.is_some_and(|pending| pending.mark == *mark)
    }

    /// What the Delivery API said of a key in this visit. Nothing is known of one while it asks not to be called.
    fn verdict(&self, mark: &Mark, now: Timestamp) -> Option<Verdict> {
        let said = self.visit.verdict.as_ref();
        let said = said.filter(|(of, _)| of == mark);
        let unknown = self.waits_for_delivery(now).then_some(Verdict::Unknown);
        said.map(|(_, verdict)| *verdict).or(unknown)
    }

    /// Whether the Delivery API asked not to be called yet.
    fn waits_for_delivery(&self, now: Timestamp) -> bool {
        self.probes_from.is_some_and(|at| now < at)
    }

    /// From when on a retired key is to be revoked: a former one not before whoever reads the target once in an overlap has
    /// read the present key, which may have been written late. `None` while that is not there.
    fn due_at(&self, retired: &Retired) -> Option<Timestamp> {
        match retired.end {
            End::Discarded => Some(retired.since),
            End::Ended(at) => Some(at),
            End::Overlap(until) => {
                let written_at = self.proven?.written_at;
                let read = written_at.saturating_add(self.overlap).unwrap_or(until);
                Some(until.max(read))
            }
        }
    }

    /// Whether the last list is too old to say what became of a retired key that is due.
    fn must_survey(&self, retired: &Retired, now: Timestamp) -> bool {
        let listed_by = retired.since.saturating_add(LISTED_WITHIN).unwrap_or(now);
        self.last_survey.is_none_or(|last| {
            // In whole seconds: a list of the same one may have been before.
            self.due_at(retired).is_some_and(|due_at| last <= due_at)
                || (last < listed_by && listed_by <= now)
                || now.duration_since(last) >= SURVEY_INTERVAL
                || !self.visit.revoked.is_empty()
        })
    }
}

#[cfg(test)]
mod tests;
