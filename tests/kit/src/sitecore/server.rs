//! The HTTP server: a thread of its own, and connections that can be reset on purpose.

use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
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
    let lost = response.extensions_mut().remove::<Cut>().is_some();
    let status = if lost {
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
    if let (true, Some(ConnectInfo(connection))) = (lost, connection) {
        connection.cut.store(true, Ordering::Relaxed);
    }
    if shared.clock_is_off() {
        response.headers_mut().insert(DATE, http_date(shared.now()));
    }
    response
}

/// The handle by which the answer to a request resets the connection it came by.
#[derive(Clone, Default)]
pub(super) struct Connection {
    cut: Arc<AtomicBool>,
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
        let connection = Connection::default();
        (Socket { stream, connection }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A stream that fails on the first write after its connection was cut. With no linger, closing it sends a reset.
pub(super) struct Socket {
    stream: TcpStream,
    connection: Connection,
}

impl Socket {
    fn check(&self) -> io::Result<()> {
        if self.connection.cut.load(Ordering::Relaxed) {
            self.stream.set_zero_linger()?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
