//! The files that say how token endpoints and Sitecore's APIs are reached: read at the start, and again whenever they change.

use std::{convert::Infallible, fs, io, path::PathBuf, time::Duration};

use tokio::time::sleep;

use super::error_chain::chain;
use super::flags::Settings;
use crate::http::route::{ClientError, HttpClient, Route};

/// How often the files are read. A kubelet brings a changed ConfigMap or Secret within a minute or two.
const INTERVAL: Duration = Duration::from_secs(30);

/// The files that say how token endpoints and Sitecore's APIs are reached.
#[derive(Clone, Debug)]
pub struct RouteFiles {
    /// Certificates in PEM.
    pub token_ca: Option<PathBuf>,
    /// The URL of a proxy.
    pub token_proxy: Option<PathBuf>,
}

/// The files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// A file cannot be read.
    #[error("the file {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What a file holds cannot be used.
    #[error("the file {path} cannot be used")]
    Use {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ClientError,
    },
    /// No HTTP client can be made.
    #[error(transparent)]
    Client(ClientError),
}

impl RouteFiles {
    /// The files that the settings name.
    pub fn of(settings: &Settings) -> Self {
        Self {
            token_ca: settings.token_ca_file.clone(),
            token_proxy: settings.token_proxy_file.clone(),
        }
    }

    /// Reads the files.
    pub fn read(&self) -> Result<Route, RouteError> {
        let read = |path: &Option<PathBuf>| {
            let Some(path) = path else { return Ok(None) };
            match fs::read(path) {
                Ok(content) => Ok(Some(content.into())),
                Err(source) => Err(RouteError::Read {
                    path: path.clone(),
                    source,
                }),
            }
        };
        Ok(Route {
            authorities: read(&self.token_ca)?,
            proxy: read(&self.token_proxy)?,
        })
    }

    /// The error with the file that is at fault.
    pub fn blame(&self, source: ClientError) -> RouteError {
        let path = match source {
            ClientError::NoCertificate => &self.token_ca,
            ClientError::NoProxy => &self.token_proxy,
            ClientError::Build(_) => &None,
        };
        match path.clone() {
            Some(path) => RouteError::Use { path, source },
            None => RouteError::Client(source),
        }
    }

    /// Has servers reached as the files say whenever they change. What cannot be used is told of once, and those that
    /// were read before stay in force.
    pub async fn follow(self, client: HttpClient, mut route: Route) -> Infallible {
        let mut is_told = false;
        loop {
            sleep(INTERVAL).await;
            let changed = self.read().and_then(|read| {
                if read == route {
                    return Ok(false);
                }
                client.set_route(&read).map_err(|error| self.blame(error))?;
                route = read;
                Ok(true)
            });
            match changed {
                Ok(false) => is_told = false,
                Ok(true) => {
                    is_told = false;
                    tracing::info!(
                        "token endpoints and Sitecore's APIs are reached as the changed files say"
                    );
                }
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!(
                        "token endpoints and Sitecore's APIs are reached as before: {}",
                        chain(&error)
                    );
                }
                Err(_) => {}
            }
        }
    }
}
