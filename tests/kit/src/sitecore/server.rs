//! The HTTP server, in a thread of its own.

use std::future::pending;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{DATE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use super::record::{Api, NO_ANSWER};
use super::wire::Wire;
use super::{Shared, http_date, problem};
use crate::connection::{Accept, Connection};

/// A server that ends with this value, together with all its connections.
///
/// It has a thread and a runtime of its own: tests run in runtimes of their own, some of them with a paused clock.
pub(super) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(listener: StdListener, router: Router) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("sitecore".into())
            .spawn(move || {
                runtime.block_on(async {
                    let listener =
                        Accept(TcpListener::from_std(listener).expect("a listening socket"));
                    let service = router.into_make_service_with_connect_info::<Connection>();
                    tokio::select! {
                        _ = axum::serve(listener, service).into_future() => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It fails only if the thread panicked, which was reported then.
            let _ = thread.join();
        }
    }
}

/// What an API does to a call instead of answering it. See [`fail_api`](super::Sitecore::fail_api) and
/// [`fail_route`](super::Sitecore::fail_route).
#[derive(Clone, Debug)]
pub enum ApiFailure {
    /// Answers this status and does nothing.
    Status(u16),
    /// Does what was asked, then answers this status all the same.
    ActThenStatus(u16),
    /// Answers 429 with these headers and does nothing.
    RateLimited(RateHeaders),
    /// Anything else; does nothing.
    Raw {
        /// The HTTP status.
        status: u16,
        /// Headers, in order.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// Bytes in place of an answer, whether they are HTTP or not; does nothing.
    Wire(Wire),
    /// Never answers and does nothing.
    Hang,
    /// Resets the connection and does nothing.
    Reset,
    /// Does what was asked, then resets the connection: a key is made and nobody learns of it.
    LoseAnswer,
    /// Never answers, and does what was asked when the other end is dropped, whether or not anybody still waits: see
    /// [`put_off`](super::Sitecore::put_off).
    ActLater(watch::Receiver<()>),
}

/// How a rate limit of 80 calls is told, of which none is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateHeaders {
    /// `Retry-After`, in seconds.
    RetryAfter(u32),
    /// `X-RateLimit-*`, whose reset is a time: so many seconds from now, since 1970.
    Until(u32),
    /// `X-Rate-Limit-*`, whose reset is so many seconds from now.
    FromNow(u32),
}

/// Calls in a second that a tenant has at the Delivery API, as documented.
const RATE_LIMIT: u16 = 80;

impl RateHeaders {
    /// The answer to a call beyond the limit.
    pub(super) fn refuse(self, shared: &Shared) -> Response {
        let mut response = problem(shared, 429, "Too many requests");
        let (prefix, reset) = match self {
            Self::RetryAfter(seconds) => {
                let seconds = HeaderValue::from(seconds);
                response.headers_mut().insert(RETRY_AFTER, seconds);
                return response;
            }
            Self::Until(seconds) => {
                let now = shared.now().as_secs();
                ("x-ratelimit", HeaderValue::from(now + u64::from(seconds)))
            }
            Self::FromNow(seconds) => ("x-rate-limit", HeaderValue::from(seconds)),
        };
        for (name, value) in [
            ("limit", HeaderValue::from(RATE_LIMIT)),
            ("remaining", HeaderValue::from(0)),
            ("reset", reset),
        ] {
            let name = HeaderName::try_from(format!("{prefix}-{name}")).expect("a name");
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Put into a response, it makes the connection end in a reset instead.
#[derive(Clone, Copy)]
pub(super) struct Cut;

/// A response in whose place these bytes are written.
pub(super) fn wire(wire: Wire) -> Response {
    let mut response = ().into_response();
    response.extensions_mut().insert(wire);
    response
}

/// Put into a response, it names the client in the log.
#[derive(Clone)]
pub(super) struct AskedBy(pub String);

/// A response of just this.
pub(super) fn raw(
    status: u16,
    headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    body: Body,
) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        response.headers_mut().append(name, value);
    }
    response
}

/// Headers out of text; what cannot be one is left out.
pub(super) fn headers(
    written: &[(String, String)],
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    written
        .iter()
        .filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)))
}

/// A response that is never seen, for the connection is reset.
pub(super) fn cut() -> Response {
    let mut response = ().into_response();
    response.extensions_mut().insert(Cut);
    response
}

/// Counts and logs each call, and fails it where a test wants that.
pub(super) async fn observe(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let connection = request
        .extensions()
        .get::<ConnectInfo<Connection>>()
        .cloned();
    let path = request.extensions().get::<MatchedPath>();
    // Not the path itself where no route matched: it may hold anything.
    let route = format!(
        "{} {}",
        request.method(),
        path.map_or("(none)", MatchedPath::as_str)
    );
    let failure =
        Api::of_path(request.uri().path()).and_then(|api| shared.lock().next_failure(api, &route));
    let mut response = match failure {
        None => next.run(request).await,
        Some(ApiFailure::Status(status)) => problem(&shared, status, "Failing as asked"),
        Some(ApiFailure::ActThenStatus(status)) => {
            next.run(request).await;
            problem(&shared, status, "Failing as asked, after it was done")
        }
        Some(ApiFailure::RateLimited(headers)) => headers.refuse(&shared),
        Some(ApiFailure::Raw {
            status,
            headers: written,
            body,
        }) => raw(status, headers(&written), body.into()),
        Some(ApiFailure::Wire(bytes)) => wire(bytes),
        Some(ApiFailure::Hang) => pending().await,
        Some(ApiFailure::Reset) => cut(),
        Some(ApiFailure::ActLater(mut released)) => {
            // Not given up with the connection, as this future is.
            tokio::spawn(async move {
                // Nothing is ever sent: this fails when the other end is gone.
                let _ = released.changed().await;
                next.run(request).await;
            });
            pending().await
        }
        Some(ApiFailure::LoseAnswer) => {
            next.run(request).await;
            cut()
        }
    };
    let cut = response.extensions_mut().remove::<Cut>();
    let wire = response.extensions_mut().remove::<Wire>();
    let status = if cut.is_some() || wire.is_some() {
        NO_ANSWER
    } else {
        response.status().as_u16()
    };
    shared.lock().calls.add(&route, status);
    let client = response
        .extensions()
        .get::<AskedBy>()
        .map(|by| by.0.as_str());
    tracing::info!(client, route, status, "answered");
    if let Some(ConnectInfo(connection)) = connection {
        if cut.is_some() {
            connection.reset();
        }
        if let Some(wire) = wire {
            // Given up with the request, when the client closes the connection.
            wire.write_to(connection.stream(), &shared.wire_bytes).await;
            connection.end();
        }
    }
    if shared.clock_is_off() {
        response.headers_mut().insert(DATE, http_date(shared.now()));
    }
    response
}
