//! Calls of APIs with a token: to one origin, following no redirect, and in time.

use std::time::Duration;

use edge_credential_operator::http::Unreachable;
use reqwest::{Client, redirect::Policy};

use crate::error::Error;

/// How long an answer may take in all.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A client that goes where it was sent and nowhere else.
pub fn client() -> Result<Client, Error> {
    Client::builder()
        .user_agent(concat!("kubectl-edgecred/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .referer(false)
        .timeout(TIMEOUT)
        .build()
        .map_err(|_| Error::HttpClient)
}

/// An API that did not answer.
pub fn no_answer(host: &str, error: &reqwest::Error) -> Error {
    let cause = match Unreachable::from(error) {
        Unreachable::NameNotFound => "its name cannot be resolved",
        Unreachable::Refused => "the connection was refused",
        Unreachable::Untrusted => "its certificate is not trusted",
        Unreachable::OtherName => "its certificate is for another name",
        Unreachable::Expired => "its certificate has expired",
        Unreachable::NotYetValid => "its certificate is not valid yet",
        Unreachable::ProxyRefused | Unreachable::ProxyUnreachable => {
            "the proxy does not let through"
        }
        Unreachable::Timeout => "not in time",
        Unreachable::Connect | Unreachable::Broken => "the connection broke, or there was none",
    };
    Error::NoAnswer {
        host: host.into(),
        cause: cause.into(),
    }
}
