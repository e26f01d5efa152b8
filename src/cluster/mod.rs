//! What any kind needs of the Kubernetes API.
//!
//! - A kind is what implements [`reconciler`]; each of its reconciliations ends with a [`report`].
//! - [`calls`] gives every call a deadline, and makes changes only while this process leads ([`leadership`]).
//! - [`secrets`] and [`write`] replace only the version of an object that was read.
//! - [`rights`] asks beforehand what the API server would refuse, [`errors`] says what its errors mean, [`denial`] what refused,
//!   and [`back_off`] when to try again.
//! - [`secret_index`] knows what a watch of Secrets has shown, and [`shared_reads`] what is being read.
//! - [`written_statuses`] and [`target_locks`] remember what was written until a watch shows it.
//! - [`transition`] finds what changed in the conditions.

pub mod back_off;
pub mod calls;
pub mod denial;
pub mod errors;
pub mod history;
pub mod leadership;
pub mod object_key;
pub mod reconciler;
pub mod report;
pub mod rights;
pub mod secret_index;
pub mod secrets;
pub mod shared_reads;
pub mod target_locks;
pub mod transition;
pub mod write;
pub mod written_statuses;
