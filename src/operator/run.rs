//! The operator's life: it starts everything, waits for the end, and stops everything.

use std::{collections::BTreeSet, io, path::PathBuf, sync::Arc, time::Duration};

use futures::{
    FutureExt,
    future::{BoxFuture, join},
};
use kube::{Client, runtime::reflector::Store};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

use super::{
    admin::{Readiness, routes},
    controller::{Operator, Scope, Watched, controller},
    events::Events,
    kind::Kind,
    malformed::MalformedObjects,
    metrics::{MeasuredTokenSource, Metrics, ObjectCollector},
    references::SecretReferences,
};
use crate::{
    clock::Clock,
    config::Settings,
    edge_credential::context::Context,
    oauth::{
        TokenSource,
        client::{ClientError, Deadlines, HttpTokenSource},
        origin::AllowedOrigins,
        share::SharedTokens,
    },
};

/// The longest time without a look at an object. Nothing depends on it: it bounds what a wake-up that was lost for a
/// reason nobody thought of could do.
const LONGEST_WAIT: Duration = Duration::from_hours(4);

/// The same where Secrets are not watched.
const LONGEST_WAIT_UNWATCHED: Duration = Duration::from_mins(5);

/// How many objects may be in progress for each that the API server may be asked about at a time. Most of them wait: for
/// their turn, or for a token endpoint.
const WAITING_SHARE: u16 = 16;

/// How long running work may take to end: Kubernetes waits 30 s before it kills, people less.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(9);

/// Why the operator could not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file of `--token-ca-file` cannot be read.
    #[error("the CA file {path} cannot be read")]
    ReadCa {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No HTTP client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The address of `--listen` cannot be used.
    #[error("the address {address} of --listen cannot be used")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A part of the operator ended without being asked to.
    #[error("a part of the operator ended unexpectedly")]
    Ended,
}

/// Runs until `shutdown`, and returns once everything has ended.
pub async fn run(
    client: Client,
    settings: &Settings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let clock = Clock::system();
    let allowed: AllowedOrigins = settings.allowed_token_origins.iter().cloned().collect();
    let token_ca = settings
        .token_ca_file
        .as_ref()
        .map(|path| {
            std::fs::read(path).map_err(|source| RunError::ReadCa {
                path: path.clone(),
                source,
            })
        })
        .transpose()?;
    let source = HttpTokenSource::new(
        allowed,
        token_ca.as_deref(),
        clock.clone(),
        Deadlines::default(),
    )?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|source| RunError::Listen {
            address: settings.listen,
            source,
        })?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = %settings.listen, "the operator starts");
    serve(client, settings, source, clock, listener, shutdown).await
}

/// As [`run`], with the token source, the clock and the socket given.
pub async fn serve(
    client: Client,
    settings: &Settings,
    source: impl TokenSource,
    clock: Clock,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let source = MeasuredTokenSource::new(source, metrics.clone());
    let shutdown = shutdown.boxed().shared();
    let (events, publisher) = Events::new(client.clone());
    let publisher = tokio::spawn(publisher);
    let Controllers { stores, work, kind } = controllers(
        client,
        settings,
        source,
        clock,
        events,
        metrics,
        shutdown.clone(),
    );

    if settings.per_object_metrics {
        registry.register_collector(Box::new(ObjectCollector(stores.clone())));
    }
    let readiness = Readiness::of(stores.len(), kind);
    let routes = routes(Arc::new(registry), readiness.clone());
    let admin = tokio::spawn(axum::serve(listener, routes).into_future());
    let mut work: JoinSet<()> = work
        .into_iter()
        .zip(stores)
        .map(|(work, store)| {
            let readiness = readiness.clone();
            // In the task of the controller itself, which waits for the same thing: a store wakes only the task that
            // asked last, and the other would wait for ever.
            join(work, async move {
                // Fails only where the controller has ended.
                if store.wait_until_ready().await.is_ok() {
                    readiness.listed();
                }
            })
            .map(drop)
        })
        .collect();
    let asked = tokio::select! {
        // The controllers end on it too, and may be done before this task looks.
        biased;
        () = shutdown => true,
        _ = work.join_next() => false,
    };
    if !asked {
        return Err(RunError::Ended);
    }
    tracing::info!("the operator stops: running work is finished first");
    if timeout(SHUTDOWN_TIMEOUT, work.join_all()).await.is_err() {
        tracing::warn!("some work did not end in time");
    }
    // What is still in the queue would take a second each.
    publisher.abort();
    admin.abort();
    Ok(())
}

/// The watches, not yet running.
pub struct Controllers {
    /// What they have seen.
    pub stores: Vec<Store<Watched>>,
    /// Their work.
    pub work: Vec<BoxFuture<'static, ()>>,
    /// Whether there is anything to watch.
    pub kind: Kind,
}

/// Makes a controller for each watched namespace, or one for all. A namespaced watch needs rights in that namespace
/// only.
pub fn controllers(
    client: Client,
    settings: &Settings,
    source: impl TokenSource,
    clock: Clock,
    events: Events,
    metrics: Metrics,
    shutdown: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) -> Controllers {
    let longest_wait = if settings.watch_secrets {
        LONGEST_WAIT
    } else {
        LONGEST_WAIT_UNWATCHED
    };
    let kind = Kind::default();
    let operator = Arc::new(Operator {
        context: Context::new(
            client.clone(),
            SharedTokens::new(source, clock.clone(), settings.requests_per_origin.get()),
            settings.allowed_token_origins.iter().cloned().collect(),
            clock,
            longest_wait,
            settings.concurrency.get().into(),
        ),
        references: SecretReferences::default(),
        kind: kind.clone(),
        malformed: MalformedObjects::default(),
        events,
        metrics,
    });
    let (stores, work) = scopes(settings)
        .iter()
        .map(|scope| controller(&client, scope, operator.clone(), shutdown.clone()))
        .unzip();
    Controllers { stores, work, kind }
}

fn scopes(settings: &Settings) -> Vec<Scope> {
    let namespaces = match &settings.namespaces[..] {
        [] => vec![None],
        // A namespace that is given twice is watched once.
        names => BTreeSet::from_iter(names)
            .into_iter()
            .cloned()
            .map(Some)
            .collect(),
    };
    namespaces
        .into_iter()
        .map(|namespace| Scope {
            namespace,
            selector: settings.selector.clone(),
            watch_secrets: settings.watch_secrets,
            in_progress: settings.concurrency.get().saturating_mul(WAITING_SHARE),
        })
        .collect()
}
