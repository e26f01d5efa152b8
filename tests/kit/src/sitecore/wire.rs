//! What is written to a connection past the HTTP server: bytes that no server should send.

use std::io;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;

/// Bytes in place of an answer.
#[derive(Clone, Debug)]
pub struct Wire {
    /// What is written, piece by piece.
    pub pieces: Vec<Vec<u8>>,
    /// How long to wait before each piece but the first. Default: not at all.
    pub pause: Duration,
    /// What comes after the last piece.
    pub end: End,
}

/// What comes after the last piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection is closed.
    Close,
    /// Nothing: the connection stays open until the client closes it.
    Silence,
    /// The last piece again, until the client closes the connection.
    Repeat,
}

impl Wire {
    /// These bytes, and the end of the connection.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            pieces: vec![bytes.into()],
            pause: Duration::ZERO,
            end: End::Close,
        }
    }

    /// The first, then the second again and again: an answer that never ends.
    pub fn endless(first: impl Into<Vec<u8>>, again: impl Into<Vec<u8>>) -> Self {
        Self {
            pieces: vec![first.into(), again.into()],
            pause: Duration::ZERO,
            end: End::Repeat,
        }
    }

    /// These bytes one at a time.
    pub fn drip(bytes: impl AsRef<[u8]>, pause: Duration) -> Self {
        Self {
            pieces: bytes.as_ref().iter().map(|byte| vec![*byte]).collect(),
            pause,
            end: End::Silence,
        }
    }

    /// Waits this long between two pieces.
    #[must_use]
    pub fn every(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Leaves the connection open after the last piece.
    #[must_use]
    pub fn then_silence(self) -> Self {
        Self {
            end: End::Silence,
            ..self
        }
    }

    /// Writes it all, or as much as the client takes, and counts the bytes. Ends when the connection is to be closed.
    pub(super) async fn write_to(&self, stream: &Weak<TcpStream>, written: &AtomicU64) {
        let mut pieces = self.pieces.iter();
        let mut last: &[u8] = &[];
        let mut pause = Duration::ZERO;
        loop {
            let piece = match (pieces.next(), self.end) {
                (Some(piece), _) => piece,
                (None, End::Repeat) => last,
                (None, End::Silence) => std::future::pending().await,
                (None, End::Close) => return,
            };
            tokio::time::sleep(pause).await;
            if write_all(stream, piece, written).await.is_err() {
                return;
            }
            last = piece;
            pause = self.pause;
            // Others have their turn, however fast the client takes it.
            tokio::task::yield_now().await;
        }
    }
}

async fn write_all(
    stream: &Weak<TcpStream>,
    mut bytes: &[u8],
    count: &AtomicU64,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let stream = stream.upgrade().ok_or(io::ErrorKind::BrokenPipe)?;
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => {
                count.fetch_add(written as u64, Ordering::Relaxed);
                bytes = &bytes[written..];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
