//! The watches, and what each of them sets going.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{
    FutureExt, Stream, StreamExt,
    future::{BoxFuture, ready},
    stream::unfold,
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        Controller,
        controller::{self, Action},
        reflector::{ObjectRef, Store},
        utils::Backoff,
        watcher,
    },
};

use tokio::sync::broadcast::error::RecvError;

use super::{
    clock_jump::watch_jumps,
    definition::{self, CrdPresence},
    events::Events,
    malformed::MalformedObjects,
    metrics::Metrics,
    panics::{Panicked, caught},
    references::SecretReferences,
    watched::Watched,
};
use crate::{
    api::EdgeCredential,
    cluster::{
        errors::{is_conflict, is_forbidden, is_namespace_gone, is_refusal},
        object_key::ObjectKey,
        transition::Transition,
    },
    edge_credential::{
        context::Context,
        reconcile::reconcile,
        report::{Report, report_malformed, report_panic},
        rules::error::Error,
    },
    oauth::TokenError,
};

/// How long to wait after an error that could not even be written to the status: the API server is not there.
const ERROR_WAIT: Duration = Duration::from_secs(5);

/// How long to wait after a conflict: somebody else writes the same target.
const CONFLICT_WAIT: Duration = Duration::from_secs(1);

/// How long to wait for one's turn at a token endpoint before asking again: the turn comes sooner, unless a call was lost.
const QUEUED_WAIT: Duration = Duration::from_mins(1);

/// How long to wait where the watch lags behind: it tells of the change itself, most likely at once.
const OUTDATED_WAIT: Duration = Duration::from_secs(1);

/// How long to wait where a namespace is going away, an object cannot be read, or the program fails on it.
const HOPELESS_WAIT: Duration = Duration::from_mins(5);

/// How long all watches of a scope pause after one of them failed: 2 s, and longer while there is nothing to watch.
///
/// kube's default doubles from 0.8 s to a minute. The few errors that come of one restart of the API server (connections
/// refused, roles not loaded yet, versions too old) left the operator deaf to all changes for more than a minute.
struct WatchPause(CrdPresence);

impl Iterator for WatchPause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(if self.0.is_missing() {
            definition::INTERVAL
        } else {
            Duration::from_secs(2)
        })
    }
}

impl Backoff for WatchPause {
    fn reset(&mut self) {}
}

/// Everything that a visit to an object needs.
pub struct ControllerContext {
    /// What the reconciliation itself needs.
    pub edge_credentials: Context,
    /// Which objects a Secret concerns.
    pub references: SecretReferences,
    /// Whether there are EdgeCredentials at all.
    pub crd: CrdPresence,
    /// Which objects that do not fit their type were told of.
    pub malformed: MalformedObjects,
    /// Where transitions are told.
    pub events: Events,
    /// Where reconciliations are counted.
    pub metrics: Metrics,
}

/// Which objects are watched, and how.
#[derive(Clone, Debug)]
pub struct Scope {
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// The labels that EdgeCredentials must have.
    pub selector: Option<String>,
    /// Whether Secrets are watched too.
    pub watch_secrets: bool,
    /// How many objects may be in progress at a time, those that wait for something included.
    pub in_progress: u16,
}

/// The watches of one scope: their store, and the work, which ends some time after `shutdown` does.
pub fn controller(
    client: &Client,
    scope: &Scope,
    context: Arc<ControllerContext>,
    shutdown: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) -> (Store<Watched>, BoxFuture<'static, ()>) {
    let objects: Api<Watched> = api(client, scope);
    let crd = context.crd.clone();
    let mut config = watcher::Config::default();
    if let Some(selector) = &scope.selector {
        config = config.labels(selector);
    }
    let mut controller = Controller::new(objects.clone(), config)
        .with_config(controller::Config::default().concurrency(scope.in_progress))
        .trigger_backoff(WatchPause(crd.clone()))
        .reconcile_all_on(watch_jumps(context.edge_credentials.clock.clone()))
        .reconcile_on(wakeups(&context, scope.namespace.clone()))
        .graceful_shutdown_on(shutdown.clone());
    if scope.watch_secrets {
        // Metadata only: no Secret's content is ever in a cache. Helm's release Secrets can be large and many.
        let secrets: Api<PartialObjectMeta<Secret>> = api(client, scope);
        let config = watcher::Config::default().fields("type!=helm.sh/release.v1");
        let context = context.clone();
        controller = controller.watches(secrets, config, move |secret| {
            find_concerned(&context, &secret)
        });
    }
    let store = controller.store();
    let work = follow(
        controller.run(reconcile_once, error_policy, context.clone()),
        context,
    );
    let listed = store.clone();
    let work = async move {
        tokio::select! {
            () = work => {}
            () = stopped_before_the_first_list(&listed, shutdown) => {}
            () = crd.look_for(objects) => {}
        }
    };
    (store, work.boxed())
}

/// Ends with `shutdown`, if that comes before the first list. kube's controller waits for the list even then, though
/// nothing has begun that would have to be finished.
async fn stopped_before_the_first_list(store: &Store<Watched>, shutdown: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        _ = store.wait_until_ready() => std::future::pending().await,
        () = shutdown => {}
    }
}

fn api<K>(client: &Client, scope: &Scope) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match &scope.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The objects whose turn it is at a token endpoint that turned them away before.
fn wakeups(
    context: &ControllerContext,
    namespace: Option<String>,
) -> impl Stream<Item = ObjectRef<Watched>> + Send + 'static {
    unfold(
        context.edge_credentials.tokens.wakeups(),
        async |mut wakeups| {
            loop {
                match wakeups.recv().await {
                    Ok(object) => return Some((object, wakeups)),
                    // Those that were missed come back by themselves, only later.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        },
    )
    .filter(move |object| {
        let in_scope = namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == object.namespace);
        ready(in_scope)
    })
    .map(|object| ObjectRef::new(&object.name).within(&object.namespace))
}

/// The objects that name a Secret, as credentials or as target.
fn find_concerned(
    context: &ControllerContext,
    secret: &PartialObjectMeta<Secret>,
) -> Vec<ObjectRef<Watched>> {
    let secret = ObjectKey::of(secret);
    context
        .references
        .of_secret(&secret)
        .into_iter()
        .map(|name| ObjectRef::new(&name).within(&secret.namespace))
        .collect()
}

async fn reconcile_once(
    object: Arc<Watched>,
    context: Arc<ControllerContext>,
) -> Result<Action, Error> {
    if context.crd.is_missing() {
        // The object is gone, though no watch has said so. Its target would be written and collected in turn.
        return Ok(Action::requeue(definition::INTERVAL));
    }
    let object = match &object.0 {
        Ok(object) => object,
        Err(_) => return reconcile_malformed(&object, &context).await,
    };
    context.malformed.remove(&ObjectKey::of(object));
    context.references.enter(object);
    let started = Instant::now();
    let result = match caught(reconcile(object, &context.edge_credentials)).await {
        Ok(result) => result,
        Err(Panicked) => {
            context.metrics.panicked();
            // This is much of the same program: it may panic too.
            let reported = caught(report_panic(object, &context.edge_credentials)).await;
            reported.unwrap_or(Err(Error::Panicked))
        }
    };
    let trouble = match &result {
        Ok(report) => report.problem,
        Err(error) => Some(error.reason()),
    };
    context
        .metrics
        .reconciled(started.elapsed(), trouble.map(|reason| reason.as_str()));
    result.map(|report| {
        publish_report(object, &report, &context);
        Action::requeue(report.requeue_after)
    })
}

/// Tells about an object that does not fit its type, once for each version of it.
async fn reconcile_malformed(
    object: &Watched,
    context: &ControllerContext,
) -> Result<Action, Error> {
    if !context.malformed.contains(object) {
        let reported = caught(report_malformed(object.meta(), &context.edge_credentials)).await;
        let transitions = reported.unwrap_or_else(|Panicked| {
            context.metrics.panicked();
            Err(Error::Panicked)
        })?;
        context.malformed.enter(object);
        publish_transitions(object, &transitions, context);
    }
    Ok(Action::requeue(HOPELESS_WAIT))
}

/// Tells about a visit in the log, in Events and in metrics.
fn publish_report(object: &EdgeCredential, report: &Report, context: &ControllerContext) {
    let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
    if let Some(delay) = report.renewal_delay {
        context
            .metrics
            .renewal_began(Duration::try_from(delay).unwrap_or_default());
    }
    if let Some(written) = &report.written {
        tracing::info!(
            namespace,
            name,
            // Not "target": that is the module's in a line of JSON.
            secret = object.target_name(),
            origin = if written.requested { "request" } else { "reuse" },
            expires_at = %written.expires_at,
            renew_at = %written.renew_at,
            "token written"
        );
    }
    publish_transitions(object, &report.transitions, context);
}

fn publish_transitions(
    object: &impl Resource<DynamicType = ()>,
    transitions: &[Transition],
    context: &ControllerContext,
) {
    let (namespace, name) = (&object.meta().namespace, &object.meta().name);
    for transition in transitions {
        let (reason, message) = (&transition.reason, &transition.message);
        if transition.warning {
            tracing::warn!(namespace, name, reason, "{message}");
        } else {
            tracing::info!(namespace, name, reason, "{message}");
        }
        context
            .events
            .publish(object.object_ref(&()), transition.clone());
    }
}

fn error_policy(object: Arc<Watched>, error: &Error, _: Arc<ControllerContext>) -> Action {
    let (namespace, name) = (object.namespace(), object.name_any());
    match error {
        Error::WriteTarget { source, .. } | Error::WriteStatus { source }
            if is_namespace_gone(source) =>
        {
            tracing::debug!(namespace, name, "the object or its namespace is going away");
            Action::requeue(HOPELESS_WAIT)
        }
        Error::WriteTarget { source, .. } | Error::WriteStatus { source }
            if is_conflict(source) =>
        {
            tracing::debug!(namespace, name, "somebody else writes the same object");
            Action::requeue(CONFLICT_WAIT)
        }
        Error::Outdated => {
            tracing::debug!(namespace, name, "{error}");
            Action::requeue(OUTDATED_WAIT)
        }
        Error::RequestToken(TokenError::Queued) => {
            tracing::debug!(namespace, name, "many others wait for the token endpoint");
            Action::requeue(QUEUED_WAIT)
        }
        Error::NotLeading => {
            tracing::debug!(namespace, name, "{error}");
            Action::requeue(ERROR_WAIT)
        }
        // Not for lack of a right, which may be granted: a status that does not fit, or an object that breaks a rule.
        Error::WriteStatus { source } if is_refusal(source) && !is_forbidden(source) => {
            tracing::warn!(namespace, name, reason = %error.reason(), "{error}");
            Action::requeue(HOPELESS_WAIT)
        }
        error => {
            tracing::warn!(namespace, name, reason = %error.reason(), "{error}");
            Action::requeue(match error {
                Error::Panicked => HOPELESS_WAIT,
                _ => ERROR_WAIT,
            })
        }
    }
}

type Reconciled = Result<(ObjectRef<Watched>, Action), controller::Error<Error, watcher::Error>>;

async fn follow(reconciliations: impl Stream<Item = Reconciled>, context: Arc<ControllerContext>) {
    reconciliations
        .for_each(|reconciled| {
            match reconciled {
                Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
                // The last word about an object that was deleted.
                Err(controller::Error::ObjectNotFound(object)) => {
                    let key = ObjectKey::new(object.namespace.unwrap_or_default(), object.name);
                    context.references.remove(&key);
                    context.malformed.remove(&key);
                }
                Err(controller::Error::QueueError(error)) if is_missing(&error) => {
                    context.crd.went_missing();
                }
                Err(controller::Error::QueueError(error)) => {
                    tracing::warn!(
                        "a watch failed and is begun again: {}",
                        describe_watch_error(&error)
                    );
                }
                Err(_) => tracing::debug!("the queue was stopped"),
            }
            ready(())
        })
        .await;
}

/// Whether there is nothing of the kind to watch. Secrets are always there, and a namespace that is not is empty.
fn is_missing(error: &watcher::Error) -> bool {
    let code = match error {
        watcher::Error::WatchError(status)
        | watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code,
        _ => return false,
    };
    code == 404
}

/// A watch's error without what the API server said.
fn describe_watch_error(error: &watcher::Error) -> String {
    let (action, source) = match error {
        watcher::Error::InitialListFailed(source) => ("the first list", Some(source)),
        watcher::Error::WatchStartFailed(source) => ("the start of the watch", Some(source)),
        watcher::Error::WatchFailed(source) => ("the watch", Some(source)),
        watcher::Error::WatchError(status) => {
            return format!("the watch ended with HTTP {}", status.code);
        }
        _ => ("the watch", None),
    };
    match source {
        Some(kube::Error::Api(status)) => {
            format!("{action} was answered with HTTP {}", status.code)
        }
        _ => format!("{action} was not answered"),
    }
}
