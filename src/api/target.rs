//! The Secret that a token is written to.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{credentials::SecretVersion, group::GROUP};

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

/// A version of the Secret that holds the token.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// The Secret's name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The Secret's uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
    /// The Secret's resourceVersion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub resource_version: Option<String>,
}

impl TargetStatus {
    /// A Secret, in a version of it if it is there.
    pub fn new(name: &str, version: Option<SecretVersion>) -> Self {
        let (uid, resource_version) = version
            .map(|version| (version.uid, version.resource_version))
            .unzip();
        Self {
            name: name.into(),
            uid,
            resource_version,
        }
    }

    /// The version of the Secret, where it was there.
    pub fn version(&self) -> Option<SecretVersion> {
        Some(SecretVersion {
            uid: self.uid.clone()?,
            resource_version: self.resource_version.clone()?,
        })
    }
}

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

/// Prefixes of label and annotation keys that a target may not carry. Kubernetes acts on its own ones (a Secret can
/// be made to belong to something else by a label), and ours are the operator's evidence.
pub const RESERVED_KEY_DOMAINS: [&str; 3] = ["kubernetes.io", "k8s.io", GROUP];

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
