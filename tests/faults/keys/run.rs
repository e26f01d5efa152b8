//! One run of a scene, and the oracle that it's held against:
//!
//! - Once there is a key in the Secret, there is always one, and the Delivery API takes it, until the EdgeToken is deleted. Where
//!   somebody deletes the Secret, it may be gone from then on, until it is back.
//! - No live key of the EdgeToken is without its mark in the status, and of those that nobody was given there is one at most.
//! - It converges: the change was acted on, the status is about both Secrets as they are and the key in the target, people are told of a
//!   former key that still works and of no other, and Sitecore has exactly the live keys that the status knows, or none where they were
//!   to be revoked. A rotation may wait, where it is not known whether an attempt made a key: a quarter of an hour, which no run lasts.
//! - It makes no more keys than the scene asks for, and one more where it asks for one and the fault may lose that. What is a matter of
//!   the cluster alone calls none of Sitecore's services.
//! - Once converged it comes to rest: one of the next visits changes and calls nothing.
//! - What is not the EdgeToken's to revoke lives on: somebody else's key, and any of the Deploy API. Nobody uses a key that was revoked.
//! - Nothing leaks: marked credentials, keys and server texts are in no log, status or Event.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use edge_credential_operator::api::credentials::SecretVersion;
use edge_credential_operator::api::edge_token::RetirementCause;
use edge_credential_operator::api::target::TargetStatus;
use edge_credential_operator::api::{ConditionType, EdgeToken};
use k8s_openapi::api::core::v1::Secret;
use kit::canary::assert_absent;
use kit::harness::{CLIENT, CREDENTIALS, SECRET, edge_token_condition, text};
use kit::proxy::{Call, Injected};
use kit::sitecore::EdgeKey;
use kube::api::ListParams;
use serde_json::json;

use super::scene::{
    CLIENT_ELSEWHERE, CREATE_KEY, ELSEWHERE, NAME, OBTAIN_ELSEWHERE, OBTAIN_KEY, Part, Scene,
};
use crate::injection::Injection;
use crate::stage::{Lab, QUIET, SERVER_TEXT, Stage, TENANT, VISITS};

/// What the labels of the keys of EdgeTokens begin with.
const LABEL: &str = "edge-token/";

/// A scene on its way.
struct Run {
    stage: Stage,
    /// The keys that were read in the target.
    seen: Mutex<BTreeSet<String>>,
    /// Whether the target need not be there: it was not written yet, or somebody deleted it and it is not back.
    may_be_gone: AtomicBool,
    http: reqwest::Client,
}

/// What a run has shown.
pub struct Record {
    /// Its calls.
    pub calls: Vec<Call>,
    /// Whether the call came that was to fail. What changes at one time is sometimes seen in one visit, sometimes in two.
    pub is_struck: bool,
}

/// Makes a run on fresh objects, and holds it against the oracle.
pub async fn run(lab: &'static Lab, scene: &Scene, injection: Option<&Injection>) -> Record {
    let mut stage = lab.set_stage(&[CLIENT, CLIENT_ELSEWHERE]).await;
    set_environments(&stage);
    if scene.begins_ready() {
        Part::Create.begin(scene, &stage).await;
    }
    stage.operator.start().await.unwrap();
    let mut run = Run {
        stage,
        seen: Mutex::default(),
        may_be_gone: AtomicBool::new(true),
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
    let keys = run.stage.sitecore.keys().len();
    run.stage.proxy.record_anew();
    let mut awaited = injection.map(|injection| {
        let fault = injection.fate.fault();
        let injected = run.stage.proxy.inject(injection.call.clone(), fault);
        (injection, injected)
    });
    for part in scene.parts {
        let before = run.service_calls();
        if part.takes_target() {
            run.may_be_gone.store(true, Ordering::Relaxed);
        }
        part.begin(scene, &run.stage).await;
        if let Some((injection, injected)) = &awaited
            && run.is_struck(*part, injected).await
        {
            let stale = ("edgetokens", &*version);
            run.stage.go_on(injection, injected, stale).await;
            awaited = None;
        }
        run.converge(*part).await;
        if part.is_internal() {
            assert_eq!(run.service_calls(), before, "{part:?}");
        }
    }
    let calls = run.stage.proxy.calls();
    let keys = run.stage.sitecore.keys().len() - keys;
    let is_one_lost = scene.keys() > 0 && injection.is_some_and(loses_key);
    let most = scene.keys() + usize::from(is_one_lost);
    assert!(keys <= most, "{keys} keys: {calls:?}");
    if !scene.ends_deleted() {
        run.rest().await;
    }
    run.assert_others_live_on();
    run.assert_nothing_leaked().await;
    Record {
        calls,
        is_struck: awaited.is_none(),
    }
}

/// Whether a fault may lose a key that was made: by its answer, or, where the operator is killed, from memory.
fn loses_key(injection: &Injection) -> bool {
    let what = &*injection.call.what;
    injection.fate.crashes() || [CREATE_KEY, OBTAIN_KEY, OBTAIN_ELSEWHERE].contains(&what)
}

/// Two environments with a key that somebody made. Each call of the Deploy API makes another one, which is the worst that it may do.
fn set_environments(stage: &Stage) {
    let sitecore = &stage.sitecore;
    sitecore.configure(CLIENT_ELSEWHERE, |client| {
        client.tenant_id = Some(ELSEWHERE.to_owned());
    });
    for tenant in [TENANT, ELSEWHERE] {
        sitecore.make_key(tenant, "by hand");
        sitecore.add_environment(tenant, tenant);
        sitecore.configure_environment(tenant, |environment| environment.mints_each_time = true);
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
        self.assert_all_is_recorded().await;
        let Some((target, key)) = self.read().await else {
            return false;
        };
        let credentials = namespace.secret(CREDENTIALS).await;
        let is_at_rest = is_at_rest(&object, [&credentials, &target], &key);
        let is_done = is_at_rest && part.is_done(&object, &key);
        let live: Vec<_> = self.live().into_iter().map(|key| key.label).collect();
        let known = marks(&object, |cause| cause != RetirementCause::Discarded);
        let is_known = |label: &String| known.iter().any(|mark| label.starts_with(mark));
        let is_exact = live.len() == known.len() && live.iter().all(is_known);
        is_exact && (is_done || (part.may_wait() && is_undecided(&object)))
    }

    /// Reads the target as a workload does, and uses the key in it. `None` where it may be gone, and is.
    async fn read(&self) -> Option<(Secret, EdgeKey)> {
        let target = self.stage.namespace.secrets.get_opt(NAME).await.unwrap();
        let Some(target) = target else {
            let may_be_gone = self.may_be_gone.load(Ordering::Relaxed);
            assert!(may_be_gone, "the target is gone");
            return None;
        };
        self.may_be_gone.store(false, Ordering::Relaxed);
        let token = text(&target, "SITECORE_API_KEY");
        assert!(self.takes(&token).await, "the key in the target is refused");
        let key = self.stage.sitecore.key(&token);
        self.seen.lock().unwrap().insert(token);
        key.map(|key| (target, key))
    }

    /// Whether the Delivery API takes a key.
    async fn takes(&self, key: &str) -> bool {
        let url = format!("{}/api/graphql/v1", self.stage.sitecore.url());
        let query = self.http.post(url).header("sc_apikey", key);
        let query = query.json(&json!({"query": "{__typename}"}));
        query.send().await.unwrap().status().is_success()
    }

    /// The live keys of the EdgeToken, as far as they can be told from others.
    fn live(&self) -> Vec<EdgeKey> {
        let mut keys = self.stage.sitecore.keys();
        keys.retain(|key| !key.is_revoked && key.label.starts_with(LABEL));
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

    /// Sees to it that a further visit changes and calls nothing. The first ones may: of a new process, and of one that is still to
    /// write what it found.
    async fn rest(&self) {
        let object = self.stage.namespace.edge_tokens.get(NAME).await.unwrap();
        if is_undecided(&object) {
            // The keys may have been listed in the second of an attempt, and are listed once more.
            return;
        }
        for visit in 0..VISITS {
            let before = self.changes();
            self.stage
                .namespace
                .annotate_edge_token(NAME, "example.com/poked", &visit.to_string())
                .await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.stage.proxy.quiet(QUIET).await;
            if self.changes() == before {
                return;
            }
        }
        panic!("it's not at rest: {:?}", self.changes());
    }

    /// The calls of the record that are made at Sitecore.
    fn service_calls(&self) -> Vec<Call> {
        let mut calls = self.stage.proxy.calls();
        calls.retain(Call::is_of_service);
        calls
    }

    /// Those that change something, or are made at Sitecore.
    fn changes(&self) -> Vec<Call> {
        let mut calls = self.stage.proxy.calls();
        calls.retain(|call| call.is_of_service() || !call.is_read());
        calls
    }

    fn assert_others_live_on(&self) {
        for key in self.stage.sitecore.keys() {
            let is_revocable = key.label.starts_with(LABEL);
            assert!(is_revocable || !key.is_revoked, "{key:?}");
            assert_eq!(key.uses_after_revocation, 0, "{key:?}");
        }
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
        let mut marks = vec![CLIENT, CLIENT_ELSEWHERE, SECRET, SERVER_TEXT];
        marks.extend(seen.iter().map(String::as_str));
        assert_absent(&marks, &outputs);
    }
}

/// The mark of the current key, and those of the others whose causes are wanted. A pending one counts as discarded. No key of the
/// Deploy API has one at Sitecore.
fn marks(object: &EdgeToken, wanted: impl Fn(RetirementCause) -> bool) -> Vec<String> {
    let is_marked = object.spec.deploy_api.is_none();
    let Some(status) = object.status.as_ref().filter(|_| is_marked) else {
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

/// Whether people are told that a former key still works. They are told last, after the ledger has it.
fn tells_of_former(object: &EdgeToken) -> bool {
    let ready = edge_token_condition(object, ConditionType::Ready);
    ready.message.contains("The former one works until")
}

fn has_former(object: &EdgeToken) -> bool {
    let status = object.status.as_ref();
    status.is_some_and(|status| {
        let mut retired = status.retired.iter();
        retired.any(|retired| retired.cause == RetirementCause::Replaced)
    })
}

/// Whether an EdgeToken is ready and nothing is being done about it, for its present generation, its two Secrets as they are, and this
/// key, which was listed where keys are.
fn is_at_rest(object: &EdgeToken, [credentials, target]: [&Secret; 2], key: &EdgeKey) -> bool {
    let holds = |type_| edge_token_condition(object, type_).status == "True";
    let Some(status) = &object.status else {
        return false;
    };
    let written = status.target.as_ref().and_then(TargetStatus::version);
    let hash = status.token.as_ref().map(|token| token.hash.as_deref());
    let listed = object.spec.deploy_api.is_none().then_some(&*key.hash);
    status.observed_generation == object.metadata.generation
        && status.credentials == SecretVersion::of(&credentials.metadata)
        && written == SecretVersion::of(&target.metadata)
        && holds(ConditionType::Ready)
        && tells_of_former(object) == has_former(object)
        && !holds(ConditionType::Reconciling)
        && !holds(ConditionType::Stalled)
        && status.failures.is_none()
        && status.pending.is_none()
        && hash == Some(listed)
}
