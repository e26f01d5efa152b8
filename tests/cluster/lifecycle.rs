//! From an EdgeCredential to a Secret, and to its end, in each way of installing the chart.

use std::time::Duration;

use edge_credential_operator::api::EdgeCredential;
use kube::Resource;

use kit::harness::*;

/// How long kubectl waits: as long as [`PATIENCE`].
const PATIENTLY: &str = "--timeout=180s";

/// How many objects a namespace has that is full of them.
const CROWD: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_credential_becomes_a_secret_that_goes_with_it() {
    let scene = Scene::new("lifecycle", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let mut object = shop.edge_credential("edge-admin");
    object.spec.target.name = Some("edge-admin-jwt".to_owned());
    shop.create_object(&object).await;

    let wait = [
        "wait",
        "--for=condition=Ready",
        PATIENTLY,
        "ecred/edge-admin",
    ];
    kubectl(&scene, &wait).await;

    let object = shop.object("edge-admin").await;
    let target = shop.secret("edge-admin-jwt").await;
    let token = text(&target, "access_token");
    let claims = scene.sitecore.verify(&token).unwrap();
    assert_eq!(claims.azp, CLIENT);
    assert_eq!(text(&target, "token_type"), "Bearer");
    assert_eq!(text(&target, "scope"), claims.scope);
    let status = object.status.clone().unwrap();
    let described = status.token.unwrap();
    assert_eq!(
        text(&target, "expires_at"),
        described.expires_at.0.to_string()
    );
    assert_eq!(described.tenant_id, claims.tenant_id);
    assert_eq!(status.target.unwrap().name, "edge-admin-jwt");
    assert_eq!(target.type_.as_deref(), Some("Opaque"));

    let owner = EdgeCredential::controller_owner_ref(&object, &()).unwrap();
    let owners = target.metadata.owner_references.unwrap();
    assert_eq!(owners.len(), 1);
    assert_eq!((&owners[0].uid, &owners[0].kind), (&owner.uid, &owner.kind));
    assert_eq!(owners[0].controller, Some(true));
    assert_eq!(owners[0].block_owner_deletion, Some(false));

    shop.delete_object("edge-admin").await;
    shop.until(PATIENCE, "the target is collected", async || {
        let target = shop.secrets.get_opt("edge-admin-jwt").await.unwrap();
        target.is_none().then_some(())
    })
    .await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_get_shows_how_things_stand() {
    let scene = Scene::new("columns", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let ready = shop.create_ready("edge-admin").await;
    let token = ready.status.unwrap().token.unwrap();
    let (expires, renews) = (token.expires_at.0.to_string(), token.renew_at.0.to_string());

    let table = kubectl(&scene, &["get", "edgecredentials"]).await;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        ["NAME", "READY", "REASON", "EXPIRES", "RENEWS", "AGE"]
    );
    assert_eq!(
        rows[1][..5],
        ["edge-admin", "True", "TokenValid", &expires, &renews]
    );

    let table = kubectl(&scene, &["get", "ecred", "-o", "wide"]).await;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let columns = [
        "NAME", "READY", "REASON", "EXPIRES", "RENEWS", "AGE", "MESSAGE", "TARGET", "TENANT",
    ];
    assert_eq!(rows[0], columns);
    assert!(
        table.contains("holds a token that is valid until"),
        "{table}"
    );
    let tenant = token.tenant_id.unwrap();
    assert!(rows[1].ends_with(&["edge-admin", &tenant]), "{table}");

    let names = kubectl(&scene, &["get", "sitecore", "-o", "name"]).await;
    assert_eq!(names.trim(), "edgecredential.edgecredentials.io/edge-admin");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_operator_can_serve_all_namespaces_and_only_the_objects_with_its_labels() {
    let setup = Setup {
        namespaces: 2,
        cluster_wide: true,
        values: vec![("selector", "shard=blue".to_owned())],
        ..Setup::default()
    };
    let scene = setup.scene("everywhere").await;
    for namespace in &scene.namespaces {
        namespace.create_credentials().await;
        let mut object = namespace.edge_credential("with-label");
        object.meta_mut().labels = Some([("shard".to_owned(), "blue".to_owned())].into());
        namespace.create_object(&object).await;
        namespace
            .create_object(&namespace.edge_credential("without-label"))
            .await;
    }
    for namespace in &scene.namespaces {
        namespace.ready("with-label").await;
    }
    assert_eq!(scene.sitecore.requests(CLIENT), 1);

    // A label that is added later makes the object this operator's.
    let shop = &scene.namespaces[0];
    let unseen = Some(-1);
    let seen = async |namespace: &Namespace| {
        let status = namespace.object("without-label").await.status;
        status.unwrap().observed_generation
    };
    assert_eq!(seen(shop).await, unseen);
    shop.edit("without-label", |object| {
        object.meta_mut().labels = Some([("shard".to_owned(), "blue".to_owned())].into());
    })
    .await;
    shop.ready("without-label").await;
    assert_eq!(seen(&scene.namespaces[1]).await, unseen);
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_watch_of_secrets_it_needs_no_right_to_list_them() {
    let setup = Setup {
        values: vec![("watchSecrets", "false".to_owned())],
        ..Setup::default()
    };
    let scene = setup.scene("unwatched").await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge-admin").await;
    let target = shop.secret("edge-admin").await;
    scene
        .sitecore
        .verify(&text(&target, "access_token"))
        .unwrap();

    for verb in ["list", "watch"] {
        let right = [
            "auth",
            "can-i",
            verb,
            "secrets",
            "--as",
            &scene.operator.user,
        ];
        // kubectl fails where the answer is no.
        let mut command = scene.control_plane.kubectl_command();
        let answer = command
            .args(right)
            .args(["-n", &shop.name])
            .output()
            .await
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&answer.stdout).trim(),
            "no",
            "{verb}"
        );
    }
    let secrets = scene
        .audit_events()
        .into_iter()
        .filter(|event| event.resource == "secrets");
    let verbs: std::collections::BTreeSet<_> = secrets.map(|event| event.verb).collect();
    assert_eq!(verbs.into_iter().collect::<Vec<_>>(), ["create", "get"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_can_be_deleted_and_the_others_are_served_as_before() {
    let mut scene = Scene::new("farewell", 2).await;
    // A namespace that is terminating takes nothing new, and the RoleBinding in it may go before the objects.
    scene.may_be_refused = |event| event.namespace == "farewell-1";
    for namespace in &scene.namespaces {
        namespace.create_credentials().await;
        namespace.create_ready("edge-admin").await;
    }
    let [shop, other] = &scene.namespaces[..] else {
        panic!("two namespaces");
    };
    kubectl(&scene, &["delete", "namespace", &shop.name, PATIENTLY]).await;

    other.delete_secret("edge-admin").await;
    other.secret_that("edge-admin", "is back", |_| true).await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
    assert!(scene.operator.process().is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_full_of_objects_is_deleted_with_no_request_and_no_storm_of_events() {
    let mut scene = Scene::new("crowd", 1).await;
    // A namespace that is terminating takes nothing new, and the RoleBinding in it may go before the objects.
    scene.may_be_refused = |event| event.namespace == "crowd-1";
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    for number in 0..CROWD {
        let mut object = shop.edge_credential(&format!("edge-{number}"));
        object.spec.token_request.scopes = vec![format!("scope-{number}")];
        shop.create_object(&object).await;
    }
    for number in 0..CROWD {
        shop.ready(&format!("edge-{number}")).await;
    }
    let events = || {
        let all = scene.audit_events().into_iter();
        let created = ("events", "create", 201);
        all.filter(|event| (&*event.resource, &*event.verb, event.code) == created)
            .count()
    };
    shop.until(
        PATIENCE,
        "the Events of the beginning are told",
        async || (events() == CROWD).then_some(()),
    )
    .await;

    kubectl(&scene, &["delete", "namespace", &shop.name, PATIENTLY]).await;
    // Longer than any Event waits.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(events() - CROWD, 0, "Events of an end that was wanted");
    assert_eq!(scene.sitecore.requests(CLIENT), CROWD as u64);
    assert!(scene.operator.process().is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_deleted_and_made_anew_takes_the_token_over() {
    let scene = Scene::new("anew", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge-admin").await;
    let token = text(&shop.secret("edge-admin").await, "access_token");

    // The target of the earlier object is still there at first.
    shop.delete_object("edge-admin").await;
    let again = shop.create_ready("edge-admin").await;
    let target = shop.secret("edge-admin").await;
    assert_eq!(text(&target, "access_token"), token);
    assert_eq!(
        target.metadata.owner_references.unwrap()[0].uid,
        again.metadata.uid.unwrap()
    );

    // Deletion in the foreground waits until the target is gone: it must not be written again meanwhile.
    let delete = [
        "delete",
        "ecred",
        "edge-admin",
        "--cascade=foreground",
        PATIENTLY,
    ];
    kubectl(&scene, &delete).await;
    assert_eq!(shop.secrets.get_opt("edge-admin").await.unwrap(), None);
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}

/// kubectl in the scene's first namespace.
async fn kubectl(scene: &Scene, args: &[&str]) -> String {
    let mut all = vec!["--namespace", &scene.namespaces[0].name];
    all.extend(args);
    scene.control_plane.kubectl(&all).await.unwrap()
}
