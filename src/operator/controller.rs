//! The watches of a kind, its queue, and what happens to an object that comes out of it.

use std::{hash::Hash, sync::Arc, time::Duration};

use super::{
    clock_jump::watch_jumps,
    definition::{self, CrdPresence},
    events::Events,
    list_watch::Selection,
    malformed::MalformedObjects,
    metrics::Metrics,
    panics::{Panicked, caught},
    references::SecretReferences,
    watch::{Shown, Watch},
    watched::Watched,
};
use crate::{
    clock::Clock,
    cluster::{
        back_off::Class,
        object_key::{Kind, ObjectKey},
        reconciler::{Failure, Reconciler},
        report::Report,
        secret_index::{SecretHash, SecretIndex, SeenSecret},
        transition::{KEY_LEFT, Transition},
    },
};
use futures::{
    FutureExt, Stream, StreamExt,
    future::{BoxFuture, ready},
    stream::{iter, unfold},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ObjectReference, Secret},
};
use kube::{
    Api, Client, Resource,
    core::{DeserializeGuard, PartialObjectMeta, PartialObjectMetaExt},
    runtime::{
        Controller, WatchStreamExt,
        controller::{self, Action},
        reflector::{self, ObjectRef, Store},
        watcher::{self, Event},
    },
};
use tokio::time::{Instant, timeout};

/// How long the first list of Secrets is waited for, where the API server does not answer.
const FIRST_LIST: Duration = Duration::from_secs(10);

/// Everything that the controllers of one kind need.
pub struct ControllerContext<R> {
    /// Reconciles the objects of the kind.
    pub reconciler: R,
    pub clock: Clock,
    /// Which Secrets there are.
    pub secrets: Arc<SecretIndex>,
    /// Which objects name a Secret.
    pub references: Arc<SecretReferences>,
    /// Whether the kind is known to the API server at all.
    pub crd: CrdPresence,
    /// Which objects that do not fit their type were reported.
    pub malformed: MalformedObjects,
    /// Where transitions are published.
    pub events: Events,
    /// Where reconciliations are counted.
    pub metrics: Metrics,
}

/// Which objects are watched, and how.
#[derive(Clone, Debug)]
pub struct Scope {
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// The labels that objects must have.
    pub selector: Option<String>,
    /// Whether Secrets are watched too. For a second kind it's the watch of the first.
    pub watch_secrets: bool,
    /// How many objects may be in progress at a time, those that wait for something included.
    pub in_progress: u16,
}

/// The watches of one scope, not yet running.
pub struct ScopedController<K: Resource<DynamicType = ()> + 'static> {
    /// The objects that were seen.
    pub store: Store<Watched<K>>,
    /// The watch of the objects.
    pub watch: Watch,
    /// The watch of Secrets, if there is one.
    pub secrets: Option<Watch>,
    /// Ends some time after `shutdown` does.
    pub work: BoxFuture<'static, ()>,
}

/// Makes the watches of one scope: those of Secrets, unless there is one `of_another_kind`, which wakes the objects of this kind
/// too. Each pauses by itself when it fails.
pub fn start_controller<R: Reconciler>(
    client: &Client,
    scope: &Scope,
    context: Arc<ControllerContext<R>>,
    of_another_kind: Option<Watch>,
    shutdown: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) -> ScopedController<R::Object> {
    let namespace = scope.namespace.as_deref();
    let crd = context.crd.clone();
    let selection = Selection::of::<R::Object>(client.clone(), namespace);
    let selection = selection.with_labels(scope.selector.clone());
    let watch = Watch::of::<R::Object>(namespace, Some(crd.clone()), context.metrics.clone());
    let (store, writer) = reflector::store();
    let events = watch.begin(selection);
    let events = share_unchanged(events, store.clone(), context.clone());
    let events = reflector::reflector(writer, events).touched_objects();
    let mut controller = Controller::for_stream(events, store.clone())
        .with_config(controller::Config::default().concurrency(scope.in_progress))
        .reconcile_all_on(watch_jumps(context.clock.clone()))
        .reconcile_on(wakeups(&context.reconciler, scope.namespace.clone()))
        .graceful_shutdown_on(shutdown.clone());
    let mut secrets = of_another_kind;
    if scope.watch_secrets && secrets.is_none() {
        // No Secret's content is ever in a cache. Helm's release Secrets can be large and many.
        let selection = Selection::metadata_of::<Secret>(client.clone(), namespace);
        let selection = selection.with_fields("type!=helm.sh/release.v1");
        let of_secrets = Watch::of::<Secret>(namespace, None, context.metrics.clone());
        let reliable = of_secrets.clone();
        let is_reliable = move || reliable.is_reliable();
        context.secrets.add_scope(namespace, is_reliable);
        let events = after_first_list(watch.clone(), of_secrets.begin(selection));
        controller = controller.reconcile_on(follow_secrets(
            events,
            scope.namespace.clone(),
            context.clone(),
        ));
        secrets = Some(of_secrets);
    }
    if let Some(secrets) = &secrets {
        controller = controller.reconcile_all_on(secrets.looks());
    }
    let stopped = shutdown.clone();
    let of_secrets = secrets.clone();
    let reconcile = move |object, context: Arc<ControllerContext<R>>| {
        let (secrets, stopped) = (secrets.clone(), stopped.clone());
        async move {
            if let Some(secrets) = secrets {
                // With the Secrets listed, most objects need not be looked at.
                tokio::select! {
                    _ = timeout(FIRST_LIST, secrets.wait_for_answer()) => {}
                    // Nobody follows the list any more.
                    () = stopped => return Ok(Action::await_change()),
                }
            }
            reconcile_once(object, context).await
        }
    };
    let work = follow(
        controller.run(reconcile, error_policy, context.clone()),
        context,
    );
    let objects: Api<R::Object> = api(client, scope);
    let listed = store.clone();
    let work = async move {
        tokio::select! {
            () = work => {}
            () = stopped_before_the_first_list(&listed, shutdown) => {}
            () = crd.look_for(objects) => {}
        }
    };
    ScopedController {
        store,
        watch,
        secrets: of_secrets,
        work: work.boxed(),
    }
}

/// Ends with `shutdown`, if that comes before the first list. kube's controller would go on to wait for the list, though
/// no reconciliation has begun that it would have to finish.
async fn stopped_before_the_first_list<K>(store: &Store<K>, shutdown: impl Future<Output = ()>)
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    tokio::select! {
        biased;
        _ = store.wait_until_ready() => std::future::pending().await,
        () = shutdown => {}
    }
}

fn api<K>(client: &Client, scope: &Scope) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match &scope.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The objects of a namespace, or of all, that are to be reconciled for another reason than a change that a watch saw.
fn wakeups<R: Reconciler>(
    reconciler: &R,
    namespace: Option<String>,
) -> impl Stream<Item = ObjectRef<Watched<R::Object>>> + Send + 'static {
    unfold(reconciler.wakeups(), async |mut wakeups| {
        let object = wakeups.recv().await?;
        Some((object, wakeups))
    })
    .filter(move |object| {
        let in_scope = namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == object.namespace);
        ready(in_scope && object.kind == Kind::of::<R::Object>())
    })
    .map(|object| ObjectRef::new(&object.name).within(&object.namespace))
}

/// What a watch shows, with one text for an object that is as it was: a list of all of them takes no memory then.
fn share_unchanged<R: Reconciler>(
    events: impl Stream<Item = Shown<Watched<R::Object>>> + Send + 'static,
    store: Store<Watched<R::Object>>,
    context: Arc<ControllerContext<R>>,
) -> impl Stream<Item = watcher::Result<Event<Watched<R::Object>>>> + Send + 'static {
    let mut newest = 0;
    events.map(move |(event, version)| {
        if matches!(event, Event::InitDone) && version < newest {
            context.reconciler.forget_versions();
        }
        newest = version;
        Ok(match event {
            Event::InitApply(object) => {
                let stored = store.get(&ObjectRef::from_obj(&object));
                let same = stored.filter(|stored| stored.is_same(&object));
                Event::InitApply(same.map_or(object, |stored| (*stored).clone()))
            }
            event => event,
        })
    })
}

/// The same stream, which begins once the objects have been listed: the Secrets are then as new as what their statuses say.
fn after_first_list<T>(
    objects: Watch,
    events: impl Stream<Item = T> + Send + 'static,
) -> impl Stream<Item = T> + Send + 'static {
    async move {
        objects.wait_for_answer().await;
        events
    }
    .flatten_stream()
}

/// Keeps the index of Secrets, and returns the objects that name one which was changed.
fn follow_secrets<R: Reconciler>(
    events: impl Stream<Item = Shown<SeenSecret>> + Send + 'static,
    scope: Option<String>,
    context: Arc<ControllerContext<R>>,
) -> impl Stream<Item = ObjectRef<Watched<R::Object>>> + Send + 'static {
    events.flat_map(move |(event, version)| {
        let changed = enter_event(&context, scope.as_deref(), event, version);
        let objects: Vec<_> = changed
            .into_iter()
            .flat_map(|secret| context.references.of_secret(secret))
            .filter_map(|object| {
                if object.kind == Kind::of::<R::Object>() {
                    return Some(ObjectRef::new(&object.name).within(&object.namespace));
                }
                context.reconciler.wake(object);
                None
            })
            .collect();
        iter(objects)
    })
}

/// Enters what a watch of Secrets shows into the index, and returns the Secrets that were changed.
fn enter_event<R: Reconciler>(
    context: &ControllerContext<R>,
    scope: Option<&str>,
    event: Event<SeenSecret>,
    version: u64,
) -> Vec<SecretHash> {
    let secrets = &context.secrets;
    let is_named = |secret: &SeenSecret, hash| secret.is_ours || context.references.has(hash);
    let hash = |SeenSecret { key, .. }: &SeenSecret| secrets.hash(&key.namespace, &key.name);
    match event {
        Event::Init => secrets.begin_list(scope, version),
        Event::InitApply(secret) => secrets.list(scope, &secret),
        Event::InitDone => {
            let relisted = secrets.end_list(scope, version);
            if relisted.is_restored {
                context.reconciler.forget_versions();
            }
            return relisted.changed;
        }
        Event::Apply(secret) => {
            let hash = hash(&secret);
            secrets.apply(scope, &secret, is_named(&secret, hash));
            return vec![hash];
        }
        Event::Delete(secret) => {
            let hash = hash(&secret);
            secrets.delete(scope, &secret, is_named(&secret, hash));
            return vec![hash];
        }
    }
    Vec::new()
}

async fn reconcile_once<R: Reconciler>(
    object: Arc<Watched<R::Object>>,
    context: Arc<ControllerContext<R>>,
) -> Result<Action, R::Error> {
    if context.crd.is_missing() {
        // The object is gone with its definition, though no watch has reported that. A target that is written now would be
        // deleted by the garbage collector, and written again.
        return Ok(Action::requeue(definition::INTERVAL));
    }
    let key = object.key();
    let read = match object.object() {
        Ok(Some(object)) => Ok(object),
        Ok(None) => {
            // Thousands that wait for their turn would be read again and again.
            let rest = context.reconciler.rests(&key);
            if let Some(rest) = rest.filter(|_| object.is_reconciled()) {
                return Ok(Action::requeue(rest));
            }
            let Some(DeserializeGuard(read)) = context.reconciler.read(&key).await? else {
                return Ok(Action::await_change());
            };
            object.note_reconciled();
            read.map_err(|invalid| invalid.metadata)
        }
        Err(_) => Err(object.metadata()),
    };
    let object = match read {
        Ok(object) => object,
        Err(metadata) => {
            let object = metadata.into_request_partial::<R::Object>();
            return reconcile_malformed(&object, &context).await;
        }
    };
    let object = &object;
    context.malformed.remove(&key);
    let secrets = R::secrets_of(object).into_iter();
    let secrets = secrets.map(|name| context.secrets.hash(&key.namespace, &name));
    context.references.enter(&key, secrets);
    let started = Instant::now();
    let result = match caught(context.reconciler.reconcile(object)).await {
        Ok(result) => result,
        Err(Panicked) => {
            context.metrics.panicked();
            // The report runs much of the same code, so it may panic too.
            let reported = caught(context.reconciler.report_panic(object)).await;
            reported.unwrap_or_else(|Panicked| Err(R::Error::panicked()))
        }
    };
    let problem = match &result {
        Ok(report) => report.problem,
        Err(error) => Some(error.reason()),
    };
    context
        .metrics
        .reconciled(started.elapsed(), problem.map(|reason| reason.as_str()));
    result.map(|report| {
        let again = Action::requeue(report.requeue_after);
        publish_report(object, report, &context);
        again
    })
}

/// Reports an object that does not fit its type, once for each generation of it, and once more when its token expires.
async fn reconcile_malformed<R: Reconciler>(
    object: &PartialObjectMeta<R::Object>,
    context: &ControllerContext<R>,
) -> Result<Action, R::Error> {
    if !context.malformed.contains(object) {
        let reported = caught(context.reconciler.report_malformed(&object.metadata)).await;
        let (transitions, again) = reported.unwrap_or_else(|Panicked| {
            context.metrics.panicked();
            Err(R::Error::panicked())
        })?;
        publish_transitions(&object.object_ref(&()), transitions, context);
        if let Some(again) = again {
            return Ok(Action::requeue(again));
        }
        context.malformed.enter(object);
    }
    Ok(Action::requeue(wait(Class::Blocked)))
}

/// Publishes the result of a reconciliation in the log, in Events and in metrics.
fn publish_report<R: Reconciler>(
    object: &R::Object,
    report: Report,
    context: &ControllerContext<R>,
) {
    if let Some(delay) = report.renewal_delay {
        let delay = Duration::try_from(delay).unwrap_or_default();
        context.metrics.renewal_began(delay);
    }
    if let Some(written) = &report.written {
        let key = ObjectKey::of(object);
        tracing::info!(
            namespace = key.namespace,
            name = key.name,
            // Not "target": in a line of JSON that is the field for the module.
            secret = written.secret,
            origin = if written.requested { "request" } else { "reuse" },
            expires_at = %written.expires_at,
            renew_at = %written.renew_at,
            "token written"
        );
    }
    publish_transitions(&object.object_ref(&()), report.transitions, context);
}

fn publish_transitions<R>(
    object: &ObjectReference,
    transitions: Vec<Transition>,
    context: &ControllerContext<R>,
) {
    let is_left = |told: &&Transition| told.warning && told.reason == KEY_LEFT;
    let left = transitions.iter().filter(is_left).count();
    context.metrics.keys.left(left as u64);
    let (namespace, name) = (&object.namespace, &object.name);
    for transition in transitions {
        let (reason, message) = (&transition.reason, &transition.message);
        if transition.warning {
            tracing::warn!(namespace, name, reason, "{message}");
        } else {
            tracing::info!(namespace, name, reason, "{message}");
        }
        context.events.publish(object.clone(), transition);
    }
}

fn error_policy<R: Reconciler>(
    object: Arc<Watched<R::Object>>,
    error: &R::Error,
    _: Arc<ControllerContext<R>>,
) -> Action {
    let key = object.key();
    let (namespace, name) = (&key.namespace, &key.name);
    let class = error.class();
    if class.is_usual() {
        tracing::debug!(namespace, name, "{error}");
    } else {
        tracing::warn!(namespace, name, reason = %error.reason(), "{error}");
    }
    Action::requeue(wait(class))
}

fn wait(class: Class) -> Duration {
    class.wait(0, 0.0).unsigned_abs()
}

type Reconciled<R> = Result<
    (ObjectRef<Watched<<R as Reconciler>::Object>>, Action),
    controller::Error<<R as Reconciler>::Error, watcher::Error>,
>;

async fn follow<R: Reconciler>(
    reconciliations: impl Stream<Item = Reconciled<R>>,
    context: Arc<ControllerContext<R>>,
) {
    reconciliations
        .for_each(|reconciled| {
            match reconciled {
                Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
                // This is what the controller says last of an object that was deleted.
                Err(controller::Error::ObjectNotFound(object)) => {
                    let namespace = object.namespace.clone().unwrap_or_default();
                    let key = ObjectKey::new::<R::Object>(namespace, &object.name);
                    context.references.remove(&key);
                    context.malformed.remove(&key);
                    let left = context.reconciler.forget(&key);
                    publish_transitions(&(*object).into(), left, &context);
                }
                Err(_) => tracing::debug!("the queue was stopped"),
            }
            ready(())
        })
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{edge_credential, edge_token};

    type Seen<R> = Arc<Watched<<R as Reconciler>::Object>>;

    fn size<R: Reconciler, F>(_: fn(Seen<R>, Arc<ControllerContext<R>>) -> F) -> usize {
        size_of::<F>()
    }

    /// A hundred of each kind may be in progress, and an allocator keeps most of the room for them for ever.
    #[test]
    fn an_object_in_progress_takes_less_than_16_kib() {
        let sizes = [
            size(reconcile_once::<edge_credential::context::Context>),
            size(reconcile_once::<edge_token::context::Context>),
        ];
        assert!(sizes.iter().all(|size| *size < 16 * 1024), "{sizes:?}");
    }
}
