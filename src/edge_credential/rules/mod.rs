//! All that is pure: no file here talks to a cluster or an endpoint, and none asks for the time.

pub mod conditions;
pub mod decide;
pub mod failures;
pub mod judge;
pub mod outcome;
pub mod renew_before;
pub mod revisit;
pub mod schedule;
pub mod settled;
pub mod spec;
pub mod status;
pub mod target;
pub mod urgency;
