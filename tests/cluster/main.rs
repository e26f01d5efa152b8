//! The operator on a real control plane: the built program, run with the rights, arguments and environment that the
//! chart gives it. No test here talks to anything but the API server, the stand-in for Sitecore and the program's own
//! ports.
//!
//! Numbers of token requests are exact: each test has a stand-in of its own.

mod admission;
mod adoption;
mod canary;
mod crash;
mod crd;
mod denials;
mod documentation;
mod edge_token;
mod edge_tokens;
mod expiry;
mod healing;
mod history;
mod kstatus;
mod leadership;
mod lifecycle;
mod monitoring;
mod outage;
mod process;
mod proxy;
mod races;
mod refusals;
mod release;
mod requests;
mod rights;
mod schema;
mod try_it;
mod walk;
mod watches;
