//! An HTTP answer as a corpus file: the status, the headers, an empty line, the body.
//!
//! ```text
//! 200
//! content-type: application/json
//!
//! {"access_token":"TOKEN","token_type":"Bearer"}
//!
//! {"aud":"https://api.sitecorecloud.io"}
//! ```
//!
//! What follows a second empty line are claims: `TOKEN` in the body stands for a JWT with them, because a fuzzer does
//! not find its way through base64.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, header::DATE};
use k8s_openapi::jiff::{Timestamp, fmt::rfc2822};

/// Stands for the token in a body.
const TOKEN: &[u8] = b"TOKEN";

/// An HTTP answer.
pub struct Answer {
    /// The status, which is one that HTTP permits.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads a corpus file; `None` where HTTP could not carry it.
    pub fn read(input: &[u8]) -> Option<Self> {
        let (head, rest) = split(input, b"\n\n").unwrap_or((input, b""));
        let (body, claims) =
            split(rest, b"\n\n").map_or((rest, None), |(body, claims)| (body, Some(claims)));
        let mut lines = head.split(|byte| *byte == b'\n');
        let status = std::str::from_utf8(lines.next()?).ok()?.parse().ok()?;
        http::StatusCode::from_u16(status).ok()?;
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = split(line, b": ")?;
            let name = HeaderName::from_bytes(name).ok()?;
            headers
                .try_append(name, HeaderValue::from_bytes(value).ok()?)
                .ok()?;
        }
        let body = match claims {
            Some(claims) => replace(body, TOKEN, jwt(br#"{"alg":"RS256"}"#, claims).as_bytes()),
            None => body.to_vec(),
        };
        Some(Self {
            status,
            headers,
            body,
        })
    }

    /// A header's value, where it is text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The server's clock.
    pub fn date(&self) -> Option<Timestamp> {
        let date = self.header(DATE)?;
        rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
    }
}

/// A signed JSON Web Token of these parts, whatever they are.
pub fn jwt(header: &[u8], payload: &[u8]) -> String {
    let [header, payload, signature] =
        [header, payload, b"signature"].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{payload}.{signature}")
}

/// What stands before and after the first `separator`.
pub fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes
        .windows(separator.len())
        .position(|window| window == separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match split(bytes, from) {
        Some((before, after)) => [before, to, after].concat(),
        None => bytes.to_vec(),
    }
}
