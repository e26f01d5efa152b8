//! The value of a token in a Secret that an EdgeCredential has as its target. Both kinds read it: a token is good for all that
//! would send an equal request.

use k8s_openapi::{ByteString, api::core::v1::Secret};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::target::candidates;
use crate::oauth::{TOKEN_TYPE, response::is_bearer_token};

/// The annotation that proves the token.
pub const PROOF: &str = "edgecredentials.io/token";

/// The token in a Secret that is the wanted one, whatever proves it.
pub fn find_value(
    secret: &Secret,
    is_wanted: impl Fn(&SecretString) -> bool,
) -> Option<SecretString> {
    candidates(secret, key_of_token(secret).as_deref())
        .filter_map(read_value)
        .find(|token| is_wanted(token))
}

/// The key of a value that has the token, as the annotation says.
fn key_of_token(secret: &Secret) -> Option<String> {
    #[derive(Deserialize)]
    struct Proof {
        key: Option<String>,
    }
    let annotation = secret.metadata.annotations.as_ref()?.get(PROOF)?;
    serde_json::from_str::<Proof>(annotation).ok()?.key
}

/// The token in a value that was written from `AccessToken`, `Authorization` or `JSON`.
pub fn read_value(value: &ByteString) -> Option<SecretString> {
    #[derive(Deserialize)]
    struct Json {
        access_token: SecretString,
    }
    let text = std::str::from_utf8(&value.0).ok()?;
    if text.starts_with('{') {
        let Json { access_token } = serde_json::from_str(text).ok()?;
        return Some(access_token).filter(|token| is_bearer_token(token.expose_secret()));
    }
    // No token has a space in it, but an opaque one may begin with this very word.
    let token = text
        .split_once(' ')
        .filter(|(scheme, _)| *scheme == TOKEN_TYPE)
        .map_or(text, |(_, token)| token);
    is_bearer_token(token).then(|| token.into())
}
