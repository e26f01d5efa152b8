//! The target Secret: rendered from a key, and able to prove which attempt made that key.
//!
//! The Secret carries one annotation with the mark and the times of the key, and a message authentication code over them that
//! is keyed with the key itself. The uid of the object is in both: what a backup or a copy brings back under another one proves
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use k8s_openapi::{ByteString, api::core::v1::Secret, jiff::Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    decide::{Made, Record},
    mark::Mark,
    spec::{Fingerprint, Plan},
};
use crate::{
    api::{
        EdgeToken,
        target::{Entry, KeySource},
    },
    edge_api::token_api::is_key,
    rules::target::{Marking, SECRET_TYPE, candidates, render_metadata},
};

/// The annotation that proves the key.
pub const RECORD: &str = "edgecredentials.io/edge-token";

/// The version of the annotation.
const VERSION: u32 = 1;

/// A key, and the attempt that made it.
#[derive(Clone, Debug)]
pub struct Key {
    pub value: SecretString,
    pub made: Made,
    /// What it is for, see [`Source::fingerprint`](super::spec::Source::fingerprint).
    pub fingerprint: Fingerprint,
}

/// What the annotation holds, in JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Annotation {
    version: u32,
    mark: String,
    created_at: Timestamp,
    written_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotate_request: Option<String>,
    /// Over all of the above, the uid of the object and what the key is for.
    code: String,
    /// The key of a value that has the token, which is tried first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The labels and annotations that were written for the spec, so that they go when the spec drops them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    labels: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    annotations: BTreeSet<String>,
}

/// Finds the key in a Secret: a value that the annotation proves to be of an attempt of this object, for what `fingerprint`
/// says.
pub fn find_key(secret: &Secret, uid: &str, fingerprint: Fingerprint) -> Option<(Key, Record)> {
    let annotation = annotation_of(secret).filter(|annotation| annotation.version == VERSION)?;
    let record = Record {
        mark: Mark::parse(&annotation.mark, uid)?,
        created_at: annotation.created_at,
        written_at: annotation.written_at,
        rotate_request: annotation.rotate_request,
    };
    let text = |value: &ByteString| String::from_utf8(value.0.clone()).ok();
    let value = candidates(secret, annotation.key.as_deref())
        .filter_map(text)
        .filter(|text| is_key(text))
        .map(SecretString::from)
        .find(|value| code(value, &record, uid, fingerprint) == annotation.code)?;
    let key = Key {
        value,
        made: Made {
            mark: record.mark.clone(),
            created_at: record.created_at,
            rotate_request: record.rotate_request.clone(),
        },
        fingerprint,
    };
    Some((key, record))
}

/// The Secret as it should be: `existing` with everything that is ours set right and everything else left as it is, or a new
/// one. Equal to `existing` where nothing is to be done.
pub fn render(
    object: &EdgeToken,
    plan: &Plan,
    key: &Key,
    written_at: Timestamp,
    existing: Option<&Secret>,
) -> Secret {
    let target = &object.spec.target;
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let record = Record {
        mark: key.made.mark.clone(),
        created_at: key.made.created_at,
        written_at,
        rotate_request: key.made.rotate_request.clone(),
    };
    let carrier = plan.entries.iter().find(|entry| entry.has_token());
    let annotation = Annotation {
        version: VERSION,
        mark: record.mark.to_string(),
        created_at: record.created_at,
        written_at,
        rotate_request: record.rotate_request.clone(),
        code: code(&key.value, &record, uid, key.fingerprint),
        key: carrier.map(|entry| entry.key.clone()),
        labels: target.labels.keys().cloned().collect(),
        annotations: target.annotations.keys().cloned().collect(),
    };
    let metadata = render_metadata(
        object,
        Marking {
            name: object.target_name(),
            labels: &target.labels,
            annotations: &target.annotations,
            previous: existing
                .and_then(annotation_of)
                .map(|previous| (previous.labels, previous.annotations))
                .unwrap_or_default(),
            // A struct of strings, times and sets has no way to fail; an empty record would only cost a key.
            proof: (
                RECORD,
                serde_json::to_string(&annotation).unwrap_or_default(),
            ),
        },
        existing,
    );
    Secret {
        metadata,
        data: Some(data(plan, key, &object.spec.delivery_url)),
        type_: Some(SECRET_TYPE.into()),
        immutable: existing.and_then(|secret| secret.immutable),
        string_data: None,
    }
}

fn data(plan: &Plan, key: &Key, delivery_url: &str) -> BTreeMap<String, ByteString> {
    let value = |source: KeySource| match source {
        KeySource::EdgeToken => key.value.expose_secret().to_owned(),
        KeySource::DeliveryUrl => delivery_url.to_owned(),
        KeySource::CreatedAt => key.made.created_at.to_string(),
    };
    let entries = plan.entries.iter().map(|entry| {
        let bytes = match (entry.from, &entry.value) {
            (Some(source), _) => value(source),
            (None, constant) => constant.clone().unwrap_or_default(),
        };
        (entry.key.clone(), ByteString(bytes.into_bytes()))
    });
    entries.collect()
}

fn annotation_of(secret: &Secret) -> Option<Annotation> {
    let annotation = secret.metadata.annotations.as_ref()?.get(RECORD)?;
    serde_json::from_str(annotation).ok()
}

/// HMAC-SHA-256, keyed with the key, over the record, the uid of the object and what the key is for.
fn code(value: &SecretString, record: &Record, uid: &str, fingerprint: Fingerprint) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, value.expose_secret().as_bytes());
    let statement = serde_json::json!([
        "edge-token",
        uid,
        record.mark.to_string(),
        record.created_at,
        record.written_at,
        record.rotate_request,
        fingerprint.to_string(),
    ]);
    STANDARD_NO_PAD.encode(hmac::sign(&key, statement.to_string().as_bytes()))
}

#[cfg(test)]
mod tests;
