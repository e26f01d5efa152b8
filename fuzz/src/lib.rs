//! What must hold whatever is fed in: of answers of the token endpoint and of Sitecore's APIs, their headers, tokens,
//! credentials Secrets, records of keys in targets, and EdgeCredentials.
//!
//! Each target is a function that takes bytes and panics where something does not hold. Its fuzzer calls it with what
//! libFuzzer makes up; `tests/fuzz_corpora.rs` calls it with the files of `corpus/` and `regressions/`.

pub mod credentials;
pub mod edge_api;
pub mod jwt_claims;
pub mod key_record;
pub mod limits;
pub mod reconcile;
pub mod token_answer;

mod answer;
mod schema;

/// A target's function.
pub type Check = fn(&[u8]);

/// All targets, by the names of their fuzzers and of the folders with their inputs.
pub const TARGETS: [(&str, Check); 7] = [
    ("token_answer", token_answer::check),
    ("jwt_claims", jwt_claims::check),
    ("limits", limits::check),
    ("edge_api", edge_api::check),
    ("credentials", credentials::check),
    ("key_record", key_record::check),
    ("reconcile", reconcile::check),
];

/// In what inputs hold as a server's text or a Secret's value: it must not come out anywhere.
const MARK: &str = "CANARY";

/// Panics where a text that people can read has the mark in it, or could mislead a terminal or a log.
#[track_caller]
fn assert_harmless(text: &str) {
    assert!(!text.contains(MARK), "{text}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
