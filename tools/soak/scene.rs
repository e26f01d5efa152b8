//! What takes part: a control plane, the stand-in, two operators, many EdgeCredentials and some EdgeTokens.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use fastrand::Rng;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kit::{
    control_plane::ControlPlane,
    harness::CHART,
    operator::{self, Operator},
    sitecore::Sitecore,
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ObjectMeta, PostParams},
};
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::sleep};

use crate::{
    Result,
    history::{SharedHistory, Span},
    keys::{Keys, all_have_keys},
    settings::Settings,
};

/// The release, which gives the chart's objects their name, and the operators' namespace.
const RELEASE: &str = "edge-credential-operator";

/// The namespaces of each operator.
const NAMESPACES: [[&str; 3]; 2] = [
    ["killed-1", "killed-2", "killed-3"],
    ["steady-1", "steady-2", "steady-3"],
];

/// The namespaces of tenants that misbehave, one beside the others of each operator.
const UNRULY: [&str; 2] = ["killed-unruly", "steady-unruly"];

/// How many EdgeCredentials each of them has, most of the time.
const UNRULY_OBJECTS: usize = 10;

/// How long tokens live: a different time for each client.
const LIFETIMES: std::ops::RangeInclusive<u64> = 60..=300;

/// How many objects are created at a time.
const AT_A_TIME: usize = 8;

/// How long all of them may take to be ready for the first time.
const READY: Duration = Duration::from_secs(300);

/// Who serves an EdgeCredential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServedBy {
    /// The operator that is killed again and again.
    Killed,
    /// The one that never is.
    Steady,
}

/// An EdgeCredential: its name is its target's and its client's, too.
#[derive(Debug)]
pub struct Object {
    /// Its namespace.
    pub namespace: &'static str,
    /// Its name.
    pub name: String,
    /// How long its client's tokens live.
    pub lifetime: Duration,
    /// Who serves it.
    pub served_by: ServedBy,
}

impl Object {
    /// The Secret with its client's credentials.
    pub fn credentials(&self) -> String {
        format!("{}-client", self.name)
    }
}

/// Everything that takes part.
pub struct Scene {
    /// Ends first, so that nothing is tried in vain.
    pub killed: Mutex<Operator>,
    /// The operator that is never killed.
    pub steady: Mutex<Operator>,
    /// The stand-in for Sitecore's services.
    pub sitecore: Sitecore,
    /// The EdgeCredentials.
    pub objects: Vec<Object>,
    /// Those of the tenants that misbehave. Nobody looks at their targets.
    pub unruly: Vec<Object>,
    /// The EdgeTokens.
    pub keys: Keys,
    /// What happened so far.
    pub history: SharedHistory,
    /// A client that may do anything.
    pub client: Client,
    /// Ends last, and its folder with it.
    pub control_plane: ControlPlane,
}

impl Scene {
    /// Sets everything up, and waits until all EdgeCredentials have a token.
    pub async fn set_up(settings: &Settings) -> Result<Scene> {
        let program = match &settings.program {
            Some(program) => program.clone(),
            None => release_build()?,
        };
        let control_plane = ControlPlane::start().await?;
        let client = control_plane.admin_client().await?;
        let sitecore = Sitecore::start()?;
        control_plane.install(Path::new(CHART), RELEASE).await?;
        for namespace in namespaces().chain(UNRULY) {
            let create = ["create", "namespace", namespace];
            control_plane.kubectl(&create).await?;
        }
        let kubeconfig = control_plane
            .service_account_kubeconfig(RELEASE, RELEASE)
            .await?;
        let operator = |name: &str, namespaces: &[&str], unruly: &str| -> Result<Operator> {
            let http = reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(5))
                .build()?;
            let log = control_plane.folder().join(format!("logs/{name}.log"));
            let operator = Operator::new(
                program.clone(),
                kubeconfig.clone(),
                sitecore.url(),
                log,
                http,
            );
            let namespaces = namespaces.join(",");
            Ok(operator
                .arg(format!("--namespace={namespaces},{unruly}"))
                .arg(format!("--allowed-api-origin={}", sitecore.url())))
        };
        let mut killed = operator("killed", &NAMESPACES[0], UNRULY[0])?;
        let mut steady = operator("steady", &NAMESPACES[1], UNRULY[1])?;
        let objects = objects(settings);
        let unruly = unruly(settings);
        create(&objects, &client, &sitecore).await?;
        create(&unruly, &client, &sitecore).await?;
        let keys = Keys::create(namespaces(), &client, &sitecore).await?;
        killed.start().await?;
        steady.start().await?;
        let scene = Scene {
            killed: Mutex::new(killed),
            steady: Mutex::new(steady),
            sitecore,
            history: SharedHistory::of(objects.len()),
            objects,
            unruly,
            keys,
            client,
            control_plane,
        };
        let ready = async {
            scene.all_have_tokens().await?;
            all_have_keys(&scene).await;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        tokio::time::timeout(READY, ready)
            .await
            .map_err(|_| format!("not all objects are ready after {READY:?}"))??;
        Ok(scene)
    }

    /// Secrets of a namespace.
    pub fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// EdgeCredentials of a namespace.
    pub fn edge_credentials(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource())
    }

    /// The kills that concern an EdgeCredential.
    pub fn kills_of<'a>(&self, object: &Object, kills: &'a [Span]) -> &'a [Span] {
        match object.served_by {
            ServedBy::Killed => kills,
            ServedBy::Steady => &[],
        }
    }

    async fn all_have_tokens(&self) -> Result<()> {
        for object in &self.objects {
            let secrets = self.secrets(object.namespace);
            while secrets.get_opt(&object.name).await?.is_none() {
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }
}

/// All namespaces whose targets are looked at.
pub fn namespaces() -> impl Iterator<Item = &'static str> + Clone {
    NAMESPACES.into_iter().flatten()
}

/// `target/release`, where cargo puts the operator: this program is in `target/debug` or beside it.
fn release_build() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let target = this
        .ancestors()
        .nth(2)
        .ok_or("this program has no folder")?;
    let path = target.join("release/edge-credential-operator");
    if path.is_file() {
        return Ok(path);
    }
    Err(operator::Error::Missing { path }.into())
}

fn objects(settings: &Settings) -> Vec<Object> {
    let mut random = Rng::with_seed(settings.seed);
    (0..settings.objects)
        .map(|number| {
            let served_by = [ServedBy::Killed, ServedBy::Steady][number % 2];
            Object {
                namespace: NAMESPACES[number % 2][number / 2 % 3],
                name: format!("edge-{number}"),
                lifetime: Duration::from_secs(random.u64(LIFETIMES)),
                served_by,
            }
        })
        .collect()
}

fn unruly(settings: &Settings) -> Vec<Object> {
    let mut random = Rng::with_seed(settings.seed.wrapping_add(3));
    (0..UNRULY_OBJECTS * 2)
        .map(|number| Object {
            namespace: UNRULY[number % 2],
            name: format!("unruly-{number}"),
            lifetime: Duration::from_secs(random.u64(LIFETIMES)),
            served_by: [ServedBy::Killed, ServedBy::Steady][number % 2],
        })
        .collect()
}

async fn create(objects: &[Object], client: &Client, sitecore: &Sitecore) -> Result<()> {
    stream::iter(objects)
        .map(async |object| {
            sitecore.add_client(&object.name, FIRST_SECRET);
            sitecore.set_lifetime(&object.name, object.lifetime);
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(object.credentials()),
                    ..ObjectMeta::default()
                },
                data: Some(credentials(&object.name, FIRST_SECRET)),
                ..Secret::default()
            };
            Api::namespaced(client.clone(), object.namespace)
                .create(&PostParams::default(), &secret)
                .await?;
            Api::namespaced_with(client.clone(), object.namespace, &resource())
                .create(&PostParams::default(), &edge_credential(object, sitecore))
                .await?;
            Ok(())
        })
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await
}

/// An EdgeCredential as it is created.
pub fn edge_credential(object: &Object, sitecore: &Sitecore) -> DynamicObject {
    DynamicObject::new(&object.name, &resource()).data(json!({
        "spec": {
            "credentialsSecretRef": {"name": object.credentials()},
            "tokenRequest": {"url": sitecore.token_url()},
        },
    }))
}

const FIRST_SECRET: &str = "secret-0";

/// The data of a credentials Secret.
pub fn credentials(id: &str, secret: &str) -> std::collections::BTreeMap<String, ByteString> {
    [("client_id", id), ("client_secret", secret)]
        .map(|(key, value)| (key.to_owned(), ByteString(value.into())))
        .into()
}

/// The same as JSON, to patch one.
pub fn credentials_patch(id: &str, secret: &str) -> Value {
    json!({"data": credentials(id, secret)})
}

fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("edgecredentials.io", "v1alpha1", "EdgeCredential");
    ApiResource::from_gvk(&kind)
}
