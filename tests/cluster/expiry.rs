//! Tokens of 20 seconds, for three minutes: what a workload sees that looks at its Secret all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use edge_credential_operator::api::ConditionType;
use edge_credential_operator::api::target::{Source, TargetEntry};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kit::sitecore::Sitecore;

use kit::harness::*;

const LIFETIME: Duration = Duration::from_secs(20);
const OBSERVED: Duration = Duration::from_secs(180);
const EVERY: Duration = Duration::from_millis(100);

/// A token is renewed at two thirds of its lifetime, less 5 % of the lifetime at most.
const EARLIEST_RENEWAL: Duration = Duration::from_millis(13_333 - 1_000);
const LATEST_RENEWAL: Duration = Duration::from_millis(13_333);

/// Times are kept in whole seconds, rounded down twice: when the token was requested, and when it is to be renewed.
const ROUNDING: Duration = Duration::from_secs(2);

/// How late a renewal may be on a machine that is busy: the token is still valid then.
const SLACK: Duration = Duration::from_secs(5);

/// The lifetime of the token that expires in a pause.
const PAUSE: Duration = Duration::from_secs(30);

/// How long the operator may take after a pause, on such a machine. Had it not noticed the pause, it would still wait for
/// most of the 18 s at least after which that token is renewed.
const AWAKE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_an_expired_or_torn_token_and_each_renewal_costs_one_request() {
    let scene = Scene::new("expiry", 2).await;
    scene.sitecore.set_lifetime(CLIENT, LIFETIME);
    for namespace in &scene.namespaces {
        namespace.create_credentials().await;
    }
    for namespace in &scene.namespaces {
        let mut object = namespace.edge_credential("edge");
        // Beside the default ones.
        object.spec.target.data = object.spec.target.entries().into_owned();
        object.spec.target.data.push(TargetEntry {
            key: "AUTHORIZATION".to_owned(),
            from: Some(Source::Authorization),
            value: None,
        });
        namespace.create_object(&object).await;
    }
    for namespace in &scene.namespaces {
        namespace.ready("edge").await;
    }

    let mut seen = [Seen::default(), Seen::default()];
    let start = Instant::now();
    let mut looks = tokio::time::interval(EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while start.elapsed() < OBSERVED {
        looks.tick().await;
        for (namespace, seen) in scene.namespaces.iter().zip(&mut seen) {
            seen.check(&namespace.secret("edge").await, &scene.sitecore);
        }
    }
    // A renewal may be half done.
    scene.namespaces[0]
        .object_that("edge", "is content", |object| {
            object.status.as_ref().unwrap().failures.is_none()
        })
        .await;
    for (namespace, seen) in scene.namespaces.iter().zip(&mut seen) {
        seen.check(&namespace.secret("edge").await, &scene.sitecore);
        assert_eq!(
            condition(&namespace.object("edge").await, ConditionType::Ready).status,
            "True"
        );
    }

    // Two with equal inputs share each token, and no token was requested that neither needed.
    let requests = scene.sitecore.recorded(CLIENT);
    let tokens: BTreeSet<_> = seen.iter().flat_map(|seen| seen.expiries.keys()).collect();
    assert!(
        requests.len().abs_diff(tokens.len()) <= 1,
        "{} requests for {} tokens",
        requests.len(),
        tokens.len()
    );
    assert_eq!(scene.sitecore.issued(CLIENT), requests.len() as u64);
    for pair in requests.windows(2) {
        let age = pair[1].at.duration_since(pair[0].at).unwrap();
        assert!(age >= EARLIEST_RENEWAL - ROUNDING, "renewed after {age:?}");
        assert!(age <= LATEST_RENEWAL + SLACK, "renewed after {age:?}");
    }
    let renewals = u32::try_from(requests.len()).unwrap() - 1;
    assert!((EARLIEST_RENEWAL - ROUNDING) * renewals <= OBSERVED + SLACK);
    assert!((LATEST_RENEWAL + SLACK) * (renewals + 1) >= OBSERVED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_pause_of_the_process_longer_than_a_lifetime_one_request_brings_a_valid_token() {
    let mut scene = Scene::new("pause", 1).await;
    scene.sitecore.set_lifetime(CLIENT, PAUSE);
    let shop = &scene.namespaces[0];
    shop.create_credentials().await;
    shop.create_ready("edge").await;
    let before = text(&shop.secret("edge").await, "access_token");
    // The visit that its own writes cause is over: a pause between the reckoning of a wait and its beginning would make it
    // as much longer.
    scene.rests().await;
    // Renewed but once while this test looks.
    scene
        .sitecore
        .set_lifetime(CLIENT, Duration::from_hours(24));

    scene.operator.process().signal("STOP").unwrap();
    tokio::time::sleep(PAUSE).await;
    let expired = scene.sitecore.verify(&before);
    assert!(expired.is_err(), "nobody renewed it");
    scene.operator.process().signal("CONT").unwrap();
    let start = Instant::now();
    let shop = &scene.namespaces[0];
    let target = shop
        .secret_that("edge", "is renewed", |secret| {
            text(secret, "access_token") != before
        })
        .await;
    let took = start.elapsed();
    assert!(took < AWAKE, "it took {took:?}");
    scene
        .sitecore
        .verify(&text(&target, "access_token"))
        .expect("a valid token");
    shop.ready("edge").await;
    assert_eq!(scene.sitecore.requests(CLIENT), 2);
    assert!(scene.operator.process().is_running());
}

/// What a reader saw of one Secret.
#[derive(Default)]
struct Seen {
    looks: u32,
    /// Of each token.
    expiries: BTreeMap<String, String>,
}

impl Seen {
    fn check(&mut self, secret: &Secret, sitecore: &Sitecore) {
        let token = text(secret, "access_token");
        let version = &secret.metadata.resource_version;
        let claims = sitecore.verify(&token);
        let claims = claims
            .unwrap_or_else(|error| panic!("look {}, version {version:?}: {error}", self.looks));
        assert_eq!(text(secret, "AUTHORIZATION"), format!("Bearer {token}"));

        let expires_at = text(secret, "expires_at");
        let expiry: Timestamp = expires_at.parse().unwrap();
        assert!(expiry > Timestamp::try_from(SystemTime::now()).unwrap());
        // Counted from before the request, so never later than the token itself says.
        let early = claims.exp - expiry.as_second() as f64;
        assert!(
            (0.0..=SLACK.as_secs_f64()).contains(&early),
            "{early} s early"
        );
        let known = self
            .expiries
            .entry(token)
            .or_insert_with(|| expires_at.clone());
        assert_eq!(*known, expires_at);
        self.looks += 1;
    }
}
