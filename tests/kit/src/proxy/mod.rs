//! A proxy before the API server and Sitecore's services, which records the operator's calls and makes some of them fail.
//!
//! It is what fault injection after Sieve (Sun et al., OSDI 2022) needs: record an undisturbed run, then run the same
//! again for each of its calls, with a [`Fault`] at that call. A [`Proxy`] serves one process that is under test:
//!
//! - [`api_url`](Proxy::api_url) stands for the API server, with plain HTTP. Tokens in `Authorization` are passed on, so
//!   the process keeps its own rights; watches are passed on as they come.
//! - [`token_origin`](Proxy::token_origin) stands for the origin of Sitecore's services, [`token_url`](Proxy::token_url) for the
//!   token endpoint there.
//!
//! Both have one record, in the order in which calls arrive. Two kinds are passed on but neither recorded nor made to
//! fail: watches, which are one call without an end, and Events, which are sent in the background, at a pace of their
//! own, and whose answers nobody waits for.
//!
//! | Part | File |
//! |---|---|
//! | what identifies a call | `call.rs` |
//! | what can happen to it | `fault.rs` |
//! | the record, and the faults that wait for their calls | `record.rs` |
//! | the servers, and passing calls on | `server.rs` |

mod call;
mod fault;
mod record;
mod server;

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinSet};

pub use self::{call::Call, fault::Fault, record::Injected};
use self::{
    record::Record,
    server::{Gate, Side},
};
use crate::control_plane::ControlPlane;

/// How often to look whether calls have ceased.
const POLL: Duration = Duration::from_millis(10);

/// The way to the API server of a control plane. Made once and shared by all proxies, it keeps connections open between
/// calls.
#[derive(Clone, Debug)]
pub struct ApiServer {
    client: reqwest::Client,
    url: String,
}

impl ApiServer {
    /// The API server of this control plane.
    pub fn of(control_plane: &ControlPlane) -> reqwest::Result<Self> {
        let authority = control_plane.authority_pem().as_bytes();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(authority)?)
            .build()?;
        Ok(Self {
            client,
            url: control_plane.api_server_url(),
        })
    }
}

/// A running proxy. Dropping it closes its sockets.
#[derive(Debug)]
pub struct Proxy {
    api_url: String,
    token_url: String,
    record: Arc<Record>,
    /// Ended with the proxy.
    _servers: JoinSet<()>,
}

impl Proxy {
    /// Starts on two free ports of 127.0.0.1, in the runtime that calls this. `token_origin` is where Sitecore's services
    /// are, with no slash at the end. Its own answers, [`Fault::Answer`], have `error_text` in them, so that a test can
    /// look for it in the wrong places.
    pub async fn start(
        api_server: &ApiServer,
        token_origin: &str,
        error_text: &str,
    ) -> io::Result<Self> {
        let record = Arc::new(Record::default());
        let mut servers = JoinSet::new();
        let mut serve = async |side, url: &str| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let address = listener.local_addr()?;
            let gate = Gate {
                side,
                client: api_server.client.clone(),
                upstream: url.to_owned(),
                error_text: error_text.to_owned(),
                record: record.clone(),
            };
            servers.spawn(server::serve(listener, gate));
            io::Result::Ok(format!("http://{address}"))
        };
        let api_url = serve(Side::ApiServer, &api_server.url).await?;
        let token_url = serve(Side::Sitecore, token_origin).await?;
        Ok(Self {
            api_url,
            token_url,
            record,
            _servers: servers,
        })
    }

    /// The API server, for the process under test.
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// The origin of Sitecore's services, for the process under test.
    pub fn token_origin(&self) -> &str {
        &self.token_url
    }

    /// The token endpoint, for the process under test.
    pub fn token_url(&self) -> String {
        format!("{}/oauth/token", self.token_url)
    }

    /// Begins a new record.
    pub fn record_anew(&self) {
        self.record.clear();
    }

    /// Makes this call fail once, counted from the last [`record_anew`](Self::record_anew).
    pub fn inject(&self, call: Call, fault: Fault) -> Injected {
        self.record.inject(call, fault)
    }

    /// Answers the next list of this resource, such as `edgecredentials`, with the state of an earlier resource version,
    /// as an API server does whose cache lags behind. The API server itself must still have that state.
    pub fn serve_stale(&self, resource: &str, version: &str) {
        self.record.serve_stale(resource, version);
    }

    /// Whether the list for [`serve_stale`](Self::serve_stale) was asked for.
    pub fn served_stale(&self) -> bool {
        self.record.served_stale()
    }

    /// Refuses all lists of an earlier resource version from now on, as an API server does that has no history of it any more. What
    /// [`serve_stale`](Self::serve_stale) asks for is none of them.
    pub fn refuse_history(&self) {
        self.record.refuse_history();
    }

    /// The calls so far, in the order in which they arrived.
    pub fn calls(&self) -> Vec<Call> {
        self.record.calls()
    }

    /// How many calls of this kind there were, such as `GET secrets/edge`.
    pub fn count(&self, what: &str) -> usize {
        let calls = self.record.calls();
        calls.iter().filter(|call| call.what == what).count()
    }

    /// Waits until all calls have been answered and no other has come for so long. Returns how many there were until then: all
    /// others begin later.
    pub async fn quiet(&self, time: Duration) -> usize {
        loop {
            if let Some(calls) = self.record.count_at_rest(time) {
                return calls;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
