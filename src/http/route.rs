//! How servers outside the cluster are reached: by which proxy, trusting whom, with which deadlines.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::RwLock;
use reqwest::{Certificate, Client, NoProxy, Proxy, redirect::Policy};
use secrecy::zeroize::Zeroizing;

use super::proxy::is_proxy;

/// How long to wait for a server.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For a connection. Default: 5 seconds.
    pub connect: Duration,
    /// For a request in all, so that a server that answers one byte at a time cannot hold it either. Default: 10 seconds.
    pub total: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(10),
        }
    }
}

/// How servers outside the cluster are reached.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Certificates in PEM that are trusted beside the system's.
    pub authorities: Option<Zeroizing<Vec<u8>>>,
    /// The URL of the proxy, which may have a password in it, in place of those of `HTTPS_PROXY` and `HTTP_PROXY`. White space
    /// around it is not part of it.
    pub proxy: Option<Zeroizing<Vec<u8>>>,
}

/// Leaves the URL of the proxy out.
impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route")
    }
}

/// The HTTP client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing in what should be certificates is one that can be trusted. Taken for none, it would show as an endpoint that
    /// is not trusted, hours later (seanmonstar/reqwest#3076).
    #[error("there is no usable certificate in it")]
    NoCertificate,
    /// What should be the URL of a proxy is none. Its text may have a password in it, and is left out.
    #[error("it is not the URL of a proxy: it must be http://host:port or https://host:port")]
    NoProxy,
    /// The HTTP library refuses to make it.
    #[error("the HTTP client for Sitecore's services cannot be made")]
    Build(#[source] reqwest::Error),
}

/// Reaches servers by a route that can be changed, within its deadlines, and follows no redirect. All clones are one.
#[derive(Clone)]
pub struct HttpClient {
    current: Arc<RwLock<Client>>,
    deadlines: Deadlines,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

impl HttpClient {
    /// Where the route names no proxy, it comes from `HTTPS_PROXY` and `HTTP_PROXY`; those of `NO_PROXY` are reached without
    /// one.
    pub fn new(route: &Route, deadlines: Deadlines) -> Result<Self, ClientError> {
        let current = Arc::new(RwLock::new(make_client(route, deadlines)?));
        Ok(Self { current, deadlines })
    }

    /// Sends by another route from now on. What is in flight goes on as it began.
    pub fn set_route(&self, route: &Route) -> Result<(), ClientError> {
        *self.current.write() = make_client(route, self.deadlines)?;
        Ok(())
    }

    /// The client of the present route.
    pub fn current(&self) -> Client {
        self.current.read().clone()
    }
}

fn make_client(route: &Route, deadlines: Deadlines) -> Result<Client, ClientError> {
    let certificates = route.authorities.as_ref();
    let certificates = certificates
        .map(|pem| parse_certificates(pem))
        .transpose()?;
    let mut builder = Client::builder()
        .user_agent(concat!(
            "edge-credential-operator/",
            env!("CARGO_PKG_VERSION")
        ))
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(deadlines.connect)
        .timeout(deadlines.total)
        .tls_certs_merge(certificates.unwrap_or_default());
    if let Some(url) = &route.proxy {
        builder = builder.proxy(parse_proxy(url)?);
    }
    builder.build().map_err(ClientError::Build)
}

/// A proxy for all but what `NO_PROXY` names.
fn parse_proxy(url: &[u8]) -> Result<Proxy, ClientError> {
    let url = std::str::from_utf8(url).unwrap_or_default().trim();
    let proxy = Some(url).filter(|url| is_proxy(url));
    let proxy = proxy.and_then(|url| Proxy::all(url).ok());
    let proxy = proxy.ok_or(ClientError::NoProxy)?;
    Ok(proxy.no_proxy(NoProxy::from_env()))
}

/// Certificates in PEM, at least one.
fn parse_certificates(pem: &[u8]) -> Result<Vec<Certificate>, ClientError> {
    match Certificate::from_pem_bundle(pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(ClientError::NoCertificate),
    }
}
