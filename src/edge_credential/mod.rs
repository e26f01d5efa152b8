//! The life of one EdgeCredential.
//!
//! ```text
//!   EdgeCredential ─┐
//!   credentials ────┼─ observe ─▶ decide ─▶ request a token ─▶ render ─▶ write the target ─▶ status
//!   target ─────────┘  (reads)   (pure)    (or reuse one)     (pure)    (fenced by uid)      (pure)
//! ```
//!
//! [`reconcile`] is the flow. It gathers everything with [`observe`], lets [`decide`] say what is to be done, does it,
//! and tells about it in one status write, if there is anything new to tell. Every path ends with a time at which to
//! look again. What can go wrong is listed in [`error`].

pub mod claims;
pub mod context;
pub mod credentials;
pub mod decide;
pub mod error;
pub mod leadership;
pub mod observe;
pub mod parameters;
pub mod reconcile;
pub mod revisit;
pub mod rights;
pub mod status;
pub mod target;
#[cfg(test)]
mod testing;
pub mod transition;
