//! Deleted targets on a real API server that forgets early: what it still knows, and what it does not.

use std::time::Duration;

use kit::harness::{CLIENT, Namespace, PATIENCE, Setup};
use tokio::time::sleep;

/// How often the API server forgets what was before the last time.
const COMPACTION: Duration = Duration::from_secs(20);

const TARGET: &str = "edge";

/// Waits until the target is there again, and returns its token.
async fn token(shop: &Namespace) -> Vec<u8> {
    let is_back = async || {
        let secret = shop.secrets.get_opt(TARGET).await.unwrap()?;
        Some(secret.data?.remove("access_token")?.0)
    };
    shop.until(PATIENCE, "the target is there", is_back).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_target_comes_back_from_the_history_though_it_was_written_before_two_compactions()
{
    let setup = Setup {
        own_control_plane: true,
        compaction_interval: Some(COMPACTION),
        values: vec![("leaderElection", "true".to_owned())],
        ..Setup::default()
    };
    let mut scene = setup.scene("history").await;
    scene.namespaces[0].create_credentials().await;
    scene.namespaces[0].create_ready(TARGET).await;
    let before = token(&scene.namespaces[0]).await;
    sleep(COMPACTION * 5 / 2).await;

    scene.namespaces[0].delete_secret(TARGET).await;
    assert_eq!(token(&scene.namespaces[0]).await, before, "at once");

    // The next process has the version of the lease, which the one before has renewed until its end.
    sleep(COMPACTION * 5 / 2).await;
    scene.operator.kill();
    scene.namespaces[0].delete_secret(TARGET).await;
    scene.operator.start().await;
    assert_eq!(token(&scene.namespaces[0]).await, before, "after a restart");
    assert_eq!(scene.sitecore.requests(CLIENT), 1);

    // What the API server has forgotten costs one request.
    scene.operator.kill();
    scene.namespaces[0].delete_secret(TARGET).await;
    sleep(COMPACTION * 5 / 2).await;
    scene.operator.start().await;
    assert_ne!(token(&scene.namespaces[0]).await, before);
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
}
