//! What is rendered, found again, and left alone.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::edge_token::testing::{UID, at, key_of, object, object_with, plan, target_of};

fn fingerprint(object: &EdgeToken) -> Fingerprint {
    plan(object).source.fingerprint()
}

fn find(secret: &Secret, object: &EdgeToken) -> Option<(Key, Record)> {
    find_key(secret, UID, fingerprint(object))
}

fn text(secret: &Secret, key: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
}

fn annotation(secret: &mut Secret) -> &mut String {
    let annotations = secret.metadata.annotations.as_mut().unwrap();
    annotations.get_mut(RECORD).unwrap()
}

#[test]
fn a_target_is_ready_for_envfrom_and_proves_its_key() {
    let object = object();
    let secret = target_of(&object, 1);
    assert_eq!(text(&secret, "SITECORE_API_KEY"), "KEY1");
    let url = "https://edge.sitecorecloud.io/api/graphql/v1";
    assert_eq!(text(&secret, "GRAPH_QL_ENDPOINT"), url);
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let (key, record) = find(&secret, &object).unwrap();
    assert_eq!(key.value.expose_secret(), "KEY1");
    assert_eq!(key.made, key_of(&object, 1).made);
    assert_eq!((record.created_at, record.written_at), (at(0), at(5)));
    let again = render(&object, &plan(&object), &key, at(5), Some(&secret));
    assert_eq!(again, secret, "nothing is left to do");
}

#[test]
fn what_was_restored_or_copied_under_another_uid_proves_nothing() {
    let object = object();
    let secret = target_of(&object, 1);
    assert!(find_key(&secret, "uid-2", fingerprint(&object)).is_none());
    let mut renamed = secret.clone();
    let of_another = annotation(&mut renamed).replace(UID, "uid-2");
    *annotation(&mut renamed) = of_another;
    assert!(find_key(&renamed, "uid-2", fingerprint(&object)).is_none());
}

#[test]
fn a_key_proves_nothing_for_other_scopes_and_their_order_does_not_matter() {
    let scopes = |scopes: Value| object_with(json!({"tokenAPI": {"scopes": scopes}}));
    let secret = target_of(&scopes(json!(["a", "b"])), 1);
    assert!(find(&secret, &scopes(json!(["b", "a"]))).is_some());
    assert!(find(&secret, &scopes(json!(["a"]))).is_none());
    let deployed = object_with(json!({"deployAPI": {"environmentID": "a"}}));
    assert!(find(&secret, &deployed).is_none());
}

#[test]
fn what_was_edited_proves_nothing() {
    type Edit = fn(&mut Secret);
    let rows: [(&str, Edit); 6] = [
        ("the key", |secret| {
            let data = secret.data.as_mut().unwrap();
            data.insert("SITECORE_API_KEY".into(), ByteString(b"KEY2".to_vec()));
        }),
        ("the mark", |secret| {
            let edited = annotation(secret).replace("0001\"", "0002\"");
            *annotation(secret) = edited;
        }),
        ("a time", |secret| {
            let edited = annotation(secret).replacen("2027-", "2028-", 1);
            *annotation(secret) = edited;
        }),
        ("the request", |secret| {
            let edited = annotation(secret).replacen('{', r#"{"rotateRequest":"x","#, 1);
            *annotation(secret) = edited;
        }),
        ("the version", |secret| {
            let edited = annotation(secret).replace(r#""version":1"#, r#""version":2"#);
            *annotation(secret) = edited;
        }),
        ("no record", |secret| secret.metadata.annotations = None),
    ];
    for (row, edit) in rows {
        let mut secret = target_of(&object(), 1);
        edit(&mut secret);
        assert_ne!(secret, target_of(&object(), 1), "{row}");
        assert!(find(&secret, &object()).is_none(), "{row}");
    }
}

#[test]
fn another_layout_is_found_again_and_what_others_added_stays() {
    let before = object_with(json!({
        "target": {"labels": {"team": "shop"}, "annotations": {"note": "x"}},
    }));
    let mut secret = target_of(&before, 1);
    let labels = secret.metadata.labels.as_mut().unwrap();
    labels.insert("theirs".into(), "y".into());
    let after = object_with(json!({
        "target": {"data": [{"key": "token", "from": "EdgeToken"}, {"key": "made", "from": "CreatedAt"}]},
    }));
    let (key, record) = find(&secret, &after).unwrap();
    let rendered = render(
        &after,
        &plan(&after),
        &key,
        record.written_at,
        Some(&secret),
    );
    assert_eq!(text(&rendered, "token"), "KEY1");
    assert_eq!(text(&rendered, "made"), at(0).to_string());
    let labels = rendered.metadata.labels.as_ref().unwrap();
    assert!(labels.contains_key("theirs") && !labels.contains_key("team"));
    assert!(!rendered.metadata.annotations.unwrap().contains_key("note"));
    assert_eq!(rendered.data.unwrap().len(), 2);
}

proptest! {
    /// Whatever stands in the annotation and in the values, reading it ends well, and nothing is proven by it.
    #[test]
    fn garbage_proves_nothing(text in ".{0,200}", value in proptest::collection::vec(any::<u8>(), 0..64)) {
        let object = object();
        let mut secret = target_of(&object, 1);
        *annotation(&mut secret) = text;
        secret.data.as_mut().unwrap().insert("SITECORE_API_KEY".into(), ByteString(value));
        prop_assert!(find(&secret, &object).is_none());
    }

    #[test]
    fn what_is_rendered_is_found_whatever_the_key(value in "[A-Za-z0-9+/=_-]{1,200}", number: u64, request in proptest::option::of("[ -~]{1,64}")) {
        let object = object();
        let mut key = key_of(&object, number);
        key.value = value.clone().into();
        key.made.rotate_request = request;
        let secret = render(&object, &plan(&object), &key, at(9), None);
        let (found, record) = find(&secret, &object).unwrap();
        prop_assert_eq!(found.value.expose_secret(), value);
        prop_assert_eq!(&found.made, &key.made);
        prop_assert_eq!(record.written_at, at(9));
    }
}
