//! Who may ask a token endpoint when.
//!
//! ```text
//!   ask ─▶ queue ─▶ (its turn) ─▶ holds ─▶ one request for all that are equal ─▶ source
//!            ▲                                             │
//!            └── waits, and is woken ◀── tokens, failures ◀┘
//! ```
//!
//! While requests end soon, a few objects have their turn before there is a place for them among those in flight, so that no place
//! waits for what they read.
//!
//! [`requests`] puts it together, under one lock. The rest is pure: [`queue`] with a [`line`] for each endpoint, a
//! [`tenant`] for each of its namespaces, an [`outage`] of what failed there, and a [`pace`] once it is over; [`holds`] of
//! credentials, a [`floor`] for each object, and the [`tokens`] that are there. A [`flight`] is a visit to an API, which takes a
//! place in the same lines. [`waiting`] has for how long an object is left alone that waits, and when its status says so. Around
//! the source that sends the requests, [`leaders`] refuses those of a process that does not lead, and [`measured`] counts and
//! times them.

pub mod caller;
pub mod endpoint;
pub mod flight;
pub mod floor;
pub mod holds;
pub mod keys;
pub mod leaders;
pub mod line;
pub mod measured;
pub mod measured_api;
pub mod outage;
pub mod pace;
pub mod queue;
pub mod requests;
pub mod tenant;
pub mod tokens;
pub mod waiting;

pub use caller::{Caller, Urgency};
pub use endpoint::Endpoint;

use self::{
    leaders::LeadersTokenSource,
    measured::{MeasuredTokenSource, TokenRequestMetrics},
    requests::TokenRequests,
};
use crate::{clock::Clock, cluster::leadership::Leadership, oauth::TokenSource};

/// Puts everything together around `source`, which sends the requests: equal ones are shared, at most `per_endpoint` are in
/// flight to one endpoint, none is sent by a process that does not lead, and each is counted.
pub fn govern(
    source: impl TokenSource,
    metrics: impl TokenRequestMetrics,
    leadership: Leadership,
    clock: Clock,
    per_endpoint: usize,
) -> TokenRequests {
    let measured = MeasuredTokenSource::new(source, metrics);
    let source = LeadersTokenSource::new(measured, leadership);
    TokenRequests::new(source, clock, per_endpoint)
}
