//! What all that is asked over HTTP outside the cluster have in common, and nothing of what is asked.
//!
//! [`route`] has the client, [`origin`] says where it may send, [`body`] reads an answer within its bounds, and
//! [`limits`] how many more requests the server allows.

pub mod body;
pub mod json;
pub mod origin;
pub mod proxy;
pub mod rate_limits;
pub mod route;
pub mod unreachable;

pub use unreachable::Unreachable;
