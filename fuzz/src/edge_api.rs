//! Answers of the Token API, the Deploy API and the Delivery API: what is taken for a key, a list or a verdict is one, and
//! nothing of an answer is shown.
//!
//! An input is a status and bodies, each after an empty line: all of them are the pages of a list, and the first is also the
//! answer to each other call.

use std::collections::BTreeMap;

use edge_credential_operator::edge_api::{
    ApiError, Call, Cause, ListedKey, Verdict,
    delivery_api::judge_success,
    deploy_api::read_obtained,
    token_api::{MAX_PAGES, Pages, read_key, read_revocation},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{answer::split, assert_harmless};

/// What the labels begin with that are listed.
const PREFIX: &str = "edge-token/uid/";

/// Checks the answers to all calls.
pub fn check(input: &[u8]) {
    let (status, mut rest) = split(input, b"\n\n").unwrap_or((input, b""));
    let status = std::str::from_utf8(status).ok();
    let Some(status) = status.and_then(|status| status.parse().ok()) else {
        return;
    };
    let mut bodies = Vec::new();
    while let Some((body, others)) = split(rest, b"\n\n") {
        bodies.push(body);
        rest = others;
    }
    bodies.push(rest);
    let first = bodies[0];
    // What cannot be read again by other means, such as what is nested too deeply, is not compared.
    let value: Option<Value> = serde_json::from_slice(first.trim_ascii()).ok();

    if let Some(key) = tell(Call::CreateKey, read_key(first)) {
        is_key(&key);
        let quoted = value.as_ref().and_then(Value::as_str);
        let bare = std::str::from_utf8(first).ok().map(str::trim_ascii);
        assert!([quoted, bare].contains(&Some(key.expose_secret())));
    }
    if let Some(key) = tell(Call::ObtainKey, read_obtained(first)) {
        is_key(&key);
        if let Some(value) = &value {
            let written = member(value, "apiKey").as_str();
            assert_eq!(written, Some(key.expose_secret()));
        }
    }
    if let (Verdict::Accepted, Some(value)) = (judge_success(status, first), &value) {
        assert!(status == 200 && !value["data"].is_null());
    }
    let is_revoked = tell(Call::RevokeKey, read_revocation(first)).is_some();
    assert!(!is_revoked || value != Some(Value::Bool(false)));
    if let Some(keys) = tell(Call::ListKeys, read_list(&bodies)) {
        is_list(&keys, &bodies);
    }
}

/// The result, where there is one; a failure shows nothing.
fn tell<T>(call: Call, result: Result<T, Cause>) -> Option<T> {
    let error = match result {
        Ok(result) => return Some(result),
        Err(cause) => ApiError { call, cause },
    };
    assert_harmless(&format!("{error} {error:?} {}", error.reason()));
    None
}

fn is_key(key: &SecretString) {
    let text = key.expose_secret();
    assert!((1..=4096).contains(&text.len()));
    // It can stand in a header and in a file of variables.
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"+/=-_".contains(&b);
    assert!(text.bytes().all(is_plain));
    assert_harmless(&format!("{key:?}"));
}

/// The keys of the pages, up to the last one.
fn read_list(bodies: &[&[u8]]) -> Result<Vec<ListedKey>, Cause> {
    let mut pages = Pages::default();
    for body in bodies {
        assert!(pages.next() <= MAX_PAGES);
        if !pages.add(body, PREFIX)? {
            return Ok(pages.into_keys());
        }
    }
    Err(Cause::Malformed)
}

fn is_list(keys: &[ListedKey], bodies: &[&[u8]]) {
    for key in keys {
        assert!(key.label.starts_with(PREFIX));
        assert!((1..=128).contains(&key.hash.len()));
        assert_harmless(&format!("{key:?}"));
        assert_harmless(key.tenant_id.as_deref().unwrap_or_default());
    }
    // Read once more by other means: none of ours is missing, and none is revoked that any page shows as valid.
    let mut expected = BTreeMap::new();
    for (index, body) in bodies.iter().enumerate() {
        let Ok(page) = serde_json::from_slice::<Value>(body) else {
            return;
        };
        assert_eq!(
            member(&page, "currentPage").as_u64(),
            Some(index as u64 + 1)
        );
        for entry in member(&page, "keys").as_array().expect("keys") {
            // An entry may be written as a list of its members.
            if !entry.is_object() {
                return;
            }
            if let Some(label) = member(entry, "label").as_str()
                && label.starts_with(PREFIX)
            {
                let hash = member(entry, "hash").as_str().expect("a hash");
                let is_revoked = member(entry, "isRevoked").as_bool().expect("one of two");
                *expected.entry(hash.to_owned()).or_insert(true) &= is_revoked;
            }
        }
        if member(&page, "hasNext") == &Value::Bool(false) {
            break;
        }
    }
    let listed = keys.iter().map(|key| (key.hash.clone(), key.is_revoked));
    assert!(listed.eq(expected));
}

/// A member in either spelling.
fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    let pascal = name[..1].to_uppercase() + &name[1..];
    match &value[name] {
        Value::Null => &value[&*pascal],
        found => found,
    }
}
