//! Which credentials must not be used at an endpoint for a while: it asked to wait, or it refused them.

use std::{collections::HashMap, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::keys::{ClientHash, RenewHash, SinceStart};
use crate::{
    api::Reason,
    cluster::back_off::Class,
    oauth::{Reply, TokenError},
};

/// How long credentials are held at most until one object tries for all: an endpoint may have changed its mind.
const LONGEST: SignedDuration = SignedDuration::from_hours(1);

/// How long an answer may take for which all others wait.
const ATTEMPT: Duration = Duration::from_secs(12);

/// How many are remembered. The one that ends first makes room.
const REMEMBERED: usize = 1000;

/// The credentials that are held, whatever objects use them, also once those are gone.
#[derive(Debug, Default)]
pub struct Holds(HashMap<ClientHash, Hold>);

/// Why and until when credentials are held.
#[derive(Clone, Debug)]
struct Hold {
    error: TokenError,
    until: SinceStart,
    began_at: Timestamp,
    /// How often they were refused in a row.
    refusals: i32,
    /// Whether somebody tried at half of the time that its token had left.
    was_tried_at_half: bool,
    /// The renew request for which somebody tried.
    tried_for: Option<RenewHash>,
}

/// What decides whether an object may try all the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt {
    /// When its token expires, if it has one.
    pub expires_at: Option<Timestamp>,
    /// The renew request that it answers, if it does.
    pub renew_request: Option<RenewHash>,
}

impl Holds {
    /// Why credentials must not be used, and for how long. One object may try for all: when half of the time is over that its
    /// token had left when the hold began, and once for a renew request.
    pub fn check(
        &self,
        client: &ClientHash,
        attempt: Attempt,
        now: SinceStart,
        time: Timestamp,
    ) -> Option<(TokenError, Duration)> {
        let hold = self.0.get(client).filter(|hold| now < hold.until)?;
        let may_try = hold.is_half_over(attempt, time) || hold.is_asked_anew(attempt);
        (!may_try).then(|| (hold.error.clone(), hold.until.saturating_sub(now)))
    }

    /// Takes into account that a request is sent that was [checked](Self::check). Until its answer is there, it is the only one.
    pub fn sent(
        &mut self,
        client: &ClientHash,
        attempt: Attempt,
        now: SinceStart,
        time: Timestamp,
    ) {
        if let Some(hold) = self.0.get_mut(client) {
            hold.was_tried_at_half |= hold.is_half_over(attempt, time);
            hold.tried_for = attempt.renew_request.or(hold.tried_for);
            hold.until = hold.until.max(now + ATTEMPT);
        }
    }

    /// How long credentials are still held.
    pub fn left(&self, client: &ClientHash, now: SinceStart) -> Option<Duration> {
        let hold = self.0.get(client).filter(|hold| now < hold.until)?;
        Some(hold.until.saturating_sub(now))
    }

    /// Takes an answer into account. `true` where credentials that were held are not held any longer.
    pub fn note(
        &mut self,
        client: ClientHash,
        reply: &Reply,
        now: SinceStart,
        time: Timestamp,
    ) -> bool {
        let earlier = self.0.get(&client);
        let refusals = earlier.map_or(0, |hold| hold.refusals);
        let (error, wait, refusals) = match (&reply.result, reply.limits.hold) {
            (Err(error), Some(wait)) => (error.clone(), wait, refusals),
            (Ok(_), Some(wait)) => {
                let quota = reply.limits.quota;
                (TokenError::RateLimited { quota }, wait, 0)
            }
            (Err(error), None) if error.reason() == Reason::CredentialsRejected => {
                let refusals = refusals.saturating_add(1);
                // A little less than the object waits by itself: it must not meet its own hold.
                let wait = Class::Terminal.wait(refusals, 0.0) - SignedDuration::from_secs(2);
                (error.clone(), wait, refusals)
            }
            (Err(error), None) if error.is_outage() || *error == TokenError::Interrupted => {
                return false;
            }
            (_, None) => return self.0.remove(&client).is_some(),
        };
        let goes_on = earlier.filter(|hold| now < hold.until);
        let hold = Hold {
            error,
            until: now + wait.min(LONGEST).unsigned_abs(),
            began_at: goes_on.map_or(time, |hold| hold.began_at),
            refusals,
            was_tried_at_half: goes_on.is_some_and(|hold| hold.was_tried_at_half),
            tried_for: goes_on.and_then(|hold| hold.tried_for),
        };
        self.make_room(now);
        self.0.insert(client, hold);
        false
    }

    fn make_room(&mut self, now: SinceStart) {
        if self.0.len() < REMEMBERED {
            return;
        }
        // What is over is kept until then, for its count of refusals.
        self.0.retain(|_, hold| now < hold.until);
        let first = self.0.iter().min_by_key(|(_, hold)| hold.until);
        if let Some(client) = first
            .map(|(client, _)| *client)
            .filter(|_| self.0.len() >= REMEMBERED)
        {
            self.0.remove(&client);
        }
    }
}

impl Hold {
    fn is_half_over(&self, attempt: Attempt, time: Timestamp) -> bool {
        !self.was_tried_at_half
            && attempt.expires_at.is_some_and(|expires_at| {
                let left = expires_at.duration_since(time);
                left.is_positive() && left * 2 <= expires_at.duration_since(self.began_at)
            })
    }

    fn is_asked_anew(&self, attempt: Attempt) -> bool {
        attempt.renew_request.is_some() && self.tried_for != attempt.renew_request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::rate_limits::Limits;

    const CLIENT: ClientHash = [1; 32];

    fn at(second: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + second_of(second)
    }

    fn second_of(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn wait(seconds: i64) -> Reply {
        Reply {
            limits: Limits {
                hold: Some(SignedDuration::from_secs(seconds)),
                ..Limits::default()
            },
            ..Err(TokenError::RateLimited { quota: None }).into()
        }
    }

    fn refused() -> Reply {
        let (status, error) = (401, None);
        Err(TokenError::Refused { status, error }).into()
    }

    fn note(holds: &mut Holds, reply: &Reply, second: u64) -> bool {
        holds.note(CLIENT, reply, second_of(second), at(second))
    }

    fn left(holds: &Holds, attempt: Attempt, second: u64) -> Option<u64> {
        let held = holds.check(&CLIENT, attempt, second_of(second), at(second));
        held.map(|(_, wait)| wait.as_secs())
    }

    const ANY: Attempt = Attempt {
        expires_at: None,
        renew_request: None,
    };

    #[test]
    fn credentials_are_held_for_as_long_as_was_asked_but_an_hour_at_most() {
        for (asked, held) in [(60, 60), (3600, 3600), (10_000, 3600)] {
            let mut holds = Holds::default();
            note(&mut holds, &wait(asked), 0);
            assert_eq!(left(&holds, ANY, 0), Some(held));
            assert_eq!(left(&holds, ANY, held - 1), Some(1));
            assert_eq!(left(&holds, ANY, held), None);
            let whoever_asks = [0, held - 1, held].map(|at| holds.left(&CLIENT, second_of(at)));
            let left = [Some(held), Some(1), None].map(|left| left.map(second_of));
            assert_eq!(whoever_asks, left);
            assert_eq!(holds.check(&[2; 32], ANY, second_of(0), at(0)), None);
        }
    }

    #[test]
    fn once_a_hold_is_over_one_tries_for_all() {
        let mut holds = Holds::default();
        note(&mut holds, &wait(60), 0);
        assert_eq!(left(&holds, ANY, 60), None);
        holds.sent(&CLIENT, ANY, second_of(60), at(60));
        assert_eq!(left(&holds, ANY, 60), Some(ATTEMPT.as_secs()));
        let token = crate::edge_credential::testing::token(0, 3600);
        assert!(note(&mut holds, &Ok(token).into(), 61), "it ends the hold");
        assert_eq!(left(&holds, ANY, 61), None);
    }

    #[test]
    fn one_tries_when_half_of_the_time_is_over_that_its_token_had_left() {
        let mut holds = Holds::default();
        note(&mut holds, &wait(3600), 0);
        let attempt = |expires_at| Attempt {
            expires_at: Some(at(expires_at)),
            ..ANY
        };
        assert_eq!(left(&holds, attempt(1000), 499), Some(3101));
        assert_eq!(left(&holds, attempt(1000), 500), None);
        assert!(left(&holds, attempt(2000), 500).is_some());
        assert!(
            left(&holds, attempt(1000), 1000).is_some(),
            "it has expired"
        );
        holds.sent(&CLIENT, attempt(1000), second_of(500), at(500));
        assert!(left(&holds, attempt(1000), 501).is_some(), "once");
        note(&mut holds, &wait(3600), 502);
        assert!(
            left(&holds, attempt(1000), 900).is_some(),
            "also after its answer"
        );
    }

    #[test]
    fn a_hold_that_comes_when_the_one_before_is_over_begins_anew() {
        let attempt = Attempt {
            expires_at: Some(at(100)),
            ..ANY
        };
        for (second, may_try) in [(59, true), (60, false)] {
            let mut holds = Holds::default();
            note(&mut holds, &wait(60), 0);
            note(&mut holds, &wait(60), second);
            assert_eq!(left(&holds, attempt, 70).is_none(), may_try, "{second}");
        }
    }

    #[test]
    fn each_renew_request_is_tried_once() {
        let mut holds = Holds::default();
        note(&mut holds, &wait(3600), 0);
        let asked = |request| Attempt {
            renew_request: Some([request; 32]),
            ..ANY
        };
        assert_eq!(left(&holds, asked(1), 1), None);
        holds.sent(&CLIENT, asked(1), second_of(1), at(1));
        note(&mut holds, &wait(3600), 2);
        assert!(left(&holds, asked(1), 3).is_some());
        assert_eq!(left(&holds, asked(2), 3), None);
    }

    #[test]
    fn credentials_that_are_refused_again_and_again_are_tried_ever_more_rarely() {
        let mut holds = Holds::default();
        let mut now = 0;
        let waits = [(); 5].map(|()| {
            note(&mut holds, &refused(), now);
            let wait = left(&holds, ANY, now).unwrap();
            now += wait;
            wait
        });
        assert_eq!(waits, [3, 28, 118, 1798, 1798]);
    }

    #[test]
    fn an_outage_says_nothing_of_the_credentials_and_any_other_answer_that_they_are_good() {
        let answered = |status| {
            let mut holds = Holds::default();
            note(&mut holds, &refused(), 0);
            let error = None;
            let ended = note(
                &mut holds,
                &Err(TokenError::Refused { status, error }).into(),
                1,
            );
            (ended, left(&holds, ANY, 1).is_some())
        };
        for outage in [408, 500, 503] {
            assert_eq!(answered(outage), (false, true), "{outage}");
        }
        for refusal in [400, 403, 404] {
            assert_eq!(answered(refusal), (true, false), "{refusal}");
        }
        let mut holds = Holds::default();
        note(&mut holds, &refused(), 0);
        assert!(!note(&mut holds, &Err(TokenError::Interrupted).into(), 1));
        assert!(left(&holds, ANY, 1).is_some());
    }

    #[test]
    fn a_thousand_are_remembered_and_those_that_end_first_make_room() {
        let mut holds = Holds::default();
        for number in 0..3000_u32 {
            let mut client = [0; 32];
            client[..4].copy_from_slice(&number.to_be_bytes());
            let seconds = 10 + i64::from(number % 100);
            holds.note(client, &wait(seconds), second_of(0), at(0));
        }
        assert_eq!(holds.0.len(), REMEMBERED);
        let shortest = holds.0.values().map(|hold| hold.until).min();
        assert!(shortest > Some(second_of(20)), "{shortest:?}");
    }
    #[test]
    fn while_there_is_room_it_is_known_how_often_credentials_were_refused() {
        let mut holds = Holds::default();
        note(&mut holds, &refused(), 0);
        holds.note([2; 32], &refused(), second_of(10), at(10));
        note(&mut holds, &refused(), 20);
        assert_eq!(left(&holds, ANY, 20), Some(28));
    }

    #[test]
    fn what_is_over_makes_room_first() {
        let client = |number: usize| {
            let mut client = [0; 32];
            client[..8].copy_from_slice(&number.to_be_bytes());
            client
        };
        let mut holds = Holds::default();
        for number in 0..REMEMBERED {
            let seconds = if number < 10 { 5 } else { 60 };
            holds.note(client(number), &wait(seconds), second_of(0), at(0));
        }
        holds.note(client(REMEMBERED), &wait(60), second_of(5), at(5));
        let is_held = |number| holds.left(&client(number), second_of(6)).is_some();
        assert!((10..=REMEMBERED).all(is_held));
        assert_eq!(holds.0.len(), REMEMBERED - 9);
    }
}
