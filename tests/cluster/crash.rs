//! Kills at random moments: nothing is lost, and no token is requested that is there already.

use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use edge_credential_operator::api::edge_credential::RENEW_REQUESTED_AT;
use k8s_openapi::api::core::v1::Secret;

use kit::harness::{CLIENT, Namespace, Scene, proof, text};

const KILLS: usize = 50;

#[derive(Clone, Copy, Debug)]
enum Step {
    Create,
    Renew,
    DeleteTarget,
    Relabel,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_50_random_moments_it_converges_and_requests_nothing_that_is_stored() {
    let mut scene = Scene::new("crash", 1).await;
    scene.namespaces[0].create_credentials().await;
    // Kills fall before, into and after a visit, however long one takes here.
    let start = Instant::now();
    scene.namespaces[0].create_ready("edge-0").await;
    let latest_kill = start.elapsed();

    let mut name = "edge-0".to_owned();
    let mut interrupted = 0;
    for kill in 1..=KILLS {
        let step = [Step::Renew, Step::DeleteTarget, Step::Relabel, Step::Create][kill % 4];
        let namespace = &scene.namespaces[0];
        let value = format!("request-{kill}");
        let before = scene.sitecore.requests(CLIENT);
        match step {
            Step::Create => {
                name = format!("edge-{kill}");
                let mut object = namespace.edge_credential(&name);
                // Inputs of its own: a token in memory would do otherwise.
                object.spec.token_request.scopes = vec![format!("scope-{kill}")];
                namespace.create_object(&object).await;
            }
            Step::Renew => namespace.annotate(&name, RENEW_REQUESTED_AT, &value).await,
            Step::DeleteTarget => namespace.delete_secret(&name).await,
            Step::Relabel => {
                namespace
                    .edit(&name, |object| {
                        let labels = &mut object.spec.target.labels;
                        labels.insert("kill".to_owned(), kill.to_string());
                    })
                    .await;
            }
        }
        let delay = latest_kill.mul_f64(random());
        tokio::time::sleep(delay).await;
        scene.operator.kill();

        let namespace = &scene.namespaces[0];
        let stored = namespace.secrets.get_opt(&name).await.unwrap();
        let enough = stored.is_some_and(|secret| match step {
            Step::Renew => answers(&secret, &value),
            Step::Create | Step::DeleteTarget | Step::Relabel => true,
        });

        interrupted += usize::from(!enough);

        // Where nothing is stored, a request may have been lost with the process, which is counted when it arrives.
        let most = if enough {
            scene.sitecore.requests(CLIENT)
        } else {
            before + 2
        };
        scene.operator.spawn();
        let namespace = &scene.namespaces[0];
        converged(namespace, &name, step, &value, kill).await;
        let requests = scene.sitecore.requests(CLIENT);
        assert!(
            requests <= most,
            "kill {kill} of {step:?} after {delay:?}: {requests} requests, {before} before it; stored: {enough}"
        );
        let token = text(&namespace.secret(&name).await, "access_token");
        scene.sitecore.verify(&token).expect("a valid token");
    }
    println!("{interrupted} of {KILLS} kills came before the token was stored");
    assert!((1..KILLS).contains(&interrupted), "kills at all moments");
}

/// Waits until the last step has been carried through.
async fn converged(namespace: &Namespace, name: &str, step: Step, value: &str, kill: usize) {
    namespace
        .secret_that(name, "is as it should be", |secret| match step {
            Step::Renew => answers(secret, value),
            Step::Relabel => {
                let labels = secret.metadata.labels.as_ref();
                labels.is_some_and(|labels| labels.get("kill") == Some(&kill.to_string()))
            }
            Step::Create | Step::DeleteTarget => true,
        })
        .await;
    namespace.ready(name).await;
    if matches!(step, Step::Renew) {
        namespace
            .object_that(name, "has handled the renew request", |object| {
                let status = object.status.as_ref();
                let handled =
                    status.and_then(|status| status.last_handled_renew_request.as_deref());
                handled == Some(value)
            })
            .await;
    }
}

/// Whether the token in a Secret was requested for this value of the renew annotation.
fn answers(secret: &Secret, value: &str) -> bool {
    proof(secret)["renewRequest"] == value
}

/// From 0 to 1, another one each time.
fn random() -> f64 {
    let hash = RandomState::new().hash_one(0) >> 11;
    hash as f64 / (1_u64 << 53) as f64
}
