//! What the tests of this folder start from: one EdgeToken, and its key.

use k8s_openapi::{
    api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp,
};
use serde_json::{Value, json};

use super::rules::{
    decide::Made,
    mark::Mark,
    record::{Key, render},
    spec::{Allowed, Plan, check_spec},
};
use crate::{
    api::EdgeToken,
    http::origin::{AllowedOrigins, SITECORE_API_ORIGINS, SITECORE_ORIGINS},
};

/// The uid of the usual object.
pub const UID: &str = "uid-1";

/// So many seconds after a second to count from.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// An EdgeToken with nothing set but what must be.
pub fn object() -> EdgeToken {
    object_with(json!({}))
}

/// An EdgeToken with these fields of the spec.
pub fn object_with(spec: Value) -> EdgeToken {
    let mut fields = json!({"credentialsSecretRef": {"name": "edge-client"}});
    for (field, value) in spec.as_object().unwrap() {
        fields[field] = value.clone();
    }
    EdgeToken {
        metadata: ObjectMeta {
            name: Some("edge".into()),
            namespace: Some("shop".into()),
            uid: Some(UID.into()),
            generation: Some(1),
            ..ObjectMeta::default()
        },
        spec: serde_json::from_value(fields).unwrap(),
        status: None,
    }
}

/// Sitecore's origins.
pub fn allowed() -> Allowed {
    let origins = |origins: &[&str]| -> AllowedOrigins {
        let origins = origins.iter().map(|origin| origin.parse().unwrap());
        origins.collect()
    };
    Allowed {
        token_endpoints: origins(&SITECORE_ORIGINS),
        apis: origins(&SITECORE_API_ORIGINS),
    }
}

/// What a spec comes to that is sound.
pub fn plan(object: &EdgeToken) -> Plan {
    check_spec(object, &allowed()).unwrap()
}

/// The key of an attempt for an object.
pub fn key_of(object: &EdgeToken, number: u64) -> Key {
    Key {
        value: format!("KEY{number}").into(),
        made: Made {
            mark: Mark::new(UID, number),
            created_at: at(0),
            rotate_request: None,
        },
        fingerprint: plan(object).source.fingerprint(),
    }
}

/// The target of an object, as it is written with the key of an attempt.
pub fn target_of(object: &EdgeToken, number: u64) -> Secret {
    render(object, &plan(object), &key_of(object, number), at(5), None)
}
