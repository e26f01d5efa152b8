//! One namespace that the operator serves, with the steps that tests are made of.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use edge_credential_operator::api::{
    ConditionType, EdgeCredential, EdgeCredentialSpec, EdgeToken, Reason, conditions,
};
use edge_credential_operator::rules::token_value::PROOF;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{PATIENCE, find, operator};

/// The client id that [`Namespace::create_credentials`] writes, and that each stand-in knows.
pub const CLIENT: &str = "edge-client-id";

/// Its secret.
pub const SECRET: &str = "edge-client-secret";

/// The Secret with the client credentials.
pub const CREDENTIALS: &str = "edge-client";

/// A namespace that the operator serves.
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its EdgeCredentials, with all rights.
    pub objects: Api<EdgeCredential>,
    /// Its EdgeTokens, with all rights.
    pub edge_tokens: Api<EdgeToken>,
    /// Its Secrets, with all rights.
    pub secrets: Api<Secret>,
    pub(super) origin: String,
    log: PathBuf,
}

impl Namespace {
    /// Creates one. Its objects ask the stand-in at `origin`, and `log` is told from where a test waits in vain.
    pub async fn create(client: Client, name: String, origin: String, log: PathBuf) -> Self {
        create(&client, &name).await;
        Self {
            objects: Api::namespaced(client.clone(), &name),
            edge_tokens: Api::namespaced(client.clone(), &name),
            secrets: Api::namespaced(client, &name),
            name,
            origin,
            log,
        }
    }

    pub(super) fn token_url(&self) -> String {
        format!("{}/oauth/token", self.origin)
    }

    /// Writes the Secret [`CREDENTIALS`] with [`CLIENT`] and [`SECRET`].
    pub async fn create_credentials(&self) {
        self.create_secret(CREDENTIALS, &credentials(CLIENT, SECRET))
            .await;
    }

    /// Writes a Secret.
    pub async fn create_secret(&self, name: &str, data: &[(&str, &str)]) -> Secret {
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            data: Some(bytes(data)),
            ..Secret::default()
        };
        let created = self.secrets.create(&PostParams::default(), &secret).await;
        created.unwrap_or_else(|error| panic!("create Secret {name}: {error}"))
    }

    /// Puts other data into a Secret.
    pub async fn replace_data(&self, name: &str, data: &[(&str, &str)]) {
        self.edit_secret(name, |secret| secret.data = Some(bytes(data)))
            .await;
    }

    /// An EdgeCredential that uses [`CREDENTIALS`] and the stand-in, for a test to change before it is created.
    pub fn edge_credential(&self, name: &str) -> EdgeCredential {
        let spec: EdgeCredentialSpec = serde_json::from_value(json!({
            "credentialsSecretRef": {"name": CREDENTIALS},
            "tokenRequest": {"url": self.token_url()},
        }))
        .unwrap();
        EdgeCredential::new(name, spec)
    }

    /// Creates an EdgeCredential.
    pub async fn create_object(&self, object: &EdgeCredential) -> EdgeCredential {
        let created = self.objects.create(&PostParams::default(), object).await;
        created.unwrap_or_else(|error| panic!("create {:?}: {error}", object.metadata.name))
    }

    /// Creates [`edge_credential`](Self::edge_credential) and waits until it's ready.
    pub async fn create_ready(&self, name: &str) -> EdgeCredential {
        self.create_object(&self.edge_credential(name)).await;
        self.ready(name).await
    }

    /// Changes an EdgeCredential. Tried again where the operator wrote in between.
    pub async fn edit(&self, name: &str, change: impl Fn(&mut EdgeCredential)) -> EdgeCredential {
        edit(&self.objects, name, change).await
    }

    /// Changes a Secret. Tried again where the operator wrote in between.
    pub async fn edit_secret(&self, name: &str, change: impl Fn(&mut Secret)) -> Secret {
        edit(&self.secrets, name, change).await
    }

    /// Sets an annotation of an EdgeCredential.
    pub async fn annotate(&self, name: &str, key: &str, value: &str) {
        self.edit(name, |object| {
            let annotations = object.metadata.annotations.get_or_insert_default();
            annotations.insert(key.to_owned(), value.to_owned());
        })
        .await;
    }

    /// Deletes an EdgeCredential.
    pub async fn delete_object(&self, name: &str) {
        let deleted = self.objects.delete(name, &DeleteParams::default()).await;
        deleted.unwrap_or_else(|error| panic!("delete {name}: {error}"));
    }

    /// Deletes a Secret.
    pub async fn delete_secret(&self, name: &str) {
        let deleted = self.secrets.delete(name, &DeleteParams::default()).await;
        deleted.unwrap_or_else(|error| panic!("delete Secret {name}: {error}"));
    }

    /// Reads an EdgeCredential.
    pub async fn object(&self, name: &str) -> EdgeCredential {
        let object = self.objects.get(name).await;
        object.unwrap_or_else(|error| panic!("get {name}: {error}"))
    }

    /// Reads a Secret that must be there.
    pub async fn secret(&self, name: &str) -> Secret {
        let secret = self.secrets.get(name).await;
        secret.unwrap_or_else(|error| panic!("get Secret {name}: {error}"))
    }

    /// Waits until an EdgeCredential is ready, for its present generation.
    pub async fn ready(&self, name: &str) -> EdgeCredential {
        self.object_that(name, "is ready", |object| {
            condition(object, ConditionType::Ready).status == "True"
        })
        .await
    }

    /// Waits until the condition `Ready` of an EdgeCredential has this reason, for its present generation.
    pub async fn has_reason(&self, name: &str, expected: Reason) -> EdgeCredential {
        let what = format!("has reason {expected}");
        self.object_that(name, &what, |object| {
            condition(object, ConditionType::Ready).reason == expected.as_str()
        })
        .await
    }

    /// Waits until the status of an EdgeCredential's present generation is as wanted.
    pub async fn object_that(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&EdgeCredential) -> bool,
    ) -> EdgeCredential {
        self.until(PATIENCE, &format!("{name} {what}"), async || {
            let object = self.objects.get(name).await.ok()?;
            let status = object.status.as_ref()?;
            let current = status.observed_generation == object.metadata.generation;
            (current && wanted(&object)).then_some(object)
        })
        .await
    }

    /// Waits until a Secret is there and as wanted.
    pub async fn secret_that(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Secret) -> bool,
    ) -> Secret {
        self.until(PATIENCE, &format!("Secret {name} {what}"), async || {
            let secret = self.secrets.get_opt(name).await.ok()??;
            wanted(&secret).then_some(secret)
        })
        .await
    }

    /// Waits until `look` finds something. If it doesn't in time, says how things stand and what the operator logged.
    pub async fn until<T>(
        &self,
        limit: Duration,
        what: &str,
        look: impl AsyncFnMut() -> Option<T>,
    ) -> T {
        match find(limit, look).await {
            Some(found) => found,
            None => panic!(
                "in vain for {limit:?}: {what}\n{}\n{}",
                self.describe().await,
                operator::tail(&self.log)
            ),
        }
    }

    /// All objects of both kinds with their statuses.
    async fn describe(&self) -> String {
        let list = self.objects.list(&ListParams::default()).await;
        let objects = list.map(|list| list.items).unwrap_or_default();
        let list = self.edge_tokens.list(&ListParams::default()).await;
        let edge_tokens = list.map(|list| list.items).unwrap_or_default();
        let objects = objects
            .iter()
            .map(|object| self.describe_one(&object.metadata, &object.status));
        let edge_tokens = edge_tokens
            .iter()
            .map(|object| self.describe_one(&object.metadata, &object.status));
        objects.chain(edge_tokens).collect::<Vec<_>>().join("\n")
    }

    fn describe_one(&self, metadata: &ObjectMeta, status: &impl Serialize) -> String {
        let name = metadata.name.as_deref().unwrap_or_default();
        let generation = metadata.generation;
        let status = serde_json::to_string_pretty(status).unwrap_or_default();
        format!(
            "{}/{name}, generation {generation:?}, status {status}",
            self.name
        )
    }
}

/// The data of a credentials Secret.
pub fn credentials<'a>(id: &'a str, secret: &'a str) -> [(&'static str, &'a str); 2] {
    [("client_id", id), ("client_secret", secret)]
}

/// A condition of the status. One that is not there does not hold.
pub fn condition(object: &EdgeCredential, type_: ConditionType) -> Condition {
    let status = object.status.as_ref();
    find_condition(status.map(|status| &*status.conditions), type_)
}

pub(super) fn find_condition(found: Option<&[Condition]>, type_: ConditionType) -> Condition {
    found
        .and_then(|found| conditions::find(found, type_))
        .cloned()
        .unwrap_or_else(|| Condition {
            last_transition_time: Time(Default::default()),
            message: String::new(),
            observed_generation: None,
            reason: String::new(),
            status: "False".to_owned(),
            type_: type_.as_str().to_owned(),
        })
}

/// The text under a key of a Secret; empty if there is none.
pub fn text(secret: &Secret, key: &str) -> String {
    let data = secret.data.as_ref();
    data.and_then(|data| data.get(key))
        .map(|value| String::from_utf8_lossy(&value.0).into_owned())
        .unwrap_or_default()
}

/// What a target says of the token in it; nothing if there is no proof.
pub fn proof(target: &Secret) -> Value {
    let annotations = target.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(PROOF))
        .and_then(|proof| serde_json::from_str(proof).ok())
        .unwrap_or_default()
}

fn bytes(data: &[(&str, &str)]) -> BTreeMap<String, ByteString> {
    data.iter()
        .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())))
        .collect()
}

pub(super) async fn create(client: &Client, name: &str) {
    let namespace = KubeNamespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..KubeNamespace::default()
    };
    let created = Api::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await;
    created.unwrap_or_else(|error| panic!("create namespace {name}: {error}"));
}

pub(super) async fn edit<K>(api: &Api<K>, name: &str, change: impl Fn(&mut K)) -> K
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    let edited = find(PATIENCE, async || {
        let mut object = api.get(name).await.unwrap();
        change(&mut object);
        match api.replace(name, &PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.is_conflict() => None,
            result => Some(result.unwrap_or_else(|error| panic!("edit {name}: {error}"))),
        }
    });
    edited
        .await
        .unwrap_or_else(|| panic!("{name} is written all the time"))
}
