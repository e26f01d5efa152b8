//! By what things are known here: times, and hashes of what must not be kept.

use std::time::Duration;

/// A moment on a monotonic clock: how long after its start. Waits go by that one, so that setting the wall clock does not end
/// them.
pub type SinceStart = Duration;

/// What identifies credentials at an endpoint: a keyed hash.
pub type ClientHash = [u8; 32];

/// What identifies a renew request of a person: a keyed hash.
pub type RenewHash = [u8; 32];

/// What identifies equal requests: a keyed hash of their parameters and credentials.
pub type Inputs = [u8; 32];
