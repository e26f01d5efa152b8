//! The clients that may ask for tokens, and what was counted about each.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use super::record::{IssuedToken, RecordedRequest};
use super::scenario::Scenario;

/// The audience of Sitecore's APIs, which every client may ask for unless changed.
pub const AUDIENCE: &str = "https://api.sitecorecloud.io";

/// Requests and issued tokens kept per client; the counters go on beyond it. A soak test must not fill the memory.
const RECORDED: usize = 1000;

/// What a client may ask for, and what its tokens say.
#[derive(Clone)]
pub struct Client {
    /// Audiences it has a grant for. Default: [`AUDIENCE`].
    pub audiences: Vec<String>,
    /// Scopes it was granted. Sitecore does not publish those of an Edge administration client, so the default ones
    /// are made up.
    pub scopes: Vec<String>,
    /// The environment that its tokens open. Default: `tenant-<client id>`. An organization client has none.
    pub tenant_id: Option<String>,
    /// The organization. Default: `org_stand_in`.
    pub organization_id: String,
    /// How long its tokens live, in whole seconds. Default: 24 hours.
    pub lifetime: Duration,
    /// The value that the parameter `organization` must have. Default: not asked for.
    pub required_organization: Option<String>,
    secrets: Vec<Secret>,
}

#[derive(Clone)]
struct Secret {
    value: String,
    until: Option<Instant>,
}

impl Client {
    pub(super) fn new(id: &str, secret: &str) -> Self {
        Self {
            audiences: vec![AUDIENCE.into()],
            scopes: vec!["edge.admin:manage".into(), "edge.token:manage".into()],
            tenant_id: Some(format!("tenant-{id}")),
            organization_id: "org_stand_in".into(),
            lifetime: Duration::from_secs(24 * 60 * 60),
            required_organization: None,
            secrets: vec![Secret {
                value: secret.into(),
                until: None,
            }],
        }
    }

    pub(super) fn accepts(&self, secret: &str) -> bool {
        self.secrets.iter().any(|known| {
            known.value == secret && known.until.is_none_or(|until| Instant::now() < until)
        })
    }

    pub(super) fn rotate(&mut self, secret: &str, both_valid_for: Duration) {
        let until = Instant::now() + both_valid_for;
        for old in &mut self.secrets {
            old.until = Some(old.until.map_or(until, |before| before.min(until)));
        }
        self.secrets.push(Secret {
            value: secret.into(),
            until: None,
        });
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("audiences", &self.audiences)
            .field("tenant_id", &self.tenant_id)
            .finish_non_exhaustive()
    }
}

/// All clients by id, with those that were never added but asked nevertheless.
#[derive(Default)]
pub(super) struct Clients {
    entries: BTreeMap<String, Entry>,
    /// For clients without a scenario of their own.
    pub scenario: Scenario,
    pub total_requests: u64,
}

#[derive(Default)]
pub(super) struct Entry {
    pub client: Option<Client>,
    /// Holds until changed.
    pub scenario: Option<Scenario>,
    /// Hold first, each for so many requests.
    pub next: VecDeque<(u64, Scenario)>,
    pub requests: u64,
    pub issued: u64,
    pub in_flight: u64,
    pub in_flight_peak: u64,
    pub recorded: VecDeque<RecordedRequest>,
    pub tokens: VecDeque<IssuedToken>,
}

impl Clients {
    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub fn entry(&mut self, id: &str) -> &mut Entry {
        self.entries.entry(id.into()).or_default()
    }

    /// Counts a request that names this client, and says how to answer it.
    pub fn arrived(&mut self, id: &str, request: RecordedRequest) -> Scenario {
        let everyone = self.scenario.clone();
        let entry = self.entry(id);
        entry.requests += 1;
        entry.in_flight += 1;
        entry.in_flight_peak = entry.in_flight_peak.max(entry.in_flight);
        keep(&mut entry.recorded, request);
        entry.next_scenario().unwrap_or(everyone)
    }

    /// Counts a token that this client gets.
    pub fn issued(&mut self, id: &str, token_id: &str) {
        let entry = self.entry(id);
        entry.issued += 1;
        let token = IssuedToken {
            at: SystemTime::now(),
            id: token_id.into(),
        };
        keep(&mut entry.tokens, token);
    }

    pub fn forget_scenarios(&mut self) {
        self.scenario = Scenario::Normal;
        for entry in self.entries.values_mut() {
            entry.scenario = None;
            entry.next.clear();
        }
    }

    pub fn knows_audience(&self, audience: &str) -> bool {
        self.entries
            .values()
            .filter_map(|entry| entry.client.as_ref())
            .any(|client| client.audiences.iter().any(|known| known == audience))
    }
}

fn keep<T>(latest: &mut VecDeque<T>, new: T) {
    if latest.len() == RECORDED {
        latest.pop_front();
    }
    latest.push_back(new);
}

impl Entry {
    fn next_scenario(&mut self) -> Option<Scenario> {
        while let Some((left, scenario)) = self.next.front_mut() {
            if *left > 0 {
                *left -= 1;
                return Some(scenario.clone());
            }
            self.next.pop_front();
        }
        self.scenario.clone()
    }
}
