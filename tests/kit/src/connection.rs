//! HTTP connections that can be reset on purpose, or taken from HTTP altogether.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The handle by which the answer to a request ends the connection it came by, or writes to it past HTTP.
#[derive(Clone, Default)]
pub(crate) struct Connection {
    ended: Arc<AtomicBool>,
    /// Weak, so that the connection is closed with its [`Socket`].
    stream: Weak<TcpStream>,
}

impl Connection {
    /// Has the connection end in a reset instead of the answer: that is what closing does with no linger.
    pub fn reset(&self) {
        if let Some(stream) = self.stream.upgrade() {
            let _ = stream.set_zero_linger();
        }
        self.end();
    }

    /// From now on the server can write nothing, and so closes.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// The connection itself, to write to it past HTTP.
    pub fn stream(&self) -> &Weak<TcpStream> {
        &self.stream
    }
}

impl Connected<IncomingStream<'_, Accept>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Accept>) -> Self {
        stream.io().connection.clone()
    }
}

/// A listener for such connections.
pub(crate) struct Accept(pub TcpListener);

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
pub(crate) struct Socket {
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
