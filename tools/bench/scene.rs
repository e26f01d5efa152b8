//! What a case has to itself: a control plane, a token endpoint, namespaces, and the operator, which does not run yet.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kit::control_plane::ControlPlane;
use kube::{
    Api, Client,
    api::{DynamicObject, ObjectMeta, PostParams},
};
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    Bench, Problem, Result,
    calls::{AuditLog, Calls},
    endpoint::Endpoint,
    ready::Arrivals,
    subject::{Process, Subject},
    template::Order,
    vitals::{self, Memory},
};

/// How many objects are created at a time.
pub const WRITERS: usize = 16;

/// Over how many namespaces the objects are spread.
pub const NAMESPACES: usize = 10;

/// How long an operator that has nothing to do asks for nothing, once it's quiet.
pub const SILENCE: Duration = Duration::from_secs(3);

/// The longest that anything is waited for that depends on the number of objects.
pub const PATIENCE: Duration = Duration::from_hours(1);

/// Everything that takes part. What runs is dropped, and so ended, in this order.
pub struct Scene {
    /// The operator.
    pub operator: Process,
    /// What it asks of the API server.
    pub calls: AuditLog,
    /// When objects became ready.
    pub arrivals: Arrivals,
    /// The token endpoint.
    pub endpoint: Endpoint,
    /// Another one.
    pub elsewhere: Endpoint,
    /// A client that may do anything.
    pub client: Client,
    /// The operator as it's described.
    pub subject: Subject,
    /// The control plane.
    pub control_plane: ControlPlane,
}

impl Scene {
    /// Sets everything up.
    pub async fn set_up(bench: &Bench) -> Result<Scene> {
        Scene::set_up_for(bench.subject.clone(), &[]).await
    }

    /// The same for another subject, which may ask at these origins too.
    pub async fn set_up_for(subject: Subject, origins: &[&str]) -> Result<Scene> {
        let control_plane = ControlPlane::start().await?;
        let (endpoint, elsewhere) = (Endpoint::start()?, Endpoint::start()?);
        let own = [endpoint.origin(), elsewhere.origin()];
        let origins = [&own[..], origins].concat().join(",");
        let operator = subject.install(&control_plane, &origins).await?;
        for number in 0..NAMESPACES {
            let create = ["create", "namespace", &namespace(number)];
            control_plane.kubectl(&create).await?;
        }
        let client = control_plane.admin_client().await?;
        let kind = subject.template.kind();
        Ok(Scene {
            calls: AuditLog::of(control_plane.audit_log(), &operator.user),
            arrivals: Arrivals::watch(client.clone(), subject.ready.clone(), kind),
            operator,
            endpoint,
            elsewhere,
            client,
            subject,
            control_plane,
        })
    }

    /// The same, with so many objects that are ready, and nothing left to do.
    pub async fn with_ready(bench: &Bench, count: usize) -> Result<(Scene, Vec<Order>)> {
        let mut scene = Scene::set_up(bench).await?;
        let orders = scene.orders("edge", count);
        scene.operator.start().await?;
        scene.fill(bench, &orders, |_| ()).await?;
        Ok((scene, orders))
    }

    /// Creates objects with their credentials, and waits until they are ready and nothing is left to do.
    pub async fn fill(
        &mut self,
        bench: &Bench,
        orders: &[Order],
        edit: impl Fn(&mut Value),
    ) -> Result<()> {
        bench.say(format!("creating {} objects", orders.len()));
        self.create_credentials(orders).await?;
        self.create_edited(orders, edit).await?;
        self.all_ready(orders).await?;
        self.calls.until_quiet(SILENCE, PATIENCE).await?;
        Ok(())
    }

    /// Objects with a client each, spread over all namespaces.
    pub fn orders(&self, name: &str, count: usize) -> Vec<Order> {
        let order = |number| Order {
            namespace: namespace(number),
            name: format!("{name}-{number}"),
            client: format!("{name}-{number}-0123456789abcdefghij"),
            token_url: self.endpoint.token_url(),
        };
        (0..count).map(order).collect()
    }

    /// Creates what objects need beside themselves.
    pub async fn create_credentials(&self, orders: &[Order]) -> Result<()> {
        let template = &self.subject.template;
        stream::iter(orders)
            .map(async |order| {
                for (kind, object) in template.credentials(order)? {
                    let api = Api::namespaced_with(self.client.clone(), &order.namespace, &kind);
                    api.create(&PostParams::default(), &object).await?;
                }
                Ok::<_, Problem>(())
            })
            .buffer_unordered(WRITERS)
            .try_collect()
            .await
    }

    /// Creates the objects themselves, and returns when the first one was.
    pub async fn create(&self, orders: &[Order]) -> Result<Instant> {
        self.create_edited(orders, |_| ()).await
    }

    /// The same with objects that are changed before.
    pub async fn create_edited(
        &self,
        orders: &[Order],
        edit: impl Fn(&mut Value),
    ) -> Result<Instant> {
        let template = &self.subject.template;
        let objects = orders
            .iter()
            .map(|order| Ok((order, template.object(order, &edit)?)))
            .collect::<Result<Vec<_>>>()?;
        let start = Instant::now();
        stream::iter(objects)
            .map(async |(order, object)| {
                let api = self.objects(&order.namespace);
                api.create(&PostParams::default(), &object).await?;
                Ok::<_, Problem>(())
            })
            .buffer_unordered(WRITERS)
            .try_collect::<()>()
            .await?;
        Ok(start)
    }

    /// Waits until objects are ready, and returns when each was, in their order.
    pub async fn all_ready(&self, orders: &[Order]) -> Result<Vec<Instant>> {
        let keys: Vec<_> = orders
            .iter()
            .map(|order| self.subject.ready.key(order))
            .collect();
        self.arrivals.all(&keys, PATIENCE).await
    }

    /// Objects of a namespace.
    pub fn objects(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, self.subject.template.kind())
    }

    /// The operator's memory, once it has settled.
    pub async fn memory(&self) -> Result<Memory> {
        sleep(SILENCE).await;
        Ok(vitals::memory(self.operator.pid()?)?)
    }

    /// How many seconds of processors the operator has used.
    pub fn cpu(&self) -> Result<f64> {
        Ok(vitals::cpu_seconds(self.operator.pid()?)?)
    }

    /// Makes the operator list everything again: a new API server does not know the versions from before. Returns its calls
    /// until it's quiet.
    pub async fn relist(&mut self) -> Result<Calls> {
        self.calls.take()?;
        // What the operator saw last must be older than what the new API server begins with.
        let anything = ConfigMap {
            metadata: ObjectMeta {
                generate_name: Some("before-a-relist-".to_owned()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        };
        Api::namespaced(self.client.clone(), &namespace(0))
            .create(&PostParams::default(), &anything)
            .await?;
        self.control_plane.restart_api_server().await?;
        let mut calls = Calls::default();
        let start = Instant::now();
        while calls.listed() < 2 && start.elapsed() < Duration::from_mins(2) {
            calls += self.calls.until_quiet(SILENCE, PATIENCE).await?;
        }
        Ok(calls)
    }
}

/// The name of the namespace that the object of this number is in.
pub fn namespace(number: usize) -> String {
    format!("tenant-{}", number % NAMESPACES)
}
