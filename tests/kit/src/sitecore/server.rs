//! The HTTP server, in a thread of its own.

use std::future::pending;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::DATE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

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

/// What an API does to a call instead of answering it. See [`fail_api`](super::Sitecore::fail_api).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiFailure {
    /// Answers this status and does nothing.
    Status(u16),
    /// Never answers and does nothing.
    Hang,
    /// Resets the connection and does nothing.
    Reset,
    /// Does what was asked, then resets the connection: a key is made and nobody learns of it.
    LoseAnswer,
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
        Api::of_path(request.uri().path()).and_then(|api| shared.lock().next_failure(api));
    let mut response = match failure {
        None => next.run(request).await,
        Some(ApiFailure::Status(status)) => problem(&shared, status, "Failing as asked"),
        Some(ApiFailure::Hang) => pending().await,
        Some(ApiFailure::Reset) => cut(),
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
