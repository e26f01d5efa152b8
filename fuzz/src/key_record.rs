//! The record of a key as a target has it: only a value that the code in the record is of is taken for the key, whatever else
//! stands there, and what is written in its place keeps what others wrote.
//!
//! An input is the record, and then the keys and the values of the Secret by turns. `CODE` in the record stands for the code that
//! fits it and the first value: a fuzzer does not find its way through a message authentication code.

use std::collections::BTreeMap;

use edge_credential_operator::{
    api::EdgeToken,
    edge_api::token_api::is_key,
    edge_token::rules::{
        decide::{Made, Record},
        mark::{Mark, prefix},
        record::{Key, RECORD, find_key, render},
        spec::{Allowed, Plan, Source, check_spec},
    },
    http::origin::{AllowedOrigins, SITECORE_API_ORIGINS, SITECORE_ORIGINS},
};
use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{answer::split, assert_harmless};

/// Separates the parts of an input.
const SEPARATOR: &[u8] = b"\n--\n";

/// Stands for the code that fits.
const CODE: &str = "CODE";

/// The uid of the object.
const UID: &str = "uid-1";

/// Checks a record and the values beside it.
pub fn check(input: &[u8]) {
    let mut parts = Vec::new();
    let mut rest = input;
    while let Some((part, after)) = split(rest, SEPARATOR) {
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    let written = String::from_utf8_lossy(parts[0]).into_owned();
    let pairs = parts.get(1..).unwrap_or_default().chunks_exact(2);
    let data: BTreeMap<_, _> = pairs
        .clone()
        .map(|pair| {
            let key = String::from_utf8_lossy(pair[0]).into_owned();
            (key, ByteString(pair[1].to_vec()))
        })
        .collect();
    let first = pairs.map(|pair| pair[1]).next();
    let object = object();
    let plan = plan(&object);
    let fitting = first.and_then(|value| fit(&object, &plan, &written, value));
    let is_forged = !written.contains(CODE) || fitting.is_none();
    let record = match fitting {
        Some(code) => written.replace(CODE, &code),
        None => written,
    };
    let secret = secret(record, data);

    let fingerprint = plan.source.fingerprint();
    let Some((key, record)) = find_key(&secret, UID, fingerprint) else {
        return;
    };
    assert!(
        !is_forged,
        "nobody knows the code of a record but with its key"
    );
    let value = key.value.expose_secret();
    let values = secret.data.iter().flatten();
    assert!(
        is_key(value)
            && values
                .map(|(_, value)| &value.0)
                .any(|it| it == value.as_bytes())
    );
    assert!(record.mark.to_string().starts_with(&prefix(UID)));
    let made = Made {
        mark: record.mark.clone(),
        created_at: record.created_at,
        rotate_request: record.rotate_request.clone(),
    };
    assert_eq!(key.made, made);
    assert_harmless(&format!("{:?}", key.value));
    // Of another object, or for something else, it proves nothing.
    assert!(find_key(&secret, "uid-2", fingerprint).is_none());
    let another = Source::DeployApi {
        url: plan.delivery_url.clone(),
        environment_id: "another".into(),
    };
    assert!(find_key(&secret, UID, another.fingerprint()).is_none());
    rendered_again(&object, &plan, &secret, &key, &record);
}

/// What is written in place of the Secret proves the same, and is written once.
fn rendered_again(object: &EdgeToken, plan: &Plan, secret: &Secret, key: &Key, record: &Record) {
    let written_at = record.written_at;
    let rendered = render(object, plan, key, written_at, Some(secret));
    let fingerprint = plan.source.fingerprint();
    let (again, same) = find_key(&rendered, UID, fingerprint).expect("it proves itself");
    assert_eq!(again.value.expose_secret(), key.value.expose_secret());
    assert_eq!(same, *record);
    let twice = render(object, plan, &again, written_at, Some(&rendered));
    assert_eq!(twice, rendered);
    let labels = rendered.metadata.labels.unwrap_or_default();
    assert_eq!(labels.get("theirs").map(String::as_str), Some("stays"));
}

/// The code of a record that has all it must have, and this value for its key.
fn fit(object: &EdgeToken, plan: &Plan, written: &str, value: &[u8]) -> Option<String> {
    let written: Value = serde_json::from_str(written).ok()?;
    let time = |name: &str| written[name].as_str()?.parse::<Timestamp>().ok();
    let key = Key {
        value: std::str::from_utf8(value).ok()?.into(),
        made: Made {
            mark: Mark::parse(written["mark"].as_str()?, UID)?,
            created_at: time("createdAt")?,
            rotate_request: written["rotateRequest"].as_str().map(Into::into),
        },
        fingerprint: plan.source.fingerprint(),
    };
    let rendered = render(object, plan, &key, time("writtenAt")?, None);
    let annotations = rendered.metadata.annotations.unwrap_or_default();
    let record: Value = serde_json::from_str(annotations.get(RECORD)?).ok()?;
    Some(record["code"].as_str()?.into())
}

fn secret(record: String, data: BTreeMap<String, ByteString>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            annotations: Some([(RECORD.into(), record)].into()),
            labels: Some([("theirs".into(), "stays".into())].into()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..Secret::default()
    }
}

fn object() -> EdgeToken {
    let object = json!({
        "apiVersion": "edgecredentials.io/v1alpha1",
        "kind": "EdgeToken",
        "metadata": {"namespace": "shop", "name": "edge", "uid": UID},
        "spec": {"credentialsSecretRef": {"name": "edge-client"}},
    });
    serde_json::from_value(object).expect("an EdgeToken")
}

fn plan(object: &EdgeToken) -> Plan {
    let origins = |origins: &[&str]| -> AllowedOrigins {
        let origins = origins.iter().map(|origin| origin.parse());
        origins.collect::<Result<_, _>>().expect("origins")
    };
    let allowed = Allowed {
        token_endpoints: origins(&SITECORE_ORIGINS),
        apis: origins(&SITECORE_API_ORIGINS),
    };
    check_spec(object, &allowed).expect("a sound spec")
}
