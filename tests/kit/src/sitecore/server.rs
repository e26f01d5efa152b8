//! The HTTP server: a thread of its own, and connections that can be reset on purpose, or taken from HTTP altogether.

use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::DATE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::record::{Api, NO_ANSWER};
use super::wire::Wire;
use super::{Shared, http_date, problem};

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
            connection.write(&wire, &shared.wire_bytes).await;
        }
    }
    if shared.clock_is_off() {
        response.headers_mut().insert(DATE, http_date(shared.now()));
    }
    response
}

/// The handle by which the answer to a request ends the connection it came by, or writes to it past HTTP.
#[derive(Clone, Default)]
pub(super) struct Connection {
    ended: Arc<AtomicBool>,
    /// Weak, so that the connection is closed with its [`Socket`].
    stream: Weak<TcpStream>,
}

impl Connection {
    /// Has the connection end in a reset instead of the answer: that is what closing does with no linger.
    fn reset(&self) {
        if let Some(stream) = self.stream.upgrade() {
            let _ = stream.set_zero_linger();
        }
        self.end();
    }

    /// From now on the server can write nothing, and so closes.
    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Writes these bytes instead of the answer. Given up with the request, when the client closes the connection.
    async fn write(&self, wire: &Wire, written: &AtomicU64) {
        wire.write_to(&self.stream, written).await;
        self.end();
    }
}

impl Connected<IncomingStream<'_, Accept>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Accept>) -> Self {
        stream.io().connection.clone()
    }
}

pub(super) struct Accept(TcpListener);

impl Listener for Accept {
    type Io = Socket;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Socket, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Without it an answer in two writes waits for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        let connection = Connection {
            ended: Arc::default(),
            stream: Arc::downgrade(&stream),
        };
        (Socket { stream, connection }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A stream that fails on the first write after its connection was ended.
pub(super) struct Socket {
    stream: Arc<TcpStream>,
    connection: Connection,
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.connection.ended.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Done by closing, which follows.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
