//! The spec, turned into the parameters of a token request, or what is wrong with it.
//!
//! The API server checks most of this by schema. It is checked again, because an object can be older than a rule.

use std::{collections::BTreeSet, fmt};

use reqwest::Url;

use crate::{
    api::{
        EdgeCredential, Reason,
        target::{Source, is_reserved_key},
        token_request::{AUDIENCE_MAX_LENGTH, STANDARD_PARAMETERS},
    },
    oauth::{
        RequestParameters,
        origin::{AllowedOrigins, Origin},
    },
};

/// Why a spec cannot be acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecProblem {
    /// A field breaks a rule.
    Invalid {
        /// The field's path.
        field: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// The token endpoint's origin is not in the administrator's list.
    OriginNotAllowed(Origin),
}

impl SpecProblem {
    /// The reason that conditions show.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid { .. } => Reason::InvalidSpec,
            Self::OriginNotAllowed(_) => Reason::TokenOriginNotAllowed,
        }
    }
}

impl fmt::Display for SpecProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { field, rule } => write!(f, "{field} {rule}"),
            Self::OriginNotAllowed(origin) => write!(
                f,
                "client secrets may not be sent to {origin}: correct spec.tokenRequest.url, or have an administrator add the \
                 origin to the operator's --allowed-token-origin"
            ),
        }
    }
}

/// Checks the names of the two Secrets, before anything is read: a name becomes part of a URL, and one with a slash in
/// it could lead to another namespace.
pub fn check_names(object: &EdgeCredential) -> Result<(), SpecProblem> {
    for (field, name) in [
        (
            "spec.credentialsSecretRef.name",
            object.spec.credentials_secret_ref.name.as_str(),
        ),
        ("spec.target.name", object.target_name()),
    ] {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        let is_name = (1..=253).contains(&name.len())
            && name.bytes().all(inner)
            && !name.starts_with(['-', '.'])
            && !name.ends_with(['-', '.']);
        if !is_name {
            let rule = "must be the name of a Secret";
            return Err(SpecProblem::Invalid { field, rule });
        }
    }
    Ok(())
}

/// The request parameters of an EdgeCredential, once its whole spec has been found sound.
pub fn parameters(
    object: &EdgeCredential,
    allowed: &AllowedOrigins,
) -> Result<RequestParameters, SpecProblem> {
    let spec = &object.spec;
    let invalid = |field, rule| SpecProblem::Invalid { field, rule };

    if object.target_name() == spec.credentials_secret_ref.name {
        return Err(invalid(
            "spec.target.name",
            "must not be the credentials Secret",
        ));
    }
    if spec.renew_before().is_err() {
        return Err(invalid(
            "spec.renewBefore",
            "must be a duration such as 8h or 90m",
        ));
    }
    // It is copied into status, which an API server refuses where it is longer.
    if spec.token_request.audience.len() > AUDIENCE_MAX_LENGTH {
        return Err(invalid(
            "spec.tokenRequest.audience",
            "must have at most 1024 characters",
        ));
    }
    if STANDARD_PARAMETERS
        .iter()
        .any(|standard| spec.token_request.extra_parameters.contains_key(*standard))
    {
        return Err(invalid(
            "spec.tokenRequest.extraParameters",
            "must not redefine a standard parameter of the request",
        ));
    }
    check_target(object)?;

    let token_url = Url::parse(&spec.token_request.url)
        .ok()
        .filter(|url| {
            url.username().is_empty() && url.password().is_none() && url.fragment().is_none()
        })
        .ok_or(invalid(
            "spec.tokenRequest.url",
            "must be an http or https URL without user information and fragment",
        ))?;
    let origin = Origin::of(&token_url).ok_or(invalid(
        "spec.tokenRequest.url",
        "must be an http or https URL",
    ))?;
    if !allowed.contain(&token_url) {
        return Err(SpecProblem::OriginNotAllowed(origin));
    }
    Ok(RequestParameters {
        token_url,
        audience: spec.token_request.audience.clone(),
        scopes: spec.token_request.scopes.clone(),
        extra_parameters: spec.token_request.extra_parameters.clone(),
        format: spec.token_request.format,
        client_authentication: spec.token_request.client_authentication,
        token_format: spec.token_request.token_format,
    })
}

fn check_target(object: &EdgeCredential) -> Result<(), SpecProblem> {
    let target = &object.spec.target;
    let invalid = |field, rule| Err(SpecProblem::Invalid { field, rule });

    let mut keys = BTreeSet::new();
    for entry in &target.data {
        if entry.from.is_some() == entry.value.is_some() {
            return invalid(
                "spec.target.data",
                "must set exactly one of from and value in each entry",
            );
        }
        if !is_key(&entry.key) {
            return invalid("spec.target.data", "must name keys that a Secret can have");
        }
        if !keys.insert(&entry.key) {
            return invalid("spec.target.data", "must not name a key twice");
        }
    }
    let carries_token = |source| {
        matches!(
            source,
            Source::AccessToken | Source::Authorization | Source::Json
        )
    };
    if !target
        .data
        .iter()
        .any(|entry| entry.from.is_some_and(carries_token))
    {
        return invalid(
            "spec.target.data",
            "must carry the token: from AccessToken, Authorization or JSON",
        );
    }
    if target.labels.keys().any(|key| is_reserved_key(key)) {
        return invalid("spec.target.labels", "must not use a reserved key");
    }
    if target.annotations.keys().any(|key| is_reserved_key(key)) {
        return invalid("spec.target.annotations", "must not use a reserved key");
    }
    Ok(())
}

/// Whether a Secret can have such a key. Asked before a token is requested that could not be written.
fn is_key(key: &str) -> bool {
    (1..=253).contains(&key.len())
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::edge_credential::testing::{allowed, object, object_with};

    fn refusal(spec: Value) -> SpecProblem {
        parameters(&object_with(spec.clone()), &allowed()).expect_err(&spec.to_string())
    }

    #[test]
    fn a_spec_with_nothing_set_asks_sitecore() {
        let parameters = parameters(&object(), &allowed()).unwrap();
        assert_eq!(
            parameters.token_url.as_str(),
            "https://auth.sitecorecloud.io/oauth/token"
        );
        assert_eq!(parameters.audience, "https://api.sitecorecloud.io");
        assert!(parameters.scopes.is_empty() && parameters.extra_parameters.is_empty());
    }

    #[test]
    fn a_name_that_could_lead_elsewhere_is_refused_before_anything_is_read() {
        assert_eq!(check_names(&object()), Ok(()));
        for name in [
            "",
            "a/b",
            "../../kube-system/secrets/a",
            "A",
            "-a",
            "a.",
            "a?b",
            "ä",
        ] {
            let credentials = object_with(json!({"credentialsSecretRef": {"name": name}}));
            assert!(check_names(&credentials).is_err(), "{name}");
            let target = object_with(json!({"target": {"name": name}}));
            assert!(check_names(&target).is_err(), "{name}");
        }
    }

    #[test]
    fn what_the_spec_says_is_what_is_asked_for() {
        let object = object_with(json!({
            "tokenRequest": {
                "url": "https://auth-beta.sitecorecloud.io/oauth/token?x=1",
                "audience": "a",
                "scopes": ["one", "two"],
                "extraParameters": {"organization": "org"},
                "format": "JSON",
                "clientAuthentication": "ClientSecretBasic",
                "tokenFormat": "Any",
            },
            "renewBefore": "1h30m",
        }));
        let parameters = parameters(&object, &allowed()).unwrap();
        assert_eq!(
            parameters.token_url.as_str(),
            "https://auth-beta.sitecorecloud.io/oauth/token?x=1"
        );
        assert_eq!(parameters.audience, "a");
        assert_eq!(parameters.scopes, object.spec.token_request.scopes);
        assert_eq!(
            parameters.extra_parameters,
            object.spec.token_request.extra_parameters
        );
        assert_eq!(parameters.format, object.spec.token_request.format);
        assert_eq!(
            parameters.client_authentication,
            object.spec.token_request.client_authentication
        );
        assert_eq!(
            parameters.token_format,
            object.spec.token_request.token_format
        );
    }

    #[test]
    fn every_rule_of_the_schema_that_matters_is_checked_again() {
        let token = json!({"key": "token", "from": "AccessToken"});
        let mut rows = vec![
            (
                json!({"target": {"name": "edge-client"}}),
                "spec.target.name",
            ),
            (
                json!({"credentialsSecretRef": {"name": "edge"}}),
                "spec.target.name",
            ),
            (
                json!({"tokenRequest": {"audience": "a".repeat(1025)}}),
                "spec.tokenRequest.audience",
            ),
            (json!({"target": {"data": []}}), "spec.target.data"),
            (
                json!({"target": {"data": [{"key": "scope", "from": "Scope"}]}}),
                "spec.target.data",
            ),
            (
                json!({"target": {"data": [token, {"key": "neither"}]}}),
                "spec.target.data",
            ),
            (
                json!({"target": {"data": [token, {"key": "both", "from": "Scope", "value": "x"}]}}),
                "spec.target.data",
            ),
            (
                json!({"target": {"data": [token, {"key": "token", "value": "x"}]}}),
                "spec.target.data",
            ),
            (
                json!({"target": {"data": [token, {"key": "a/b", "value": "x"}]}}),
                "spec.target.data",
            ),
        ];
        rows.extend(
            [
                "soon",
                "",
                "-5h",
                "8",
                "8 hours ago",
                "99999999999999999999h",
            ]
            .map(|text| (json!({"renewBefore": text}), "spec.renewBefore")),
        );
        rows.extend(STANDARD_PARAMETERS.map(|name| {
            (
                json!({"tokenRequest": {"extraParameters": {name: "x"}}}),
                "spec.tokenRequest.extraParameters",
            )
        }));
        rows.extend(
            [
                "",
                "auth.sitecorecloud.io",
                "not a URL",
                "https://",
                "https://me@auth.sitecorecloud.io/oauth/token",
                "https://me:secret@auth.sitecorecloud.io/oauth/token",
                "https://auth.sitecorecloud.io/oauth/token#part",
                "data:text/plain,x",
                "file:///etc/passwd",
            ]
            .map(|url| {
                (
                    json!({"tokenRequest": {"url": url}}),
                    "spec.tokenRequest.url",
                )
            }),
        );
        for reserved in [
            "kubernetes.io/x",
            "app.kubernetes.io/name",
            "k8s.io/x",
            "edgecredentials.io/token",
            "sub.edgecredentials.io/x",
        ] {
            rows.push((
                json!({"target": {"labels": {reserved: "x"}}}),
                "spec.target.labels",
            ));
            rows.push((
                json!({"target": {"annotations": {reserved: "x"}}}),
                "spec.target.annotations",
            ));
        }
        for (spec, expected) in rows {
            let problem = refusal(spec.clone());
            assert!(
                matches!(problem, SpecProblem::Invalid { field, .. } if field == expected),
                "{spec}: {problem:?}"
            );
            assert_eq!(problem.reason(), Reason::InvalidSpec);
            assert!(problem.to_string().starts_with(expected));
        }
    }

    #[test]
    fn keys_that_only_look_reserved_are_allowed() {
        for key in ["name", "notkubernetes.io/x", "kubernetes.io.example.com/x"] {
            let object =
                object_with(json!({"target": {"labels": {key: "x"}, "annotations": {key: "x"}}}));
            parameters(&object, &allowed()).expect(key);
        }
    }

    #[test]
    fn another_origin_is_named_without_anything_else_of_its_url() {
        for (url, origin) in [
            (
                "http://auth.sitecorecloud.io/oauth/token",
                "http://auth.sitecorecloud.io",
            ),
            (
                "https://auth.sitecorecloud.io:8443/",
                "https://auth.sitecorecloud.io:8443",
            ),
            (
                "https://evil.example/oauth/token?CANARY=1",
                "https://evil.example",
            ),
        ] {
            let problem = refusal(json!({"tokenRequest": {"url": url}}));
            assert_eq!(problem.reason(), Reason::TokenOriginNotAllowed, "{url}");
            let message = problem.to_string();
            assert!(message.contains(&format!(" {origin}:")), "{message}");
            assert!(!message.contains("CANARY"));
        }
    }
}
