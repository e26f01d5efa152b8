//! `EdgeCredential`: which credentials to use, which token to ask for, and where to put it.
//!
//! Every string, list, map and number is bounded: an API server estimates the cost of CEL rules from these bounds,
//! and an unbounded field is an invitation to fill etcd.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::SignedDuration,
};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Set by a person, to any new value, to have the token renewed now. Each value is handled once.
pub const RENEW_REQUESTED_AT: &str = "edgecredentials.io/renew-requested-at";

/// The longest value of [`RENEW_REQUESTED_AT`] that is honoured, in bytes. It is copied into status and target.
pub const RENEW_REQUEST_MAX_LENGTH: usize = 64;

/// Where Sitecore issues tokens.
pub const DEFAULT_TOKEN_URL: &str = "https://auth.sitecorecloud.io/oauth/token";

/// The longest audience, in characters. It is copied into status.
pub const AUDIENCE_MAX_LENGTH: usize = 1024;

/// The audience of Sitecore's Experience Edge APIs.
pub const DEFAULT_AUDIENCE: &str = "https://api.sitecorecloud.io";

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
    category = "sitecore",
    status = "EdgeCredentialStatus",
    derive = "PartialEq",
    doc = "Keeps a Sitecore Experience Edge token valid in a Secret of its own namespace.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the target Secret holds a valid token."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is ready or not."
    ),
    // Strings, not dates: a date column shows an age, and for a time to come "<invalid>".
    printcolumn(
        name = "Expires",
        type_ = "string",
        json_path = ".status.token.expiresAt",
        description = "When the token in the target Secret expires."
    ),
    printcolumn(
        name = "Renews",
        type_ = "string",
        json_path = ".status.token.renewAt",
        description = "When the next token is requested."
    ),
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".status.target.name",
        priority = "1",
        description = "The Secret that holds the token."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(
        "(has(self.spec.target.name) ? self.spec.target.name : self.metadata.name) != self.spec.credentialsSecretRef.name"
    )
    .message("the target must not be the credentials Secret: set spec.target.name to another name")
    .field_path(".spec.target.name"),
    validation = Rule::new(
        "(has(self.spec.target.name) ? self.spec.target.name : self.metadata.name) == \
         (has(oldSelf.spec.target.name) ? oldSelf.spec.target.name : oldSelf.metadata.name)"
    )
    .message("the target's name is immutable: create another EdgeCredential instead")
    .field_path(".spec.target.name")
)]
#[serde(rename_all = "camelCase")]
pub struct EdgeCredentialSpec {
    /// The Secret, in the same namespace, that holds the client credentials.
    pub credentials_secret_ref: CredentialsSecretRef,

    /// The token endpoint. Its origin (scheme, host and port) must be one that the operator's administrator allowed.
    #[serde(default = "default_token_url", rename = "tokenURL")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(
        "self.matches('^https?://[^/?#@[:space:]]+(/[^#[:space:]]*)?$')"
    ).message("must be an http or https URL without user information and fragment"))]
    pub token_url: String,

    /// The API that the token is for: the `audience` parameter of the request. The token must name it in `aud`.
    #[serde(default = "default_audience")]
    #[schemars(length(min = 1, max = AUDIENCE_MAX_LENGTH))]
    pub audience: String,

    /// The scopes to ask for. None is sent when empty, and the client's default ones are granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(
            length(min = 1, max = 256),
            regex(pattern = r"^[\x21\x23-\x5B\x5D-\x7E]+$")
        )
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub scopes: Vec<String>,

    /// Further parameters of the request, for example `organization`. They may not redefine a parameter of OAuth 2.0.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "extra_parameters_schema")]
    pub extra_parameters: BTreeMap<String, String>,

    /// How the request is encoded.
    #[serde(default)]
    pub request_format: RequestFormat,

    /// How the client proves its identity.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,

    /// What a token must look like. `JWT` refuses anything else; `Any` also takes opaque tokens, whose lifetime is
    /// then only known from `expires_in`.
    #[serde(default)]
    pub token_format: TokenFormat,

    /// How long before its expiry a token is renewed, as a Go duration such as `8h` or `90m`. By default, and where
    /// it is not shorter than the token's lifetime, one third of the lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 2, max = 32),
        regex(pattern = r"^([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h))+$")
    )]
    pub renew_before: Option<String>,

    /// Leaves everything as it is: no token is requested and no Secret is written while this is true.
    #[serde(default)]
    pub suspend: bool,

    /// The Secret that the token is written to.
    #[serde(default)]
    pub target: Target,
}

/// Names the credentials Secret and its two keys.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsSecretRef {
    /// The Secret's name.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,

    /// The key of the client id.
    #[serde(default = "default_client_id_key", rename = "clientIDKey")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub client_id_key: String,

    /// The key of the client secret.
    #[serde(default = "default_client_secret_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub client_secret_key: String,
}

/// How the token request is encoded.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestFormat {
    /// `application/x-www-form-urlencoded`, as RFC 6749 section 4.4.2 has it.
    #[default]
    Form,
    /// `application/json`, which Sitecore's endpoint takes as well.
    #[serde(rename = "JSON")]
    Json,
}

/// How the client proves its identity to the token endpoint (RFC 6749 section 2.3.1).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// Client id and secret are parameters of the request (`client_secret_post`).
    #[default]
    RequestBody,
    /// Client id and secret are sent as HTTP Basic authentication (`client_secret_basic`).
    BasicHeader,
}

/// What a token must look like to be accepted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenFormat {
    /// A signed JSON Web Token. Its signature is not verified: that is for the API that receives it.
    #[default]
    #[serde(rename = "JWT")]
    Jwt,
    /// Any token that RFC 6750 allows in a header.
    Any,
}

/// The Secret that the token is written to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The Secret's name, by default the EdgeCredential's own. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: Option<String>,

    /// Labels for the Secret. Those of Kubernetes and of this operator are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels_schema")]
    pub labels: BTreeMap<String, String>,

    /// Annotations for the Secret. Those of Kubernetes and of this operator are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations_schema")]
    pub annotations: BTreeMap<String, String>,

    /// The keys of the Secret. At least one carries the token.
    #[serde(default = "default_data")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    #[x_kube(validation = Rule::new(
        "self.exists(e, has(e.from) && e.from in ['AccessToken', 'Authorization', 'JSON'])"
    ).message("at least one entry must carry the token: from AccessToken, Authorization or JSON"))]
    pub data: Vec<TargetEntry>,
}

/// One key of the target Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("has(self.from) != has(self.value)").message("set exactly one of from and value"))]
#[serde(rename_all = "camelCase")]
pub struct TargetEntry {
    /// The key.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,

    /// What to write, taken from the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Source>,

    /// What to write, as it stands here. Not for anything secret: whoever may read the EdgeCredential may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
}

// A closed list instead of a template language: nothing a user writes is evaluated over secret data (CVE-2026-22822,
// CVE-2026-34984 in another operator).
/// What to write, taken from the token.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The token.
    AccessToken,
    /// `Bearer <token>`, the value of an `Authorization` header.
    Authorization,
    /// `Bearer`.
    TokenType,
    /// The granted scopes, separated by spaces; empty where the endpoint named none.
    Scope,
    /// When the token expires, as an RFC 3339 timestamp in UTC.
    ExpiresAt,
    /// When the token expires, in seconds since the UNIX epoch.
    ExpiresAtUnix,
    /// When the token was requested, as an RFC 3339 timestamp in UTC.
    IssuedAt,
    /// Sitecore's tenant id from the token; empty where it has none.
    #[serde(rename = "TenantID")]
    TenantId,
    /// Sitecore's organization id from the token; empty where it has none.
    #[serde(rename = "OrganizationID")]
    OrganizationId,
    /// One JSON object with `access_token`, `token_type`, `scope` and `expires_at`.
    #[serde(rename = "JSON")]
    Json,
}

/// What the operator last saw and did.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeCredentialStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,

    /// `Ready`, `Reconciling` and `Stalled`, as kstatus reads them.
    #[serde(default)]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,

    /// The token in the target Secret. Absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenStatus>,

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
    /// The API that the token is for.
    #[schemars(length(max = AUDIENCE_MAX_LENGTH))]
    pub audience: String,
    /// The granted scopes, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub scope: Option<String>,
    /// Always `Bearer`.
    #[schemars(length(max = 16))]
    pub token_type: String,
    /// Sitecore's tenant id, from the token.
    #[serde(default, rename = "tenantID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub tenant_id: Option<String>,
    /// Sitecore's organization id, from the token.
    #[serde(
        default,
        rename = "organizationID",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 128))]
    pub organization_id: Option<String>,
}

/// Names the Secret that holds the token.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// The Secret's name.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// Counts failed attempts in a row, so that a restarted operator keeps waiting instead of trying everything at once.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Failures {
    /// How many attempts in a row failed.
    #[schemars(range(min = 1, max = 2147483647))]
    pub count: i32,
    /// The reason of the last of them. Conditions may give another one, when something else is in the way by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// When the last of them was made.
    pub last_attempt_at: Time,
    /// When the next one is made. A changed spec, changed credentials or a renew request bring it forward.
    pub next_attempt_at: Time,
    /// The resourceVersion of the credentials Secret that the last attempt used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub credentials_resource_version: Option<String>,
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

impl EdgeCredentialSpec {
    /// `renewBefore` as a duration; `Err` where it is none.
    pub fn renew_before(&self) -> Result<Option<Duration>, InvalidDuration> {
        let Some(text) = &self.renew_before else {
            return Ok(None);
        };
        text.parse::<SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok())
            .map(Some)
            .ok_or(InvalidDuration)
    }
}

/// A `renewBefore` that is not a duration.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidDuration;

impl Default for Target {
    fn default() -> Self {
        Self {
            name: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            data: default_data(),
        }
    }
}

fn default_token_url() -> String {
    DEFAULT_TOKEN_URL.into()
}

fn default_audience() -> String {
    DEFAULT_AUDIENCE.into()
}

fn default_client_id_key() -> String {
    "client_id".into()
}

fn default_client_secret_key() -> String {
    "client_secret".into()
}

fn default_data() -> Vec<TargetEntry> {
    [
        ("access_token", Source::AccessToken),
        ("token_type", Source::TokenType),
        ("scope", Source::Scope),
        ("expires_at", Source::ExpiresAt),
    ]
    .into_iter()
    .map(|(key, from)| TargetEntry {
        key: key.into(),
        from: Some(from),
        value: None,
    })
    .collect()
}

/// The request's own parameters, which `extraParameters` may not redefine: a second `client_secret` or `grant_type`
/// would make the request mean something else.
pub const STANDARD_PARAMETERS: [&str; 10] = [
    "audience",
    "grant_type",
    "client_id",
    "client_secret",
    "scope",
    "client_assertion",
    "client_assertion_type",
    "assertion",
    "username",
    "password",
];

fn extra_parameters_schema(_: &mut SchemaGenerator) -> Schema {
    let standard = STANDARD_PARAMETERS
        .map(|name| format!("'{name}'"))
        .join(", ");
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 1024},
        "x-kubernetes-validations": [
            {
                "rule": format!("self.all(k, !(k in [{standard}]))"),
                "message": "must not redefine a standard parameter of the request",
            },
            {
                "rule": "self.all(k, k.matches('^[A-Za-z0-9._-]{1,128}$'))",
                "message": "names are 1 to 128 letters, digits, '.', '_' or '-'",
            },
        ],
    })
}

/// Prefixes of label and annotation keys that a target may not carry. Kubernetes acts on its own ones (a Secret can
/// be made to belong to something else by a label), and ours are the operator's evidence.
pub const RESERVED_KEY_DOMAINS: [&str; 3] = ["kubernetes.io", "k8s.io", super::GROUP];

/// Whether a label or annotation key is reserved: its prefix is a domain of [`RESERVED_KEY_DOMAINS`] or below one.
pub fn is_reserved_key(key: &str) -> bool {
    let Some((prefix, _)) = key.split_once('/') else {
        return false;
    };
    RESERVED_KEY_DOMAINS.iter().any(|domain| {
        prefix
            .strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

fn key_rules() -> serde_json::Value {
    let domains = RESERVED_KEY_DOMAINS
        .map(|domain| domain.replace('.', "[.]"))
        .join("|");
    serde_json::json!([
        {
            "rule": format!("self.all(k, !k.matches('^([^/]*[.])?({domains})/'))"),
            "message": "keys of kubernetes.io, k8s.io and edgecredentials.io are reserved",
        },
        {
            "rule": "self.all(k, k.size() <= 317 && k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
            "message": "keys must be valid label or annotation keys",
        },
    ])
}

fn labels_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        },
        "x-kubernetes-validations": key_rules(),
    })
}

fn annotations_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 4096},
        "x-kubernetes-validations": key_rules(),
    })
}

/// The schema of `metav1.Condition`, with the bounds that its Go type carries as markers.
fn conditions_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the object's state.",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "type": "string",
                    "description": "Ready, Reconciling or Stalled.",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                },
                "status": {
                    "type": "string",
                    "description": "True, False or Unknown.",
                    "enum": ["True", "False", "Unknown"],
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "description": "The generation that the condition was set for.",
                    "minimum": 0,
                },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When the status last changed.",
                },
                "reason": {
                    "type": "string",
                    "description": "One of a closed list of reasons, which the reference documents.",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "type": "string",
                    "description": "For people: what happened and what to do.",
                    "maxLength": 32768,
                },
            },
        },
    })
}
