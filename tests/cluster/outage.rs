//! What the operator stands on goes away and comes back: the API server, and etcd behind it. The operator never ends by
//! itself, and requests no token that it can do without.
//!
//! Each test has a control plane to itself.

use std::time::{Duration, Instant};

use edge_credential_operator::api::edge_credential::RENEW_REQUESTED_AT;
use futures::{StreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use kit::control_plane::{ControlPlane, Server};
use kit::sitecore::Withheld;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use kit::harness::*;

/// The lifetime of a token that falls due in an outage: after 12.3 to 13.3 s.
const SHORT: Duration = Duration::from_secs(20);

/// The lifetime of all others.
const DAY: Duration = Duration::from_hours(24);

/// From a short token's issue until it is certainly due, and has not expired for long.
const DUE: Duration = Duration::from_secs(18);

/// Enough objects for a list that takes a while.
const MANY: usize = 600;

async fn scene(name: &str) -> Scene {
    let setup = Setup {
        own_control_plane: true,
        ..Setup::default()
    };
    let scene = setup.scene(name).await;
    scene.namespaces[0].create_credentials().await;
    scene
}

/// Creates one EdgeCredential whose token falls due in [`DUE`], after which its tokens live for a day, and one whose
/// token is not due.
async fn one_due_soon_and_one_not(scene: &Scene) {
    let shop = &scene.namespaces[0];
    let mut idle = shop.edge_credential("idle");
    idle.spec.token_request.scopes = vec!["edge.token:manage".to_owned()];
    shop.create_object(&idle).await;
    shop.ready("idle").await;
    scene.sitecore.set_lifetime(CLIENT, SHORT);
    shop.create_ready("due").await;
    scene.sitecore.set_lifetime(CLIENT, DAY);
}

/// What has to be so after an outage in which a token fell due: it is renewed, with so many requests from the beginning,
/// and the operator still runs, and acts on changes.
async fn has_caught_up(scene: &mut Scene, token: &str, requests: u64) {
    let shop = &scene.namespaces[0];
    new_token(shop, "due", token).await;
    shop.object_that("due", "is content", |object| {
        object.status.as_ref().unwrap().failures.is_none()
    })
    .await;
    shop.ready("due").await;
    for name in ["due", "idle"] {
        shop.delete_secret(name).await;
        let target = shop.secret_that(name, "is back", |_| true).await;
        let token = text(&target, "access_token");
        scene.sitecore.verify(&token).expect("a valid token");
    }
    assert_eq!(scene.sitecore.requests(CLIENT), requests);
    assert!(scene.operator.process().is_running());
}

/// The token in the target of the object that falls due.
async fn due_token(scene: &Scene) -> String {
    text(&scene.namespaces[0].secret("due").await, "access_token")
}

/// Waits for a token other than this one.
async fn new_token(shop: &Namespace, name: &str, token: &str) -> String {
    let target = shop
        .secret_that(name, "has a new token", |secret| {
            text(secret, "access_token") != token
        })
        .await;
    text(&target, "access_token")
}

/// Asks for a renewal, and returns when the request is under way, with the token that is withheld.
async fn request_under_way(scene: &Scene, name: &str, value: &str) -> Withheld {
    let token = scene.sitecore.withhold(CLIENT, 1);
    let shop = &scene.namespaces[0];
    let requests = scene.sitecore.requests(CLIENT) + 1;
    shop.annotate(name, RENEW_REQUESTED_AT, value).await;
    shop.until(PATIENCE, "the request is under way", async || {
        (scene.sitecore.requests(CLIENT) == requests).then_some(())
    })
    .await;
    token
}

async fn is_alive(scene: &Scene) {
    assert_eq!(scene.operator.get("/livez").await.unwrap().0, 200);
    assert_eq!(scene.operator.get("/readyz").await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_of_the_api_server_cost_no_request() {
    let mut scene = scene("restarts").await;
    let shop = &scene.namespaces[0];
    for number in 0..20 {
        let mut object = shop.edge_credential(&format!("edge-{number}"));
        object.spec.token_request.scopes = vec![format!("scope-{number}")];
        shop.create_object(&object).await;
    }
    for number in 0..20 {
        shop.ready(&format!("edge-{number}")).await;
    }
    for _ in 0..3 {
        scene.control_plane.restart_api_server().await.unwrap();
        shop.delete_secret("edge-0").await;
        shop.secret_that("edge-0", "is back", |_| true).await;
        assert_eq!(scene.sitecore.requests(CLIENT), 20);
    }
    assert!(scene.operator.process().is_running());
}

#[derive(Clone, Copy, Debug)]
enum Away {
    Stopped,
    Frozen,
    EtcdFrozen,
}

impl Away {
    fn begin(self, control_plane: &ControlPlane) {
        match self {
            Self::Stopped => control_plane.stop_api_server(),
            Self::Frozen => control_plane.pause(Server::ApiServer),
            Self::EtcdFrozen => control_plane.pause(Server::Etcd),
        }
        .unwrap();
    }

    async fn end(self, control_plane: &ControlPlane) {
        match self {
            Self::Stopped => control_plane.start_api_server().await,
            Self::Frozen => control_plane.resume(Server::ApiServer),
            Self::EtcdFrozen => control_plane.resume(Server::Etcd),
        }
        .unwrap();
    }
}

async fn while_it_is_away_nothing_is_requested_and_afterwards_what_fell_due(
    name: &str,
    away: Away,
) {
    let mut scene = scene(name).await;
    one_due_soon_and_one_not(&scene).await;
    let token = due_token(&scene).await;
    away.begin(&scene.control_plane);
    tokio::time::sleep(DUE).await;
    is_alive(&scene).await;
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
    away.end(&scene.control_plane).await;
    has_caught_up(&mut scene, &token, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_api_server_is_stopped_nothing_is_requested_and_afterwards_what_fell_due() {
    while_it_is_away_nothing_is_requested_and_afterwards_what_fell_due("stopped", Away::Stopped)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_api_server_is_frozen_nothing_is_requested_and_afterwards_what_fell_due() {
    while_it_is_away_nothing_is_requested_and_afterwards_what_fell_due("frozen", Away::Frozen)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_etcd_is_frozen_nothing_is_requested_and_afterwards_what_fell_due() {
    let away = Away::EtcdFrozen;
    while_it_is_away_nothing_is_requested_and_afterwards_what_fell_due("etcd", away).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_comes_while_nobody_can_store_it_is_written_afterwards() {
    let mut scene = scene("in-flight").await;
    let shop = &scene.namespaces[0];
    shop.create_ready("edge").await;
    let mut token = text(&shop.secret("edge").await, "access_token");
    for (requests, away) in (2..).zip([Away::Stopped, Away::Frozen, Away::EtcdFrozen]) {
        let withheld = request_under_way(&scene, "edge", &format!("{away:?}")).await;
        away.begin(&scene.control_plane);
        withheld.release();
        tokio::time::sleep(Duration::from_secs(4)).await;
        away.end(&scene.control_plane).await;
        token = new_token(shop, "edge", &token).await;
        shop.ready("edge").await;
        assert_eq!(scene.sitecore.requests(CLIENT), requests, "{away:?}");
    }
    assert!(scene.operator.process().is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_etcd_is_out_of_space_tokens_stay_in_memory_and_only_their_writes_are_repeated() {
    let mut scene = scene("no-space").await;
    let shop = &scene.namespaces[0];
    let mut object = shop.edge_credential("asked");
    object.spec.token_request.scopes = vec!["edge.admin:manage".to_owned()];
    shop.create_object(&object).await;
    shop.ready("asked").await;
    one_due_soon_and_one_not(&scene).await;
    let token = due_token(&scene).await;
    let asked = text(&shop.secret("asked").await, "access_token");
    let withheld = request_under_way(&scene, "asked", "now").await;
    scene.control_plane.fill_etcd().await.unwrap();
    withheld.release();

    let tries = |name: &str| {
        let events = scene.audit_events().into_iter();
        let failed = ("secrets", name, "update", 500);
        events
            .filter(|event| {
                let event = (&*event.resource, &*event.name, &*event.verb, event.code);
                event == failed
            })
            .count()
    };
    shop.until(PATIENCE, "two objects, two tries each", async || {
        (tries("asked") >= 2 && tries("due") >= 2).then_some(())
    })
    .await;
    is_alive(&scene).await;
    // Deletions go through, so: a change.
    let mut changed = shop.secret("idle").await;
    let labels = changed.metadata.labels.get_or_insert_default();
    labels.insert("trial".to_owned(), "yes".to_owned());
    let written = shop
        .secrets
        .replace("idle", &PostParams::default(), &changed)
        .await;
    assert!(written.is_err(), "etcd accepts writes");
    assert_eq!(scene.sitecore.requests(CLIENT), 5);

    scene.control_plane.free_etcd().await.unwrap();
    new_token(shop, "asked", &asked).await;
    has_caught_up(&mut scene, &token, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_expired_are_begun_anew_with_a_list_and_cost_no_request() {
    let mut scene = scene("expired").await;
    let shop = &scene.namespaces[0];
    for name in ["one", "two"] {
        shop.create_ready(name).await;
    }
    // They all have the same inputs, so one token serves them.
    let many: Vec<_> = (0..MANY)
        .map(|number| shop.edge_credential(&format!("many-{number}")))
        .collect();
    let created = stream::iter(&many).for_each_concurrent(16, async |object| {
        shop.create_object(object).await;
    });
    created.await;
    for object in &many {
        shop.ready(object.metadata.name.as_deref().unwrap()).await;
    }
    // What happens while the operator doesn't look, and the API server forgets before it looks again.
    scene.operator.process().signal("STOP").unwrap();
    let shop = &scene.namespaces[0];
    shop.delete_secret("one").await;
    shop.delete_object("two").await;
    shop.until(PATIENCE, "the target is collected", async || {
        let target = shop.secrets.get_opt("two").await.unwrap();
        target.is_none().then_some(())
    })
    .await;
    // The API server remembers from its start on. These come after all that a watch has told until then, even to a process
    // that has not read it yet.
    let others = Api::<ConfigMap>::namespaced(scene.client.clone(), &shop.name);
    let other = ConfigMap {
        metadata: ObjectMeta {
            generate_name: Some("other-".to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    for _ in 0..20 {
        others.create(&PostParams::default(), &other).await.unwrap();
    }
    scene.control_plane.restart_api_server().await.unwrap();
    let seen = scene.audit_events().len();
    scene.operator.process().signal("CONT").unwrap();

    let shop = &scene.namespaces[0];
    shop.secret_that("one", "is back", |_| true).await;
    shop.until(PATIENCE, "a watch is told that it expired", async || {
        let log = scene.operator.log();
        log.contains("the watch has expired (HTTP 410)")
            .then_some(())
    })
    .await;
    shop.until(PATIENCE, "all is listed again, as a stream", async || {
        let events = scene.audit_events();
        let is_listed = |resource| {
            events[seen..].iter().any(|event| {
                let list = event.verb == "watch" && event.resource == resource;
                list && event.uri.contains("sendInitialEvents=true")
            })
        };
        (is_listed("edgecredentials") && is_listed("secrets")).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        scene.sitecore.requests(CLIENT),
        1,
        "equal inputs, one token"
    );
    assert!(scene.operator.process().is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_api_server_a_leader_ends_after_its_renew_deadline_and_a_process_without_election_never()
 {
    let values = [
        ("leaderElection", "true"),
        ("lease.duration", "9s"),
        ("lease.renewDeadline", "6s"),
        ("lease.retryPeriod", "1s"),
    ];
    let setup = Setup {
        own_control_plane: true,
        values: values.map(|(key, value)| (key, value.to_owned())).into(),
        ..Setup::default()
    };
    let mut elected = setup.scene("elected").await;
    let mut alone = scene("alone").await;
    alone.namespaces[0].create_ready("edge").await;
    let leases: Api<Lease> = Api::namespaced(elected.client.clone(), "elected-operator");
    let lease = leases.get("elected-edge-credential-operator").await;
    let renewed = lease.unwrap().spec.unwrap().renew_time.unwrap().0;
    for scene in [&elected, &alone] {
        scene.control_plane.stop_api_server().unwrap();
    }
    let stopped = Instant::now();
    assert_ne!(elected.operator.exit_code().await, 0);
    let took = Timestamp::now().duration_since(renewed);
    // It may have renewed it once more since that was read, and the rest is for a machine that is busy.
    assert!((6..20).contains(&took.as_secs()), "{took:?}");
    let log = elected.operator.log();
    assert!(log.contains("could not be renewed in time"), "{log}");

    tokio::time::sleep(Duration::from_secs(40).saturating_sub(stopped.elapsed())).await;
    assert!(alone.operator.process().is_running());
    is_alive(&alone).await;
    for scene in [&elected, &alone] {
        scene.control_plane.start_api_server().await.unwrap();
    }
    let shop = &alone.namespaces[0];
    shop.delete_secret("edge").await;
    shop.secret_that("edge", "is back", |_| true).await;
    assert_eq!(alone.sitecore.requests(CLIENT), 1);
}
