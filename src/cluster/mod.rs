//! What any kind needs of the Kubernetes API.
//!
//! [`calls`] bounds every call, and lets changes out only while this process leads ([`leadership`]). [`secrets`] and
//! [`write`] write so that nothing that changed in between is overwritten; [`rights`] knows beforehand what would be
//! refused, and [`errors`] what an error means. [`written_statuses`] and [`target_locks`] bridge the time until a watch
//! shows what was written, and [`transition`] says what of it is news.

pub mod calls;
pub mod errors;
pub mod leadership;
pub mod object_key;
pub mod rights;
pub mod secrets;
pub mod target_locks;
pub mod transition;
pub mod write;
pub mod written_statuses;
