//! Reads what a decision rests on, and nothing else.

use k8s_openapi::api::core::v1::Secret;

use super::rules::{error::Error, spec::check_names};
use crate::{
    api::EdgeCredential,
    cluster::{calls::Calls, secrets::Secrets},
};

/// The two Secrets that an EdgeCredential names, as far as they are there.
pub struct Found {
    pub credentials: Option<Secret>,
    pub target: Option<Secret>,
}

/// Reads the credentials Secret and the target Secret. The object itself comes from the watch.
pub async fn observe(object: &EdgeCredential, calls: &Calls) -> Result<Found, Error> {
    check_names(object).map_err(Error::Spec)?;
    let secrets = Secrets::beside(object, calls).ok_or(Error::Unidentified)?;
    let read = async |name: &str| {
        let secret = secrets.read(name).await;
        secret.map_err(|source| Error::ReadSecret {
            secret: name.into(),
            source,
        })
    };
    // Both to the end, and judged in order: the first one to fail would be another each time, and so the status.
    let credentials = read(&object.spec.credentials_secret_ref.name);
    let (credentials, target) =
        futures::future::join(credentials, read(object.target_name())).await;
    Ok(Found {
        credentials: credentials?,
        target: target?,
    })
}
