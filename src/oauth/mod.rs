//! The token endpoint's protocol: OAuth 2.0 client credentials (RFC 6749 section 4.4), and nothing of when to ask.
//!
//! [`client`] sends a [`TokenRequest`], [`response`] judges the answer, and [`limits`] reads how many more requests the
//! endpoint allows.

pub mod client;
pub mod error;
pub mod jwt;
pub mod limits;
pub mod origin;
pub mod proxy;
pub mod request;
pub mod response;
pub mod token;
pub mod unreachable;

pub use error::{Defect, TokenError};
pub use request::{ClientCredentials, Reply, RequestParameters, TokenRequest, TokenSource};
pub use token::{TOKEN_TYPE, Token};
pub use unreachable::Unreachable;
