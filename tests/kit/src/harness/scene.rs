//! What a test has to itself.

use std::ops::Deref;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::control_plane::{AuditEvent, ControlPlane, Options, chart, shared};
use crate::sitecore::Sitecore;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use tokio::sync::OnceCell;

use super::operator::Operator;
use super::{Namespace, PATIENCE, find};

/// The chart.
pub const CHART: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../charts/edge-credential-operator"
);
const CRD: &str = include_str!("../../../../crds/edgecredentials.yaml");
const EDGE_TOKENS: &str = include_str!("../../../../crds/edgetokens.yaml");

/// Longer than a visit takes from one request to the next.
const A_WHILE: Duration = Duration::from_secs(2);

/// What a scene consists of. The default has one namespace, and the chart's defaults but for leader election: it would
/// have an operator that was killed wait for its own lease.
pub struct Setup {
    /// How many namespaces the scene has, and the operator serves.
    pub namespaces: usize,
    /// Lets the operator serve all namespaces of the cluster, with a ClusterRole.
    pub cluster_wide: bool,
    /// More values for the chart, as for `helm --set`.
    pub values: Vec<(&'static str, String)>,
    /// More token origins that the operator may send client secrets to.
    pub origins: Vec<String>,
    /// Starts the operator.
    pub start: bool,
    /// Gives the scene a control plane to itself: its servers may be stopped, and nobody else's objects are in it.
    pub own_control_plane: bool,
    /// How often the API server of such a control plane forgets what was: by default every 5 minutes.
    pub compaction_interval: Option<Duration>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            namespaces: 1,
            cluster_wide: false,
            values: Vec::new(),
            origins: Vec::new(),
            start: true,
            own_control_plane: false,
            compaction_interval: None,
        }
    }
}

/// A control plane, namespaces, a stand-in for Sitecore's services, and the operator.
///
/// At its end it looks into the audit log: the chart's rights must have been enough for all that the operator did.
pub struct Scene {
    /// The operator. Dropped, and so killed, first.
    pub operator: Operator,
    /// The namespaces that the operator serves.
    pub namespaces: Vec<Namespace>,
    /// The stand-in, with the client [`CLIENT`](super::CLIENT) in it.
    pub sitecore: Sitecore,
    /// A client that may do anything.
    pub client: Client,
    /// The control plane.
    pub control_plane: Plane,
    /// Which requests of the operator this test brings about that may be refused: none by default.
    pub may_be_refused: fn(&AuditEvent) -> bool,
}

/// The control plane of all tests, or one of this scene's own.
pub enum Plane {
    /// Shared: its servers must not be stopped.
    Shared(&'static ControlPlane),
    /// This scene's own. It goes with the scene and is never handed on: what another test left in it, an operator that
    /// serves the whole cluster would serve too.
    Own(Box<ControlPlane>),
}

impl Plane {
    async fn own(compaction_interval: Option<Duration>) -> Self {
        let options = Options {
            compaction_interval,
            ..Options::default()
        };
        let control_plane = ControlPlane::start_with(&options).await.unwrap();
        install_crd(&control_plane).await;
        Self::Own(Box::new(control_plane))
    }
}

impl Deref for Plane {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        match self {
            Self::Shared(control_plane) => control_plane,
            Self::Own(control_plane) => control_plane,
        }
    }
}

impl Scene {
    /// A scene with so many namespaces, the usual values, and a running operator. The name is unique in this program.
    pub async fn new(name: &str, namespaces: usize) -> Self {
        let setup = Setup {
            namespaces,
            ..Setup::default()
        };
        setup.scene(name).await
    }

    /// The requests that the operator has sent to the API server so far.
    pub fn audit_events(&self) -> Vec<AuditEvent> {
        let user = &self.operator.user;
        self.control_plane.audit_events_of(user).unwrap()
    }

    /// Waits until the operator has asked nothing of the API server for a while, but for its watches, and returns what it
    /// has asked so far.
    pub async fn rests(&self) -> Vec<AuditEvent> {
        let asked = || {
            let mut events = self.audit_events();
            events.retain(|event| event.verb != "watch");
            events
        };
        let mut before = asked();
        let rests = find(PATIENCE, async || {
            tokio::time::sleep(A_WHILE).await;
            let now = asked();
            let rests = now.len() == before.len();
            before = now;
            rests.then_some(())
        });
        assert!(rests.await.is_some(), "{before:#?}");
        before
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A test that failed has said why.
        if thread::panicking() {
            return;
        }
        let mut events = self.audit_events();
        events.retain(|event| {
            let early = self.control_plane.api_server_was_starting(event.at);
            !early && !(self.may_be_refused)(event)
        });
        assert_nothing_was_refused(&events);
    }
}

/// None of these requests was answered with 403.
pub fn assert_nothing_was_refused(events: &[AuditEvent]) {
    let refused: Vec<_> = events.iter().filter(|event| event.code == 403).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

impl Setup {
    /// Sets the scene.
    pub async fn scene(self, name: &str) -> Scene {
        let control_plane = if self.own_control_plane {
            Plane::own(self.compaction_interval).await
        } else {
            Plane::Shared(prepared().await)
        };
        let client = control_plane.admin_client().await.unwrap();
        let sitecore = Sitecore::start().unwrap();
        sitecore.add_client(super::CLIENT, super::SECRET);

        let log = control_plane.folder().join(format!("{name}.log"));
        let mut namespaces = Vec::new();
        for number in 1..=self.namespaces {
            let namespace = format!("{name}-{number}");
            let origin = sitecore.url().to_owned();
            namespaces
                .push(Namespace::create(client.clone(), namespace, origin, log.clone()).await);
        }
        let operator = self
            .install(name, &control_plane, &client, &namespaces, &sitecore, &log)
            .await;
        let mut scene = Scene {
            operator,
            namespaces,
            sitecore,
            client,
            control_plane,
            may_be_refused: |_| false,
        };
        if self.start {
            scene.operator.start().await;
        }
        scene
    }

    /// Applies the chart, and prepares the program to run as its Deployment says.
    async fn install(
        &self,
        name: &str,
        control_plane: &ControlPlane,
        client: &Client,
        namespaces: &[Namespace],
        sitecore: &Sitecore,
        log: &Path,
    ) -> Operator {
        let home = format!("{name}-operator");
        super::namespace::create(client, &home).await;
        let origins = [&[sitecore.url().to_owned()], &*self.origins].concat();
        let mut values = vec![
            ("leaderElection", "false".to_owned()),
            ("crds.enabled", "false".to_owned()),
            ("log.filter", "debug".to_owned()),
            ("allowedTokenOrigins", format!("{{{}}}", origins.join(","))),
            ("allowedAPIOrigins", format!("{{{}}}", sitecore.url())),
        ];
        // The last one counts where a value is given twice.
        values.extend(self.values.clone());
        if !self.cluster_wide {
            let names: Vec<_> = namespaces
                .iter()
                .map(|namespace| &*namespace.name)
                .collect();
            values.push(("namespaces", format!("{{{}}}", names.join(","))));
        }
        let values: Vec<_> = values
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        let binaries = control_plane.binaries();
        let manifests = chart::render(binaries, Path::new(CHART), name, &home, &values).unwrap();
        // The pod of helm test would be refused until its namespace has a ServiceAccount.
        let manifests = chart::select(&manifests, |kind| kind != "Pod");
        control_plane.apply(&manifests).await.unwrap();

        deployed(name, control_plane, client, &home, namespaces, log).await
    }
}

/// The program as a Deployment in `home` says it is to run, with the rights of its ServiceAccount: nothing runs a pod here.
pub async fn deployed(
    name: &str,
    control_plane: &ControlPlane,
    client: &Client,
    home: &str,
    namespaces: &[Namespace],
    log: &Path,
) -> Operator {
    let deployments = Api::<Deployment>::namespaced(client.clone(), home);
    let deployment = deployments.list(&ListParams::default()).await.unwrap();
    let pod = deployment
        .items
        .into_iter()
        .next()
        .and_then(|deployment| deployment.spec.template.spec)
        .expect("the chart has a Deployment");
    let account = pod.service_account_name.expect("a ServiceAccount");
    let container = pod.containers.into_iter().next().expect("a container");
    let kubeconfig = control_plane
        .service_account_kubeconfig(home, &account)
        .await
        .unwrap();
    let user = format!("system:serviceaccount:{home}:{account}");
    let args = container.args.unwrap_or_default();
    let mut rights = Vec::new();
    for namespace in namespaces {
        let group = "edgecredentials.io";
        rights.push((&*namespace.name, group, "edgecredentials", "list"));
        rights.push((&*namespace.name, group, "edgetokens", "list"));
        rights.push((&*namespace.name, "", "secrets", "get"));
    }
    if args.iter().any(|arg| arg == "--leader-election=true") {
        rights.push((home, "coordination.k8s.io", "leases", "create"));
    }
    wait_for_rights(client, &user, &rights).await;

    let variables = container.env.unwrap_or_default().into_iter();
    let mut env: Vec<_> = variables
        .map(|variable| (variable.name, variable.value.unwrap_or_default()))
        .collect();
    env.push((
        "KUBECONFIG".to_owned(),
        kubeconfig.to_string_lossy().into_owned(),
    ));
    Operator::new(name, user, args, env, log.to_owned())
}

/// The control plane that all tests share, with the definitions of both kinds in it.
async fn prepared() -> &'static ControlPlane {
    static PREPARED: OnceCell<()> = OnceCell::const_new();
    let control_plane = shared().await.unwrap();
    PREPARED
        .get_or_init(|| async { install_crd(control_plane).await })
        .await;
    control_plane
}

async fn install_crd(control_plane: &ControlPlane) {
    control_plane.apply(CRD).await.unwrap();
    control_plane.apply(EDGE_TOKENS).await.unwrap();
    crd_is_served(control_plane).await;
}

/// Waits until the API server serves both kinds.
pub async fn crd_is_served(control_plane: &ControlPlane) {
    control_plane.wait_for_definitions().await.unwrap();
    // The garbage collector would otherwise take half a minute to know the new kind.
    control_plane.restart_controller_manager().unwrap();
}

/// Waits until a user may do all this, each in its namespace: a role takes a moment to reach the authorizer's cache, and
/// not all come at the same time. It is asked by the administrator: what the operator's user does is all done by the
/// operator.
async fn wait_for_rights(client: &Client, user: &str, rights: &[(&str, &str, &str, &str)]) {
    let reviews = Api::<SubjectAccessReview>::all(client.clone());
    for (namespace, group, resource, verb) in rights {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.to_owned()),
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some((*namespace).to_owned()),
                    group: Some((*group).to_owned()),
                    resource: Some((*resource).to_owned()),
                    verb: Some((*verb).to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let allowed = find(PATIENCE, async || {
            let answer = reviews.create(&PostParams::default(), &review).await;
            answer.ok()?.status?.allowed.then_some(())
        });
        assert!(
            allowed.await.is_some(),
            "{user} may not {verb} {resource} in {namespace}"
        );
    }
}
