//! The Secret that a token is written to.

use std::{borrow::Cow, collections::BTreeMap};

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{credentials::SecretVersion, group::GROUP, names, size::stored_size_rule};

/// Declares the target of a kind and one of its keys. Kinds differ in what a key can be taken from.
macro_rules! declare_target {
    ($target:ident, $entry:ident, $source:ident, $data:literal, $carriers:expr, $rule:literal) => {
        /// The Secret that the token is written to.
        #[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
        #[serde(rename_all = "camelCase")]
        pub struct $target {
            /// The Secret's name, by default the object's own. It cannot be changed.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(
                length(min = 1, max = names::MAX_LENGTH),
                regex(pattern = names::SUBDOMAIN)
            )]
            pub name: Option<String>,

            /// Labels for the Secret. Those of Kubernetes and of this operator are refused, but for
            /// `app.kubernetes.io/name`, `instance`, `version`, `component` and `part-of`.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            #[schemars(schema_with = "labels_schema")]
            pub labels: BTreeMap<String, String>,

            /// Annotations for the Secret. Those of Kubernetes and of this operator are refused.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            #[schemars(schema_with = "annotations_schema")]
            pub annotations: BTreeMap<String, String>,

            #[doc = $data]
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            #[schemars(length(min = 1, max = MAX_ENTRIES))]
            #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
            #[x_kube(validation = Rule::new(values_rule()).message("all values together take at most 8192 bytes"))]
            #[x_kube(validation = Rule::new(carrier_rule(&$carriers)).message($rule))]
            pub data: Vec<$entry>,
        }

        /// One key of the target Secret.
        #[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
        #[x_kube(validation = Rule::new("has(self.from) != has(self.value)").message("set exactly one of from and value"))]
        #[serde(rename_all = "camelCase")]
        pub struct $entry {
            /// The key.
            #[schemars(length(min = 1, max = names::MAX_LENGTH), regex(pattern = names::SECRET_KEY))]
            pub key: String,

            /// What to write, taken from the token.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub from: Option<$source>,

            /// What to write, as it stands here. Not for anything secret: whoever may read this object may read it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(length(max = 4096))]
            pub value: Option<String>,
        }

        impl Entry for $entry {
            fn key(&self) -> &str {
                &self.key
            }

            fn value(&self) -> Option<&str> {
                self.value.as_deref()
            }

            fn is_taken(&self) -> bool {
                self.from.is_some()
            }

            fn has_token(&self) -> bool {
                self.from.is_some_and($source::has_token)
            }
        }
    };
}

/// One key of a target, whatever it can be taken from.
pub trait Entry {
    /// The key.
    fn key(&self) -> &str;

    /// What to write, as it stands in the spec.
    fn value(&self) -> Option<&str>;

    /// Whether what to write is taken from the token.
    fn is_taken(&self) -> bool;

    /// Whether the token itself is in what is written.
    fn has_token(&self) -> bool;
}

declare_target!(
    Target,
    TargetEntry,
    Source,
    "The keys of the Secret. At least one carries the token. By default `access_token`, `token_type`, `scope` and `expires_at`.",
    ["AccessToken", "Authorization", "JSON"],
    "at least one entry must carry the token: from AccessToken, Authorization or JSON"
);

declare_target!(
    KeyTarget,
    KeyEntry,
    KeySource,
    "The keys of the Secret. At least one carries the token. By default `SITECORE_API_KEY` and `GRAPH_QL_ENDPOINT`.",
    ["EdgeToken"],
    "at least one entry must carry the token: from EdgeToken"
);

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

/// What to write, taken from the key.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The Edge token: the API key of the Delivery API.
    EdgeToken,
    /// The GraphQL endpoint of the Delivery API, `spec.deliveryURL`.
    #[serde(rename = "DeliveryURL")]
    DeliveryUrl,
    /// When the key was made, as an RFC 3339 timestamp in UTC.
    CreatedAt,
}

impl Source {
    /// Whether the token itself is in what is written.
    pub fn has_token(self) -> bool {
        matches!(self, Self::AccessToken | Self::Authorization | Self::Json)
    }
}

impl KeySource {
    /// Whether the key itself is in what is written.
    pub fn has_token(self) -> bool {
        self == Self::EdgeToken
    }
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

impl Target {
    /// The keys of the Secret: those that are named, or the default ones. They are not stored by default: whoever adds
    /// the first key of their own means that one alone.
    pub fn entries(&self) -> Cow<'_, [TargetEntry]> {
        if !self.data.is_empty() {
            return Cow::Borrowed(&self.data);
        }
        let default = [
            ("access_token", Source::AccessToken),
            ("token_type", Source::TokenType),
            ("scope", Source::Scope),
            ("expires_at", Source::ExpiresAt),
        ];
        let entries = default.map(|(key, from)| TargetEntry {
            key: key.into(),
            from: Some(from),
            value: None,
        });
        Cow::Owned(entries.into())
    }
}

impl KeyTarget {
    /// The keys of the Secret: those that are named, or the default ones, which are ready for `envFrom`.
    pub fn entries(&self) -> Cow<'_, [KeyEntry]> {
        if !self.data.is_empty() {
            return Cow::Borrowed(&self.data);
        }
        let default = [
            ("SITECORE_API_KEY", KeySource::EdgeToken),
            ("GRAPH_QL_ENDPOINT", KeySource::DeliveryUrl),
        ];
        let entries = default.map(|(key, from)| KeyEntry {
            key: key.into(),
            from: Some(from),
            value: None,
        });
        Cow::Owned(entries.into())
    }
}

/// The most keys of a target. Each may hold a token of 16 KiB, and a Secret 1 MiB in all.
pub const MAX_ENTRIES: usize = 32;

/// The most labels, and the most annotations, of a target.
pub const MAX_LABELS: usize = 16;

/// How much all fixed values together may take as stored, and so much again all annotations, in bytes.
pub const MAX_SIZE: usize = 8192;

/// Prefixes of label and annotation keys that a target may not carry. Kubernetes acts on its own ones (a Secret can
/// be made to belong to something else by a label), and ours are the operator's evidence.
pub const RESERVED_KEY_DOMAINS: [&str; 3] = ["kubernetes.io", "k8s.io", GROUP];

/// Kubernetes' recommended labels that say whose a Secret is and act on nothing. `managed-by` is the operator's.
pub const USERS_LABELS: [&str; 5] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/component",
    "app.kubernetes.io/part-of",
];

/// Whether an annotation's key is reserved: its prefix is a domain of [`RESERVED_KEY_DOMAINS`] or below one.
pub fn is_reserved_annotation(key: &str) -> bool {
    let Some((prefix, _)) = key.split_once('/') else {
        return false;
    };
    RESERVED_KEY_DOMAINS.iter().any(|domain| {
        prefix
            .strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// Whether a label's key is reserved: as an annotation's, but for [`USERS_LABELS`].
pub fn is_reserved_label(key: &str) -> bool {
    is_reserved_annotation(key) && !USERS_LABELS.contains(&key)
}

/// In CEL, that at least one key is taken from what has the token in it.
fn carrier_rule(carriers: &[&str]) -> String {
    format!("self.exists(e, has(e.from) && e.from in {carriers:?})").replace('"', "'")
}

/// In CEL, that all fixed values together take no more room than they may.
fn values_rule() -> String {
    let size = stored_size_rule("e.value");
    format!("self.map(e, has(e.value) ? {size} : 0).sum() <= {MAX_SIZE}")
}

fn key_rules(except: &[&str]) -> Vec<Value> {
    let domains = RESERVED_KEY_DOMAINS
        .map(|domain| domain.replace('.', "[.]"))
        .join("|");
    let (max_length, pattern) = (names::MAX_LENGTH, names::LABEL_KEY);
    vec![
        json!({
            "rule": format!("self.all(k, k in {except:?} || !k.matches('^([^/]*[.])?({domains})/'))"),
            "message": "keys of kubernetes.io, k8s.io and edgecredentials.io are reserved",
        }),
        json!({
            "rule": format!("self.all(k, k.matches('{pattern}') && k.indexOf('/') <= {max_length})"),
            "message": "keys must be valid label or annotation keys",
        }),
    ]
}

fn labels_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAX_LABELS,
        "additionalProperties": {
            "type": "string",
            "maxLength": names::LABEL_MAX_LENGTH,
            "pattern": names::LABEL_VALUE,
        },
        "x-kubernetes-validations": key_rules(&USERS_LABELS),
    })
}

fn annotations_schema(_: &mut SchemaGenerator) -> Schema {
    let size = stored_size_rule("self[k]");
    let mut rules = key_rules(&[]);
    rules.push(json!({
        "rule": format!("self.map(k, k.size() + {size}).sum() <= {MAX_SIZE}"),
        "message": format!("all annotations together take at most {MAX_SIZE} bytes"),
    }));
    json_schema!({
        "type": "object",
        "maxProperties": MAX_LABELS,
        "additionalProperties": {"type": "string", "maxLength": 4096},
        "x-kubernetes-validations": rules,
    })
}
