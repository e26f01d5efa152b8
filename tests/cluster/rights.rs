//! The rights that the chart grants: every one of them is used, and none is missing. That none is missing is
//! seen in every other test too, as [`Scene`] says.

use std::collections::BTreeSet;
use std::time::Duration;

use edge_credential_operator::api::{
    EdgeCredential, Reason, edge_credential::RENEW_REQUESTED_AT, edge_token::DeletionPolicy,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::Api;
use kube::api::{ListParams, PostParams};

use kit::harness::{CLIENT, CREDENTIALS, Namespace, PATIENCE, SECRET, Scene, Setup, credentials};

/// What only API servers need that stream no lists: those before Kubernetes 1.34.
const FOR_OLDER_SERVERS: [&str; 2] = [
    "list edgecredentials.io/edgecredentials",
    "list edgecredentials.io/edgetokens",
];

/// As [`AuditEvent::right`](kit::control_plane::AuditEvent::right) has them.
type Rights = BTreeSet<String>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_cluster_role_everything_granted_is_used_and_nothing_is_refused() {
    let setup = Setup {
        cluster_wide: true,
        values: vec![("leaderElection", "true".to_owned())],
        own_control_plane: true,
        ..Setup::default()
    };
    uses_exactly_what_is_granted(setup.scene("rights-all").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_roles_everything_granted_is_used_and_nothing_is_refused() {
    let setup = Setup {
        values: vec![("leaderElection", "true".to_owned())],
        ..Setup::default()
    };
    uses_exactly_what_is_granted(setup.scene("rights-some").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_watching_secrets_everything_granted_is_used_and_nothing_is_refused() {
    let setup = Setup {
        values: vec![
            ("leaderElection", "true".to_owned()),
            ("watchSecrets", "false".to_owned()),
        ],
        ..Setup::default()
    };
    uses_exactly_what_is_granted(setup.scene("rights-blind").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_names_its_secrets_is_enough() {
    let setup = Setup {
        start: false,
        values: vec![("watchSecrets", "false".to_owned())],
        ..Setup::default()
    };
    let mut scene = setup.scene("rights-named").await;
    let shop = &scene.namespaces[0];
    let roles = Api::<Role>::namespaced(scene.client.clone(), &shop.name);
    let mut role = roles.list(&ListParams::default()).await.unwrap().items;
    let mut role = role.pop().expect("the chart's Role");
    let rules = role.rules.as_mut().unwrap();
    rules.retain(|rule| rule.resources != Some(vec!["secrets".to_owned()]));
    let rule = |verbs: &[&str], names: &[&str]| PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["secrets".to_owned()]),
        resource_names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    };
    rules.push(rule(&["create"], &[]));
    rules.push(rule(&["get", "update"], &["edge", CREDENTIALS]));
    let name = role.metadata.name.clone().unwrap();
    let replaced = roles.replace(&name, &PostParams::default(), &role).await;
    replaced.unwrap();
    let user = scene.operator.user.clone();
    let may_i = [
        "auth", "can-i", "get", "secrets", "-n", &shop.name, "--as", &user,
    ];
    shop.until(PATIENCE, "the role is in force", async || {
        let answer = scene.control_plane.kubectl(&may_i).await;
        answer.is_err().then_some(())
    })
    .await;
    scene.operator.start().await;

    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge").await;
    shop.annotate("edge", RENEW_REQUESTED_AT, "now").await;
    shop.object_that("edge", "is renewed", |object| {
        let status = object.status.as_ref().unwrap();
        status.last_handled_renew_request.as_deref() == Some("now")
    })
    .await;
    // And where the target holds no token that is valid for the spec, so that the right is asked for.
    shop.edit("edge", |object| {
        object.spec.token_request.scopes = vec!["edge.token:manage".to_owned()];
    })
    .await;
    shop.ready("edge").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 3);
    let log = scene.operator.log();
    assert!(!log.contains(Reason::RBACMissing.as_str()), "{log}");
}

/// Leads the operator through everything that it does, and compares the audit log with the roles.
async fn uses_exactly_what_is_granted(mut scene: Scene) {
    let granted = granted(&scene).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge").await;
    if granted.contains("list /secrets") {
        // What it was is read in the history.
        shop.delete_secret("edge").await;
        shop.secret_that("edge", "is back", |_| true).await;
    }
    // Its finalizer and its status are written, and it is read before its key is revoked.
    let mut key = shop.edge_token("key");
    key.spec.deletion_policy = DeletionPolicy::Revoke;
    shop.create_edge_token(&key).await;
    shop.edge_token_ready("key").await;
    shop.delete_edge_token("key").await;
    // Another spec needs another token: the object is read anew, and the target replaced.
    let scopes = vec!["edge.token:manage".to_owned()];
    shop.edit("edge", |object| {
        object.spec.token_request.scopes.clone_from(&scopes)
    })
    .await;
    shop.ready("edge").await;
    // An Event is changed where the same one comes again, in a series. Any of them may be lost, so they are brought about
    // for as long as it takes.
    shop.until(PATIENCE, "every right is used", async || {
        fail_and_recover(shop).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let used = used(&scene);
        let unused = granted.difference(&used);
        let unused: Vec<_> = unused
            .filter(|right| !FOR_OLDER_SERVERS.contains(&right.as_str()))
            .collect();
        if !unused.is_empty() {
            eprintln!("not used yet: {unused:?}");
        }
        unused.is_empty().then_some(())
    })
    .await;
    let used = used(&scene);
    let ungranted: Vec<_> = used.difference(&granted).collect();
    assert!(ungranted.is_empty(), "{ungranted:?}");
    let (code, _) = scene.operator.terminate().await;
    assert_eq!(code, 0);
}

/// Breaks the credentials and mends them, each of which the operator tells in an Event.
async fn fail_and_recover(shop: &Namespace) {
    let wrong = credentials("edge client\n", SECRET);
    shop.replace_data(CREDENTIALS, &wrong).await;
    shop.annotate("edge", "example.com/look", "now").await;
    shop.object_that("edge", "has malformed credentials", |object| {
        let malformed = Reason::CredentialsMalformed.as_str();
        reasons(object).any(|reason| reason == malformed)
    })
    .await;
    let right = credentials(CLIENT, SECRET);
    shop.replace_data(CREDENTIALS, &right).await;
    shop.annotate("edge", "example.com/look", "again").await;
    shop.object_that("edge", "is well again", |object| {
        let fine = Reason::TokenValid.as_str();
        reasons(object).all(|reason| reason == fine)
    })
    .await;
}

/// The reasons of all conditions.
fn reasons(object: &EdgeCredential) -> impl Iterator<Item = &str> {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    conditions.map(|condition| &*condition.reason)
}

/// What the roles of the release grant to the operator. Those for people are not bound to it.
async fn granted(scene: &Scene) -> Rights {
    let home = scene.operator.user.rsplit(':').nth(1).unwrap();
    let release = home.trim_end_matches("-operator");
    let ours = ListParams::default().labels(&format!("app.kubernetes.io/instance={release}"));
    let cluster = Api::<ClusterRole>::all(scene.client.clone());
    let cluster = cluster.list(&ours).await.unwrap().items.into_iter();
    let bound = cluster.filter(|role| {
        let labels = role.metadata.labels.as_ref().unwrap();
        !labels.keys().any(|key| key.contains("aggregate-to-"))
    });
    let roles = Api::<Role>::all(scene.client.clone());
    let roles = roles.list(&ours).await.unwrap().items.into_iter();
    let rules = bound
        .filter_map(|role| role.rules)
        .chain(roles.filter_map(|role| role.rules));
    let rights: Rights = rules.flatten().flat_map(of_rule).collect();
    assert!(rights.len() > 8, "{rights:?}");
    rights
}

fn of_rule(rule: PolicyRule) -> Vec<String> {
    let mut rights = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                rights.push(format!("{verb} {group}/{resource}"));
            }
        }
    }
    rights
}

/// What the operator has called, but for what everybody may: asking whether it may do something.
fn used(scene: &Scene) -> Rights {
    let events = scene.audit_events().into_iter();
    events
        .filter(|event| event.group != "authorization.k8s.io")
        .filter_map(|event| event.right())
        .collect()
}
