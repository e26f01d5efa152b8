//! Specs that an API server refuses: for a test that it does, and for one that `kubectl edgecred validate` does too.

use serde_json::{Value, json};

/// What is changed in a sound spec, and a part of what an API server then says. The EdgeCredential is named `edge`, and its credentials
/// Secret `edge-client`.
pub fn refused() -> Vec<(Value, &'static str)> {
    let long = "x".repeat(5000);
    let url_rule = "must be an http or https URL without user information and fragment";
    let standard_rule = "must not redefine a standard parameter";
    let reserved_rule = "keys of kubernetes.io, k8s.io and edgecredentials.io are reserved";
    let token = json!({"key": "token", "from": "AccessToken"});
    vec![
        // Names of Secrets.
        (
            json!({"credentialsSecretRef": null}),
            "spec.credentialsSecretRef: Required value",
        ),
        (
            json!({"credentialsSecretRef": {"name": ""}}),
            "spec.credentialsSecretRef.name",
        ),
        (
            json!({"credentialsSecretRef": {"name": "Edge_Client"}}),
            "spec.credentialsSecretRef.name",
        ),
        (
            json!({"credentialsSecretRef": {"name": "edge"}}),
            "the target must not be the credentials Secret",
        ),
        (
            json!({"target": {"name": crate::harness::CREDENTIALS}}),
            "the target must not be the credentials Secret",
        ),
        (json!({"target": {"name": "../edge"}}), "spec.target.name"),
        (json!({"target": {"name": "a..b"}}), "spec.target.name"),
        (
            json!({"credentialsSecretRef": {"name": "a.-b"}}),
            "spec.credentialsSecretRef.name",
        ),
        (
            json!({"credentialsSecretRef": {"clientSecretKey": "..data"}}),
            "spec.credentialsSecretRef.clientSecretKey",
        ),
        (
            json!({"credentialsSecretRef": {"clientIDKey": "a/b"}}),
            "spec.credentialsSecretRef.clientIDKey",
        ),
        // The request.
        (
            json!({"tokenRequest": {"url": "https://user:pass@auth.example.com/token"}}),
            url_rule,
        ),
        (
            json!({"tokenRequest": {"url": "https://user@auth.example.com/token"}}),
            url_rule,
        ),
        (
            json!({"tokenRequest": {"url": "https://auth.example.com/token#part"}}),
            url_rule,
        ),
        (
            json!({"tokenRequest": {"url": "https://auth.example.com/to ken"}}),
            url_rule,
        ),
        (
            json!({"tokenRequest": {"url": "ftp://auth.example.com/token"}}),
            url_rule,
        ),
        (
            json!({"tokenRequest": {"url": "auth.example.com/token"}}),
            url_rule,
        ),
        (
            json!({"tokenRequest": {"url": ""}}),
            "spec.tokenRequest.url",
        ),
        (
            json!({"tokenRequest": {"url": format!("https://auth.example.com/{long}")}}),
            "spec.tokenRequest.url: Too long",
        ),
        (
            json!({"tokenRequest": {"audience": long}}),
            "spec.tokenRequest.audience: Too long",
        ),
        (
            json!({"tokenRequest": {"scopes": ["two words"]}}),
            "spec.tokenRequest.scopes[0]",
        ),
        (
            json!({"tokenRequest": {"scopes": ["quote\""]}}),
            "spec.tokenRequest.scopes[0]",
        ),
        (
            json!({"tokenRequest": {"scopes": [""]}}),
            "spec.tokenRequest.scopes[0]",
        ),
        (
            json!({"tokenRequest": {"scopes": ["one", "one"]}}),
            "spec.tokenRequest.scopes[1]: Duplicate value",
        ),
        (
            json!({"tokenRequest": {"scopes": names(17, 1).collect::<Vec<_>>()}}),
            "spec.tokenRequest.scopes: Too many",
        ),
        (
            json!({"tokenRequest": {"extraParameters": {"client_secret": "mine"}}}),
            standard_rule,
        ),
        (
            json!({"tokenRequest": {"extraParameters": {"grant_type": "password"}}}),
            standard_rule,
        ),
        (
            json!({"tokenRequest": {"extraParameters": {"audience": "other"}}}),
            standard_rule,
        ),
        (
            json!({"tokenRequest": {"extraParameters": {"a b": "c"}}}),
            "names are 1 to 128 letters",
        ),
        (
            json!({"tokenRequest": {"extraParameters": {"organization": long}}}),
            "spec.tokenRequest.extraParameters.organization: Too long",
        ),
        (
            json!({"tokenRequest": {"format": "XML"}}),
            "supported values: \"Form\", \"JSON\"",
        ),
        (
            json!({"tokenRequest": {"clientAuthentication": "Query"}}),
            "supported values: \"ClientSecretPost\", \"ClientSecretBasic\"",
        ),
        (
            json!({"tokenRequest": {"tokenFormat": "Opaque"}}),
            "supported values: \"JWT\", \"Any\"",
        ),
        (
            json!({"tokenRequest": {"extraParameters": {"client_assertions": "x"}}}),
            standard_rule,
        ),
        (
            json!({"tokenRequest": {"extraParameters": {"organization": "é"}}}),
            "spec.tokenRequest.extraParameters.organization",
        ),
        (
            json!({"tokenRequest": {"audience": "é"}}),
            "spec.tokenRequest.audience",
        ),
        (
            json!({"tokenRequest": {"url": "https:\\\\auth.example.com"}}),
            url_rule,
        ),
        (
            json!({"tokenRequest": {"url": "https://é.example"}}),
            url_rule,
        ),
        // The time.
        (
            json!({"renewBefore": "1h", "renewBeforePercentage": 5}),
            "set at most one of renewBefore and renewBeforePercentage",
        ),
        (
            json!({"renewBeforePercentage": 0}),
            "spec.renewBeforePercentage",
        ),
        (
            json!({"renewBeforePercentage": 100}),
            "spec.renewBeforePercentage",
        ),
        (json!({"renewBefore": "8 hours"}), "spec.renewBefore"),
        (json!({"renewBefore": "-1h"}), "spec.renewBefore"),
        (json!({"renewBefore": "90"}), "spec.renewBefore"),
        (json!({"renewBefore": ""}), "spec.renewBefore"),
        (json!({"renewBefore": 90}), "spec.renewBefore"),
        (json!({"suspend": "yes"}), "spec.suspend"),
        // The target.
        (json!({"target": {"data": []}}), "spec.target.data"),
        (
            json!({"target": {"data": [{"key": "type", "from": "TokenType"}]}}),
            "at least one entry must carry the token",
        ),
        (
            json!({"target": {"data": [{"key": "url", "value": "x"}]}}),
            "at least one entry must carry the token",
        ),
        (
            json!({"target": {"data": [token, {"key": "both", "from": "Scope", "value": "x"}]}}),
            "set exactly one of from and value",
        ),
        (
            json!({"target": {"data": [token, {"key": "neither"}]}}),
            "set exactly one of from and value",
        ),
        (
            json!({"target": {"data": [token, {"key": "secret", "from": "ClientSecret"}]}}),
            "spec.target.data[1].from: Unsupported value",
        ),
        (
            json!({"target": {"data": [token, {"key": "token", "value": "x"}]}}),
            "spec.target.data[1]: Duplicate value",
        ),
        (
            json!({"target": {"data": [token, {"key": "a/b", "value": "x"}]}}),
            "spec.target.data[1].key",
        ),
        (
            json!({"target": {"data": [token, {"key": "long", "value": long}]}}),
            "spec.target.data[1].value: Too long",
        ),
        (
            json!({"target": {"labels": {"app.kubernetes.io/managed-by": "me"}}}),
            reserved_rule,
        ),
        (
            json!({"target": {"labels": {"k8s.io/x": "y"}}}),
            reserved_rule,
        ),
        (
            json!({"target": {"annotations": {"edgecredentials.io/token": "forged"}}}),
            reserved_rule,
        ),
        (
            json!({"target": {"annotations": {"kubernetes.io/service-account.name": "x"}}}),
            reserved_rule,
        ),
        (
            json!({"target": {"labels": {"not a key": "x"}}}),
            "keys must be valid label or annotation keys",
        ),
        (
            json!({"target": {"labels": {"a..b/c": "x"}}}),
            "keys must be valid label or annotation keys",
        ),
        (
            json!({"target": {"annotations": {format!("{}/c", "a".repeat(254)): "x"}}}),
            "keys must be valid label or annotation keys",
        ),
        (
            json!({"target": {"labels": {"edgecredentials.io/name": "x"}}}),
            reserved_rule,
        ),
        (
            json!({"target": {"annotations": {"app.kubernetes.io/name": "x"}}}),
            reserved_rule,
        ),
        (
            json!({"target": {"labels": {"team": "not a value"}}}),
            "spec.target.labels",
        ),
        (
            json!({"target": {"data": [token, {"key": "..data", "value": "x"}]}}),
            "spec.target.data[1].key",
        ),
        (
            json!({"target": {"data": [token, {"key": ".", "value": "x"}]}}),
            "spec.target.data[1].key",
        ),
    ]
}

/// Applies a merge patch, but that `null` stays.
pub fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

/// So many names that are as long as they may be.
pub fn names(count: usize, length: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{number:a>length$}"))
}
