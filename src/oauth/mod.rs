//! The token endpoint's protocol: OAuth 2.0 client credentials (RFC 6749 section 4.4), and nothing of when to ask.
//!
//! [`client`] sends a [`TokenRequest`], and [`response`] judges the answer, by its [`http_status`] first.

pub mod client;
pub mod error;
pub mod http_status;
pub mod jwt;
pub mod request;
pub mod response;
pub mod token;

pub use error::{Defect, TokenError};
pub use request::{ClientCredentials, Reply, RequestParameters, TokenRequest, TokenSource};
pub use token::{TOKEN_TYPE, Token};
