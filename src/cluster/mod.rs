//! What any kind needs of the Kubernetes API.
//!
//! A kind is what implements [`reconciler`]. [`calls`] bounds every call, and lets changes out only while this process leads ([`leadership`]). [`secrets`] and
//! [`write`] write so that nothing that changed in between is overwritten; [`rights`] knows beforehand what would be
//! refused, [`errors`] what an error means, and [`retry`] when to try again. [`written_statuses`] and [`target_locks`] bridge the time until a watch
//! shows what was written, [`transition`] says what of it is news, and a [`report`] tells of it all.

pub mod calls;
pub mod errors;
pub mod leadership;
pub mod object_key;
pub mod reconciler;
pub mod report;
pub mod retry;
pub mod rights;
pub mod secrets;
pub mod target_locks;
pub mod transition;
pub mod write;
pub mod written_statuses;
