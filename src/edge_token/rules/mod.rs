//! All that is pure: no file here talks to a cluster or an API, and none asks for the time.

pub mod conditions;
pub mod decide;
pub mod events;
pub mod judge;
pub mod ledger;
pub mod mark;
pub mod outcome;
pub mod record;
pub mod revisit;
pub mod settled;
pub mod spec;
pub mod status;
pub mod survey;
