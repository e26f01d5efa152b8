//! What goes wrong on purpose: injected faults and missing permissions.

use std::time::Duration;

use super::record::{Request, Verb};

/// What happens to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It is answered as usual.
    #[default]
    None,
    /// It is refused with this status code and reason, and nothing is done.
    Status(u16, String),
    /// The connection breaks before the request is read: nothing is done.
    DropConnection,
    /// It is answered as usual, but later. A day is as good as for ever.
    Delay(Duration),
    /// It is done, then the connection breaks before the answer.
    CrashedAfter,
    /// A get or a list is answered as of this earlier resource version, as by an API server whose cache lags behind.
    /// Answered as usual if it is no longer in the history; other requests are, too.
    Stale(u64),
}

/// Something that the client may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denial {
    pub verb: Verb,
    /// With the subresource, as in [`Request::resource`].
    pub resource: String,
    /// `None` for everywhere.
    pub namespace: Option<String>,
    /// The names of what is allowed all the same, as a Role has them in `resourceNames`.
    pub but: Vec<String>,
}

impl Denial {
    fn is_about(&self, verb: &str, resource: &str, name: &str) -> bool {
        self.verb.as_str() == verb
            && self.resource == resource
            && !self.but.iter().any(|allowed| allowed == name)
    }

    /// Whether a review says no. Rights only add up: what is denied in one namespace cannot be granted for all.
    pub fn forbids(&self, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let denied = self.namespace.as_deref();
        self.is_about(verb, resource, name)
            && (namespace.is_empty() || denied.is_none_or(|denied| denied == namespace))
    }

    pub fn applies_to(&self, request: &Request) -> bool {
        let denied = self.namespace.as_deref();
        self.is_about(request.verb.as_str(), &request.resource, &request.name)
            && denied.is_none_or(|denied| denied == request.namespace)
    }
}
