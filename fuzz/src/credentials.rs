//! Credentials Secrets: what is sent is what stands there, and what is said about it shows nothing of it.

use std::collections::BTreeMap;

use edge_credential_operator::{
    api::credentials::CredentialsSecretRef,
    rules::credentials::{CredentialsProblem, Flaw, MAX_LENGTH, extract_credentials},
};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use secrecy::ExposeSecret;

/// Separates the parts of an input. No key and no usual value has it.
const SEPARATOR: &[u8] = b"\n--\n";

/// Checks a Secret: the names of the two keys, then the keys and the values by turns.
pub fn check(input: &[u8]) {
    let mut parts = Vec::new();
    let mut rest = input;
    while let Some((part, after)) = super::answer::split(rest, SEPARATOR) {
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    let mut texts = parts.iter().map(|part| String::from_utf8_lossy(part));
    let names = CredentialsSecretRef {
        name: "edge-client".into(),
        client_id_key: texts.next().unwrap_or_default().into(),
        client_secret_key: texts.next().unwrap_or_default().into(),
    };
    let pairs = parts.get(2..).unwrap_or_default().chunks_exact(2);
    let data: BTreeMap<_, _> = pairs
        .map(|pair| {
            let key = String::from_utf8_lossy(pair[0]).into_owned();
            (key, ByteString(pair[1].to_vec()))
        })
        .collect();
    let secret = Secret {
        data: Some(data.clone()),
        ..Secret::default()
    };
    let keys = [&names.client_id_key, &names.client_secret_key];
    match extract_credentials(Some(&secret), &names) {
        Ok(read) => {
            let values = [&read.client.client_id, &read.client.client_secret];
            for (key, value) in keys.into_iter().zip(values) {
                let value = value.expose_secret();
                assert_eq!(value.as_bytes(), data[key].0);
                assert!(!value.is_empty() && value.trim() == value);
                assert!(
                    value.len() <= MAX_LENGTH && value.bytes().all(|b| (b' '..=b'~').contains(&b))
                );
            }
            // Whatever the values are, the same is shown.
            let other = extract_credentials(Some(&with_values(keys, "x")), &names).expect("sound");
            assert_eq!(format!("{read:?}"), format!("{other:?}"));
        }
        Err(problem) => {
            let CredentialsProblem::Malformed { key, flaw } = &problem else {
                panic!("it is there");
            };
            assert!(keys.contains(&key));
            let value = data.get(key).map(|value| value.0.as_slice());
            assert!(has_flaw(value, *flaw), "{problem}");
        }
    }
}

fn with_values(keys: [&String; 2], value: &str) -> Secret {
    let pair = |key: &String| (key.clone(), ByteString(value.into()));
    Secret {
        data: Some(keys.map(pair).into()),
        ..Secret::default()
    }
}

fn has_flaw(value: Option<&[u8]>, flaw: Flaw) -> bool {
    let Some(value) = value else {
        return flaw == Flaw::Missing;
    };
    let text = std::str::from_utf8(value).ok();
    match flaw {
        Flaw::Missing => false,
        Flaw::Empty => text.is_some_and(|text| text.trim().is_empty()),
        Flaw::Padded => text.is_some_and(|text| text.trim() != text),
        Flaw::TooLong => value.len() > MAX_LENGTH,
        Flaw::Invisible(_) => text.is_some_and(|text| !text.is_ascii()),
        Flaw::NotPrintable => {
            text.is_none_or(|text| !text.bytes().all(|b| (b' '..=b'~').contains(&b)))
        }
    }
}
