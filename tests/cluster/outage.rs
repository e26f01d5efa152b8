//! An API server that goes away and comes back.

use std::time::Duration;

use kit::control_plane::Server;
use kit::sitecore::Scenario;

use crate::harness::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_comes_while_the_api_server_is_away_is_written_when_it_is_back() {
    let setup = Setup {
        own_control_plane: true,
        ..Setup::default()
    };
    let mut scene = setup.scene("outage").await;
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;

    // The answer comes when there is nobody to store it.
    let slow = Scenario::Delay(Duration::from_secs(2));
    scene.sitecore.next(CLIENT, 1, slow.clone());
    shop.create_object(&shop.edge_credential("crash")).await;
    requested(&scene, 1).await;
    scene.control_plane.stop_api_server().unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(scene.operator.get("/livez").await.unwrap().0, 200);
    assert_eq!(scene.operator.get("/readyz").await.unwrap().0, 200);
    scene.control_plane.start_api_server().await.unwrap();
    shop.ready("crash").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 1);

    // The same with an API server that accepts connections and does not answer.
    scene.sitecore.next(CLIENT, 1, slow);
    let mut object = shop.edge_credential("freeze");
    object.spec.scopes = vec!["edge.admin:manage".to_owned()];
    shop.create_object(&object).await;
    requested(&scene, 2).await;
    scene.control_plane.pause(Server::ApiServer).unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    scene.control_plane.resume(Server::ApiServer).unwrap();
    shop.ready("freeze").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 2);

    // The watches are at work again.
    for name in ["crash", "freeze"] {
        shop.delete_secret(name).await;
        shop.secret_that(name, "is back", |_| true).await;
    }
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
    assert!(scene.operator.process().is_running());
}

async fn requested(scene: &Scene, requests: u64) {
    scene.namespaces[0]
        .until(PATIENCE, "the request is under way", async || {
            (scene.sitecore.requests(CLIENT) == requests).then_some(())
        })
        .await;
}
