//! `EdgeToken`: which credentials to use, which key to keep, and where to put it.
//!
//! The key never expires. Nothing rotates it unless that is asked for: most programs read it once, when they start.

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
    target::{KeyTarget, TargetStatus},
    token_request::{TOO_LARGE, TokenRequestSpec, URL, URL_MAX_SIZE, at_most},
};

/// Set by a person, to any new value, to have the key replaced now. Each value is handled once.
pub const ROTATE_REQUESTED_AT: &str = "edgecredentials.io/rotate-requested-at";

/// Set by a person, to any new value, to have former keys revoked now, before their overlap is over. Each value is handled
/// once. After a leak: rotate, restart what reads the key, end the overlap.
pub const END_OVERLAP_REQUESTED_AT: &str = "edgecredentials.io/end-overlap-requested-at";

/// Where keys are made: the Token API.
pub const DEFAULT_TOKEN_API_URL: &str = "https://edge.sitecorecloud.io/api/apikey/v1";

/// Where the Deploy API is.
pub const DEFAULT_DEPLOY_API_URL: &str = "https://xmclouddeploy-api.sitecorecloud.io";

/// Where content is read with a key: the Delivery API.
pub const DEFAULT_DELIVERY_URL: &str = "https://edge.sitecorecloud.io/api/graphql/v1";

/// How long a former key is good by default.
pub const DEFAULT_OVERLAP: &str = "24h";

/// A Go duration in whole seconds, minutes and hours.
const DURATION: &str = "^([0-9]{1,5}(s|m|h))+$";

/// What a mark is, see `edge_token::rules::mark`.
const MARK: &str = "^edge-token/[-0-9a-zA-Z]{1,36}/[0-9a-f]{16}$";

/// The longest mark: uids have 36 characters.
const MARK_MAX_LENGTH: usize = 64;

/// What the Token API calls a key's hash.
const HASH: &str = "^[-A-Za-z0-9+/=_]+$";

/// Keeps an Edge token, an API key of Sitecore's Delivery API, in a Secret.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "edgecredentials.io",
    version = "v1alpha1",
    kind = "EdgeToken",
    namespaced,
    shortname = "etoken",
    category = "sitecore",
    status = "EdgeTokenStatus",
    derive = "PartialEq",
    doc = "Keeps an Edge token, an API key of Sitecore's Delivery API, in a Secret.",
    // Written below: a default of the status cannot be derived.
    schema = "manual",
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status",
        "description": "Whether the target Secret holds a key that works."}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason",
        "description": "Why it is ready or not."}"#,
    printcolumn = r#"{"name": "Created", "type": "date", "jsonPath": ".status.token.createdAt",
        "description": "How long ago the key was made."}"#,
    // Strings, not dates: a date column shows an age, and for a time to come "<invalid>".
    printcolumn = r#"{"name": "Rotates", "type": "string", "jsonPath": ".status.token.rotateAt",
        "description": "When the key is replaced."}"#,
    printcolumn = r#"{"name": "Revokes", "type": "string", "jsonPath": ".status.retired[0].revokeAt",
        "description": "Until when the former key works."}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
        "description": "Since when the EdgeToken exists."}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].message", "priority": 1,
        "description": "What happened, and what to do."}"#,
    printcolumn = r#"{"name": "Target", "type": "string", "jsonPath": ".status.target.name", "priority": 1,
        "description": "The Secret that holds the key."}"#,
    selectable = ".spec.credentialsSecretRef.name",
    selectable = ".spec.target.name",
    selectable = ".spec.suspend"
)]
#[x_kube(validation = Rule::new("!(has(self.tokenAPI) && has(self.deployAPI))")
    .message("set at most one of tokenAPI and deployAPI"))]
#[x_kube(validation = Rule::new("!has(self.deployAPI) || self.deletionPolicy != 'Revoke'")
    .message("keys of the Deploy API cannot be revoked: deletionPolicy must be Keep"))]
#[x_kube(validation = Rule::new("!has(self.deployAPI) || !has(self.rotation.every)")
    .message("keys of the Deploy API are not rotated: each call of it may make another one"))]
#[serde(rename_all = "camelCase")]
pub struct EdgeTokenSpec {
    /// The Secret, in the same namespace, that holds the client credentials.
    pub credentials_secret_ref: CredentialsSecretRef,

    /// What is asked of the token endpoint, and how, for the JSON Web Token with which the API is called. It is asked for when
    /// a call is due, and never stored.
    #[serde(default)]
    pub token_request: TokenRequestSpec,

    /// The key is made, rotated and revoked with the Token API. This is the default where `deployAPI` is not set.
    #[serde(default, rename = "tokenAPI", skip_serializing_if = "Option::is_none")]
    pub token_api: Option<TokenApi>,

    /// The key is fetched from the Deploy API, when there is none or a person asks for another one.
    #[serde(default, rename = "deployAPI", skip_serializing_if = "Option::is_none")]
    pub deploy_api: Option<DeployApi>,

    /// Where content is read with the key: the GraphQL endpoint of the Delivery API.
    #[serde(default = "default_delivery_url", rename = "deliveryURL")]
    #[schemars(length(min = 1, max = URL_MAX_SIZE))]
    #[x_kube(validation = Rule::new(format!("self.matches(r'{URL}')"))
        .message("must be an http or https URL without user information and fragment"))]
    #[x_kube(validation = Rule::new(at_most(URL_MAX_SIZE)).message(TOO_LARGE))]
    pub delivery_url: String,

    /// How it is found out that a key works before it is handed out, and before the former one is revoked.
    #[serde(default)]
    pub verify: Verify,

    /// When the key is replaced.
    #[serde(default)]
    pub rotation: Rotation,

    /// What becomes of the keys when the EdgeToken is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// Leaves everything as it is: no key is made or revoked and no Secret is written while this is true.
    #[serde(default)]
    pub suspend: bool,

    /// The Secret that the key is written to.
    #[serde(default)]
    pub target: KeyTarget,
}

/// How keys are made with the Token API.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TokenApi {
    /// The Token API. Its origin must be one that the operator's administrator allowed. It cannot be changed: the keys are there.
    #[serde(default = "default_token_api_url")]
    #[schemars(length(min = 1, max = URL_MAX_SIZE))]
    #[x_kube(validation = Rule::new(format!("self.matches(r'{URL}')"))
        .message("must be an http or https URL without user information and fragment"))]
    #[x_kube(validation = Rule::new(at_most(URL_MAX_SIZE)).message(TOO_LARGE))]
    pub url: String,

    /// What the key may read. Other scopes mean another key: the former one is good for the overlap.
    #[serde(default = "default_scopes")]
    #[schemars(
        length(min = 1, max = 16),
        inner(length(min = 1, max = 128), regex(pattern = "^[!-~]+$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub scopes: Vec<String>,

    /// Who made the key, as Sitecore shows it.
    #[serde(default = "default_created_by")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[ -~]+$"))]
    pub created_by: String,
}

/// From where a key is fetched with the Deploy API.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeployApi {
    /// The Deploy API. Its origin must be one that the operator's administrator allowed.
    #[serde(default = "default_deploy_api_url")]
    #[schemars(length(min = 1, max = URL_MAX_SIZE))]
    #[x_kube(validation = Rule::new(format!("self.matches(r'{URL}')"))
        .message("must be an http or https URL without user information and fragment"))]
    #[x_kube(validation = Rule::new(at_most(URL_MAX_SIZE)).message(TOO_LARGE))]
    pub url: String,

    /// The environment whose key it is.
    #[serde(rename = "environmentID")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9-]+$"))]
    pub environment_id: String,
}

/// When the key is replaced. Its values are Go durations such as `2160h` or `90m`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.every) || duration(self.every) - duration(self.overlap) >= duration(self.overlap)")
    .message("overlap must be at most half of every"))]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// How old a key is when it is replaced, from 1h to 8760h. By default never, but when a person asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), regex(pattern = DURATION))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h') && duration(self) <= duration('8760h')")
        .message("must be from 1h to 8760h"))]
    pub every: Option<String>,

    /// How long the former key works after the new one was written, from 5m to 720h: whoever uses the key has to read the Secret,
    /// or to be restarted, within that time.
    #[serde(default = "default_overlap")]
    #[schemars(length(min = 2, max = 32), regex(pattern = DURATION))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('5m') && duration(self) <= duration('720h')")
        .message("must be from 5m to 720h"))]
    pub overlap: String,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            every: None,
            overlap: default_overlap(),
        }
    }
}

/// How it is found out that a key works.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// By the smallest query of the Delivery API.
    #[default]
    Delivery,
    /// Not at all.
    None,
}

/// What becomes of the keys when the EdgeToken is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// They work on, until somebody revokes them.
    #[default]
    Keep,
    /// They are revoked first, by a finalizer: without an operator the EdgeToken is not deleted until that is removed.
    Revoke,
}

impl JsonSchema for EdgeToken {
    fn schema_name() -> Cow<'static, str> {
        "EdgeToken".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut status = generator.subschema_for::<EdgeTokenStatus>();
        // Without it kstatus takes an object that nobody has seen yet for one that is ready.
        status.insert("default".into(), json!({"observedGeneration": UNSEEN}));
        let target = "has(self.spec.target.name) ? self.spec.target.name : self.metadata.name";
        let url =
            format!("has(self.spec.tokenAPI) ? self.spec.tokenAPI.url : '{DEFAULT_TOKEN_API_URL}'");
        let is_unchanged = |value: &str| {
            let earlier = value.replace("self.", "oldSelf.");
            format!("({value}) == ({earlier})")
        };
        let mut schema = json_schema!({
            "description": "Keeps an Edge token, an API key of Sitecore's Delivery API, in a Secret of its own namespace.",
            "type": "object",
            "required": ["spec"],
            "properties": {
                "spec": generator.subschema_for::<EdgeTokenSpec>(),
                "status": status,
            },
            "x-kubernetes-validations": [
                {
                    "rule": format!("({target}) != self.spec.credentialsSecretRef.name"),
                    "message": "the target must not be the credentials Secret: set spec.target.name to another name",
                    "fieldPath": ".spec.target.name",
                },
                {
                    "rule": is_unchanged(target),
                    "message": "the target's name is immutable: create another EdgeToken instead",
                    "fieldPath": ".spec.target.name",
                },
                {
                    "rule": is_unchanged("has(self.spec.deployAPI)"),
                    "message": "the API that the key is from is immutable: create another EdgeToken instead",
                    "fieldPath": ".spec",
                },
                {
                    "rule": is_unchanged(&url),
                    "message": "the URL of the Token API is immutable, since the keys are there: create another EdgeToken instead",
                    "fieldPath": ".spec",
                },
            ],
        });
        finish_schema(&mut schema);
        schema
    }
}

/// What the operator last saw and did.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeTokenStatus {
    /// The generation of the spec that this status describes; -1 before the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = UNSEEN))]
    pub observed_generation: Option<i64>,

    /// `Ready`, `Reconciling` and `Stalled`, as kstatus reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,

    /// The key that should be in the target Secret. Absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<KeyStatus>,

    /// A key that is being made, or is not handed out yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingKey>,

    /// Keys that are to be revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub retired: Vec<RetiredKey>,

    /// The credentials Secret on which this status was decided. Failures count for these credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SecretVersion>,

    /// The Secret that holds the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetStatus>,

    /// Attempts that failed since the last one that succeeded. Absent when the last attempt succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Failures>,

    /// The value of the rotate annotation that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub last_handled_rotate_request: Option<String>,

    /// The value of the end-overlap annotation that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub last_handled_end_overlap_request: Option<String>,
}

/// What is known of the key in the target Secret, without the key itself.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct KeyStatus {
    /// The mark with which the key's label begins at Sitecore.
    #[schemars(length(max = MARK_MAX_LENGTH), regex(pattern = MARK))]
    pub mark: String,
    /// The hash by which the Token API names the key. It is not the key, and opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = HASH))]
    pub hash: Option<String>,
    /// Sitecore's id of the environment whose content the key opens.
    #[serde(default, rename = "tenantID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = "^[-_.A-Za-z0-9]+$"))]
    pub tenant_id: Option<String>,
    /// When the key was made.
    pub created_at: Time,
    /// When the key is replaced. Absent where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_at: Option<Time>,
    /// When the Delivery API took the key last, before something was done on the strength of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Time>,
}

/// A key that is being made, or is not handed out yet.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PendingKey {
    /// The mark with which the key's label begins at Sitecore, if it was made.
    #[schemars(length(max = MARK_MAX_LENGTH), regex(pattern = MARK))]
    pub mark: String,
    /// Since when it is pending.
    pub since: Time,
}

/// A key that is to be revoked.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RetiredKey {
    /// The mark with which the key's label begins at Sitecore, if it was made.
    #[schemars(length(max = MARK_MAX_LENGTH), regex(pattern = MARK))]
    pub mark: String,
    /// Since when it is retired.
    pub since: Time,
    /// Why it is retired.
    pub cause: RetirementCause,
    /// From when on it is revoked, by the clocks of the operator and of Sitecore.
    pub revoke_at: Time,
}

/// Why a key is retired.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetirementCause {
    /// It was never handed out.
    Discarded,
    /// Another key took its place, and it works until the overlap is over.
    Replaced,
    /// A person ended its overlap.
    OverlapEnded,
}

impl EdgeToken {
    /// The name of the target Secret: `spec.target.name`, by default the object's own name.
    pub fn target_name(&self) -> &str {
        let name = self.spec.target.name.as_deref();
        name.or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

impl Default for TokenApi {
    fn default() -> Self {
        Self {
            url: default_token_api_url(),
            scopes: default_scopes(),
            created_by: default_created_by(),
        }
    }
}

fn default_token_api_url() -> String {
    DEFAULT_TOKEN_API_URL.into()
}

fn default_deploy_api_url() -> String {
    DEFAULT_DEPLOY_API_URL.into()
}

fn default_delivery_url() -> String {
    DEFAULT_DELIVERY_URL.into()
}

/// Everything that is published.
fn default_scopes() -> Vec<String> {
    vec!["audience-delivery".into(), "content-#everything#".into()]
}

fn default_created_by() -> String {
    "edge-credential-operator".into()
}

fn default_overlap() -> String {
    DEFAULT_OVERLAP.into()
}
