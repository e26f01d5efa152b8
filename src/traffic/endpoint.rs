//! What requests are sent to.

use std::fmt;

use reqwest::Url;

use crate::http::origin::Origin;

/// A URL without its fragment, which is never sent. Several endpoints may be at one origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    url: String,
    origin: Origin,
}

impl Endpoint {
    /// The endpoint of an http or https URL; `None` for any other.
    pub fn of(url: &Url) -> Option<Self> {
        let origin = Origin::of(url)?;
        let mut url = url.clone();
        url.set_fragment(None);
        Some(Self {
            url: url.into(),
            origin,
        })
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}
