//! What is asked of a token endpoint.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Where Sitecore issues tokens.
pub const DEFAULT_TOKEN_URL: &str = "https://auth.sitecorecloud.io/oauth/token";

/// The longest audience, in bytes. It is copied into status.
pub const AUDIENCE_MAX_LENGTH: usize = 1024;

/// The audience of Sitecore's Experience Edge APIs.
pub const DEFAULT_AUDIENCE: &str = "https://api.sitecorecloud.io";

/// What is asked of the token endpoint, and how: everything of a client credentials request but the credentials.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TokenRequestSpec {
    /// The token endpoint. Its origin (scheme, host and port) must be one that the operator's administrator allowed.
    #[serde(default = "default_token_url")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(
        "self.matches('^https?://[^/?#@[:space:]]+(/[^#[:space:]]*)?$')"
    ).message("must be an http or https URL without user information and fragment"))]
    pub url: String,

    /// The API that the token is for: the `audience` parameter of the request. The token must name it in `aud`. None
    /// is sent and none is checked when empty, for endpoints that go by scope or resource.
    #[serde(default = "default_audience")]
    #[schemars(length(max = AUDIENCE_MAX_LENGTH))]
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
    pub format: RequestFormat,

    /// How the client proves its identity to the token endpoint (RFC 6749 section 2.3.1).
    #[serde(default)]
    pub client_authentication: ClientAuthentication,

    /// What a token must look like to be accepted.
    #[serde(default)]
    pub token_format: TokenFormat,
}

impl Default for TokenRequestSpec {
    fn default() -> Self {
        Self {
            url: default_token_url(),
            audience: default_audience(),
            scopes: Vec::new(),
            extra_parameters: BTreeMap::new(),
            format: RequestFormat::default(),
            client_authentication: ClientAuthentication::default(),
            token_format: TokenFormat::default(),
        }
    }
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

/// How the client proves its identity to the token endpoint. The names are those of OAuth's registry of token endpoint
/// authentication methods.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// Client id and secret are parameters of the request (`client_secret_post`).
    #[default]
    ClientSecretPost,
    /// Client id and secret are sent as HTTP Basic authentication (`client_secret_basic`).
    ClientSecretBasic,
}

/// What a token must look like to be accepted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenFormat {
    /// A signed JSON Web Token. Its signature is not verified: that is for the API that receives it.
    #[default]
    #[serde(rename = "JWT")]
    Jwt,
    /// Any token that RFC 6750 allows in a header. The lifetime of one that is opaque is only known from `expires_in`.
    Any,
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

pub(super) fn extra_parameters_schema(_: &mut SchemaGenerator) -> Schema {
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

pub(super) fn default_token_url() -> String {
    DEFAULT_TOKEN_URL.into()
}

pub(super) fn default_audience() -> String {
    DEFAULT_AUDIENCE.into()
}
