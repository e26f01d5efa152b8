//! The Token API: makes, lists and revokes the keys of an environment, which the JSON Web Token names.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::jiff::Timestamp;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::error::Cause;
use crate::http::json::parse_object;

/// How many keys of a page are asked for. What the API allows is not documented; a sibling of it has 100 at most.
const PAGE_SIZE: &str = "50";

/// How many pages are read, so that a list without end does not keep the operator busy.
pub const MAX_PAGES: u32 = 20;

/// The longest key that is taken, in bytes. The documented one has 108.
const KEY_MAX_LENGTH: usize = 4096;

/// The longest hash that is taken, in bytes. The documented one has 64.
const HASH_MAX_LENGTH: usize = 128;

/// The longest tenant id that is shown, in bytes.
const TENANT_ID_MAX_LENGTH: usize = 128;

/// A key that is to be made. Written as the API's documentation has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NewKey {
    /// Who makes it. Free text.
    pub created_by: String,
    /// By what it is found again. Free text, and need not be unique.
    pub label: String,
    /// What it may read, such as `audience-delivery` and `content-#everything#`.
    pub scopes: Vec<String>,
}

/// All keys whose labels begin alike.
#[derive(Clone)]
pub struct Listing {
    /// When the first page was asked for.
    pub begun_at: Timestamp,
    /// Each key once, in the order of their hashes.
    pub keys: Vec<ListedKey>,
}

/// The labels are not ours alone to write.
impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing")
            .field("begun_at", &self.begun_at)
            .field("keys", &self.keys.len())
            .finish()
    }
}

/// A key as it is listed.
#[derive(Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// Its label, as the server has it.
    pub label: String,
    /// By what it is revoked: 1 to 128 of the characters of base64, in either alphabet.
    pub hash: String,
    /// Whether it was revoked.
    pub is_revoked: bool,
    /// The environment that it opens, where the server names it by letters, digits, `-`, `_` and `.`.
    pub tenant_id: Option<String>,
}

/// Leaves the label out.
impl fmt::Debug for ListedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListedKey")
            .field("hash", &self.hash)
            .field("is_revoked", &self.is_revoked)
            .finish_non_exhaustive()
    }
}

/// The answer to the creation of a key: the key, bare or as a JSON string.
pub fn read_key(body: &[u8]) -> Result<SecretString, Cause> {
    let body = body.trim_ascii();
    let key = match body.first() {
        // A JSON writer may have escaped some characters of it.
        Some(b'"') => serde_json::from_slice(body).map_err(|_| Cause::Malformed)?,
        _ => SecretString::from(std::str::from_utf8(body).map_err(|_| Cause::Malformed)?),
    };
    check_key(key)
}

/// Whether a text can be a key: 1 to 4096 of the characters of base64, in either alphabet.
pub fn is_key(text: &str) -> bool {
    is_base64(text, KEY_MAX_LENGTH)
}

/// A key, if it is one: 1 to 4096 of the characters of base64, in either alphabet.
pub fn check_key(key: SecretString) -> Result<SecretString, Cause> {
    is_key(key.expose_secret())
        .then_some(key)
        .ok_or(Cause::Malformed)
}

/// Where a page of the keys is whose labels have this text in them. `filterRevoked` is left out: its meaning is not documented,
/// and revoked keys must be seen.
pub fn page_url(base: &Url, label: &str, page: u32) -> Url {
    let mut url = base.clone();
    url.query_pairs_mut()
        .append_pair("label", label)
        .append_pair("pagesize", PAGE_SIZE)
        .append_pair("pagenumber", &page.to_string());
    url
}

/// Where the key of this hash is revoked.
pub fn revoke_url(base: &Url, hash: &str) -> Url {
    below(base, ["revokebyhash", hash])
}

/// A URL some segments of a path below another one, each of which is encoded.
pub fn below<'a>(base: &Url, segments: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = base.clone();
    // Only a URL without an origin has no path to add to, and nothing is sent there.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// The answer to a revocation. Documentation and observation differ: any success will do but `false`.
pub fn read_revocation(body: &[u8]) -> Result<(), Cause> {
    match body.trim_ascii().eq_ignore_ascii_case(b"false") {
        true => Err(Cause::NotRevoked),
        false => Ok(()),
    }
}

/// Keys that were read so far, page by page.
#[derive(Default)]
pub struct Pages {
    read: u32,
    keys: BTreeMap<String, ListedKey>,
}

/// A page of the list, in either spelling. Members that are not needed are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(alias = "CurrentPage")]
    current_page: u32,
    #[serde(alias = "HasNext")]
    has_next: bool,
    #[serde(alias = "Keys")]
    keys: Vec<Entry>,
}

/// A key of the list. Others than ours need not be complete.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(alias = "Label")]
    label: Option<String>,
    #[serde(alias = "Hash")]
    hash: Option<String>,
    #[serde(alias = "IsRevoked")]
    is_revoked: Option<bool>,
    #[serde(alias = "TenantId")]
    tenant_id: Option<String>,
}

impl Pages {
    /// The number of the page to ask for next.
    pub fn next(&self) -> u32 {
        self.read + 1
    }

    /// Takes the next page, of which the keys are kept whose labels begin with `prefix`: the server need not have filtered
    /// them. `true` where there is another page.
    pub fn add(&mut self, body: &[u8], prefix: &str) -> Result<bool, Cause> {
        let page: Page = parse_object(body).ok_or(Cause::Malformed)?;
        // A server that gives the same page again would have keys overlooked.
        if page.current_page != self.next() {
            return Err(Cause::Malformed);
        }
        self.read = page.current_page;
        for entry in page.keys {
            let label = entry.label.unwrap_or_default();
            if !label.starts_with(prefix) {
                continue;
            }
            let hash = entry.hash.filter(|hash| is_base64(hash, HASH_MAX_LENGTH));
            let hash = hash.ok_or(Cause::Malformed)?;
            let is_revoked = entry.is_revoked.ok_or(Cause::Malformed)?;
            let key = ListedKey {
                label,
                hash: hash.clone(),
                is_revoked,
                tenant_id: entry.tenant_id.filter(|id| is_identifier(id)),
            };
            // Pages shift while keys are made, so that one is listed twice. It is revoked where both say so.
            let known = self.keys.entry(hash).or_insert_with(|| key.clone());
            known.is_revoked &= key.is_revoked;
        }
        if page.has_next && self.read == MAX_PAGES {
            return Err(Cause::TooManyPages);
        }
        Ok(page.has_next)
    }

    /// All keys.
    pub fn into_keys(self) -> Vec<ListedKey> {
        self.keys.into_values().collect()
    }
}

fn is_base64(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_+/=".contains(&b))
}

/// Shown to people, so nothing else passes.
fn is_identifier(text: &str) -> bool {
    (1..=TENANT_ID_MAX_LENGTH).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const PREFIX: &str = "edge-token/uid/";

    fn key(body: &str) -> Result<String, Cause> {
        read_key(body.as_bytes()).map(|key| key.expose_secret().to_owned())
    }

    #[test]
    fn a_key_is_read_bare_or_as_a_json_string() {
        for body in [
            "bmV3+/k=",
            "\"bmV3+/k=\"",
            "\"bmV3\\u002B\\/k=\"",
            " bmV3+/k=\r\n",
            "\"bmV3+/k=\"\n",
        ] {
            assert_eq!(key(body).as_deref(), Ok("bmV3+/k="), "{body}");
        }
        let longest = "k".repeat(4096);
        assert_eq!(key(&longest), Ok(longest.clone()));
    }

    #[test]
    fn what_cannot_be_a_key_is_not_taken_for_one() {
        for body in [
            "",
            "\"\"",
            "\"",
            "\"abc",
            "abc\"",
            "a b",
            "a\nb",
            "<html>",
            "{\"token\":\"abc\"}",
            "[\"abc\"]",
            "kéy",
            &"k".repeat(4097),
        ] {
            assert_eq!(key(body), Err(Cause::Malformed), "{body:.20}");
        }
        assert_eq!(read_key(b"\xff").err(), Some(Cause::Malformed));
    }

    #[test]
    fn a_new_key_is_written_as_documented() {
        let key = NewKey {
            created_by: "somebody".into(),
            label: "edge-token/uid/1".into(),
            scopes: vec!["audience-delivery".into()],
        };
        let expected = json!({
            "CreatedBy": "somebody",
            "Label": "edge-token/uid/1",
            "Scopes": ["audience-delivery"],
        });
        assert_eq!(serde_json::to_value(key).unwrap(), expected);
    }

    #[test]
    fn what_is_put_into_a_url_is_encoded() {
        for base in [
            "https://edge.example/api/v1",
            "https://edge.example/api/v1/",
        ] {
            let base: Url = base.parse().unwrap();
            assert_eq!(
                revoke_url(&base, "a/b?c=").as_str(),
                "https://edge.example/api/v1/revokebyhash/a%2Fb%3Fc="
            );
        }
        let base = "https://edge.example/api/v1?x=y".parse().unwrap();
        assert_eq!(
            page_url(&base, "edge-token/u&d/", 3).as_str(),
            "https://edge.example/api/v1?x=y&label=edge-token%2Fu%26d%2F&pagesize=50&pagenumber=3"
        );
    }

    #[test]
    fn a_revocation_is_any_success_but_a_no() {
        for body in ["", "true", "{}", "anything"] {
            assert_eq!(read_revocation(body.as_bytes()), Ok(()), "{body}");
        }
        for body in ["false", "False", " false\n"] {
            let read = read_revocation(body.as_bytes());
            assert_eq!(read, Err(Cause::NotRevoked), "{body}");
        }
    }

    fn entry(label: &str, hash: &str, is_revoked: bool) -> Value {
        json!({"label": label, "hash": hash, "isRevoked": is_revoked, "tenantId": "t-1", "scopes": []})
    }

    fn page(number: u32, has_next: bool, keys: &[Value]) -> Vec<u8> {
        let page =
            json!({"currentPage": number, "hasNext": has_next, "totalCount": 1, "keys": keys});
        page.to_string().into_bytes()
    }

    fn read(pages: &[Vec<u8>]) -> Result<Vec<(String, bool)>, Cause> {
        let mut read = Pages::default();
        for page in pages {
            read.add(page, PREFIX)?;
        }
        let keys = read.into_keys().into_iter();
        Ok(keys.map(|key| (key.hash, key.is_revoked)).collect())
    }

    #[test]
    fn keys_of_all_pages_are_kept_that_begin_alike() {
        let pages = [
            page(
                1,
                true,
                &[
                    entry("edge-token/uid/1", "a", false),
                    entry("another", "b", false),
                ],
            ),
            page(
                2,
                false,
                &[
                    entry("edge-token/uid/2", "c", true),
                    entry("my edge-token/uid/3", "d", false),
                ],
            ),
        ];
        let expected = [("a".into(), false), ("c".into(), true)];
        assert_eq!(read(&pages), Ok(expected.to_vec()));
    }

    #[test]
    fn a_key_that_is_listed_twice_is_kept_once_and_live_where_any_says_so() {
        for revoked in [true, false] {
            let pages = [
                page(1, true, &[entry("edge-token/uid/1", "a", revoked)]),
                page(2, false, &[entry("edge-token/uid/1", "a", !revoked)]),
            ];
            assert_eq!(read(&pages), Ok(vec![("a".into(), false)]));
        }
    }

    #[test]
    fn both_spellings_are_read() {
        let body = br#"{"CurrentPage":1,"HasNext":false,"Keys":[
            {"Label":"edge-token/uid/1","Hash":"a","IsRevoked":true,"TenantId":"t"}]}"#;
        assert_eq!(read(&[body.to_vec()]), Ok(vec![("a".into(), true)]));
    }

    #[test]
    fn a_foreign_key_may_be_incomplete_and_one_of_ours_may_not() {
        let keys = |label: &str| {
            [
                json!({"label": label}),
                json!({"label": label, "hash": "a"}),
                json!({"label": label, "isRevoked": true}),
                json!({"label": label, "hash": "a b", "isRevoked": true}),
                json!({"label": label, "hash": "", "isRevoked": true}),
                json!({"label": label, "hash": "a".repeat(129), "isRevoked": true}),
            ]
        };
        let foreign = [&keys("foreign")[..], &[json!({"label": null}), json!({})]].concat();
        assert_eq!(read(&[page(1, false, &foreign)]), Ok(Vec::new()));
        for key in keys("edge-token/uid/1") {
            let read = read(&[page(1, false, std::slice::from_ref(&key))]);
            assert_eq!(read, Err(Cause::Malformed), "{key}");
        }
    }

    #[test]
    fn pages_that_do_not_advance_or_are_none_fail_the_listing() {
        for pages in [
            vec![page(1, true, &[]), page(1, false, &[])],
            vec![page(1, true, &[]), page(3, false, &[])],
            vec![page(0, false, &[])],
            vec![page(2, false, &[])],
            vec![b"[]".to_vec()],
            vec![b"[1,false,[]]".to_vec()],
            vec![b"{}".to_vec()],
            vec![br#"{"currentPage":1,"hasNext":false}"#.to_vec()],
            vec![br#"{"currentPage":1,"hasNext":"no","keys":[]}"#.to_vec()],
            vec![br#"{"currentPage":-1,"hasNext":false,"keys":[]}"#.to_vec()],
            vec![br#"{"currentPage":1,"CurrentPage":1,"hasNext":false,"keys":[]}"#.to_vec()],
            vec![b"<html>".to_vec()],
            vec![Vec::new()],
        ] {
            assert_eq!(read(&pages), Err(Cause::Malformed));
        }
    }

    #[test]
    fn twenty_pages_are_read_and_no_more() {
        let pages = |last_has_next| -> Vec<_> {
            (1..=MAX_PAGES)
                .map(|number| page(number, number < MAX_PAGES || last_has_next, &[]))
                .collect()
        };
        assert_eq!(read(&pages(false)), Ok(Vec::new()));
        assert_eq!(read(&pages(true)), Err(Cause::TooManyPages));
    }

    #[test]
    fn a_tenant_id_that_could_mislead_a_reader_is_left_out() {
        let mut pages = Pages::default();
        let odd = json!({"label": "edge-token/uid/1", "hash": "b", "isRevoked": false, "tenantId": "a\nb"});
        let keys = [entry("edge-token/uid/1", "a", false), odd];
        assert_eq!(pages.add(&page(1, false, &keys), PREFIX), Ok(false));
        let ids: Vec<_> = pages
            .into_keys()
            .into_iter()
            .map(|key| key.tenant_id)
            .collect();
        assert_eq!(ids, [Some("t-1".into()), None]);
    }
}
