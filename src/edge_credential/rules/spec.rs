//! The spec, turned into what is acted on, or what is wrong with it.
//!
//! The API server checks most of this by schema. It is checked again, because an object can be older than a rule.

use k8s_openapi::jiff::Timestamp;

use super::{
    renew_before::{InvalidRenewBefore, RenewBefore},
    schedule::{Renewal, schedule_renewal},
};
use crate::{
    api::{EdgeCredential, target::TargetEntry},
    http::origin::AllowedOrigins,
    oauth::{RequestParameters, Token},
    rules::{
        spec::{
            SpecProblem, check_annotations, check_credentials, check_entries, check_labels,
            check_origin, make_parameters,
        },
        times::is_ahead,
    },
};

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

/// What is to be done by a spec, once the whole of it has been found sound.
pub fn check_spec(object: &EdgeCredential, allowed: &AllowedOrigins) -> Result<Plan, SpecProblem> {
    let spec = &object.spec;
    check_credentials(&spec.credentials_secret_ref, object.target_name())?;
    let renew_before = RenewBefore::of(spec)
        .map_err(|InvalidRenewBefore { field, rule }| SpecProblem::Invalid { field, rule })?;
    check_labels(&spec.target.labels)?;
    check_annotations(&spec.target.annotations)?;
    let entries = spec.target.entries();
    check_entries(
        &entries,
        "must carry the token: from AccessToken, Authorization or JSON",
    )?;
    let parameters = make_parameters(&spec.token_request)?;
    check_origin(&parameters.token_url, allowed)?;
    Ok(Plan {
        parameters,
        renew_before,
        entries: entries.into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::jiff::SignedDuration;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::{Reason, target::USERS_LABELS, token_request::STANDARD_PARAMETERS},
        edge_credential::testing::{allowed, object, object_with},
        rules::spec::check_names,
    };

    fn names_of(object: &EdgeCredential) -> Result<(), SpecProblem> {
        check_names(&object.spec.credentials_secret_ref, object.target_name())
    }

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
        assert_eq!(names_of(&object()), Ok(()));
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
            assert!(names_of(&credentials).is_err(), "{name}");
            let target = object_with(json!({"target": {"name": name}}));
            assert!(names_of(&target).is_err(), "{name}");
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
