//! The spec, turned into what is acted on, or what is wrong with it.
//!
//! The API server checks most of this by schema. It is checked again, because an object can be older than a rule.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use k8s_openapi::jiff::Timestamp;
use reqwest::Url;

use super::{
    renew_before::{InvalidRenewBefore, RenewBefore},
    schedule::{Renewal, is_ahead, schedule_renewal},
};
use crate::{
    api::{
        EdgeCredential, Reason,
        credentials::CredentialsSecretRef,
        names::{is_label_key, is_label_value, is_secret_key, is_subdomain},
        size::stored_size,
        target::{
            MAX_ENTRIES, MAX_LABELS, MAX_SIZE, Source, TargetEntry, is_reserved_annotation,
            is_reserved_label,
        },
        token_request::{
            AUDIENCE_MAX_SIZE, MAX_PARAMETERS, MAX_SCOPES, PARAMETER_NAME_MAX_LENGTH,
            PARAMETERS_MAX_SIZE, SCOPE_MAX_LENGTH, TokenRequestSpec, URL_MAX_SIZE,
            is_standard_parameter,
        },
    },
    oauth::{
        RequestParameters, Token,
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

/// A spec that was found sound, as it is acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What to ask the token endpoint for.
    pub parameters: RequestParameters,
    /// How long before its expiry a token is renewed.
    pub renew_before: RenewBefore,
    /// The keys of the target.
    pub entries: Vec<TargetEntry>,
}

impl Plan {
    /// When a token that is for an object is renewed.
    pub fn schedule_renewal(&self, object: &EdgeCredential, token: &Token) -> Renewal {
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        schedule_renewal(self.renew_before, uid, token.issued_at, token.expires_at)
    }

    /// Whether a token would not have to be renewed at once.
    pub fn is_fresh(&self, object: &EdgeCredential, token: &Token, now: Timestamp) -> bool {
        now < self.schedule_renewal(object, token).at && !is_ahead(token.issued_at, now)
    }
}

/// Checks the names of the two Secrets, before anything is read: a name becomes part of a URL, and one with a slash in
/// it could lead to another namespace.
pub fn check_names(object: &EdgeCredential) -> Result<(), SpecProblem> {
    let credentials = &object.spec.credentials_secret_ref.name;
    for (field, name) in [
        ("spec.credentialsSecretRef.name", credentials.as_str()),
        ("spec.target.name", object.target_name()),
    ] {
        ensure(is_subdomain(name), field, "must be the name of a Secret")?;
    }
    Ok(())
}

/// What is to be done by a spec, once the whole of it has been found sound.
pub fn check_spec(object: &EdgeCredential, allowed: &AllowedOrigins) -> Result<Plan, SpecProblem> {
    let spec = &object.spec;
    check_credentials(&spec.credentials_secret_ref)?;
    ensure(
        object.target_name() != spec.credentials_secret_ref.name,
        "spec.target.name",
        "must not be the credentials Secret",
    )?;
    let renew_before = RenewBefore::of(spec)
        .map_err(|InvalidRenewBefore { field, rule }| SpecProblem::Invalid { field, rule })?;
    check_labels(&spec.target.labels)?;
    check_annotations(&spec.target.annotations)?;
    let entries = check_entries(spec.target.entries())?;
    let parameters = make_parameters(&spec.token_request)?;
    check_origin(&parameters.token_url, allowed)?;
    Ok(Plan {
        parameters,
        renew_before,
        entries,
    })
}

fn ensure(holds: bool, field: &'static str, rule: &'static str) -> Result<(), SpecProblem> {
    if holds {
        Ok(())
    } else {
        Err(SpecProblem::Invalid { field, rule })
    }
}

fn check_credentials(names: &CredentialsSecretRef) -> Result<(), SpecProblem> {
    for (field, key) in [
        (
            "spec.credentialsSecretRef.clientIDKey",
            &names.client_id_key,
        ),
        (
            "spec.credentialsSecretRef.clientSecretKey",
            &names.client_secret_key,
        ),
    ] {
        ensure(
            is_secret_key(key),
            field,
            "must be a key that a Secret can have",
        )?;
    }
    Ok(())
}

/// Makes the parameters of a request as they would be sent, if there were nothing else in the way.
pub fn make_parameters(request: &TokenRequestSpec) -> Result<RequestParameters, SpecProblem> {
    let field = "spec.tokenRequest.audience";
    ensure(
        request.audience.bytes().all(is_printable)
            && stored_size(&request.audience) <= AUDIENCE_MAX_SIZE,
        field,
        "must be at most 1024 printable ASCII characters",
    )?;
    let field = "spec.tokenRequest.scopes";
    ensure(
        request.scopes.len() <= MAX_SCOPES,
        field,
        "must be at most 16",
    )?;
    ensure(
        request.scopes.iter().all(|scope| is_scope(scope)),
        field,
        "must be 1 to 128 characters each that RFC 6749 allows, without <, > and &",
    )?;
    check_extra_parameters(&request.extra_parameters)?;
    Ok(RequestParameters {
        token_url: check_url(&request.url)?,
        audience: request.audience.clone(),
        scopes: request.scopes.clone(),
        extra_parameters: request.extra_parameters.clone(),
        format: request.format,
        client_authentication: request.client_authentication,
        token_format: request.token_format,
    })
}

fn is_printable(b: u8) -> bool {
    matches!(b, b' '..=b'~')
}

/// Whether this is one scope: `scope-token` of RFC 6749 section 3.3, without the characters that take sixfold room in
/// the status.
fn is_scope(scope: &str) -> bool {
    (1..=SCOPE_MAX_LENGTH).contains(&scope.len())
        && scope
            .bytes()
            .all(|b| matches!(b, b'!'..=b'~') && !b"\"\\<>&".contains(&b))
}

fn check_extra_parameters(parameters: &BTreeMap<String, String>) -> Result<(), SpecProblem> {
    let field = "spec.tokenRequest.extraParameters";
    ensure(
        !parameters.keys().any(|name| is_standard_parameter(name)),
        field,
        "must not redefine a standard parameter of the request",
    )?;
    let is_name = |name: &String| {
        (1..=PARAMETER_NAME_MAX_LENGTH).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    ensure(
        parameters.keys().all(is_name),
        field,
        "must have names of 1 to 128 letters, digits, '.', '_' or '-'",
    )?;
    ensure(
        parameters
            .values()
            .all(|value| value.bytes().all(is_printable)),
        field,
        "must have values in printable ASCII",
    )?;
    ensure(
        parameters.len() <= MAX_PARAMETERS && stored_sizes(parameters) <= PARAMETERS_MAX_SIZE,
        field,
        "must be at most 16, and 4096 bytes in all",
    )
}

/// A token URL that has no origin to hold against the administrator's list.
const NOT_A_URL: SpecProblem = SpecProblem::Invalid {
    field: "spec.tokenRequest.url",
    rule: "must be an http or https URL without user information and fragment",
};

fn check_url(text: &str) -> Result<Url, SpecProblem> {
    ensure(
        stored_size(text) <= URL_MAX_SIZE,
        "spec.tokenRequest.url",
        "must have at most 2048 characters",
    )?;
    let is_part = |b: u8| is_printable(b) && !b" \"\\<>#".contains(&b);
    let is_plain = |url: &Url| {
        text.bytes().all(is_part)
            && url.username().is_empty()
            && url.password().is_none()
            && Origin::of(url).is_some()
    };
    Url::parse(text).ok().filter(is_plain).ok_or(NOT_A_URL)
}

fn check_origin(url: &Url, allowed: &AllowedOrigins) -> Result<(), SpecProblem> {
    if allowed.contain(url) {
        return Ok(());
    }
    Err(Origin::of(url).map_or(NOT_A_URL, SpecProblem::OriginNotAllowed))
}

fn check_entries(entries: Cow<'_, [TargetEntry]>) -> Result<Vec<TargetEntry>, SpecProblem> {
    let field = "spec.target.data";
    ensure(entries.len() <= MAX_ENTRIES, field, "must be at most 32")?;
    let mut keys = BTreeSet::new();
    for entry in entries.iter() {
        ensure(
            entry.from.is_some() != entry.value.is_some(),
            field,
            "must set exactly one of from and value in each entry",
        )?;
        ensure(
            is_secret_key(&entry.key),
            field,
            "must name keys that a Secret can have",
        )?;
        ensure(keys.insert(&entry.key), field, "must not name a key twice")?;
    }
    let values = entries.iter().filter_map(|entry| entry.value.as_deref());
    ensure(
        values.map(stored_size).sum::<usize>() <= MAX_SIZE,
        field,
        "must have values of at most 8192 bytes in all",
    )?;
    ensure(
        entries
            .iter()
            .any(|entry| entry.from.is_some_and(Source::has_token)),
        field,
        "must carry the token: from AccessToken, Authorization or JSON",
    )?;
    Ok(entries.into_owned())
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), SpecProblem> {
    let field = "spec.target.labels";
    let is_reserved = labels.keys().any(|key| is_reserved_label(key));
    ensure(!is_reserved, field, "must not use a reserved key")?;
    ensure(
        labels
            .iter()
            .all(|(key, value)| is_label_key(key) && is_label_value(value)),
        field,
        "must be labels that a Secret can have",
    )?;
    ensure(labels.len() <= MAX_LABELS, field, "must be at most 16")
}

fn check_annotations(annotations: &BTreeMap<String, String>) -> Result<(), SpecProblem> {
    let field = "spec.target.annotations";
    let is_reserved = annotations.keys().any(|key| is_reserved_annotation(key));
    ensure(!is_reserved, field, "must not use a reserved key")?;
    ensure(
        annotations.keys().all(|key| is_label_key(key)),
        field,
        "must be annotations that a Secret can have",
    )?;
    ensure(
        annotations.len() <= MAX_LABELS && stored_sizes(annotations) <= MAX_SIZE,
        field,
        "must be at most 16, and 8192 bytes in all",
    )
}

fn stored_sizes(map: &BTreeMap<String, String>) -> usize {
    map.iter()
        .map(|(key, value)| stored_size(key) + stored_size(value))
        .sum()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::SignedDuration;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::{target::USERS_LABELS, token_request::STANDARD_PARAMETERS},
        edge_credential::testing::{allowed, object, object_with},
    };

    fn refusal(spec: Value) -> SpecProblem {
        check_spec(&object_with(spec.clone()), &allowed()).expect_err(&spec.to_string())
    }

    #[test]
    fn a_spec_with_nothing_set_asks_sitecore() {
        let plan = check_spec(&object(), &allowed()).unwrap();
        assert_eq!(plan.renew_before, RenewBefore::OneThird);
        let keys: Vec<_> = plan.entries.iter().map(|entry| &*entry.key).collect();
        assert_eq!(keys, ["access_token", "token_type", "scope", "expires_at"]);
        let parameters = plan.parameters;
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
            // These the API server would refuse once the token was paid for.
            "a..b",
            "a.-b",
            "a-.b",
            &"a".repeat(254),
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
        let Plan {
            parameters,
            renew_before,
            ..
        } = check_spec(&object, &allowed()).unwrap();
        let minutes = SignedDuration::from_mins(90);
        assert_eq!(renew_before, RenewBefore::Duration(minutes));
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

    /// What must be refused, by the field that is named.
    fn refused() -> Vec<(Value, &'static str)> {
        let long = |length| "a".repeat(length);
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
                json!({"renewBefore": "8h", "renewBeforePercentage": 34}),
                "spec.renewBeforePercentage",
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
        rows.extend([0, -1, 100].map(|percentage| {
            (
                json!({"renewBeforePercentage": percentage}),
                "spec.renewBeforePercentage",
            )
        }));

        let keys = ["", ".", "..", "..data", "a/b", "a b", "ä", &long(254)];
        for key in keys {
            let name = "edge-client";
            rows.push((
                json!({"credentialsSecretRef": {"name": name, "clientIDKey": key}}),
                "spec.credentialsSecretRef.clientIDKey",
            ));
            rows.push((
                json!({"credentialsSecretRef": {"name": name, "clientSecretKey": key}}),
                "spec.credentialsSecretRef.clientSecretKey",
            ));
        }

        let token = json!({"key": "token", "from": "AccessToken"});
        let many: Vec<_> = (0..33)
            .map(|number| json!({"key": number.to_string(), "from": "AccessToken"}))
            .collect();
        let mut data = vec![
            json!(many),
            json!([{"key": "scope", "from": "Scope"}]),
            json!([token, {"key": "neither"}]),
            json!([token, {"key": "both", "from": "Scope", "value": "x"}]),
            json!([token, {"key": "token", "value": "x"}]),
            json!([token, {"key": "a", "value": long(4097)}, {"key": "b", "value": long(4096)}]),
            json!([token, {"key": "a", "value": "<".repeat(1366)}]),
        ];
        data.extend(keys.map(|key| json!([token, {"key": key, "value": "x"}])));
        rows.extend(
            data.into_iter()
                .map(|data| (json!({"target": {"data": data}}), "spec.target.data")),
        );

        let mut labels: Vec<_> = [
            "kubernetes.io/x",
            "app.kubernetes.io/managed-by",
            "sub.kubernetes.io/name",
            "k8s.io/x",
            "edgecredentials.io/token",
            "edgecredentials.io/name",
            "sub.edgecredentials.io/x",
            "",
            "not a key",
            "a/b/c",
            "/a",
            "a/",
            "-a",
            "a_",
            "A/b",
            "a..b/c",
            &long(64),
            &format!("{}/b", long(254)),
        ]
        .map(|key| json!({key: "x"}))
        .into();
        let many: BTreeMap<_, _> = (0..17).map(|number| (number.to_string(), "x")).collect();
        labels.push(json!(many));
        let annotations = labels.iter().cloned().chain([
            json!({"app.kubernetes.io/name": "x"}),
            json!({"a": long(4096), "b": long(4095)}),
            json!({"a": "\u{2028}".repeat(1366)}),
        ]);
        rows.extend(annotations.map(|annotations| {
            (
                json!({"target": {"annotations": annotations}}),
                "spec.target.annotations",
            )
        }));
        labels.extend(
            ["not a value", "-a", "a.", "ä", &long(64)].map(|value| json!({"team": value})),
        );
        rows.extend(
            labels
                .into_iter()
                .map(|labels| (json!({"target": {"labels": labels}}), "spec.target.labels")),
        );

        let mut request = vec![
            (
                json!({"audience": long(1025)}),
                "spec.tokenRequest.audience",
            ),
            (json!({"audience": "é"}), "spec.tokenRequest.audience"),
            (
                json!({"audience": "&".repeat(171)}),
                "spec.tokenRequest.audience",
            ),
        ];
        let many: Vec<_> = (0..17).map(|number| number.to_string()).collect();
        request.push((json!({"scopes": many}), "spec.tokenRequest.scopes"));
        request.extend(
            [
                "",
                "two words",
                "quote\"",
                "back\\slash",
                "<",
                "é",
                &long(129),
            ]
            .map(|scope| (json!({"scopes": [scope]}), "spec.tokenRequest.scopes")),
        );
        let many: BTreeMap<_, _> = (0..17).map(|number| (number.to_string(), "")).collect();
        let mut parameters = vec![
            json!(many),
            json!({"a b": "x"}),
            json!({"": "x"}),
            json!({long(129): "x"}),
            json!({"x": "é"}),
            json!({"x": "\n"}),
            json!({"x": long(4096)}),
            json!({"x": "<".repeat(683)}),
            json!({"client_assertion": "x"}),
            json!({"client_assertion_type": "x"}),
            json!({"client_assertions": "x"}),
        ];
        parameters.extend(STANDARD_PARAMETERS.map(|name| json!({name: "x"})));
        request.extend(parameters.into_iter().map(|parameters| {
            (
                json!({"extraParameters": parameters}),
                "spec.tokenRequest.extraParameters",
            )
        }));
        request.extend(
            [
                "",
                "auth.sitecorecloud.io",
                "not a URL",
                "https://",
                "https://me@auth.sitecorecloud.io/oauth/token",
                "https://me:secret@auth.sitecorecloud.io/oauth/token",
                "https://auth.sitecorecloud.io/oauth/token#",
                "https://auth.sitecorecloud.io/oauth/token#part",
                "https://auth.sitecorecloud.io/to ken",
                "https://auth.sitecorecloud.io/to\nken",
                "https:\\auth.sitecorecloud.io/token",
                "data:text/plain,x",
                "file:///etc/passwd",
                &format!("https://auth.sitecorecloud.io/{}", long(2048)),
                &format!("https://auth.sitecorecloud.io/?{}", "&".repeat(337)),
            ]
            .map(|url| (json!({"url": url}), "spec.tokenRequest.url")),
        );
        rows.extend(
            request
                .into_iter()
                .map(|(request, field)| (json!({"tokenRequest": request}), field)),
        );
        rows
    }

    #[test]
    fn every_rule_of_the_schema_that_matters_is_checked_again() {
        for (spec, expected) in refused() {
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
    fn what_is_within_the_bounds_by_a_byte_is_taken() {
        let long = |length| "a".repeat(length);
        let many: Vec<_> = (0..32)
            .map(|number| json!({"key": number.to_string(), "from": "AccessToken"}))
            .collect();
        let labels: BTreeMap<_, _> = (0..16).map(|number| (number.to_string(), "x")).collect();
        let scopes: Vec<_> = (0..16).map(|number| number.to_string()).collect();
        let token = json!({"key": "token", "from": "AccessToken"});
        let url = "https://auth.sitecorecloud.io/";
        for spec in [
            json!({"renewBeforePercentage": 1}),
            json!({"renewBeforePercentage": 99}),
            json!({"target": {"name": "a.b-c.1"}}),
            json!({"credentialsSecretRef": {"name": "x", "clientIDKey": ".a", "clientSecretKey": "a..b"}}),
            json!({"target": {"data": many}}),
            json!({"target": {"data": [token, {"key": "b", "value": "<".repeat(1365)}]}}),
            json!({"target": {"data": [token, {"key": "a", "value": long(4096)}, {"key": "b", "value": long(4096)}]}}),
            json!({"target": {"labels": labels, "annotations": labels}}),
            json!({"target": {"labels": {format!("{}/{}", long(253), long(63)): long(63), "e": ""}}}),
            json!({"target": {"annotations": {"a": long(4096), "b": long(4094)}}}),
            json!({"tokenRequest": {"audience": long(1024)}}),
            json!({"tokenRequest": {"audience": "", "scopes": scopes}}),
            json!({"tokenRequest": {"scopes": ["!#[]~", long(128)]}}),
            json!({"tokenRequest": {"extraParameters": {"x": long(4095)}}}),
            json!({"tokenRequest": {"url": format!("{url}{}", long(2048 - url.len()))}}),
        ] {
            let checked = check_spec(&object_with(spec.clone()), &allowed());
            assert!(checked.is_ok(), "{spec}: {checked:?}");
        }
    }

    #[test]
    fn the_labels_that_say_whose_a_secret_is_are_the_users() {
        let labels: BTreeMap<_, _> = USERS_LABELS.map(|key| (key, "x")).into();
        check_spec(
            &object_with(json!({"target": {"labels": labels}})),
            &allowed(),
        )
        .unwrap();
    }

    #[test]
    fn keys_that_only_look_reserved_are_allowed() {
        for key in ["name", "notkubernetes.io/x", "kubernetes.io.example.com/x"] {
            let object =
                object_with(json!({"target": {"labels": {key: "x"}, "annotations": {key: "x"}}}));
            check_spec(&object, &allowed()).expect(key);
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
