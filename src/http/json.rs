//! Reads JSON that came over HTTP.

use serde::de::DeserializeOwned;

/// Reads a JSON object; `None` where it is none. One that is not written as an object is none either: the members of a struct
/// can also be read from a JSON array.
pub fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    is_object
        .then(|| serde_json::from_slice(body).ok())
        .flatten()
}
