//! From an EdgeCredential to a Secret, and to its end.

use crate::harness::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_credential_becomes_a_secret() {
    let scene = Scene::new("becomes", 1).await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge-admin").await;
    let target = shop.secret("edge-admin").await;
    scene
        .sitecore
        .verify(&text(&target, "access_token"))
        .unwrap();
    assert_eq!(scene.sitecore.requests(CLIENT), 1);
}
