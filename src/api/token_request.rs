//! What is asked of a token endpoint.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Where Sitecore issues tokens.
pub const DEFAULT_TOKEN_URL: &str = "https://auth.sitecorecloud.io/oauth/token";

/// The longest audience, in characters. It is copied into status.
pub const AUDIENCE_MAX_LENGTH: usize = 1024;

/// The audience of Sitecore's Experience Edge APIs.
pub const DEFAULT_AUDIENCE: &str = "https://api.sitecorecloud.io";

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
