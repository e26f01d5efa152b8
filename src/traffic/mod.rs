//! Who may ask a token endpoint when.
//!
//! [`share`] makes one request of all that are equal. [`gate`], with a [`breaker`] for each endpoint, decides when it is
//! sent, and sends none that would be in vain. Around the source that sends them, [`leaders`] refuses requests of a process
//! that does not lead, and [`measured`] counts and times them.

pub mod breaker;
pub mod caller;
pub mod gate;
pub mod leaders;
pub mod measured;
pub mod share;

pub use caller::Caller;

use self::{
    leaders::LeadersTokenSource,
    measured::{MeasuredTokenSource, TokenRequestMetrics},
    share::SharedTokens,
};
use crate::{clock::Clock, cluster::leadership::Leadership, oauth::TokenSource};

/// Puts everything together around `source`, which sends the requests: equal ones are shared, at most `per_origin` are in
/// flight to one origin, none is sent by a process that does not lead, and each is counted.
pub fn govern(
    source: impl TokenSource,
    metrics: impl TokenRequestMetrics,
    leadership: Leadership,
    clock: Clock,
    per_origin: usize,
) -> SharedTokens {
    let measured = MeasuredTokenSource::new(source, metrics);
    SharedTokens::new(
        LeadersTokenSource::new(measured, leadership),
        clock,
        per_origin,
    )
}
