//! A visit to an API: it takes a place among the requests in flight to its endpoint, however many calls it makes there.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;

use super::{
    caller::Caller,
    holds::Attempt,
    keys::ClientHash,
    queue::{End, Parked, Place},
    requests::{TokenRequests, add},
};
use crate::{
    http::rate_limits::Limits,
    oauth::{Reply, TokenError, TokenRequest},
};

/// What a caller gets that wants to visit an API.
#[derive(Debug)]
pub enum Entry {
    /// It may call.
    Go(Box<Flight>),
    /// It is the caller's turn, and there is no place yet. When there is, the caller asks again; one that stops waiting for this
    /// is woken.
    Soon(oneshot::Receiver<()>),
    /// It is woken. Whether it waits because calls fail.
    Wait { fails: bool },
    /// The API asked not to be called again with these credentials before this time.
    Held(Option<Timestamp>),
}

/// A place among the requests in flight. It is given back when this is dropped.
#[derive(Debug)]
pub struct Flight {
    requests: TokenRequests,
    caller: Caller,
    client: ClientHash,
    place: Option<Place>,
}

impl TokenRequests {
    /// Asks for a place at an API's endpoint. The credentials of `request` are those of the visit: they are what an API holds
    /// back, and what tells whether several fail.
    pub fn enter(&self, caller: &Caller, request: &TokenRequest) -> Entry {
        let (now, time) = self.times();
        let client = self.client(caller, request);
        self.with_state(|state| {
            let held = state.holds.check(&client, Attempt::default(), now, time);
            if let Some((_, wait)) = held {
                let released = Parked::UntilReleased(client);
                state.queue.park(caller, released, now);
                return Entry::Held(add(time, wait));
            }
            let object = &caller.object;
            state.ready.remove(object);
            if !state.queue.ask(caller, now) {
                let fails = state.queue.waits_for_recovery(object);
                return Entry::Wait { fails };
            }
            if !state.queue.be_ready(object) {
                return Entry::Soon(state.wait_for_place(object));
            }
            match state.queue.send(object, now) {
                Some(place) => Entry::Go(Box::new(Flight {
                    requests: self.clone(),
                    caller: caller.clone(),
                    client,
                    place: Some(place),
                })),
                None => Entry::Wait { fails: false },
            }
        })
    }
}

impl Flight {
    /// Ends the visit. Returns until when the API asks not to be called again. After an outage the caller is in the line again, and
    /// is woken.
    pub fn end(mut self, end: End, limits: &Limits) -> Option<Timestamp> {
        let (now, time) = self.requests.times();
        let place = self.place.take()?;
        let asked = limits.hold;
        let objects = [self.caller.object.clone()];
        self.requests.clone().with_state(|state| {
            let reply = Reply {
                limits: *limits,
                ..Err(TokenError::RateLimited { quota: None }).into()
            };
            if asked.is_some() {
                state.holds.note(self.client, &reply, now, time);
            }
            state.queue.end(place, &self.client, &objects, end, now);
        });
        let wait = asked.map(SignedDuration::unsigned_abs);
        wait.and_then(|wait| add(time, wait.min(LONGEST)))
    }
}

/// The longest time for which an API is not called again because it asked for that.
const LONGEST: Duration = Duration::from_hours(1);

impl Drop for Flight {
    fn drop(&mut self) {
        let (now, _) = self.requests.times();
        if let Some(place) = self.place.take() {
            let objects = [self.caller.object.clone()];
            self.requests.clone().with_state(|state| {
                let client = &self.client;
                state.queue.end(place, client, &objects, End::Unknown, now);
            });
        }
    }
}
