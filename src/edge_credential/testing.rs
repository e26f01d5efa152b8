//! What the tests of this folder start from: one EdgeCredential, its credentials and its tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::core::{
    Status,
    response::{StatusCause, StatusDetails},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::rules::{
    spec::{Plan, check_spec},
    target::{ProvenToken, render},
};
use crate::{
    api::{
        EdgeCredential, EdgeCredentialSpec, Reason, credentials::SecretVersion,
        edge_credential::RENEW_REQUESTED_AT, failures::Failures, token_request::DEFAULT_AUDIENCE,
    },
    http::{
        Unreachable,
        origin::{AllowedOrigins, SITECORE_ORIGINS},
    },
    oauth::{ClientCredentials, Token, TokenError},
    rules::{credentials::Credentials, error::Error},
};

/// A second to count from.
pub const NOW: i64 = 1_800_000_000;

/// In texts of servers and in Secrets: it must not come out anywhere.
pub const CANARY: &str = "CANARY";

/// So many seconds after [`NOW`].
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).unwrap()
}

/// An EdgeCredential with nothing set but what must be.
pub fn object() -> EdgeCredential {
    object_with(json!({}))
}

/// An EdgeCredential with these fields of the spec.
pub fn object_with(spec: Value) -> EdgeCredential {
    let mut fields = json!({"credentialsSecretRef": {"name": "edge-client"}});
    for (field, value) in spec.as_object().unwrap() {
        fields[field] = value.clone();
    }
    let spec: EdgeCredentialSpec = serde_json::from_value(fields).unwrap();
    EdgeCredential {
        metadata: ObjectMeta {
            name: Some("edge".into()),
            namespace: Some("shop".into()),
            uid: Some("uid-1".into()),
            generation: Some(1),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

/// Sets the annotation by which a person asks for a new token.
pub fn ask_to_renew(object: &mut EdgeCredential, value: &str) {
    let annotations = object.metadata.annotations.get_or_insert_default();
    annotations.insert(RENEW_REQUESTED_AT.into(), value.into());
}

/// Sitecore's origins.
pub fn allowed() -> AllowedOrigins {
    SITECORE_ORIGINS
        .iter()
        .map(|origin| origin.parse().unwrap())
        .collect()
}

/// What is to be done by a spec that is sound.
pub fn sound_plan(object: &EdgeCredential) -> Plan {
    check_spec(object, &allowed()).unwrap()
}

/// Client credentials with this secret.
pub fn client(secret: &str) -> ClientCredentials {
    ClientCredentials {
        client_id: "client-1".into(),
        client_secret: secret.into(),
    }
}

/// A credentials Secret with these.
pub fn credentials_secret(client: &ClientCredentials) -> Secret {
    let value = |secret: &SecretString| ByteString(secret.expose_secret().as_bytes().to_vec());
    Secret {
        data: Some(
            [
                ("client_id".into(), value(&client.client_id)),
                ("client_secret".into(), value(&client.client_secret)),
            ]
            .into(),
        ),
        ..Secret::default()
    }
}

/// A version of the credentials Secret.
pub fn version(resource_version: &str) -> SecretVersion {
    SecretVersion {
        uid: "uid-of-credentials".into(),
        resource_version: resource_version.into(),
    }
}

/// The usual credentials.
pub fn credentials() -> Credentials {
    Credentials {
        client: client("s3cret-CANARY"),
        version: Some(version("7")),
    }
}

/// Credentials after a rotation.
pub fn rotated_credentials() -> Credentials {
    Credentials {
        client: client("another-CANARY"),
        version: Some(version("8")),
    }
}

/// A JSON Web Token with these claims.
pub fn jwt(claims: &Value) -> String {
    let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
    format!(
        "{}.{}.{}",
        encode(r#"{"alg":"RS256"}"#),
        encode(&claims.to_string()),
        encode("signature")
    )
}

/// A token that was issued and expires so many seconds after [`NOW`].
pub fn token(issued: i64, expires: i64) -> Token {
    let claims = json!({
        "aud": DEFAULT_AUDIENCE,
        "iat": NOW + issued,
        "exp": NOW + expires,
        "https://auth.sitecorecloud.io/claims/tenant_id": "tenant-1",
        "https://auth.sitecorecloud.io/claims/org_id": "org_1",
    });
    Token {
        access_token: jwt(&claims).into(),
        scope: Some("edge.admin:manage".into()),
        tenant_id: Some("tenant-1".into()),
        organization_id: Some("org_1".into()),
        issued_at: at(issued),
        expires_at: at(expires),
    }
}

/// A token with the usual credentials, for the usual object.
pub fn proven(token: Token) -> ProvenToken {
    ProvenToken::new(
        token,
        &credentials().client,
        &object(),
        &sound_plan(&object()),
    )
}

/// The target as it is after this token was written.
pub fn target_with(object: &EdgeCredential, token: Token) -> Secret {
    stored(render(
        object,
        &sound_plan(object),
        &ProvenToken::new(token, &credentials().client, object, &sound_plan(object)),
        None,
    ))
}

/// A Secret as the API server gives it back.
pub fn stored(mut secret: Secret) -> Secret {
    secret.metadata.uid = Some("uid-of-target".into());
    secret.metadata.resource_version = Some("100".into());
    secret
}

/// So many failed attempts with the usual credentials, the next one so many seconds after [`NOW`].
pub fn failures(count: i32, next: i64) -> Failures {
    Failures {
        count,
        reason: Reason::TokenEndpointUnavailable,
        last_attempt_at: Time(at((next - 1).min(0))),
        next_attempt_at: Time(at(next)),
    }
}

/// An answer of the API server that says more than may be repeated.
pub fn answer(code: u16, cause: Option<&str>) -> kube::Error {
    let cause = cause.map(|reason| StatusCause {
        reason: reason.into(),
        message: CANARY.into(),
        field: CANARY.into(),
    });
    let details = StatusDetails {
        name: CANARY.into(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: cause.into_iter().collect(),
        retry_after_seconds: 0,
    };
    let mut status = Status::failure(CANARY, CANARY);
    status.code = code;
    status.details = Some(details);
    kube::Error::Api(status.boxed())
}

/// A refusal by the API server with this status and message.
pub fn denial(code: u16, message: &str) -> kube::Error {
    let mut status = Status::failure(message, CANARY);
    status.code = code;
    kube::Error::Api(status.boxed())
}

/// The token endpoint could not be connected to.
pub fn endpoint_down() -> Error {
    Error::RequestToken(TokenError::Unreachable(Unreachable::Connect))
}

/// The token endpoint took the credentials for wrong ones.
pub fn rejected() -> Error {
    Error::RequestToken(TokenError::Refused {
        status: 401,
        error: None,
    })
}
