//! Watches that fail, and what goes on meanwhile.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use edge_credential_operator::api::{ConditionType::Ready, EdgeCredential};
use k8s_openapi::api::core::v1::Secret;
use kit::fake_api::{Fault, Verb};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tracing::{Level, subscriber::DefaultGuard};

use crate::world::{NAMESPACE, World, credentials, hours, pass, seconds, target};

const OTHER: &str = "backoffice";

/// Two verbs make a watch.
const VERBS: [Verb; 2] = [Verb::List, Verb::Watch];

/// Longer than a watch that is refused pauses.
const PAUSE: Duration = Duration::from_secs(25);

fn refuse(world: &World, resource: &str, namespace: Option<&str>) {
    for verb in VERBS {
        world.api.deny(verb, resource, namespace);
    }
    world.api.cut_watches();
}

fn failing(world: &World, resource: &str, namespace: &str) -> u64 {
    world.metric(&format!(
        "edgecredential_watch_failing{{resource=\"{resource}\",watched_namespace=\"{namespace}\"}}"
    ))
}

fn delete_target(world: &World, name: &str) {
    assert!(world.api.delete_object::<Secret>(NAMESPACE, &target(name)));
}

/// How long it takes until something is so.
async fn until(is_so: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        sleep(Duration::from_millis(100)).await;
        assert!(start.elapsed() < hours(5), "it is not so");
    }
    start.elapsed()
}

/// What this thread logs at the level info and above.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin() -> (Self, DefaultGuard) {
        let log = Self::default();
        let written = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::INFO)
            .with_ansi(false)
            .with_writer(move || written.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines of the operator that have all these words.
    fn lines(&self, words: &[&str]) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let ours = |line: &&str| line.contains("edge_credential_operator");
        let has = |line: &&str| words.iter().all(|word| line.contains(word));
        text.lines().filter(ours).filter(has).count()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_secrets_that_is_refused_pauses_no_other_watch() {
    let mut world = World::new();
    world.start_operator();
    pass(seconds(5)).await;
    refuse(&world, "secrets", None);
    pass(seconds(5)).await;
    for number in 0..20 {
        let name = format!("edge-{number}");
        world.add(&name, json!({}));
        let took = until(|| world.condition(&name, Ready).0).await;
        assert!(took < seconds(1), "{took:?}");
        pass(Duration::from_millis(1300)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_secrets_that_is_refused_from_the_start_keeps_no_object_waiting() {
    let mut world = World::new();
    world.add("edge", json!({}));
    refuse(&world, "secrets", None);
    world.start_operator();
    let took = until(|| world.condition("edge", Ready).0).await;
    assert!(took < seconds(1), "{took:?}");
    assert!(world.readiness.lacks().is_none());
}

#[tokio::test(start_paused = true)]
async fn while_secrets_cannot_be_watched_all_objects_are_looked_at_every_five_minutes() {
    let mut world = World::new();
    for name in ["one", "two"] {
        world.add(name, json!({}));
    }
    world.start_operator();
    pass(seconds(5)).await;
    refuse(&world, "secrets", None);
    for _ in 0..3 {
        pass(seconds(77)).await;
        delete_target(&world, "one");
        delete_target(&world, "two");
        let back = || {
            ["one", "two"]
                .iter()
                .all(|name| world.secret(name).is_some())
        };
        let took = until(back).await;
        assert!(took <= seconds(301), "{took:?}");
    }
    assert_eq!(world.endpoint.total_requests(), 2);
    assert_eq!(failing(&world, "secrets", "*"), 1);
    assert_eq!(failing(&world, "edgecredentials", "*"), 0);
    // No more than that.
    let reads = world.api.count(Verb::Get, "secrets");
    pass(hours(1)).await;
    let reads = world.api.count(Verb::Get, "secrets") - reads;
    assert!((44..=52).contains(&reads), "{reads} reads in an hour");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_was_refused_is_taken_up_when_it_is_allowed() {
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(5)).await;
    refuse(&world, "secrets", None);
    pass(hours(1)).await;
    world.api.allow_all();
    pass(PAUSE).await;
    assert_eq!(failing(&world, "secrets", "*"), 0);
    delete_target(&world, "edge");
    let took = until(|| world.secret("edge").is_some()).await;
    assert!(took < seconds(1), "{took:?}");
    let reads = world.api.count(Verb::Get, "secrets");
    pass(hours(1)).await;
    assert_eq!(world.api.count(Verb::Get, "secrets"), reads);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_once_with_its_resource_and_namespace_and_so_is_its_end() {
    let (log, _guard) = Log::begin();
    let mut world = World::new();
    world.namespaces = [NAMESPACE, OTHER].map(str::to_owned).into();
    world.start_operator();
    pass(seconds(5)).await;
    assert_eq!(log.lines(&["WARN"]), 0);
    refuse(&world, "secrets", Some(OTHER));
    pass(hours(10)).await;
    let named = ["resource=\"secrets\"", "namespace=\"backoffice\""];
    let told = |level, text| log.lines(&[level, text, named[0], named[1]]);
    assert_eq!(told("WARN", "refused with HTTP 403"), 1);
    assert_eq!(log.lines(&["WARN"]), 1);
    world.api.allow_all();
    pass(hours(1)).await;
    assert_eq!(told("INFO", "the watch works again"), 1);
    refuse(&world, "secrets", Some(OTHER));
    pass(hours(1)).await;
    assert_eq!(told("WARN", "refused with HTTP 403"), 2);
    assert_eq!(log.lines(&["WARN"]), 2);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_told_once_for_each_watch_and_nothing_is_looked_at() {
    let (log, _guard) = Log::begin();
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(5)).await;
    let reads = world.api.count(Verb::Get, "secrets");
    world.api.on_request(|_| Fault::DropConnection);
    world.api.cut_watches();
    pass(hours(1)).await;
    assert_eq!(log.lines(&["WARN", "not answered"]), 3);
    assert_eq!(log.lines(&["WARN"]), 3);
    assert_eq!(world.api.count(Verb::Get, "secrets"), reads);
    world.api.no_faults();
    pass(seconds(3)).await;
    delete_target(&world, "edge");
    let took = until(|| world.secret("edge").is_some()).await;
    assert!(took < seconds(1), "{took:?}");
    pass(seconds(20)).await;
    assert_eq!(log.lines(&["INFO", "the watch works again"]), 3);
    assert!(world.readiness.lacks().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_in_a_gap_of_the_history_is_missed_at_once_and_the_gap_is_not_told() {
    let (log, _guard) = Log::begin();
    let mut world = World::new();
    world.add("edge", json!({}));
    world.start_operator();
    pass(seconds(5)).await;
    world.api.on_request(|request| match request.verb {
        Verb::Watch => Fault::Status(410, "Expired".to_owned()),
        _ => Fault::None,
    });
    world.api.cut_watches();
    pass(seconds(1)).await;
    delete_target(&world, "edge");
    // Nothing is left that names the object in a list.
    assert!(
        world
            .api
            .delete_object::<Secret>(NAMESPACE, &credentials("edge"))
    );
    world.api.expire_history();
    world.api.no_faults();
    let missed = || world.condition("edge", Ready).1 == "CredentialsNotFound";
    let took = until(missed).await;
    assert!(took < seconds(5), "{took:?}");
    assert_eq!(log.lines(&["WARN", "watch"]), 0);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_without_its_role_makes_nothing_unready_and_is_served_when_it_is_back() {
    let (log, _guard) = Log::begin();
    let mut world = World::new();
    world.namespaces = [NAMESPACE, OTHER].map(str::to_owned).into();
    world.add("edge", json!({}));
    for resource in ["secrets", "edgecredentials"] {
        refuse(&world, resource, Some(OTHER));
    }
    world.start_operator();
    pass(seconds(5)).await;
    assert!(world.condition("edge", Ready).0);
    assert_eq!(world.readiness.lacks(), None);
    pass(hours(10)).await;
    assert_eq!(
        log.lines(&["WARN", "refused", "namespace=\"backoffice\""]),
        2
    );
    assert_eq!(log.lines(&["WARN"]), 2);

    world.api.allow_all();
    pass(PAUSE).await;
    world.add_in(OTHER, "late", json!({}));
    let ready = || {
        let object = world.api.get_as::<EdgeCredential>(OTHER, "late").unwrap();
        let conditions = object.status.unwrap_or_default().conditions;
        conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
    };
    let took = until(ready).await;
    assert!(took < seconds(1), "{took:?}");
    for resource in ["secrets", "edgecredentials"] {
        assert_eq!(failing(&world, resource, OTHER), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_namespace_may_be_listed_the_operator_is_not_ready_and_ends_when_it_is_asked_to() {
    let mut world = World::new();
    refuse(&world, "edgecredentials", None);
    world.start_operator();
    pass(hours(1)).await;
    let lacks = world.readiness.lacks().unwrap();
    assert!(lacks.contains("refuses to list EdgeCredentials"), "{lacks}");
    assert_eq!(failing(&world, "edgecredentials", "*"), 1);
    let stopped = tokio::time::timeout(seconds(1), world.stop_operator());
    assert!(stopped.await.is_ok());
    world.start_operator();
    world.api.allow_all();
    world.add("edge", json!({}));
    pass(PAUSE).await;
    assert!(world.condition("edge", Ready).0);
    assert_eq!(world.readiness.lacks(), None);
}

#[tokio::test(start_paused = true)]
async fn objects_that_may_be_listed_and_not_watched_are_listed_every_five_minutes() {
    let mut world = World::new();
    world.api.deny(Verb::Watch, "edgecredentials", None);
    world.add("first", json!({}));
    world.start_operator();
    pass(seconds(400)).await;
    assert!(world.condition("first", Ready).0);
    world.add("second", json!({}));
    let took = until(|| world.condition("second", Ready).0).await;
    assert!((10..=311).contains(&took.as_secs()), "{took:?}");
    let lists = world.api.count(Verb::List, "edgecredentials");
    pass(hours(1)).await;
    let lists = world.api.count(Verb::List, "edgecredentials") - lists;
    assert!((11..=13).contains(&lists), "{lists} lists in an hour");
    assert_eq!(failing(&world, "edgecredentials", "*"), 1);
    world.api.allow_all();
    pass(PAUSE).await;
    assert_eq!(failing(&world, "edgecredentials", "*"), 0);
}

#[tokio::test(start_paused = true)]
async fn any_other_refusal_that_goes_on_is_told_counted_and_looked_around_as_well() {
    for code in [401, 500] {
        let (log, _guard) = Log::begin();
        let mut world = World::new();
        world.add("edge", json!({}));
        world.start_operator();
        pass(seconds(5)).await;
        world.api.on_request(move |request| {
            if request.resource == "secrets" && VERBS.contains(&request.verb) {
                Fault::Status(code, "No".to_owned())
            } else {
                Fault::None
            }
        });
        world.api.cut_watches();
        pass(seconds(60)).await;
        delete_target(&world, "edge");
        let took = until(|| world.secret("edge").is_some()).await;
        assert!(took <= seconds(300), "{took:?}");
        assert_eq!(failing(&world, "secrets", "*"), 1);
        let told = format!("refused with HTTP {code}");
        assert_eq!(log.lines(&["WARN", &told, "secrets"]), 1);
        assert_eq!(log.lines(&["WARN"]), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_is_missing_counts_as_a_watch_that_fails_and_is_told_once() {
    let (log, _guard) = Log::begin();
    let mut world = World::new();
    world.start_operator();
    pass(seconds(5)).await;
    world.api.on_request(|request| match &*request.group {
        "edgecredentials.io" => Fault::Status(404, "NotFound".to_owned()),
        _ => Fault::None,
    });
    world.api.cut_watches();
    pass(hours(1)).await;
    assert_eq!(failing(&world, "edgecredentials", "*"), 1);
    assert_eq!(failing(&world, "secrets", "*"), 0);
    let unwanted = failing(&world, "edgetokens", "*");
    assert_eq!(unwanted, 0, "nobody has to want them");
    let lacks = world.readiness.lacks().unwrap();
    assert!(lacks.contains("is missing"), "{lacks}");
    assert_eq!(log.lines(&["ERROR", "is missing"]), 1);
    assert_eq!(log.lines(&["WARN"]), 0);

    world.api.no_faults();
    pass(PAUSE).await;
    assert_eq!(failing(&world, "edgecredentials", "*"), 0);
    assert_eq!(world.readiness.lacks(), None);
}
