//! What is asked of a token endpoint.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::size::stored_size_rule;

/// Where Sitecore issues tokens.
pub const DEFAULT_TOKEN_URL: &str = "https://auth.sitecorecloud.io/oauth/token";

/// How much the URL of a token endpoint may take as stored, in bytes.
pub const URL_MAX_SIZE: usize = 2048;

/// How much an audience may take as stored, in bytes. It is copied into status.
pub const AUDIENCE_MAX_SIZE: usize = 1024;

/// The most scopes, and the longest of them in bytes.
pub const MAX_SCOPES: usize = 16;
/// The longest scope, in bytes.
pub const SCOPE_MAX_LENGTH: usize = 128;

/// The most extra parameters.
pub const MAX_PARAMETERS: usize = 16;
/// The longest name of an extra parameter, in bytes.
pub const PARAMETER_NAME_MAX_LENGTH: usize = 128;
/// How much all extra parameters together may take as stored, in bytes.
pub const PARAMETERS_MAX_SIZE: usize = 4096;

/// Text in printable ASCII.
pub(super) const PRINTABLE: &str = "^[ -~]*$";

/// A scope as RFC 6749 section 3.3 has it, without the three characters that take sixfold room as stored.
const SCOPE: &str = r"^[!#-%'-;=?-\[\]-~]+$";

/// Scopes, separated by spaces.
pub(super) const GRANTED_SCOPES: &str = r"^[ !#-%'-;=?-\[\]-~]*$";

/// A URL whose host has no user information before it, and whose path and query have no fragment behind them. What
/// browsers take for a slash, a backslash, is not in it.
pub(super) const URL: &str = r#"^https?://[-A-Za-z0-9._:\[\]]+([/?][!$-;=?-\[\]-~]*)?$"#;

/// The audience of Sitecore's Experience Edge APIs.
pub const DEFAULT_AUDIENCE: &str = "https://api.sitecorecloud.io";

/// What is asked of the token endpoint, and how: everything of a client credentials request but the credentials.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TokenRequestSpec {
    /// The token endpoint. Its origin (scheme, host and port) must be one that the operator's administrator allowed.
    #[serde(default = "default_token_url")]
    #[schemars(length(min = 1, max = URL_MAX_SIZE))]
    #[x_kube(validation = Rule::new(format!("self.matches(r'{URL}')"))
        .message("must be an http or https URL without user information and fragment"))]
    #[x_kube(validation = Rule::new(at_most(URL_MAX_SIZE)).message(TOO_LARGE))]
    pub url: String,

    /// The API that the token is for: the `audience` parameter of the request. The token must name it in `aud`. None
    /// is sent and none is checked when empty, for endpoints that go by scope or resource.
    #[serde(default = "default_audience")]
    #[schemars(length(max = AUDIENCE_MAX_SIZE), regex(pattern = PRINTABLE))]
    #[x_kube(validation = Rule::new(at_most(AUDIENCE_MAX_SIZE)).message(TOO_LARGE))]
    pub audience: String,

    /// The scopes to ask for. None is sent when empty, and the client's default ones are granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = MAX_SCOPES),
        inner(length(min = 1, max = SCOPE_MAX_LENGTH), regex(pattern = SCOPE))
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
pub const STANDARD_PARAMETERS: [&str; 8] = [
    "audience",
    "grant_type",
    "client_id",
    "client_secret",
    "scope",
    "assertion",
    "username",
    "password",
];

/// What the names of parameters begin with that prove a client's identity in another way (RFC 7521). They are reserved
/// for the operator.
pub const RESERVED_PARAMETERS: &str = "client_assertion";

/// Whether a parameter is the request's own.
pub fn is_standard_parameter(name: &str) -> bool {
    STANDARD_PARAMETERS.contains(&name) || name.starts_with(RESERVED_PARAMETERS)
}

/// In CEL, that a text takes no more room than so many bytes as stored.
pub(super) fn at_most(max: usize) -> String {
    format!("{} <= {max}", stored_size_rule("self"))
}

/// What is said where it takes more.
pub(super) const TOO_LARGE: &str =
    "is too long: each <, > and & counts as six characters, each quote and backslash as two";

fn extra_parameters_schema(_: &mut SchemaGenerator) -> Schema {
    let size = stored_size_rule("self[k]");
    json_schema!({
        "type": "object",
        "maxProperties": MAX_PARAMETERS,
        "additionalProperties": {"type": "string", "maxLength": 1024, "pattern": PRINTABLE},
        "x-kubernetes-validations": [
            {
                "rule": format!("self.all(k, !(k in {STANDARD_PARAMETERS:?}) && !k.startsWith('{RESERVED_PARAMETERS}'))"),
                "message": "must not redefine a standard parameter of the request",
            },
            {
                "rule": format!("self.all(k, k.matches('^[A-Za-z0-9._-]{{1,{PARAMETER_NAME_MAX_LENGTH}}}$'))"),
                "message": "names are 1 to 128 letters, digits, '.', '_' or '-'",
            },
            {
                "rule": format!("self.map(k, k.size() + {size}).sum() <= {PARAMETERS_MAX_SIZE}"),
                "message": format!("all parameters together take at most {PARAMETERS_MAX_SIZE} bytes"),
            },
        ],
    })
}

fn default_token_url() -> String {
    DEFAULT_TOKEN_URL.into()
}

fn default_audience() -> String {
    DEFAULT_AUDIENCE.into()
}
