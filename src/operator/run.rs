//! Starts everything, waits for the signal to end, and stops everything.

use std::{collections::BTreeSet, fs, io, path::Path, pin::pin, sync::Arc, time::Duration};

use futures::{
    FutureExt,
    future::{BoxFuture, pending},
};
use kube::{Client, runtime::reflector::Store};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

use super::{
    admin::{Readiness, routes},
    controller::{ControllerContext, Scope, ScopedController, start_controller},
    definition::CrdPresence,
    endpoints::EndpointCollector,
    events::Events,
    exposition::Exposition,
    flags::Settings,
    http_server::{self, ConnectionLimits},
    key_metrics::KeyCollector,
    lease::{
        candidate::{Candidate, LostLease},
        timings::{InvalidTimings, Timings},
    },
    malformed::MalformedObjects,
    metrics::{Metrics, ObjectCollector},
    references::SecretReferences,
    route_files::{RouteError, RouteFiles},
    watch::{LOOK_INTERVAL, Watch},
    watched::Watched,
};
use crate::{
    api::{EdgeCredential, EdgeToken},
    clock::Clock,
    cluster::{calls::Calls, leadership::Leadership, secret_index::SecretIndex},
    edge_api::{EdgeApi, client::HttpEdgeApi},
    edge_credential,
    edge_token::{self, rules::spec::Allowed},
    http::{
        origin::AllowedOrigins,
        route::{Deadlines, HttpClient},
    },
    oauth::{TokenSource, client::HttpTokenSource},
    traffic::{self, measured_api::MeasuredEdgeApi, queue::IN_ALL},
};

/// The longest time between two reconciliations of an object. Nothing depends on it: it only bounds the harm of a wake-up
/// that was lost by a fault.
const RESYNC_PERIOD: Duration = Duration::from_hours(4);

/// How long running work may take to end. Kubernetes kills a pod after 30 s, and people are less patient. The lease is
/// released after that.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);

/// Where Kubernetes tells a pod its namespace.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Why the operator could not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Token endpoints cannot be reached as the files say.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The address of `--listen` cannot be used.
    #[error("the address {address} of --listen cannot be used")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Nothing says where the Lease is.
    #[error(
        "--leader-election needs --lease-namespace, since this is no pod: {path} cannot be read"
    )]
    LeaseNamespace {
        /// Where a pod's namespace would be.
        path: &'static Path,
        /// Why.
        source: io::Error,
    },
    /// The timings of the lease would let two lead at a time, or none.
    #[error(transparent)]
    Timings(#[from] InvalidTimings),
    /// Another replica leads, or may lead.
    #[error(transparent)]
    LostLease(#[from] LostLease),
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
    let files = RouteFiles::of(settings);
    let route = files.read()?;
    let http = HttpClient::new(&route, Deadlines::default()).map_err(|error| files.blame(error))?;
    let source = HttpTokenSource::new(allowed, http.clone(), clock.clone());
    let allowed = settings.allowed_api_origins.iter().cloned().collect();
    let api = HttpEdgeApi::new(allowed, http.clone(), clock.clone());
    let unusable = |source| RunError::Listen {
        address: settings.listen,
        source,
    };
    let listener = http_server::listen(settings.listen)
        .await
        .map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = %address, "the operator starts");
    let following = files.follow(http, route);
    tokio::select! {
        ended = serve(client, settings, (source, api), clock, listener, shutdown) => ended,
        never = following => match never {},
    }
}

/// As [`run`], with the token source, the APIs, the clock and the socket given.
pub async fn serve(
    client: Client,
    settings: &Settings,
    sources: (impl TokenSource, impl EdgeApi),
    clock: Clock,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, clock.clone());
    let shutdown = shutdown.boxed().shared();
    let (leadership, mut candidate) = election(&client, settings, &clock)?;
    let (events, publisher) = Events::new(
        client.clone(),
        leadership.clone(),
        clock.clone(),
        metrics.clone(),
    );
    let publisher = tokio::spawn(publisher);
    let surroundings = Surroundings {
        clock,
        leadership,
        events,
        metrics: metrics.clone(),
    };
    let controllers = build_controllers(client, settings, sources, surroundings, shutdown.clone());

    registry.register_collector(Box::new(EndpointCollector {
        edge_credentials: controllers.edge_credentials.clone(),
        allowed: settings.allowed_token_origins.iter().cloned().collect(),
    }));
    if settings.per_object_metrics {
        registry.register_collector(Box::new(ObjectCollector(
            controllers.edge_credentials.clone(),
        )));
        registry.register_collector(Box::new(KeyCollector(controllers.edge_tokens.clone())));
    }
    let readiness = Readiness::of(controllers.watches.clone(), controllers.crd.clone());
    let routes = routes(Exposition::new(registry), readiness.clone());
    let admin = tokio::spawn(http_server::serve(
        listener,
        routes,
        ConnectionLimits::default(),
    ));
    let leads = async {
        if let Some(candidate) = &mut candidate {
            candidate.acquire(|| readiness.stand_by(true)).await;
        }
    };
    let result = tokio::select! {
        biased;
        () = shutdown.clone() => Ok(()),
        () = leads => {
            metrics.leads();
            let lost = async {
                match &mut candidate {
                    Some(candidate) => candidate.hold().await,
                    None => pending().await,
                }
            };
            readiness.stand_by(false);
            run_controllers(controllers.work, shutdown, lost).await
        }
    };
    // The Events that still wait could take minutes.
    publisher.abort();
    if let (Ok(()), Some(candidate)) = (&result, candidate) {
        candidate.release().await;
    }
    admin.abort();
    result
}

/// Runs the controllers until `shutdown`, and lets them finish what they have begun; or until the lease is lost, and
/// then nothing is finished.
async fn run_controllers(
    work: Vec<BoxFuture<'static, ()>>,
    shutdown: impl Future<Output = ()>,
    lost: impl Future<Output = LostLease>,
) -> Result<(), RunError> {
    let mut lost = pin!(lost);
    let mut work: JoinSet<()> = work.into_iter().collect();
    tokio::select! {
        // The controllers end on it too, and may be done before this task looks.
        biased;
        () = shutdown => {}
        lost = &mut lost => return Err(lost.into()),
        _ = work.join_next() => return Err(RunError::Ended),
    }
    tracing::info!("the operator stops: running work is finished first");
    tokio::select! {
        // The lease is renewed meanwhile.
        lost = lost => return Err(lost.into()),
        finished = timeout(SHUTDOWN_TIMEOUT, work.join_all()) => {
            if finished.is_err() {
                tracing::warn!("some work did not end in time");
            }
        }
    }
    Ok(())
}

/// Whether this process may act, and with leader election, the candidate that acquires the lease.
fn election(
    client: &Client,
    settings: &Settings,
    clock: &Clock,
) -> Result<(Leadership, Option<Candidate>), RunError> {
    if !settings.leader_election {
        return Ok((Leadership::always(), None));
    }
    let timings = Timings::new(
        settings.lease_duration,
        settings.renew_deadline,
        settings.retry_period,
    )?;
    let namespace = match &settings.lease_namespace {
        Some(namespace) => namespace.clone(),
        None => {
            let path = Path::new(POD_NAMESPACE);
            let error = |source| RunError::LeaseNamespace { path, source };
            fs::read_to_string(path).map_err(error)?.trim().to_owned()
        }
    };
    let candidate = Candidate::new(
        client.clone(),
        &namespace,
        &settings.lease_name,
        // A pod's name.
        &std::env::var("HOSTNAME").unwrap_or_else(|_| "operator".into()),
        timings,
        clock.clone(),
    );
    Ok((candidate.leadership(), Some(candidate)))
}

/// The watches of all kinds, not yet running.
pub struct Controllers {
    /// The EdgeCredentials that were seen, for their metrics.
    pub edge_credentials: Vec<Store<Watched<EdgeCredential>>>,
    /// The EdgeTokens that were seen.
    pub edge_tokens: Vec<Store<Watched<EdgeToken>>>,
    /// The watches of EdgeCredentials.
    pub watches: Vec<Watch>,
    /// The work of each scope of each kind.
    pub work: Vec<BoxFuture<'static, ()>>,
    /// Whether there is anything to watch.
    pub crd: CrdPresence,
}

/// What the process gives its controllers.
pub struct Surroundings {
    /// What time it is.
    pub clock: Clock,
    /// Whether this process may act.
    pub leadership: Leadership,
    /// Where transitions are published.
    pub events: Events,
    /// Where reconciliations and token requests are counted.
    pub metrics: Metrics,
}

/// Makes a controller for each watched namespace, or one for all. A namespaced watch needs rights in that namespace
/// only.
pub fn build_controllers(
    client: Client,
    settings: &Settings,
    (source, api): (impl TokenSource, impl EdgeApi),
    surroundings: Surroundings,
    shutdown: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) -> Controllers {
    let Surroundings {
        clock,
        leadership,
        events,
        metrics,
    } = surroundings;
    let tokens = traffic::govern(
        source,
        metrics.clone(),
        leadership.clone(),
        clock.clone(),
        settings.requests_per_endpoint.get(),
    );
    let resync_period = if settings.watch_secrets {
        RESYNC_PERIOD
    } else {
        LOOK_INTERVAL
    };
    let crd = CrdPresence::of::<EdgeCredential>();
    let secrets = Arc::<SecretIndex>::default();
    let target_locks = Arc::default();
    let concurrency = settings.concurrency.get().into();
    let calls = Calls::new(client.clone(), leadership, concurrency);
    let token_endpoints: AllowedOrigins = settings.allowed_token_origins.iter().cloned().collect();
    let edge_credentials = edge_credential::context::Context::new(
        calls.clone(),
        tokens.clone(),
        token_endpoints.clone(),
        clock.clone(),
        resync_period,
        secrets.clone(),
        Arc::clone(&target_locks),
    );
    let edge_tokens = edge_token::context::Context::new(
        calls,
        tokens,
        MeasuredEdgeApi::new(api, metrics.keys.clone()),
        Allowed {
            token_endpoints,
            apis: settings.allowed_api_origins.iter().cloned().collect(),
        },
        clock.clone(),
        resync_period,
        (secrets.clone(), target_locks),
    );
    let shared = Shared {
        clock,
        secrets,
        references: Arc::default(),
        events,
        metrics,
    };
    let edge_credentials = shared.serve(edge_credentials, crd.clone());
    let edge_tokens = shared.serve(edge_tokens, CrdPresence::of_optional::<EdgeToken>());
    let mut controllers = Controllers {
        edge_credentials: Vec::new(),
        edge_tokens: Vec::new(),
        watches: Vec::new(),
        work: Vec::new(),
        crd,
    };
    for scope in scopes(settings) {
        let context = edge_credentials.clone();
        let first = start_controller(&client, &scope, context, None, shutdown.clone());
        let ScopedController {
            store,
            watch,
            secrets,
            work,
        } = first;
        controllers.edge_credentials.push(store);
        controllers.watches.push(watch);
        controllers.work.push(work);
        let scope = Scope {
            watch_secrets: false,
            ..scope
        };
        let context = edge_tokens.clone();
        let second = start_controller(&client, &scope, context, secrets, shutdown.clone());
        controllers.edge_tokens.push(second.store);
        controllers.work.push(second.work);
    }
    controllers
}

/// What the controllers of all kinds share.
struct Shared {
    clock: Clock,
    secrets: Arc<SecretIndex>,
    references: Arc<SecretReferences>,
    events: Events,
    metrics: Metrics,
}

impl Shared {
    /// What the controllers of one kind need.
    fn serve<R>(&self, reconciler: R, crd: CrdPresence) -> Arc<ControllerContext<R>> {
        Arc::new(ControllerContext {
            reconciler,
            clock: self.clock.clone(),
            secrets: self.secrets.clone(),
            references: self.references.clone(),
            crd,
            malformed: MalformedObjects::default(),
            events: self.events.clone(),
            metrics: self.metrics.clone(),
        })
    }
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
            // Beside those that call the API server there may be those whose own request is in flight, or about to be.
            in_progress: settings.concurrency.get().saturating_add(IN_ALL),
        })
        .collect()
}
