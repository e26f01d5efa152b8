//! Which Secret holds the client credentials, and in which version it was seen.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::names;

/// Names the credentials Secret and its two keys.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsSecretRef {
    /// The Secret's name.
    #[schemars(
        length(min = 1, max = names::MAX_LENGTH),
        regex(pattern = names::SUBDOMAIN)
    )]
    pub name: String,

    /// The key of the client id.
    #[serde(default = "default_client_id_key", rename = "clientIDKey")]
    #[schemars(length(min = 1, max = names::MAX_LENGTH), regex(pattern = names::SECRET_KEY))]
    pub client_id_key: String,

    /// The key of the client secret.
    #[serde(default = "default_client_secret_key")]
    #[schemars(length(min = 1, max = names::MAX_LENGTH), regex(pattern = names::SECRET_KEY))]
    pub client_secret_key: String,
}

impl CredentialsSecretRef {
    /// Names a Secret, with the default keys.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            client_id_key: default_client_id_key(),
            client_secret_key: default_client_secret_key(),
        }
    }
}

/// A version of a Secret, so that a restarted operator need not read it to know that it is the same.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretVersion {
    /// The Secret's uid.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// The Secret's resourceVersion.
    #[schemars(length(max = 64))]
    pub resource_version: String,
}

impl SecretVersion {
    /// The version of a Secret as it was read or written.
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        Some(Self {
            uid: metadata.uid.clone()?,
            resource_version: metadata.resource_version.clone()?,
        })
    }
}

fn default_client_id_key() -> String {
    "client_id".into()
}

fn default_client_secret_key() -> String {
    "client_secret".into()
}
