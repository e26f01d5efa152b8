//! What happens to an EdgeCredential, and how to see that the operator has done its part.

use std::fmt;
use std::time::Duration;

use edge_credential_operator::api::EdgeCredential;
use edge_credential_operator::api::edge_credential::RENEW_REQUESTED_AT;
use k8s_openapi::api::core::v1::Secret;
use kit::sitecore::Sitecore;
use serde_json::json;
use tokio::time::sleep;

use kit::harness::{CLIENT, CREDENTIALS, Namespace, credentials, text};

/// The EdgeCredential that things happen to, and its target.
pub const NAME: &str = "edge";

/// The client secret that [`Scenario::Rotate`] changes to.
pub const ROTATED: &str = "edge-client-secret-rotated";

/// The value of the renew annotation.
const RENEWAL: &str = "2026-11-24T10:00:00Z";

/// One of the two scopes that the stand-in grants where none is asked for.
const SCOPE: &str = "edge.token:manage";

/// A change, from the moment when somebody makes it until the operator is at rest again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// An EdgeCredential is created.
    Create,
    /// A renewal is asked for.
    Renew,
    /// The client gets another secret, and the credentials Secret too.
    Rotate,
    /// The target is deleted.
    DeleteTarget,
    /// The spec changes in what needs no other token: the target's labels and data.
    Relabel,
    /// The spec changes in what needs another token: the scopes.
    Rescope,
    /// The EdgeCredential is deleted. By itself this makes the operator do nothing, so the deletion comes in the middle
    /// of its creation: at the moment when a call fails.
    Delete,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Renew => "renew",
            Self::Rotate => "rotate credentials",
            Self::DeleteTarget => "delete target",
            Self::Relabel => "change spec, same token",
            Self::Rescope => "change spec, other token",
            Self::Delete => "delete",
        })
    }
}

/// The target as it was before the change. Empty where there was none.
#[derive(Debug, Default)]
pub struct Before {
    pub token: String,
    pub uid: String,
}

impl Scenario {
    pub const ALL: [Self; 7] = [
        Self::Create,
        Self::Renew,
        Self::Rotate,
        Self::DeleteTarget,
        Self::Relabel,
        Self::Rescope,
        Self::Delete,
    ];

    /// Whether the EdgeCredential is there and ready before the change.
    pub fn begins_ready(self) -> bool {
        !matches!(self, Self::Create | Self::Delete)
    }

    /// The token requests of an undisturbed run, exactly.
    pub fn token_requests(self) -> usize {
        match self {
            Self::DeleteTarget | Self::Relabel => 0,
            _ => 1,
        }
    }

    /// The calls that an undisturbed run cannot do without.
    pub fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Create | Self::Delete => &[
                "GET secrets/edge-client",
                "POST /oauth/token",
                "POST secrets",
                "PATCH edgecredentials/edge/status",
            ],
            Self::Renew | Self::Rotate | Self::Rescope => &[
                "GET secrets/edge-client",
                "GET secrets/edge",
                "POST /oauth/token",
                "PUT secrets/edge",
                "PATCH edgecredentials/edge/status",
            ],
            Self::DeleteTarget => &[
                "GET secrets/edge-client",
                "GET secrets/edge",
                "POST secrets",
            ],
            Self::Relabel => &[
                "GET secrets/edge-client",
                "GET secrets/edge",
                "PUT secrets/edge",
                "PATCH edgecredentials/edge/status",
            ],
        }
    }

    /// Makes the change; for [`Scenario::Delete`], what it's to disturb.
    pub async fn begin(self, namespace: &Namespace, sitecore: &Sitecore) {
        match self {
            Self::Create | Self::Delete => {
                namespace
                    .create_object(&namespace.edge_credential(NAME))
                    .await;
            }
            Self::Renew => {
                namespace.annotate(NAME, RENEW_REQUESTED_AT, RENEWAL).await;
            }
            Self::Rotate => {
                // Statuses tell times in whole seconds: a token of the same second as the one before leaves the status as
                // it is, and the record of an undisturbed run would lack the call that writes it.
                sleep(Duration::from_secs(1)).await;
                sitecore.rotate_secret(CLIENT, ROTATED, Duration::ZERO);
                namespace
                    .replace_data(CREDENTIALS, &credentials(CLIENT, ROTATED))
                    .await;
            }
            Self::DeleteTarget => namespace.delete_secret(NAME).await,
            Self::Relabel => {
                let data = json!([
                    {"key": "access_token", "from": "AccessToken"},
                    {"key": "stage", "value": "live"},
                ]);
                let edit = |object: &mut EdgeCredential| {
                    let target = &mut object.spec.target;
                    target.labels = [("team".to_owned(), "web".to_owned())].into();
                    target.data = serde_json::from_value(data.clone()).unwrap();
                };
                namespace.edit(NAME, edit).await;
            }
            Self::Rescope => {
                let scopes = vec![SCOPE.to_owned()];
                namespace
                    .edit(NAME, |object| {
                        object.spec.token_request.scopes.clone_from(&scopes)
                    })
                    .await;
            }
        }
    }

    /// Whether the change can be seen where it's to be seen.
    pub fn is_visible(
        self,
        object: &EdgeCredential,
        target: &Secret,
        scope: &str,
        before: &Before,
    ) -> bool {
        let is_new = text(target, "access_token") != before.token;
        match self {
            Self::Create | Self::Delete => true,
            Self::Renew => {
                let status = object.status.as_ref();
                let handled = status.and_then(|status| status.last_handled_renew_request.as_ref());
                is_new && handled.is_some_and(|handled| handled == RENEWAL)
            }
            Self::Rotate => is_new,
            Self::DeleteTarget => target.metadata.uid.as_deref() != Some(&before.uid),
            Self::Relabel => {
                let labels = target.metadata.labels.as_ref();
                labels.is_some_and(|labels| labels.get("team").is_some_and(|team| team == "web"))
                    && text(target, "stage") == "live"
                    && text(target, "expires_at").is_empty()
            }
            Self::Rescope => is_new && scope == SCOPE,
        }
    }
}
