//! What happened, as far as the verdict depends on it. Each step is written down before it's taken.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A moment: the time since 1970, since tokens and the stand-in's records have times of day.
pub type Moment = Duration;

/// Now.
pub fn now() -> Moment {
    moment(SystemTime::now())
}

/// A time of day as a moment.
pub fn moment(time: SystemTime) -> Moment {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// From when to when something went on. The end is far away while it does.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// When it began.
    pub start: Moment,
    /// When it had ended.
    pub end: Moment,
}

impl Span {
    /// One that begins now.
    pub fn begin() -> Span {
        Span {
            start: now(),
            end: Moment::MAX,
        }
    }
}

/// How long after the API server is back a token may still be expired that expired while it was away.
const RECOVERY: Duration = Duration::from_secs(15);

/// The same for the token endpoint: a try that hangs may have begun just before it was back.
pub const ENDPOINT_RECOVERY: Duration = Duration::from_secs(20);

/// A token.
#[derive(Clone, Debug)]
pub struct Token {
    /// When it was issued.
    pub at: Moment,
    /// Its claim `jti`.
    pub id: String,
}

/// What happened to one EdgeCredential.
#[derive(Clone, Debug, Default)]
pub struct ObjectHistory {
    /// The tokens that it was issued.
    pub tokens: Vec<Token>,
    /// Each rotation of its client's secret: from the stand-in's word to the Secret's change.
    pub rotations: Vec<Span>,
    /// Each request of a renewal.
    pub renewals_asked: Vec<Span>,
    /// When its target was damaged, even if harmlessly.
    pub damages: Vec<Moment>,
    /// When the token in its target was destroyed, or what proves it.
    pub losses: Vec<Moment>,
    /// The claims `jti` of all tokens that were seen in its target.
    pub stored: HashSet<String>,
    /// Seconds in which its token had expired, and an operator should have replaced it.
    pub expired: u64,
    /// Seconds in which its token had expired, but the API server or the token endpoint was away or had just come back.
    pub excused: u64,
    /// Seconds in which its target held no token, although it had not been damaged a short while before.
    pub missing: u64,
    /// The longest time from a look at a damaged target to one at a sound one, outside outages of the token endpoint.
    pub longest_repair: Duration,
}

/// What happened to all.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Each time that the API server was away.
    pub outages: Vec<Span>,
    /// Each time that the token endpoint gave no tokens.
    pub endpoint_outages: Vec<Span>,
    /// Each time that tenants misbehaved.
    pub misbehaviours: Vec<Span>,
    /// The longest time after the token endpoint was back in which a token was expired.
    pub longest_recovery: Duration,
    /// Each time that the one operator was killed: until it was ready again.
    pub kills: Vec<Span>,
    /// Looks at all targets of all namespaces.
    pub looks: u64,
    /// Looks at a namespace that were not answered.
    pub unanswered: u64,
    /// Of each EdgeCredential.
    pub objects: Vec<ObjectHistory>,
    /// Of the operator that is never killed, every few seconds.
    pub vitals: Vec<Vitals>,
}

impl History {
    /// The last outage of the API server or the token endpoint, with the time to recover from it. One that begins before
    /// the recovery from another one is over prolongs that.
    pub fn last_outage(&self) -> Option<Span> {
        let with = |recovery| {
            move |outage: &Span| Span {
                end: outage.end.saturating_add(recovery),
                ..*outage
            }
        };
        let api_server = self.outages.iter().map(with(RECOVERY));
        let endpoint = self.endpoint_outages.iter().map(with(ENDPOINT_RECOVERY));
        let mut outages: Vec<_> = api_server.chain(endpoint).collect();
        outages.sort_by_key(|outage| outage.start);
        outages.into_iter().reduce(|last, next| {
            if last.end < next.start {
                return next;
            }
            Span {
                end: last.end.max(next.end),
                ..last
            }
        })
    }
}

/// What the process of an operator takes at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Vitals {
    /// When.
    pub at: Moment,
    /// Anonymous memory, in MiB.
    pub memory: f64,
    /// Open file descriptors.
    pub descriptors: f64,
}

/// A history that several tasks write.
#[derive(Debug, Default)]
pub struct SharedHistory(Mutex<History>);

impl SharedHistory {
    /// One with so many objects.
    pub fn of(objects: usize) -> SharedHistory {
        SharedHistory(Mutex::new(History {
            objects: vec![ObjectHistory::default(); objects],
            ..History::default()
        }))
    }

    /// For reading and writing.
    pub fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, end: u64) -> Span {
        Span {
            start: Duration::from_secs(start),
            end: Duration::from_secs(end),
        }
    }

    fn last(outages: &[Span], endpoint_outages: &[Span]) -> Option<(u64, u64)> {
        let history = History {
            outages: outages.into(),
            endpoint_outages: endpoint_outages.into(),
            ..History::default()
        };
        let last = history.last_outage()?;
        Some((last.start.as_secs(), last.end.as_secs()))
    }

    #[test]
    fn outages_of_which_one_begins_in_the_recovery_from_the_other_are_one() {
        assert_eq!(last(&[], &[]), None);
        assert_eq!(last(&[span(100, 110)], &[]), Some((100, 125)));
        assert_eq!(last(&[], &[span(100, 110)]), Some((100, 130)));
        assert_eq!(last(&[span(125, 126)], &[span(100, 110)]), Some((100, 141)));
        assert_eq!(last(&[span(131, 132)], &[span(100, 110)]), Some((131, 147)));
        assert_eq!(last(&[span(105, 106)], &[span(100, 200)]), Some((100, 220)));
    }
}
