//! All that is pure: no file here talks to a cluster or to Sitecore, and none asks for the time.

pub mod decide;
pub mod ledger;
pub mod mark;
pub mod survey;
