//! Which attempts to make a key there are, as the status records them.
//!
//! A mark only goes forward: pending, current, retired, gone; or pending, retired, gone. It is recorded before its key can be
//! there, and until its key is known to be revoked or never to have been made. So no live key is without a record.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

use super::mark::Mark;
use crate::api::{
    EdgeToken, EdgeTokenStatus,
    edge_token::{PendingKey, RetiredKey, RetirementCause},
};

/// The most retired attempts that are recorded. No further key is made while there are so many.
pub const MAX_RETIRED: usize = 8;

/// The attempts of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Which key should be in the target.
    pub current: Option<Mark>,
    /// The attempt whose key was not handed out yet, if there is one.
    pub pending: Option<Pending>,
    /// What is to be revoked.
    pub retired: Vec<Retired>,
}

/// An attempt whose key was not handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub mark: Mark,
    pub since: Timestamp,
}

/// An attempt whose key is to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    pub mark: Mark,
    pub since: Timestamp,
    pub end: End,
}

/// When a retired key is to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At once: it was never handed out, so nobody has it.
    Discarded,
    /// Not before this time: it was in the target, and whoever read it there has until then to read the next one.
    Overlap(Timestamp),
    /// From this time on: it was in the target, and a person ended its overlap then.
    Ended(Timestamp),
}

impl Ledger {
    /// What the status of an object records.
    pub fn of_object(object: &EdgeToken) -> Self {
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        let status = object.status.as_ref();
        status
            .map(|status| Self::of(status, uid))
            .unwrap_or_default()
    }

    /// What a status records of the object with this uid. Marks of another one mean nothing: the status was restored, or
    /// copied, under this uid.
    pub fn of(status: &EdgeTokenStatus, uid: &str) -> Self {
        let parse = |mark: &str| Mark::parse(mark, uid);
        let retired = status.retired.iter().filter_map(|retired| {
            let revoke_at = retired.revoke_at.0;
            Some(Retired {
                mark: parse(&retired.mark)?,
                since: retired.since.0,
                end: match retired.cause {
                    RetirementCause::Discarded => End::Discarded,
                    RetirementCause::Replaced => End::Overlap(revoke_at),
                    RetirementCause::OverlapEnded => End::Ended(revoke_at),
                },
            })
        });
        let pending = status.pending.as_ref();
        Self {
            current: status.token.as_ref().and_then(|key| parse(&key.mark)),
            pending: pending.and_then(|pending| {
                Some(Pending {
                    mark: parse(&pending.mark)?,
                    since: pending.since.0,
                })
            }),
            retired: retired.collect(),
        }
    }

    /// The pending attempt and the retired ones, as a status records them.
    pub fn describe(&self) -> (Option<PendingKey>, Vec<RetiredKey>) {
        let pending = self.pending.as_ref().map(|pending| PendingKey {
            mark: pending.mark.to_string(),
            since: Time(pending.since),
        });
        let retired = self.retired.iter().map(|retired| {
            let (cause, revoke_at) = match retired.end {
                End::Discarded => (RetirementCause::Discarded, retired.since),
                End::Overlap(until) => (RetirementCause::Replaced, until),
                End::Ended(at) => (RetirementCause::OverlapEnded, at),
            };
            RetiredKey {
                mark: retired.mark.to_string(),
                since: Time(retired.since),
                cause,
                revoke_at: Time(revoke_at),
            }
        });
        (pending, retired.collect())
    }

    /// All marks.
    pub fn marks(&self) -> impl Iterator<Item = &Mark> {
        let pending = self.pending.as_ref().map(|pending| &pending.mark);
        let retired = self.retired.iter().map(|retired| &retired.mark);
        self.current.iter().chain(pending).chain(retired)
    }

    /// The attempts whose keys were never handed out, and since when they are recorded so.
    pub fn unused(&self) -> impl Iterator<Item = (&Mark, Timestamp)> {
        let pending = self.pending.iter();
        let pending = pending.map(|pending| (&pending.mark, pending.since));
        let retired = self.retired.iter();
        let discarded = retired.filter(|retired| retired.end == End::Discarded);
        pending.chain(discarded.map(|retired| (&retired.mark, retired.since)))
    }

    /// Records an attempt that is about to be made.
    pub fn intend(&mut self, mark: Mark, now: Timestamp) {
        self.pending = Some(Pending { mark, since: now });
    }

    /// Gives up the pending attempt: whether it made a key is not known, or nobody has that key any more.
    pub fn discard(&mut self, now: Timestamp) {
        if let Some(Pending { mark, .. }) = self.pending.take() {
            self.retire(mark, now, End::Discarded);
        }
    }

    /// Drops the pending attempt, which certainly made no key that is to be revoked.
    pub fn withdraw(&mut self) {
        self.pending = None;
    }

    /// Makes the pending attempt the current one, where no key is ever revoked.
    pub fn replace(&mut self) {
        if let Some(Pending { mark, .. }) = self.pending.take() {
            self.current = Some(mark);
        }
    }

    /// Makes the pending attempt the current one. The key of the former one is good for the overlap.
    pub fn promote(&mut self, now: Timestamp, overlap: SignedDuration) {
        let Some(Pending { mark, .. }) = self.pending.take() else {
            return;
        };
        if let Some(former) = self.current.replace(mark) {
            let until = now.saturating_add(overlap).unwrap_or(now);
            self.retire(former, now, End::Overlap(until));
        }
    }

    /// Ends all overlaps.
    pub fn end_overlaps(&mut self, now: Timestamp) {
        for retired in &mut self.retired {
            if let End::Overlap(_) = retired.end {
                retired.end = End::Ended(now);
            }
        }
    }

    /// Takes the attempt that a target proves for the current one, where the status was lost. Returns whether it was: then
    /// requests to end overlaps were handled before.
    pub fn adopt(&mut self, mark: &Mark) -> bool {
        let was_lost = self.current.is_none() && self.marks().all(|recorded| recorded != mark);
        if was_lost {
            self.current = Some(mark.clone());
        }
        was_lost
    }

    /// Forgets retired attempts whose keys are gone.
    pub fn forget(&mut self, marks: &[Mark]) {
        self.retired
            .retain(|retired| !marks.contains(&retired.mark));
    }

    fn retire(&mut self, mark: Mark, since: Timestamp, end: End) {
        self.retired.push(Retired { mark, since, end });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::edge_token::KeyStatus;

    fn mark(number: u64) -> Mark {
        Mark::new("uid", number)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_mark_goes_from_pending_to_current_to_retired_to_gone() {
        let mut ledger = Ledger::default();
        ledger.intend(mark(1), at(0));
        ledger.promote(at(1), SignedDuration::from_secs(100));
        assert_eq!(ledger.current, Some(mark(1)));
        assert!(ledger.pending.is_none() && ledger.retired.is_empty());
        ledger.intend(mark(2), at(10));
        ledger.promote(at(11), SignedDuration::from_secs(100));
        let former = Retired {
            mark: mark(1),
            since: at(11),
            end: End::Overlap(at(111)),
        };
        assert_eq!(ledger.retired, [former]);
        ledger.end_overlaps(at(50));
        assert_eq!(ledger.retired[0].end, End::Ended(at(50)));
        ledger.forget(&[mark(1)]);
        assert_eq!(ledger.marks().collect::<Vec<_>>(), [&mark(2)]);
    }

    #[test]
    fn an_attempt_that_is_given_up_is_recorded_until_it_is_forgotten() {
        let mut ledger = Ledger::default();
        ledger.intend(mark(1), at(0));
        ledger.discard(at(5));
        assert_eq!(ledger.retired[0].end, End::Discarded);
        ledger.end_overlaps(at(5));
        assert_eq!(ledger.retired[0].end, End::Discarded, "it has no overlap");
        // Nothing is pending.
        ledger.discard(at(6));
        ledger.promote(at(6), SignedDuration::ZERO);
        assert_eq!(ledger.marks().collect::<Vec<_>>(), [&mark(1)]);
    }

    #[test]
    fn what_a_target_proves_is_current_where_no_record_says_otherwise() {
        let mut ledger = Ledger::default();
        assert!(ledger.adopt(&mark(1)) && !ledger.adopt(&mark(2)));
        assert_eq!(ledger.current, Some(mark(1)));
        let mut ledger = Ledger::default();
        ledger.intend(mark(1), at(0));
        ledger.discard(at(0));
        assert!(!ledger.adopt(&mark(1)));
        assert_eq!(ledger.current, None, "it was given up");
    }

    #[test]
    fn a_status_records_all_and_what_is_of_another_object_means_nothing() {
        let mut ledger = Ledger {
            current: Some(mark(1)),
            ..Ledger::default()
        };
        ledger.intend(mark(2), at(1));
        ledger.discard(at(2));
        ledger.intend(mark(3), at(3));
        ledger.promote(at(4), SignedDuration::from_secs(100));
        ledger.end_overlaps(at(5));
        ledger.intend(mark(4), at(6));
        ledger.promote(at(7), SignedDuration::from_secs(100));
        ledger.intend(mark(5), at(8));
        let (pending, retired) = ledger.describe();
        let token = KeyStatus {
            mark: mark(4).to_string(),
            hash: None,
            tenant_id: None,
            created_at: Time(at(6)),
            rotate_at: None,
            verified_at: None,
        };
        let status = EdgeTokenStatus {
            token: Some(token),
            pending,
            retired,
            ..EdgeTokenStatus::default()
        };
        assert_eq!(Ledger::of(&status, "uid"), ledger);
        assert_eq!(Ledger::of(&status, "another"), Ledger::default());
    }
}
