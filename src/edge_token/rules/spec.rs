//! The spec, turned into what is acted on, or what is wrong with it.

use std::fmt;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use k8s_openapi::jiff::SignedDuration;
use reqwest::Url;

use crate::{
    api::{
        EdgeToken,
        edge_token::{DeletionPolicy, DeployApi, EdgeTokenSpec, TokenApi, Verify},
        target::KeyEntry,
    },
    http::origin::AllowedOrigins,
    oauth::RequestParameters,
    rules::spec::{
        SpecProblem, check_annotations, check_api_url, check_credentials, check_entries,
        check_labels, check_origin, ensure, is_printable, make_parameters,
    },
};

/// A spec that was found sound, as it is acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What to ask the token endpoint for.
    pub parameters: RequestParameters,
    /// Where the key is from.
    pub source: Source,
    /// Where the key is used.
    pub delivery_url: Url,
    /// Whether the Delivery API is asked if it takes a key.
    pub is_verified: bool,
    /// How old a key is when it is replaced, if ever.
    pub every: Option<SignedDuration>,
    /// How long a former key works.
    pub overlap: SignedDuration,
    /// Whether the keys are revoked when the object is deleted.
    pub revokes: bool,
    /// The keys of the target.
    pub entries: Vec<KeyEntry>,
}

/// Where a key is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is made with the Token API, and can be listed and revoked there.
    TokenApi {
        url: Url,
        scopes: Vec<String>,
        created_by: String,
    },
    /// It is obtained from the Deploy API. Nobody lists or revokes it.
    DeployApi { url: Url, environment_id: String },
}

/// What a key is for, in 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn of(text: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD_NO_PAD.encode(self.0))
    }
}

impl Source {
    /// Where its API is.
    pub fn url(&self) -> &Url {
        match self {
            Self::TokenApi { url, .. } | Self::DeployApi { url, .. } => url,
        }
    }

    /// Whether its keys can be listed and revoked.
    pub fn lists(&self) -> bool {
        matches!(self, Self::TokenApi { .. })
    }

    /// What a key proves to be for. Keys of equal fingerprints may stand for each other.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&match self {
            Self::TokenApi { url, scopes, .. } => {
                let mut scopes = scopes.clone();
                scopes.sort_unstable();
                serde_json::json!(["tokenAPI", url.as_str(), scopes]).to_string()
            }
            Self::DeployApi {
                url,
                environment_id,
            } => serde_json::json!(["deployAPI", url.as_str(), environment_id]).to_string(),
        })
    }
}

/// Where client secrets, and where tokens and keys may be sent.
#[derive(Clone, Debug)]
pub struct Allowed {
    pub token_endpoints: AllowedOrigins,
    pub apis: AllowedOrigins,
}

/// What is to be done by a spec, once the whole of it has been found sound.
pub fn check_spec(object: &EdgeToken, allowed: &Allowed) -> Result<Plan, SpecProblem> {
    let spec = &object.spec;
    check_credentials(&spec.credentials_secret_ref, object.target_name())?;
    check_labels(&spec.target.labels)?;
    check_annotations(&spec.target.annotations)?;
    let entries = spec.target.entries();
    check_entries(&entries, "must carry the token: from EdgeToken")?;
    let parameters = make_parameters(&spec.token_request)?;
    check_origin(&parameters.token_url, &allowed.token_endpoints)?;
    let source = check_source(spec, &allowed.apis)?;
    let (every, overlap) = check_rotation(spec)?;
    Ok(Plan {
        parameters,
        source,
        delivery_url: check_api_url("spec.deliveryURL", &spec.delivery_url, &allowed.apis)?,
        is_verified: spec.verify == Verify::Delivery,
        every,
        overlap,
        revokes: spec.deletion_policy == DeletionPolicy::Revoke,
        entries: entries.into_owned(),
    })
}

fn check_source(spec: &EdgeTokenSpec, allowed: &AllowedOrigins) -> Result<Source, SpecProblem> {
    match (&spec.token_api, &spec.deploy_api) {
        (Some(_), Some(_)) => Err(SpecProblem::Invalid {
            field: "spec",
            rule: "must set at most one of tokenAPI and deployAPI",
        }),
        (_, Some(deploy)) => check_deploy_api(deploy, spec, allowed),
        (Some(api), None) => check_token_api(api, allowed),
        (None, None) => check_token_api(&TokenApi::default(), allowed),
    }
}

fn check_token_api(api: &TokenApi, allowed: &AllowedOrigins) -> Result<Source, SpecProblem> {
    let is_scope = |scope: &String| {
        (1..=128).contains(&scope.len()) && scope.bytes().all(|b| matches!(b, b'!'..=b'~'))
    };
    ensure(
        (1..=16).contains(&api.scopes.len()) && api.scopes.iter().all(is_scope),
        "spec.tokenAPI.scopes",
        "must be 1 to 16, of 1 to 128 printable characters each",
    )?;
    ensure(
        (1..=128).contains(&api.created_by.len()) && api.created_by.bytes().all(is_printable),
        "spec.tokenAPI.createdBy",
        "must be 1 to 128 printable ASCII characters",
    )?;
    Ok(Source::TokenApi {
        url: check_api_url("spec.tokenAPI.url", &api.url, allowed)?,
        scopes: api.scopes.clone(),
        created_by: api.created_by.clone(),
    })
}

fn check_deploy_api(
    api: &DeployApi,
    spec: &EdgeTokenSpec,
    allowed: &AllowedOrigins,
) -> Result<Source, SpecProblem> {
    let id = &api.environment_id;
    ensure(
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
        "spec.deployAPI.environmentID",
        "must be 1 to 64 letters, digits or '-'",
    )?;
    ensure(
        spec.deletion_policy != DeletionPolicy::Revoke,
        "spec.deletionPolicy",
        "must be Keep: keys of the Deploy API cannot be revoked",
    )?;
    ensure(
        spec.rotation.every.is_none(),
        "spec.rotation.every",
        "must not be set: keys of the Deploy API are not rotated",
    )?;
    Ok(Source::DeployApi {
        url: check_api_url("spec.deployAPI.url", &api.url, allowed)?,
        environment_id: id.clone(),
    })
}

/// How old a key is when it is replaced, and how long it works then.
fn check_rotation(
    spec: &EdgeTokenSpec,
) -> Result<(Option<SignedDuration>, SignedDuration), SpecProblem> {
    let parse = |text: &String, least, most| {
        let duration = text.parse::<SignedDuration>().ok();
        duration.filter(|duration| (least..=most).contains(duration))
    };
    let hours = SignedDuration::from_hours;
    let every = spec.rotation.every.as_ref();
    let every = every.map(|text| {
        parse(text, hours(1), hours(8760)).ok_or(SpecProblem::Invalid {
            field: "spec.rotation.every",
            rule: "must be from 1h to 8760h",
        })
    });
    let every = every.transpose()?;
    let least = SignedDuration::from_mins(5);
    let overlap = parse(&spec.rotation.overlap, least, hours(720));
    let overlap = overlap.ok_or(SpecProblem::Invalid {
        field: "spec.rotation.overlap",
        rule: "must be from 5m to 720h",
    })?;
    ensure(
        every.is_none_or(|every| every - overlap >= overlap),
        "spec.rotation.overlap",
        "must be at most half of every",
    )?;
    Ok((every, overlap))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::Reason,
        edge_token::testing::{allowed, object, object_with, plan},
    };

    #[test]
    fn a_spec_with_nothing_set_makes_a_key_for_all_that_is_published_and_never_rotates_it() {
        let plan = plan(&object());
        assert_eq!(plan.every, None);
        assert_eq!(plan.overlap, SignedDuration::from_hours(24));
        assert!(plan.is_verified && !plan.revokes);
        let Source::TokenApi {
            url,
            scopes,
            created_by,
        } = plan.source
        else {
            panic!("the Token API is the default");
        };
        assert_eq!(url.as_str(), "https://edge.sitecorecloud.io/api/apikey/v1");
        assert_eq!(scopes, ["audience-delivery", "content-#everything#"]);
        assert_eq!(created_by, "edge-credential-operator");
    }

    #[test]
    fn what_breaks_a_rule_is_named_by_its_field() {
        let token_api = json!({"url": "https://edge.sitecorecloud.io/api/apikey/v1"});
        let deploy_api = json!({"environmentID": "a"});
        let rows: Vec<(Value, &str)> = vec![
            (
                json!({"target": {"name": "edge-client"}}),
                "spec.target.name",
            ),
            (
                json!({"tokenAPI": token_api, "deployAPI": deploy_api}),
                "spec",
            ),
            (json!({"tokenAPI": {"scopes": []}}), "spec.tokenAPI.scopes"),
            (
                json!({"tokenAPI": {"scopes": ["a b"]}}),
                "spec.tokenAPI.scopes",
            ),
            (
                json!({"tokenAPI": {"createdBy": ""}}),
                "spec.tokenAPI.createdBy",
            ),
            (json!({"tokenAPI": {"url": "ftp://x"}}), "spec.tokenAPI.url"),
            (
                json!({"deployAPI": {"environmentID": "a/b"}}),
                "spec.deployAPI.environmentID",
            ),
            (
                json!({"deployAPI": deploy_api, "deletionPolicy": "Revoke"}),
                "spec.deletionPolicy",
            ),
            (
                json!({"deployAPI": deploy_api, "rotation": {"every": "48h"}}),
                "spec.rotation.every",
            ),
            (json!({"rotation": {"every": "59m"}}), "spec.rotation.every"),
            (
                json!({"rotation": {"every": "8761h"}}),
                "spec.rotation.every",
            ),
            (
                json!({"rotation": {"overlap": "299s"}}),
                "spec.rotation.overlap",
            ),
            (
                json!({"rotation": {"every": "47h", "overlap": "24h"}}),
                "spec.rotation.overlap",
            ),
            (json!({"deliveryURL": "x"}), "spec.deliveryURL"),
            (
                json!({"target": {"data": [{"key": "a", "from": "CreatedAt"}]}}),
                "spec.target.data",
            ),
        ];
        for (spec, expected) in rows {
            match check_spec(&object_with(spec.clone()), &allowed()) {
                Err(SpecProblem::Invalid { field, .. }) => assert_eq!(field, expected, "{spec}"),
                other => panic!("{spec}: {other:?}"),
            }
        }
    }

    #[test]
    fn nothing_is_sent_to_an_origin_that_is_not_allowed() {
        let evil = "https://evil.example/x";
        for (spec, reason) in [
            (
                json!({"tokenRequest": {"url": evil}}),
                Reason::TokenOriginNotAllowed,
            ),
            (
                json!({"tokenAPI": {"url": evil}}),
                Reason::EdgeAPIOriginNotAllowed,
            ),
            (
                json!({"deployAPI": {"url": evil, "environmentID": "a"}}),
                Reason::EdgeAPIOriginNotAllowed,
            ),
            (
                json!({"deliveryURL": evil}),
                Reason::EdgeAPIOriginNotAllowed,
            ),
        ] {
            let problem = check_spec(&object_with(spec.clone()), &allowed()).unwrap_err();
            assert_eq!(problem.reason(), reason, "{spec}");
            assert!(problem.to_string().contains("https://evil.example"));
        }
    }
}
