//! Reads the body of an answer, and no more of it than is needed.

use reqwest::Response;
use secrecy::zeroize::Zeroizing;

use super::unreachable::Unreachable;

/// How much of an answer is read, in bytes. A real one has about 2 KiB.
const MAX_BODY: usize = 64 * 1024;

/// Why the body of an answer could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It did not come to its end.
    Unreachable(Unreachable),
    /// It is longer than 64 KiB.
    TooLarge,
}

/// Reads the whole body, which is wiped from memory when it is dropped.
pub async fn read_body(response: &mut Response) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    // Allocated once at its limit: a body that grows would leave copies of the token behind in freed memory.
    let mut body = Zeroizing::new(Vec::with_capacity(MAX_BODY));
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unreachable(error: reqwest::Error) -> BodyError {
    BodyError::Unreachable(Unreachable::from(&error))
}
