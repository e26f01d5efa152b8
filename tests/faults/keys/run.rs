//! One run of a scene, and the oracle that it's held against:
//!
//! - Once there is a key in the Secret, there is always one, and the Delivery API takes it, until the EdgeToken is deleted.
//! - No live key of the EdgeToken is without its mark in the status, and of those that nobody was given there is one at most.
//! - It converges: the change was acted on, and Sitecore has exactly the live keys that the status knows, or none where they were to
//!   be revoked. A rotation may wait, where it is not known whether an attempt made a key: a quarter of an hour, which no run lasts.
//! - Once converged it's at rest: another visit changes and calls nothing.
//! - Somebody else's key lives on, and nobody uses one that was revoked.
//! - Nothing leaks: marked credentials, keys and server texts are in no log, status or Event.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use edge_credential_operator::api::edge_token::RetirementCause;
use edge_credential_operator::api::{ConditionType, EdgeToken};
use kit::canary::assert_absent;
use kit::harness::{CLIENT, SECRET, edge_token_condition, text};
use kit::proxy::{Call, Injected};
use kube::api::ListParams;
use serde_json::json;

use super::scene::{NAME, Part, Scene};
use crate::injection::Injection;
use crate::stage::{Lab, QUIET, SERVER_TEXT, Stage, TENANT};

/// A scene on its way.
struct Run {
    stage: Stage,
    /// The keys that were read in the target.
    seen: Mutex<BTreeSet<String>>,
    http: reqwest::Client,
}

/// What a run has shown.
pub struct Record {
    /// Its calls, but lists.
    pub calls: Vec<Call>,
    /// Whether the call came that was to fail. What changes at one time is sometimes seen in one visit, sometimes in two.
    pub is_struck: bool,
}

/// Makes a run on fresh objects, and holds it against the oracle.
pub async fn run(lab: &'static Lab, scene: Scene, injection: Option<&Injection>) -> Record {
    let mut stage = lab.set_stage(&[CLIENT]).await;
    let foreign = stage.sitecore.make_key(TENANT, "by hand");
    if scene.begins_ready() {
        let object = scene.object(&stage.namespace);
        stage.namespace.create_edge_token(&object).await;
    }
    stage.operator.start().await.unwrap();
    let mut run = Run {
        stage,
        seen: Mutex::default(),
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
    };
    if scene.begins_ready() {
        run.converge(Part::Create).await;
        // A process leaves a minute between two keys that it makes for one object.
        run.stage.operator.kill().unwrap();
        run.stage.operator.start().await.unwrap();
    }
    run.stage.proxy.quiet(QUIET).await;

    let version = run.version().await;
    run.stage.proxy.record_anew();
    let mut awaited = injection.map(|injection| {
        let fault = injection.fate.fault();
        let injected = run.stage.proxy.inject(injection.call.clone(), fault);
        (injection, injected)
    });
    for part in scene.parts() {
        part.begin(scene, &run.stage.namespace).await;
        if let Some((injection, injected)) = &awaited
            && run.is_struck(*part, injected).await
        {
            let stale = ("edgetokens", &*version);
            run.stage.go_on(injection, injected, stale).await;
            awaited = None;
        }
        run.converge(*part).await;
    }
    let calls = run.calls();
    if scene != Scene::Delete {
        run.rest().await;
    }
    assert!(run.takes(&foreign).await, "somebody else's key was revoked");
    let keys = run.stage.sitecore.keys();
    let uses: u64 = keys.iter().map(|key| key.uses_after_revocation).sum();
    assert_eq!(uses, 0, "{keys:?}");
    run.assert_nothing_leaked().await;
    Record {
        calls,
        is_struck: awaited.is_none(),
    }
}

impl Run {
    /// The resource version of a list of the EdgeTokens as they are now.
    async fn version(&self) -> String {
        let objects = &self.stage.namespace.edge_tokens;
        let objects = objects.list(&ListParams::default()).await;
        let version = objects.unwrap().metadata.resource_version;
        version.expect("a list has a version")
    }

    /// Waits until the fault has happened to its call, or this part of the scene is over without it.
    async fn is_struck(&self, part: Part, injected: &Injected) -> bool {
        tokio::select! {
            () = injected.struck() => true,
            () = self.converge(part) => false,
        }
    }

    /// Waits until the operator has done its part, and looks all the time at what must hold all the time.
    async fn converge(&self, part: Part) {
        self.stage
            .until("converged", async || {
                self.has_converged(part).await.then_some(())
            })
            .await;
    }

    async fn has_converged(&self, part: Part) -> bool {
        let namespace = &self.stage.namespace;
        let object = namespace.edge_tokens.get_opt(NAME).await.unwrap();
        if part == Part::Delete {
            let target = namespace.secrets.get_opt(NAME).await.unwrap();
            return object.is_none() && target.is_none() && self.live().is_empty();
        }
        let Some(object) = object else {
            return false;
        };
        self.read().await;
        self.assert_all_is_recorded().await;
        let waits = part == Part::Rotate || part == Part::EndOverlap;
        let is_done = part.is_done(&object) && is_at_rest(&object);
        let live: Vec<_> = self.live().into_iter().map(|key| key.label).collect();
        let known = marks(&object, |cause| cause != RetirementCause::Discarded);
        let is_known = |label: &String| known.iter().any(|mark| label.starts_with(mark));
        let is_exact = live.len() == known.len() && live.iter().all(is_known);
        is_exact && (is_done || (waits && is_undecided(&object)))
    }

    /// Reads the key as a workload does, and uses it.
    async fn read(&self) {
        let target = self.stage.namespace.secrets.get_opt(NAME).await.unwrap();
        let Some(target) = target else {
            let seen = self.seen.lock().unwrap();
            assert!(seen.is_empty(), "the target is gone");
            return;
        };
        let key = text(&target, "SITECORE_API_KEY");
        assert!(self.takes(&key).await, "the key in the target is refused");
        self.seen.lock().unwrap().insert(key);
    }

    /// Whether the Delivery API takes a key.
    async fn takes(&self, key: &str) -> bool {
        let url = format!("{}/api/graphql/v1", self.stage.sitecore.url());
        let query = self.http.post(url).header("sc_apikey", key);
        let query = query.json(&json!({"query": "{__typename}"}));
        query.send().await.unwrap().status().is_success()
    }

    /// The live keys of the EdgeToken.
    fn live(&self) -> Vec<kit::sitecore::EdgeKey> {
        let mut keys = self.stage.sitecore.keys();
        keys.retain(|key| !key.is_revoked && key.label.starts_with("edge-token/"));
        keys
    }

    /// No key is live before and after a look at the status that does not know it.
    async fn assert_all_is_recorded(&self) {
        let before = self.live();
        let object = self.stage.namespace.edge_tokens.get(NAME).await.unwrap();
        let after: BTreeSet<_> = self.live().into_iter().map(|key| key.hash).collect();
        let live: Vec<_> = before
            .into_iter()
            .filter(|key| after.contains(&key.hash))
            .collect();
        let all = marks(&object, |_| true);
        let unused = marks(&object, |cause| cause == RetirementCause::Discarded);
        for key in &live {
            let is_recorded = all.iter().any(|mark| key.label.starts_with(mark));
            assert!(is_recorded, "{key:?} is in no status: {:?}", object.status);
        }
        let current = object.status.as_ref().and_then(|it| it.token.as_ref());
        let is_current = |mark: &String| current.is_some_and(|token| token.mark == *mark);
        let of_nobody = unused.iter().filter(|mark| !is_current(mark));
        let orphans = of_nobody
            .filter(|mark| live.iter().any(|key| key.label.starts_with(*mark)))
            .count();
        assert!(orphans <= 1, "{live:?} {:?}", object.status);
    }

    /// Sees to it that a further visit changes and calls nothing.
    async fn rest(&self) {
        let object = self.stage.namespace.edge_tokens.get(NAME).await.unwrap();
        if is_undecided(&object) {
            // The keys may have been listed in the second of an attempt, and are listed once more.
            return;
        }
        let before = self.changes();
        self.stage
            .namespace
            .annotate_edge_token(NAME, "example.com/poked", "yes")
            .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.stage.proxy.quiet(QUIET).await;
        assert_eq!(self.changes(), before, "it's not at rest");
    }

    /// The calls of the record, but lists: they are where a process begins.
    fn calls(&self) -> Vec<Call> {
        let mut calls = self.stage.proxy.calls();
        calls.retain(|call| !call.what.starts_with("LIST "));
        calls
    }

    /// Those that change something, or are made at Sitecore.
    fn changes(&self) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| !call.what.starts_with("GET ") || call.what.starts_with("GET /"));
        calls
    }

    async fn assert_nothing_leaked(&self) {
        let log = fs::read_to_string(&self.stage.log).unwrap();
        assert!(!log.contains("panicked"), "{log}");
        let mut outputs = vec![("the log", log)];
        let objects = &self.stage.namespace.edge_tokens;
        for object in objects.list(&ListParams::default()).await.unwrap() {
            outputs.push(("a status", serde_json::to_string(&object.status).unwrap()));
        }
        let events = self.stage.events.list(&ListParams::default()).await;
        for event in events.unwrap() {
            outputs.push(("an Event", serde_json::to_string(&event).unwrap()));
        }
        let seen = self.seen.lock().unwrap();
        assert!(!seen.is_empty(), "a key was read");
        let mut marks = vec![CLIENT, SECRET, SERVER_TEXT];
        marks.extend(seen.iter().map(String::as_str));
        assert_absent(&marks, &outputs);
    }
}

/// The mark of the current key, and those of the others whose causes are wanted. A pending one counts as discarded.
fn marks(object: &EdgeToken, wanted: impl Fn(RetirementCause) -> bool) -> Vec<String> {
    let Some(status) = &object.status else {
        return Vec::new();
    };
    let current = status.token.iter().map(|token| token.mark.clone());
    let pending = status.pending.iter();
    let pending = pending.filter(|_| wanted(RetirementCause::Discarded));
    let retired = status.retired.iter();
    let retired = retired.filter(|retired| wanted(retired.cause));
    current
        .chain(pending.map(|pending| pending.mark.clone()))
        .chain(retired.map(|retired| retired.mark.clone()))
        .collect()
}

/// Whether it is not known yet what became of an attempt.
fn is_undecided(object: &EdgeToken) -> bool {
    let status = object.status.as_ref();
    status.is_some_and(|status| {
        let mut retired = status.retired.iter();
        status.pending.is_none()
            && retired.any(|retired| retired.cause == RetirementCause::Discarded)
    })
}

/// Whether an EdgeToken is ready, its key is listed, and nothing is being done about it, for its present generation.
fn is_at_rest(object: &EdgeToken) -> bool {
    let holds = |type_| edge_token_condition(object, type_).status == "True";
    let Some(status) = &object.status else {
        return false;
    };
    status.observed_generation == object.metadata.generation
        && holds(ConditionType::Ready)
        && !holds(ConditionType::Reconciling)
        && !holds(ConditionType::Stalled)
        && status.failures.is_none()
        && status.pending.is_none()
        && status
            .token
            .as_ref()
            .is_some_and(|token| token.hash.is_some())
}
