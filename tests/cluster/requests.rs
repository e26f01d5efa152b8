//! What makes the operator request a token, and what doesn't.

use std::time::Duration;

use edge_credential_operator::api::edge_credential::RENEW_REQUESTED_AT;
use edge_credential_operator::api::{ConditionType, EdgeCredential, Reason};

use kit::harness::*;

/// Long enough for the operator to do what it should not.
const A_WHILE: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renew_request_costs_one_request_for_each_value() {
    let mut scene = Scene::new("annotated", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge").await;
    let mut token = text(&shop.secret("edge").await, "access_token");

    for (value, requests) in [("2026-11-23T10:00:00Z", 2), ("now", 3), ("again", 4)] {
        shop.annotate("edge", RENEW_REQUESTED_AT, value).await;
        handled(shop, value).await;
        let renewed = text(&shop.secret("edge").await, "access_token");
        assert_ne!(renewed, token);
        token = renewed;
        assert_eq!(scene.sitecore.requests(CLIENT), requests);
    }

    // The same value again is no new request: not when it is written anew, not after a restart.
    shop.annotate("edge", "example.com/other", "change").await;
    shop.edit("edge", |object| {
        object.spec.target.labels = [("team".to_owned(), "web".to_owned())].into()
    })
    .await;
    shop.ready("edge").await;
    scene.operator.kill();
    scene.operator.start().await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(text(&shop.secret("edge").await, "access_token"), token);
    assert_eq!(scene.sitecore.requests(CLIENT), 4);

    // Neither is its removal.
    shop.edit("edge", |object| {
        object
            .metadata
            .annotations
            .as_mut()
            .unwrap()
            .remove(RENEW_REQUESTED_AT);
    })
    .await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(scene.sitecore.requests(CLIENT), 4);
}

async fn handled(shop: &Namespace, value: &str) -> EdgeCredential {
    shop.object_that("edge", &format!("has handled {value}"), |object| {
        let status = object.status.as_ref().unwrap();
        status.last_handled_renew_request.as_deref() == Some(value)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_suspended_nothing_is_requested_or_written() {
    let scene = Scene::new("suspended", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let mut object = shop.edge_credential("edge");
    object.spec.suspend = true;
    shop.create_object(&object).await;
    let object = shop.has_reason("edge", Reason::Suspended).await;
    assert_eq!(condition(&object, ConditionType::Ready).status, "False");
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(shop.secrets.get_opt("edge").await.unwrap(), None);
    assert_eq!(scene.sitecore.requests(CLIENT), 0);

    shop.edit("edge", |object| object.spec.suspend = false)
        .await;
    shop.ready("edge").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);

    shop.edit("edge", |object| object.spec.suspend = true).await;
    let object = shop.has_reason("edge", Reason::Suspended).await;
    // The token is still good.
    assert_eq!(condition(&object, ConditionType::Ready).status, "True");
    shop.edit_secret("edge", |secret| secret.metadata.labels = None)
        .await;
    let edited = shop.secret("edge").await;
    shop.annotate("edge", RENEW_REQUESTED_AT, "while suspended")
        .await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(shop.secret("edge").await, edited);
    assert_eq!(scene.sitecore.requests(CLIENT), 1);

    // What was asked for meanwhile is done now.
    shop.edit("edge", |object| object.spec.suspend = false)
        .await;
    handled(shop, "while suspended").await;
    shop.secret_that("edge", "has its label", |secret| {
        secret.metadata.labels.is_some()
    })
    .await;
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_client_secret_costs_one_request_and_the_token_stays_valid_all_the_time() {
    let scene = Scene::new("rotated", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    let before = shop.create_ready("edge").await;
    let token = text(&shop.secret("edge").await, "access_token");

    scene
        .sitecore
        .rotate_secret(CLIENT, "new-secret", Duration::ZERO);
    shop.replace_data(CREDENTIALS, &credentials(CLIENT, "new-secret"))
        .await;
    let target = shop
        .secret_that("edge", "has another token", |secret| {
            text(secret, "access_token") != token
        })
        .await;
    scene
        .sitecore
        .verify(&text(&target, "access_token"))
        .unwrap();
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
    let after = shop.ready("edge").await;
    assert_eq!(
        condition(&after, ConditionType::Ready).last_transition_time,
        condition(&before, ConditionType::Ready).last_transition_time
    );

    // The same content written again is no rotation.
    shop.edit_secret(CREDENTIALS, |secret| {
        secret.metadata.labels = Some([("touched".to_owned(), "yes".to_owned())].into());
    })
    .await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_rotated_secret_is_wrong_the_old_token_stays() {
    let scene = Scene::new("misrotated", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge").await;
    let before = shop.secret("edge").await;

    shop.replace_data(CREDENTIALS, &credentials(CLIENT, "mistyped"))
        .await;
    let object = shop
        .object_that("edge", "has tried", |object| {
            condition(object, ConditionType::Reconciling).status == "True"
        })
        .await;
    let ready = condition(&object, ConditionType::Ready);
    assert_eq!((&*ready.status, &*ready.reason), ("True", "RenewalFailing"));
    assert_eq!(
        condition(&object, ConditionType::Reconciling).reason,
        "CredentialsRejected"
    );
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
    assert_eq!(shop.secret("edge").await, before);

    // The old credentials are back: their token is there already.
    shop.replace_data(CREDENTIALS, &credentials(CLIENT, SECRET))
        .await;
    shop.object_that("edge", "is content", |object| {
        object.status.as_ref().unwrap().failures.is_none()
    })
    .await;
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
    assert_eq!(
        text(&shop.secret("edge").await, "access_token"),
        text(&before, "access_token")
    );
}

type Change<'a> = (&'a str, &'a dyn Fn(&mut EdgeCredential));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_inputs_in_any_namespace_cost_one_request() {
    let mut scene = Scene::new("sharing", 3).await;
    for namespace in &scene.namespaces {
        namespace.create_credentials().await;
    }
    let all: Vec<_> = (0..10)
        .map(|number| (&scene.namespaces[number % 3], format!("edge-{number}")))
        .collect();
    for (namespace, name) in &all {
        namespace
            .create_object(&namespace.edge_credential(name))
            .await;
    }
    let mut tokens = std::collections::BTreeSet::new();
    for (namespace, name) in &all {
        namespace.ready(name).await;
        tokens.insert(text(&namespace.secret(name).await, "access_token"));
    }
    assert_eq!((tokens.len(), scene.sitecore.requests(CLIENT)), (1, 1));

    // Another client is another matter.
    scene.sitecore.add_client("other-client", "other-secret");
    let shop = &scene.namespaces[0];
    shop.create_secret("other", &credentials("other-client", "other-secret"))
        .await;
    let mut object = shop.edge_credential("of-other");
    object.spec.credentials_secret_ref.name = "other".to_owned();
    shop.create_object(&object).await;
    shop.ready("of-other").await;
    let other = text(&shop.secret("of-other").await, "access_token");
    assert!(!tokens.contains(&other));
    assert_eq!(scene.sitecore.verify(&other).unwrap().azp, "other-client");
    assert_eq!(scene.sitecore.requests("other-client"), 1);

    // So are another audience, scope or parameter: one request each, and none of those asked before.
    let audience = "https://other.example.com";
    scene.sitecore.allow_audience(CLIENT, audience);
    let changes: [Change; 3] = [
        ("audience", &|object| {
            object.spec.token_request.audience = audience.to_owned()
        }),
        ("scope", &|object| {
            object.spec.token_request.scopes = vec!["edge.admin:manage".to_owned()]
        }),
        ("parameter", &|object| {
            object.spec.token_request.extra_parameters =
                [("organization".to_owned(), "org_1".to_owned())].into();
        }),
    ];
    for (index, (what, change)) in changes.iter().enumerate() {
        shop.edit("edge-0", change).await;
        shop.ready("edge-0").await;
        assert!(
            tokens.insert(text(&shop.secret("edge-0").await, "access_token")),
            "{what}"
        );
        assert_eq!(scene.sitecore.requests(CLIENT), 2 + index as u64, "{what}");
    }
    let recorded = scene.sitecore.recorded(CLIENT);
    assert_eq!(recorded[1].audience.as_deref(), Some(audience));
    assert_eq!(recorded[2].scope.as_deref(), Some("edge.admin:manage"));
    assert_eq!(recorded[3].extra["organization"], "org_1");

    // Two at the same place have the same inputs again: the token that they share is in memory.
    let other_shop = &scene.namespaces[1];
    other_shop
        .edit("edge-1", |object| {
            changes.iter().for_each(|(_, change)| change(object));
        })
        .await;
    other_shop.ready("edge-1").await;
    assert_eq!(
        text(&other_shop.secret("edge-1").await, "access_token"),
        text(&shop.secret("edge-0").await, "access_token")
    );
    assert_eq!(scene.sitecore.requests(CLIENT), 4);

    // After a restart nothing is in memory, but each has its token.
    scene.operator.kill();
    scene.operator.start().await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(scene.sitecore.total_requests(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_300_objects_costs_no_request() {
    const OBJECTS: u64 = 300;
    let mut scene = Scene::new("fleet", 3).await;
    for namespace in &scene.namespaces {
        namespace.create_credentials().await;
    }
    let all: Vec<_> = (0..OBJECTS)
        .map(|number| (number as usize % 3, format!("edge-{number}")))
        .collect();
    for (namespace, name) in &all {
        let namespace = &scene.namespaces[*namespace];
        let mut object = namespace.edge_credential(name);
        // Inputs of its own: each needs a token.
        object.spec.token_request.scopes = vec![name.clone()];
        namespace.create_object(&object).await;
    }
    for (namespace, name) in &all {
        scene.namespaces[*namespace].ready(name).await;
    }
    assert_eq!(scene.sitecore.requests(CLIENT), OBJECTS);

    scene.operator.kill();
    scene.operator.start().await;
    let series = "edgecredential_reconciliations_total{outcome=\"Success\"} ";
    scene.namespaces[0]
        .until(PATIENCE, "all have been looked at", async || {
            let metrics = scene.operator.get("/metrics").await.ok()?.1;
            let line = metrics.lines().find_map(|line| line.strip_prefix(series))?;
            (line.parse::<u64>().ok()? >= OBJECTS).then_some(())
        })
        .await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(scene.sitecore.requests(CLIENT), OBJECTS);
    assert!(scene.operator.process().is_running());
}
