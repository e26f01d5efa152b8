//! The life of one EdgeCredential.
//!
//! ```text
//!   EdgeCredential ─┐
//!   credentials ────┼─ observe ─▶ decide ─▶ request a token ─▶ render ─▶ write the target ─▶ status
//!   target ─────────┘  (reads)   (pure)    (or reuse one)     (pure)    (fenced by uid)      (pure)
//! ```
//!
//! [`reconcile`] is the flow. It gathers everything with [`observe`], lets [`decide`](rules::decide) say what is to be done, does it,
//! and tells about it in one status write, if there is anything new to tell. Every path ends with a time at which to
//! look again. What can go wrong is listed in [`error`](rules::error).

pub mod context;
pub mod memory;
pub mod observe;
pub mod reconcile;
pub mod report;
pub mod rules;
#[cfg(test)]
pub(crate) mod testing;
