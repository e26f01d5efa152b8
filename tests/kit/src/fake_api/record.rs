//! What was asked, how often, and how it was answered.

use std::{collections::BTreeMap, fmt, time::Duration};

/// What a request does, as RBAC rules name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read a collection, or a page of it.
    List,
    /// Follow a collection.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH of any kind.
    Patch,
    /// Delete one object.
    Delete,
    /// Delete a collection.
    DeleteCollection,
}

impl Verb {
    /// Whether the request changes something.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }

    /// In lower case, as in RBAC rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The first request of a [`FakeApi`](super::FakeApi) is 1, in the order of arrival.
    pub number: u64,
    /// When it arrived, on the tokio clock, since the [`FakeApi`](super::FakeApi) was made.
    pub at: Duration,
    /// What it does.
    pub verb: Verb,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource in the plural, with its subresource as in RBAC rules: `secrets`, `edgecredentials/status`.
    pub resource: String,
    /// Empty for all namespaces and for cluster-wide objects.
    pub namespace: String,
    /// Empty for a collection, also on create.
    pub name: String,
    /// The answer's status code; 0 where the client got none.
    pub code: u16,
}

/// `patch edgecredentials/status storefront/edge-admin 200`.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verb,
            resource,
            namespace,
            name,
            code,
            ..
        } = self;
        write!(f, "{verb} {resource} {namespace}/{name} {code}")
    }
}

/// The requests so far. A list grows without end, so it can be left off; the counters stay.
#[derive(Debug)]
pub(super) struct Record {
    keep: bool,
    arrived: u64,
    requests: Vec<Request>,
    counts: BTreeMap<Verb, BTreeMap<String, u64>>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            keep: true,
            arrived: 0,
            requests: Vec::new(),
            counts: BTreeMap::new(),
        }
    }
}

impl Record {
    pub fn keep_requests(&mut self, keep: bool) {
        self.keep = keep;
        if !keep {
            self.requests = Vec::new();
        }
    }

    /// Numbers and counts a request that has arrived.
    pub fn arrival(&mut self, verb: Verb, resource: &str) -> u64 {
        self.arrived += 1;
        let counts = self.counts.entry(verb).or_default();
        match counts.get_mut(resource) {
            Some(count) => *count += 1,
            None => {
                counts.insert(resource.to_owned(), 1);
            }
        }
        self.arrived
    }

    pub fn answered(&mut self, request: Request) {
        if self.keep {
            self.requests.push(request);
        }
    }

    pub fn count(&self, verb: Verb, resource: &str) -> u64 {
        self.counts
            .get(&verb)
            .and_then(|counts| counts.get(resource))
            .copied()
            .unwrap_or_default()
    }

    pub fn counts(&self) -> BTreeMap<(Verb, String), u64> {
        let each = |(verb, counts): (&Verb, &BTreeMap<String, u64>)| {
            let verb = *verb;
            counts
                .clone()
                .into_iter()
                .map(move |(resource, count)| ((verb, resource), count))
        };
        self.counts.iter().flat_map(each).collect()
    }

    pub fn reset_counts(&mut self) {
        self.counts.clear();
    }

    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }
}
