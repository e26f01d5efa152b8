//! Leader election: of several replicas, the one that holds a Lease acts, and the others stand by.
//!
//! The rules are client-go's. Nobody compares a clock with another machine's: a lease has expired when its holder gave
//! no sign of life for as long as the lease says, *counted from when this process saw the last one*. The holder itself
//! stops acting earlier, a [renew deadline](timings::Timings::renew_deadline) after it began its last successful renewal, and
//! then ends the process. Each write names the resource version it rests on, so of two that reach for the lease one is refused.
//!
//! ```text
//!   look (GET) ─▶ step ─▶ Wait: look again ─▶ …
//!                  │
//!                  └─▶ Acquire (POST, PUT) ─▶ Renew (PUT) every 2 s ─▶ release on SIGTERM
//!                                                 │
//!                                                 └─▶ Lost: the process ends
//! ```
//!
//! What no election prevents: a write that was sent in time and arrives late, and a lease that people delete or edit
//! while its holder acts. So writes are fenced by uid and resourceVersion besides, and two leaders for a moment cost one
//! token request.
//!
//! [`election`] decides, [`candidate`] talks to the API server, and [`timings`] has the rules of the settings.

pub mod candidate;
pub mod election;
pub mod timings;
