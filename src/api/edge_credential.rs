//! `EdgeCredential`: which credentials to use, which token to ask for, and where to put it.
//!
//! Every string, list, map and number is bounded: an API server estimates the cost of CEL rules from these bounds,
//! and an unbounded field is an invitation to fill etcd.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    conditions::conditions_schema,
    credentials::{CredentialsSecretRef, SecretVersion},
    failures::Failures,
    schema::{UNSEEN, finish_schema},
    target::{Target, TargetStatus},
    token_request::{
        AUDIENCE_MAX_SIZE, GRANTED_SCOPES, PRINTABLE, TOO_LARGE, TokenRequestSpec, at_most,
    },
};

/// Set by a person, to any new value, to have the token renewed now. Each value is handled once.
pub const RENEW_REQUESTED_AT: &str = "edgecredentials.io/renew-requested-at";

/// The longest value of [`RENEW_REQUESTED_AT`] that is honoured, in bytes. It is copied into status and target.
pub const RENEW_REQUEST_MAX_LENGTH: usize = 64;

/// Keeps a Sitecore Experience Edge token valid in a Secret.
///
/// The token is requested with the client credentials of `credentialsSecretRef`, written to the Secret of `target`,
/// and renewed before it expires.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "edgecredentials.io",
    version = "v1alpha1",
    kind = "EdgeCredential",
    namespaced,
    shortname = "ecred",
    shortname = "edgecred",
    category = "sitecore",
    status = "EdgeCredentialStatus",
    derive = "PartialEq",
    doc = "Keeps a token valid in a Secret: which credentials to use, which token to ask for, and where to put it.",
    // Written below: a default of the status cannot be derived.
    schema = "manual",
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status",
        "description": "Whether the target Secret holds a valid token."}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason",
        "description": "Why it is ready or not."}"#,
    // Strings, not dates: a date column shows an age, and for a time to come "<invalid>".
    printcolumn = r#"{"name": "Expires", "type": "string", "jsonPath": ".status.token.expiresAt",
        "description": "When the token in the target Secret expires."}"#,
    printcolumn = r#"{"name": "Renews", "type": "string", "jsonPath": ".status.token.renewAt",
        "description": "When the next token is requested."}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
        "description": "Since when the EdgeCredential exists."}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].message", "priority": 1,
        "description": "What happened, and what to do."}"#,
    printcolumn = r#"{"name": "Target", "type": "string", "jsonPath": ".status.target.name", "priority": 1,
        "description": "The Secret that holds the token."}"#,
    printcolumn = r#"{"name": "Tenant", "type": "string", "jsonPath": ".status.token.tenantID", "priority": 1,
        "description": "Sitecore's tenant: the environment that the token opens."}"#,
    selectable = ".spec.credentialsSecretRef.name",
    selectable = ".spec.target.name",
    selectable = ".spec.suspend"
)]
#[x_kube(validation = Rule::new("!has(self.renewBefore) || !has(self.renewBeforePercentage)")
    .message("set at most one of renewBefore and renewBeforePercentage"))]
#[serde(rename_all = "camelCase")]
pub struct EdgeCredentialSpec {
    /// The Secret, in the same namespace, that holds the client credentials.
    pub credentials_secret_ref: CredentialsSecretRef,

    /// What is asked of the token endpoint, and how.
    #[serde(default)]
    pub token_request: TokenRequestSpec,

    /// How long before its expiry a token is renewed, as a Go duration such as `8h` or `90m`. By default, and where
    /// it is not shorter than the token's lifetime, one third of the lifetime. A token is renewed after a tenth of its
    /// lifetime, and a minute, at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 2, max = 32),
        regex(pattern = r"^([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h))+$")
    )]
    pub renew_before: Option<String>,

    /// How long before its expiry a token is renewed, in hundredths of its lifetime, instead of `renewBefore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub renew_before_percentage: Option<i32>,

    /// Leaves everything as it is: no token is requested and no Secret is written while this is true.
    #[serde(default)]
    pub suspend: bool,

    /// The Secret that the token is written to.
    #[serde(default)]
    pub target: Target,
}

impl JsonSchema for EdgeCredential {
    fn schema_name() -> Cow<'static, str> {
        "EdgeCredential".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut status = generator.subschema_for::<EdgeCredentialStatus>();
        // Without it kstatus takes an object that nobody has seen yet for one that is ready.
        status.insert("default".into(), json!({"observedGeneration": UNSEEN}));
        let target = "has(self.spec.target.name) ? self.spec.target.name : self.metadata.name";
        let earlier = target.replace("self.", "oldSelf.");
        let mut schema = json_schema!({
            "description": "Keeps a Sitecore Experience Edge token valid in a Secret of its own namespace.",
            "type": "object",
            "required": ["spec"],
            "properties": {
                "spec": generator.subschema_for::<EdgeCredentialSpec>(),
                "status": status,
            },
            "x-kubernetes-validations": [
                {
                    "rule": format!("({target}) != self.spec.credentialsSecretRef.name"),
                    "message": "the target must not be the credentials Secret: set spec.target.name to another name",
                    "fieldPath": ".spec.target.name",
                },
                {
                    "rule": format!("({target}) == ({earlier})"),
                    "message": "the target's name is immutable: create another EdgeCredential instead",
                    "fieldPath": ".spec.target.name",
                },
            ],
        });
        finish_schema(&mut schema);
        schema
    }
}

/// An id of Sitecore's.
const IDENTIFIER: &str = "^[-A-Za-z0-9._]+$";

/// What the operator last saw and did.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeCredentialStatus {
    /// The generation of the spec that this status describes; -1 before the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = UNSEEN))]
    pub observed_generation: Option<i64>,

    /// `Ready`, `Reconciling` and `Stalled`, as kstatus reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,

    /// The token in the target Secret. Absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenStatus>,

    /// The credentials Secret on which this status was decided. Failures count for these credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SecretVersion>,

    /// The Secret that holds the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetStatus>,

    /// Attempts that failed since the last one that succeeded. Absent when the last attempt succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Failures>,

    /// The value of the renew annotation that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub last_handled_renew_request: Option<String>,
}

/// What is known of the token in the target Secret, without the token itself.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TokenStatus {
    /// When the token was requested.
    pub issued_at: Time,
    /// When the token expires.
    pub expires_at: Time,
    /// When the next token is requested.
    pub renew_at: Time,
    /// The API that the token is for. Absent where none was asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = AUDIENCE_MAX_SIZE), regex(pattern = PRINTABLE))]
    #[x_kube(validation = Rule::new(at_most(AUDIENCE_MAX_SIZE)).message(TOO_LARGE))]
    pub audience: String,
    /// The granted scopes, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), regex(pattern = GRANTED_SCOPES))]
    pub scope: Option<String>,
    /// Sitecore's tenant id, from the token: the environment that it opens, so a look here shows whether the right client
    /// was used. Unverified, and left out where it looks wrong.
    #[serde(default, rename = "tenantID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = IDENTIFIER))]
    pub tenant_id: Option<String>,
    /// Sitecore's organization id, from the token. Unverified, and left out where it looks wrong.
    #[serde(
        default,
        rename = "organizationID",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 128), regex(pattern = IDENTIFIER))]
    pub organization_id: Option<String>,
}

impl EdgeCredential {
    /// The name of the target Secret: `spec.target.name`, by default the object's own name.
    pub fn target_name(&self) -> &str {
        self.spec
            .target
            .name
            .as_deref()
            .or(self.metadata.name.as_deref())
            .unwrap_or_default()
    }

    /// The value of the renew annotation. Empty values, and such as are too long to be copied into status, count as
    /// none.
    pub fn renew_request(&self) -> Option<&str> {
        self.metadata
            .annotations
            .as_ref()?
            .get(RENEW_REQUESTED_AT)
            .map(String::as_str)
            .filter(|value| !value.is_empty() && value.len() <= RENEW_REQUEST_MAX_LENGTH)
    }
}
