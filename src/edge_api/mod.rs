//! Sitecore's APIs for the keys of the Delivery API: one call each, and nothing of when to call.
//!
//! [`token_api`], [`deploy_api`] and [`delivery_api`] say what is sent and judge what comes back; [`client`] sends it.

pub mod client;
pub mod delivery_api;
pub mod deploy_api;
pub mod error;
pub mod token_api;

use futures::future::BoxFuture;
use k8s_openapi::jiff::Timestamp;
use reqwest::Url;
use secrecy::SecretString;

use crate::http::rate_limits::Limits;

pub use delivery_api::Verdict;
pub use error::{ApiError, Call, Cause};
pub use token_api::{ListedKey, Listing, NewKey};

/// Calls Sitecore's APIs. No call is repeated by itself.
pub trait EdgeApi: Send + Sync + 'static {
    /// Makes a key with the Token API. Every key stays listed for ever, so none is made in vain; whether an error leaves one
    /// behind is what [`ApiError::is_not_created`] says.
    fn create_key<'a>(
        &'a self,
        access: Access<'a>,
        key: &'a NewKey,
    ) -> BoxFuture<'a, Reply<SecretString>>;

    /// Lists the keys whose labels begin with `prefix`, revoked ones too: all of them, or it fails. That takes up to 20 requests,
    /// each with a deadline of its own. The date is that of the first page.
    fn list_keys<'a>(
        &'a self,
        access: Access<'a>,
        prefix: &'a str,
    ) -> BoxFuture<'a, Reply<Listing>>;

    /// Revokes a key. That it is revoked is shown by the list alone.
    fn revoke_key<'a>(&'a self, access: Access<'a>, hash: &'a str) -> BoxFuture<'a, Reply<()>>;

    /// Obtains the key of an environment from the Deploy API. Each call may make another key.
    fn obtain_key<'a>(
        &'a self,
        access: Access<'a>,
        environment_id: &'a str,
    ) -> BoxFuture<'a, Reply<SecretString>>;

    /// Tries a key with the smallest query of the Delivery API. An answer that says nothing of the key is
    /// [`Verdict::Unknown`]; where no answer could be had, it is an error.
    fn probe_key<'a>(
        &'a self,
        delivery_url: &'a Url,
        key: &'a SecretString,
    ) -> BoxFuture<'a, Reply<Verdict>>;
}

/// Where an API is, and what opens it.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// The URL below which its routes are. Nothing is sent where its origin is not allowed.
    pub base: &'a Url,
    /// The JSON Web Token.
    pub jwt: &'a SecretString,
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Reply<T> {
    /// What was asked for, or why it was not to be had.
    pub result: Result<T, ApiError>,
    /// What the answer says of rate limits, that of the last page of a list.
    pub limits: Limits,
    /// The server's clock, if the answer told it.
    pub date: Option<Timestamp>,
}

impl<T> Reply<T> {
    /// Goes on with what was asked for.
    fn and_then<U>(self, judge: impl FnOnce(T) -> Result<U, ApiError>) -> Reply<U> {
        Reply {
            result: self.result.and_then(judge),
            limits: self.limits,
            date: self.date,
        }
    }
}

/// Without an answer.
impl<T> From<Result<T, ApiError>> for Reply<T> {
    fn from(result: Result<T, ApiError>) -> Self {
        Self {
            result,
            limits: Limits::default(),
            date: None,
        }
    }
}
