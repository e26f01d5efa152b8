//! Why each token was issued.

use std::{ops::AddAssign, time::Duration};

use crate::history::{Moment, ObjectHistory, Span, Token};

/// Times are kept in whole seconds, rounded down twice: when the token was requested, and when it is to be renewed.
const ROUNDING: Duration = Duration::from_secs(2);

/// How long a request may have been under way when something changed that it does not know of.
const ECHO: Duration = Duration::from_secs(5);

/// How long after a kill a token may be issued that was requested before it.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// How long the operator may take to notice and repair a damage, API server permitting. A kill after it loses nothing.
const REPAIR: Duration = Duration::from_secs(15);

/// How long after an operator is ready it may take to have read all targets.
const READ: Duration = Duration::from_secs(5);

/// How many tokens were issued for each cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// The first one.
    pub first: u64,
    /// A renewal was due by time.
    pub due: u64,
    /// The client's secret had been rotated.
    pub rotated: u64,
    /// A person had asked for it.
    pub asked: u64,
    /// The operator was killed between the issue and the write of the token before.
    pub interrupted: u64,
    /// The target had been damaged, and the operator that had the token in memory was killed.
    pub lost: u64,
    /// None that is known: when each was issued.
    pub needless: Vec<Moment>,
    /// Rotations and requests of a renewal that no token answered.
    pub unanswered: u64,
}

impl Causes {
    /// All tokens.
    pub fn issued(&self) -> u64 {
        self.needed() + self.interrupted + self.lost + self.needless.len() as u64
    }

    /// Those that an operator needs that is never killed.
    pub fn needed(&self) -> u64 {
        self.first + self.due + self.rotated + self.asked
    }
}

impl AddAssign for Causes {
    fn add_assign(&mut self, other: Causes) {
        self.first += other.first;
        self.due += other.due;
        self.rotated += other.rotated;
        self.asked += other.asked;
        self.interrupted += other.interrupted;
        self.lost += other.lost;
        self.needless.extend(other.needless);
        self.unanswered += other.unanswered;
    }
}

/// Gives each token of an object one cause, and each cause one token. `kills` are those of its operator.
pub fn causes(object: &ObjectHistory, lifetime: Duration, kills: &[Span]) -> Causes {
    let mut causes = Causes::default();
    let mut rotations = object.rotations.clone();
    let mut asked = object.renewals_asked.clone();
    let mut previous: Option<&Token> = None;
    for token in &object.tokens {
        let at = token.at;
        let count = match previous {
            None => &mut causes.first,
            Some(previous) if at >= previous.at + earliest_renewal(lifetime) => &mut causes.due,
            Some(_) if take_begun(&mut rotations, at) => &mut causes.rotated,
            Some(_) if take_begun(&mut asked, at) => &mut causes.asked,
            Some(previous) if was_interrupted(object, previous, at, kills) => {
                &mut causes.interrupted
            }
            Some(previous) if was_lost(object, previous.at, at, kills) => &mut causes.lost,
            Some(_) => {
                causes.needless.push(at);
                &mut 0
            }
        };
        *count += 1;
        // One token answers all that was asked for some time before.
        for wanted in [&mut rotations, &mut asked] {
            wanted.retain(|span| span.end.saturating_add(ECHO) > at);
        }
        previous = Some(token);
    }
    let last = previous.map(|token| token.at).unwrap_or_default();
    let answered = |span: &&Span| span.start <= last && last <= span.end.saturating_add(ECHO);
    let open = rotations.iter().chain(&asked);
    causes.unanswered = open.filter(|span| !answered(span)).count() as u64;
    causes
}

/// The earliest age at which a token is renewed: two thirds of its lifetime less 5 % of it, or two minutes before its
/// expiry where that is earlier and more than half of the lifetime is over by then.
fn earliest_renewal(lifetime: Duration) -> Duration {
    let mut age = lifetime * 2 / 3 - lifetime / 20;
    let margin = Duration::from_mins(2);
    if lifetime > margin * 2 {
        age = age.min(lifetime - margin);
    }
    age - ROUNDING
}

/// Takes out the first that had begun.
fn take_begun(wanted: &mut Vec<Span>, at: Moment) -> bool {
    let found = wanted.iter().position(|span| span.start <= at);
    found.map(|index| wanted.remove(index)).is_some()
}

/// Whether the token before never reached the target, and a kill can be the reason.
fn was_interrupted(object: &ObjectHistory, previous: &Token, at: Moment, kills: &[Span]) -> bool {
    !object.stored.contains(&previous.id)
        && kills
            .iter()
            .any(|kill| previous.at <= kill.start + IN_FLIGHT && kill.start <= at)
}

/// Whether the token was destroyed since it was issued, at a time at which it was the only copy: before a kill and not yet
/// repaired, or before the operator that was started after it had read it.
fn was_lost(object: &ObjectHistory, previous: Moment, at: Moment, kills: &[Span]) -> bool {
    let losses = object.losses.iter();
    losses
        .filter(|loss| previous <= **loss && **loss <= at)
        .any(|&loss| {
            kills.iter().any(|kill| {
                loss <= kill.end.saturating_add(READ)
                    && kill.start <= loss + REPAIR
                    && kill.start <= at
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(60);

    fn seconds(seconds: &[u64]) -> Vec<Moment> {
        seconds.iter().map(|s| Duration::from_secs(*s)).collect()
    }

    fn span(start: u64, end: u64) -> Span {
        Span {
            start: Duration::from_secs(start),
            end: Duration::from_secs(end),
        }
    }

    /// Tokens of these seconds, which were all stored.
    fn object(tokens: &[u64]) -> ObjectHistory {
        let tokens = tokens.iter().map(|at| Token {
            at: Duration::from_secs(*at),
            id: at.to_string(),
        });
        ObjectHistory {
            stored: tokens.clone().map(|token| token.id).collect(),
            tokens: tokens.collect(),
            ..ObjectHistory::default()
        }
    }

    #[test]
    fn a_token_too_early_is_needless() {
        let found = causes(&object(&[100, 138, 173, 200]), LIFETIME, &[]);
        let expected = Causes {
            first: 1,
            due: 2,
            needless: seconds(&[200]),
            ..Causes::default()
        };
        assert_eq!(found, expected);
        assert_eq!((found.issued(), found.needed()), (4, 3));
    }

    #[test]
    fn a_rotation_and_a_renew_request_explain_one_token_each() {
        let mut object = object(&[100, 110, 120, 125]);
        object.rotations = vec![span(109, 109)];
        object.renewals_asked = vec![span(119, 120)];
        let found = causes(&object, LIFETIME, &[]);
        assert_eq!((found.rotated, found.asked, found.unanswered), (1, 1, 0));
    }

    #[test]
    fn a_renewal_that_was_due_answers_a_rotation_before_it() {
        let mut object = object(&[100, 140, 150]);
        object.rotations = vec![span(130, 131)];
        let found = causes(&object, LIFETIME, &[]);
        assert_eq!((found.due, found.rotated, found.needless.len()), (1, 0, 1));
    }

    #[test]
    fn a_rotation_that_no_token_followed_is_unanswered() {
        let mut object = object(&[100]);
        object.rotations = vec![span(120, 121)];
        assert_eq!(causes(&object, LIFETIME, &[]).unanswered, 1);
    }

    #[test]
    fn a_kill_explains_a_token_only_where_the_one_before_was_not_stored() {
        let mut object = object(&[100, 105]);
        let kills = [span(101, 102)];
        assert_eq!(causes(&object, LIFETIME, &kills).needless.len(), 1);
        object.stored.remove("100");
        assert_eq!(causes(&object, LIFETIME, &kills).interrupted, 1);
        assert_eq!(causes(&object, LIFETIME, &[]).needless.len(), 1, "no kill");
    }

    #[test]
    fn a_damage_explains_a_token_only_where_the_operator_was_killed_then() {
        let mut object = object(&[100, 130]);
        object.losses = seconds(&[120]);
        assert_eq!(causes(&object, LIFETIME, &[span(121, 125)]).lost, 1);
        assert_eq!(causes(&object, LIFETIME, &[span(110, 122)]).lost, 1);
        assert_eq!(
            causes(&object, LIFETIME, &[span(105, 110)]).needless.len(),
            1
        );
        assert_eq!(causes(&object, LIFETIME, &[]).needless.len(), 1);
    }

    #[test]
    fn the_last_two_minutes_are_kept_free_where_the_lifetime_allows() {
        let secs = |lifetime| earliest_renewal(Duration::from_secs(lifetime)).as_secs();
        assert_eq!(secs(60), 35);
        assert_eq!(secs(250), 128);
        assert_eq!(secs(300), 178);
    }
}
