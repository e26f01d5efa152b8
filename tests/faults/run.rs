//! One run of a scenario, and the oracle that it's held against:
//!
//! - It converges: the EdgeCredential is ready for its present generation, the target holds a token that the stand-in
//!   accepts, and the change is visible. An EdgeCredential that was deleted is gone with its target, and nothing is
//!   written afterwards.
//! - It costs at most as many token requests as its [`Case`] says.
//! - Once converged it comes to rest: one of the next visits writes and requests nothing.
//! - No foreign Secret is touched: neither one that belongs to nobody, nor another EdgeCredential's healthy target.
//! - Nothing leaks: marked credentials, tokens and server texts are in no log, status or Event.

use std::collections::BTreeMap;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use edge_credential_operator::api::{ConditionType, EdgeCredential};
use edge_credential_operator::cluster::write::FIELD_MANAGER;
use k8s_openapi::api::core::v1::Secret;
use kit::canary::assert_absent;
use kit::proxy::{Call, Injected};
use kube::api::ListParams;
use tokio::time::{sleep, timeout};

use crate::batch::Case;
use crate::injection::Injection;
use crate::scenario::{Before, NAME, ROTATED, Scenario};
use crate::stage::{LIMIT, Lab, QUIET, SERVER_TEXT, Stage, VISITS};
use kit::harness::{CLIENT, CREDENTIALS, SECRET, condition, credentials, proof, text};

/// How long to wait for a call that the undisturbed run has shown before another visit is brought about.
const OVERDUE: Duration = Duration::from_secs(4);

/// The same after an earlier fault, whose back-off is to be over by then.
const OVERDUE_AFTER_FAULT: Duration = Duration::from_secs(15);

/// How long a visit that failed may be away: the operator comes back after 5 s.
const RETRY: Duration = Duration::from_secs(6);

/// Another EdgeCredential in the same namespace, which nothing happens to.
const NEIGHBOUR: &str = "neighbour";
const NEIGHBOUR_CLIENT: &str = "neighbour-client-id";
const NEIGHBOURS_CREDENTIALS: &str = "neighbour-client";

pub const TOKEN_REQUEST: &str = "POST /oauth/token";

/// What a run has shown.
pub struct Record {
    /// Its calls, but lists.
    pub calls: Vec<Call>,
    /// How many of them were token requests.
    pub token_requests: usize,
}

impl Lab {
    /// Makes a run on fresh objects and holds it against the oracle.
    pub async fn run(&'static self, case: &Case) -> Record {
        let Case {
            scenario,
            injections,
            most_requests,
        } = case;
        let scenario = *scenario;
        let mut run = self.set(scenario).await;
        let before = run.before().await;
        let bystanders = run.bystanders().await;
        let version = run.version().await;

        run.proxy.record_anew();
        let inject = |injection: &Injection| {
            let injected = run
                .proxy
                .inject(injection.call.clone(), injection.fate.fault());
            (injection.clone(), injected)
        };
        let injected: Vec<_> = injections.iter().map(inject).collect();
        scenario.begin(&run.namespace, &run.sitecore).await;
        let mut overdue = OVERDUE;
        for (injection, injected) in injected {
            run.suffer(&injection, &injected, &version, overdue).await;
            overdue = OVERDUE_AFTER_FAULT;
        }
        if injections.is_empty() && scenario == Scenario::Delete {
            run.converge(&before).await;
            run.namespace.delete_object(NAME).await;
        }

        if scenario == Scenario::Delete {
            run.vanish().await;
        } else {
            run.converge(&before).await;
        }
        let calls = run.calls();
        if scenario == Scenario::Delete {
            run.stay_away().await;
        } else {
            run.rest().await;
            run.assert_converged(&before).await;
        }
        let token_requests = run.proxy.count(TOKEN_REQUEST);
        assert!(
            token_requests <= *most_requests,
            "{token_requests} token requests: {:?}\n{}",
            run.proxy.calls(),
            run.namespace.name
        );
        assert_eq!(run.bystanders().await, bystanders, "{}", run.namespace.name);
        run.assert_nothing_leaked(&before).await;
        Record {
            calls,
            token_requests,
        }
    }

    /// Makes a namespace with its objects, and waits until the operator has done all it has to.
    async fn set(&'static self, scenario: Scenario) -> Run {
        let stage = self.set_stage(&[CLIENT, NEIGHBOUR_CLIENT]).await;
        let namespace = &stage.namespace;
        namespace
            .create_secret(
                NEIGHBOURS_CREDENTIALS,
                &credentials(NEIGHBOUR_CLIENT, SECRET),
            )
            .await;
        let mut neighbour = namespace.edge_credential(NEIGHBOUR);
        neighbour.spec.credentials_secret_ref.name = NEIGHBOURS_CREDENTIALS.to_owned();
        namespace.create_object(&neighbour).await;
        if scenario.begins_ready() {
            namespace
                .create_object(&namespace.edge_credential(NAME))
                .await;
        }

        let mut run = Run { stage, scenario };
        run.operator.start().await.unwrap();
        for name in [NEIGHBOUR, NAME] {
            if name == NEIGHBOUR || scenario.begins_ready() {
                run.until("ready at first", async || {
                    let object = run.namespace.objects.get(name).await.ok()?;
                    is_at_rest(&object).then_some(())
                })
                .await;
            }
        }
        run.proxy.quiet(QUIET).await;
        run
    }
}

/// A scenario on its way.
struct Run {
    stage: Stage,
    scenario: Scenario,
}

impl Deref for Run {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl DerefMut for Run {
    fn deref_mut(&mut self) -> &mut Stage {
        &mut self.stage
    }
}

impl Run {
    /// The target as it is now.
    async fn before(&self) -> Before {
        let target = self.namespace.secrets.get_opt(NAME).await.unwrap();
        target.map_or_else(Before::default, |target| Before {
            token: text(&target, "access_token"),
            uid: target.metadata.uid.unwrap_or_default(),
        })
    }

    /// All Secrets that the operator must leave alone.
    async fn bystanders(&self) -> BTreeMap<String, Secret> {
        let secrets = self.namespace.secrets.list(&ListParams::default()).await;
        let secrets = secrets.unwrap().into_iter().filter_map(|mut secret| {
            let name = secret.metadata.name.clone()?;
            if [CREDENTIALS, NEIGHBOURS_CREDENTIALS].contains(&&*name) {
                // The scenario and the pokes change them. What the operator changed would have its field manager.
                let metadata = &mut secret.metadata;
                metadata.resource_version = None;
                metadata.annotations = None;
                let fields = metadata.managed_fields.iter_mut();
                fields.for_each(|fields| {
                    fields.retain(|it| it.manager.as_deref() == Some(FIELD_MANAGER))
                });
            }
            if name == CREDENTIALS && self.scenario == Scenario::Rotate {
                secret.data = None;
            }
            Some((name, secret))
        });
        secrets.filter(|(name, _)| name != NAME).collect()
    }

    /// The resource version of a list of the EdgeCredentials as they are now.
    async fn version(&self) -> String {
        let objects = self.namespace.objects.list(&ListParams::default()).await;
        let version = objects.unwrap().metadata.resource_version;
        version.expect("a list has a version")
    }

    /// Waits until the fault has happened to its call, does what belongs to it, and waits until the call has ended.
    /// `version` is one from before the change.
    async fn suffer(
        &mut self,
        injection: &Injection,
        injected: &Injected,
        version: &str,
        overdue: Duration,
    ) {
        let start = Instant::now();
        // What changes at one time is sometimes seen in one visit, sometimes in two.
        while timeout(overdue, injected.struck()).await.is_err() {
            assert!(
                start.elapsed() < LIMIT,
                "{} never came: {:?}\n{}",
                injection.call,
                self.proxy.calls(),
                self.operator.log_tail()
            );
            self.poke(NAME).await;
        }
        let mut version = version.to_owned();
        if self.scenario == Scenario::Delete {
            if injection.fate.crashes() {
                self.operator.kill().unwrap();
            }
            version = self.version().await;
            self.namespace.delete_object(NAME).await;
        }
        self.go_on(injection, injected, ("edgecredentials", &version))
            .await;
    }

    /// Waits until the operator has done its part.
    async fn converge(&self, before: &Before) {
        self.until("converged", async || self.has_converged(before).await.ok())
            .await;
    }

    async fn assert_converged(&self, before: &Before) {
        let converged = self.has_converged(before).await;
        assert_eq!(converged, Ok(()), "{}", self.namespace.name);
    }

    /// `Err` with what is missing.
    async fn has_converged(&self, before: &Before) -> Result<(), String> {
        let object = self.namespace.object(NAME).await;
        let target = self.namespace.secrets.get_opt(NAME).await.unwrap();
        let target = target.ok_or("there is no target")?;
        if !is_at_rest(&object) || !tells_of(&object, &target) {
            return Err(format!("{:?}", object.status));
        }
        let claims = self.sitecore.verify(&text(&target, "access_token"));
        let claims = claims.map_err(|error| format!("the token is not valid: {error}"))?;
        let visible = self
            .scenario
            .is_visible(&object, &target, &claims.scope, before);
        if visible {
            Ok(())
        } else {
            Err("the change cannot be seen".to_owned())
        }
    }

    /// Waits until the EdgeCredential and its target are gone, and stay so when what failed is tried again.
    async fn vanish(&self) {
        let gone = async || {
            let object = self.namespace.objects.get_opt(NAME).await.ok()?;
            let target = self.namespace.secrets.get_opt(NAME).await.ok()?;
            (object.is_none() && target.is_none()).then_some(())
        };
        self.until("gone", gone).await;
        sleep(RETRY).await;
        self.until("gone", gone).await;
    }

    /// Sees to it that the operator is alive and does nothing about what is gone.
    async fn stay_away(&self) {
        let calls = self.calls();
        self.visit(NEIGHBOUR).await;
        assert_eq!(self.calls(), calls, "calls about what is gone");
        let target = self.namespace.secrets.get_opt(NAME).await.unwrap();
        assert!(target.is_none(), "the target is back");
    }

    /// Sees to it that a further visit changes nothing. The first ones may: of a new process, and of one that is still to write
    /// what it found.
    async fn rest(&self) {
        self.visit(NAME).await;
        for _ in 0..VISITS {
            let writes = self.writes();
            self.visit(NAME).await;
            if self.writes() == writes {
                return;
            }
        }
        panic!("it's not at rest: {:?}", self.writes());
    }

    /// Brings about a visit, and waits until it has read all it needs and no call follows.
    async fn visit(&self, name: &str) {
        let read = format!("GET secrets/{name}");
        // A visit that began earlier may read the target before the poke and the credentials after it: no other one follows then.
        let earlier = self.proxy.quiet(QUIET).await;
        self.poke(name).await;
        let visited = async || {
            let calls = self.proxy.calls();
            let mut later = calls.iter().skip(earlier);
            later.any(|call| call.what == read).then_some(())
        };
        self.until("visited", visited).await;
    }

    /// Changes something that does not matter, and that the operator has to read to know that.
    async fn poke(&self, name: &str) {
        let time = k8s_openapi::jiff::Timestamp::now().to_string();
        let secret = match name {
            NEIGHBOUR => NEIGHBOURS_CREDENTIALS,
            _ => CREDENTIALS,
        };
        let poke = |secret: &mut Secret| {
            let annotations = secret.metadata.annotations.get_or_insert_default();
            annotations.insert("example.com/poked-at".to_owned(), time.clone());
        };
        self.namespace.edit_secret(secret, poke).await;
    }

    /// The calls of the record that are about the scenario's objects. Lists are not: they are where a process begins.
    fn calls(&self) -> Vec<Call> {
        let others = ["secrets/neighbour", "edgecredentials/neighbour"];
        let mut calls = self.proxy.calls();
        calls.retain(|call| {
            !call.what.starts_with("LIST ") && !others.iter().any(|other| call.what.contains(other))
        });
        calls
    }

    fn writes(&self) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| !call.what.starts_with("GET "));
        calls
    }

    async fn assert_nothing_leaked(&self, before: &Before) {
        let mut outputs = vec![("the log", fs::read_to_string(&self.log).unwrap())];
        let objects = self.namespace.objects.list(&ListParams::default()).await;
        for object in objects.unwrap() {
            outputs.push(("a status", serde_json::to_string(&object.status).unwrap()));
        }
        for event in self.events.list(&ListParams::default()).await.unwrap() {
            outputs.push(("an Event", serde_json::to_string(&event).unwrap()));
        }
        assert!(outputs[0].1.contains("token written"), "the log was read");
        assert!(!outputs[0].1.contains("panicked"), "{}", outputs[0].1);

        let mut marks = vec![CLIENT, NEIGHBOUR_CLIENT, SECRET, ROTATED, SERVER_TEXT];
        let target = self.namespace.secrets.get_opt(NAME).await.unwrap();
        let after = target.map(|target| text(&target, "access_token"));
        let tokens = [&before.token, &after.unwrap_or_default()].map(|token| token.clone());
        for token in tokens.iter().filter(|token| !token.is_empty()) {
            marks.push(token);
            marks.extend(token.rsplit('.').next());
        }
        assert_absent(&marks, &outputs);
    }
}

/// Whether an EdgeCredential is ready, and nothing is being done about it, for its present generation.
fn is_at_rest(object: &EdgeCredential) -> bool {
    let holds = |type_| condition(object, type_).status == "True";
    let status = object.status.as_ref();
    let failures = status.is_some_and(|status| status.failures.is_some());
    status.and_then(|status| status.observed_generation) == object.metadata.generation
        && holds(ConditionType::Ready)
        && !holds(ConditionType::Reconciling)
        && !holds(ConditionType::Stalled)
        && !failures
}

/// Whether the status is about the token in the target, rather than about the one before.
fn tells_of(object: &EdgeCredential, target: &Secret) -> bool {
    let token = object.status.as_ref().and_then(|it| it.token.as_ref());
    let token = serde_json::to_value(token).unwrap();
    let proof = proof(target);
    let times = ["issuedAt", "expiresAt"];
    times
        .iter()
        .all(|time| token[time].is_string() && token[time] == proof[time])
}
