//! What is remembered of an EdgeCredential from one reconciliation to the next, beside its status.

use std::collections::HashMap;

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use secrecy::ExposeSecret;

use super::rules::credentials::Credentials;
use crate::{api::EdgeCredential, traffic::share::random_key};

/// Remembers which credentials failed, for as long as the status counts failures. A Secret that was only touched (a label,
/// the same content applied again) has another resourceVersion, but the same credentials would fail again.
#[derive(Debug)]
pub struct FailedCredentials {
    /// Random for each process, so that a fingerprint says nothing of the credentials.
    key: hmac::Key,
    /// By the object's uid.
    fingerprints: Mutex<HashMap<String, [u8; 32]>>,
}

impl Default for FailedCredentials {
    fn default() -> Self {
        Self {
            key: random_key(),
            fingerprints: Mutex::default(),
        }
    }
}

impl FailedCredentials {
    /// Gives the credentials the version in which they failed, if they are the ones that failed.
    pub fn recognize(&self, object: &EdgeCredential, credentials: &mut Credentials) {
        let Some(uid) = &object.metadata.uid else {
            return;
        };
        let mut fingerprints = self.fingerprints.lock();
        let status = object.status.as_ref();
        let Some(status) = status.filter(|status| status.failures.is_some()) else {
            fingerprints.remove(uid);
            return;
        };
        let fingerprint = self.fingerprint(credentials);
        if status.credentials == credentials.version {
            fingerprints.insert(uid.clone(), fingerprint);
        } else if fingerprints.get(uid) == Some(&fingerprint) {
            credentials.version.clone_from(&status.credentials);
        }
    }

    fn fingerprint(&self, credentials: &Credentials) -> [u8; 32] {
        let text = credentials.client.fingerprint();
        let mut fingerprint = [0; 32];
        fingerprint
            .copy_from_slice(hmac::sign(&self.key, text.expose_secret().as_bytes()).as_ref());
        fingerprint
    }
}

/// Remembers for which renew request a token is in memory, from the request until the target is written. While the API
/// server is away only this memory has it, and without it each attempt to write would request another token.
#[derive(Debug, Default)]
pub struct HandledRenewals(Mutex<HashMap<String, String>>);

impl HandledRenewals {
    /// The object's renew request has its token.
    pub fn remember(&self, object: &EdgeCredential) {
        if let (Some(uid), Some(request)) = (&object.metadata.uid, object.renew_request()) {
            self.0.lock().insert(uid.clone(), request.into());
        }
    }

    /// The token is in the target, whose proof names the renew request.
    pub fn forget(&self, object: &EdgeCredential) {
        if let Some(uid) = &object.metadata.uid {
            self.0.lock().remove(uid);
        }
    }

    /// Whether the object's present renew request has its token.
    pub fn contains(&self, object: &EdgeCredential) -> bool {
        let answers = self.0.lock();
        let answered = object
            .metadata
            .uid
            .as_ref()
            .and_then(|uid| answers.get(uid));
        answered.is_some() && answered.map(String::as_str) == object.renew_request()
    }
}
