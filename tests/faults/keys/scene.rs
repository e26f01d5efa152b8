//! What happens to an EdgeToken.

use std::fmt;

use edge_credential_operator::api::EdgeToken;
use edge_credential_operator::api::edge_token::{
    DeletionPolicy, END_OVERLAP_REQUESTED_AT, ROTATE_REQUESTED_AT, RetirementCause,
};
use kit::harness::Namespace;

/// The EdgeToken, and its target.
pub const NAME: &str = "edge";

/// The value of both annotations.
const REQUEST: &str = "2026-11-26T10:00:00Z";

/// A change, from the moment when somebody makes it until the operator is at rest again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// An EdgeToken is created.
    Create,
    /// Another key is asked for; and when it is handed out, the end of the overlap.
    Rotate,
    /// An EdgeToken is deleted whose keys are to be revoked then.
    Delete,
}

/// A part of a scene, which the operator does before the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Create,
    Rotate,
    EndOverlap,
    Delete,
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create a key",
            Self::Rotate => "rotate a key and end the overlap",
            Self::Delete => "delete and revoke",
        })
    }
}

impl Scene {
    pub const ALL: [Self; 3] = [Self::Create, Self::Rotate, Self::Delete];

    /// Whether the EdgeToken is there and ready at first.
    pub fn begins_ready(self) -> bool {
        self != Self::Create
    }

    pub fn parts(self) -> &'static [Part] {
        match self {
            Self::Create => &[Part::Create],
            Self::Rotate => &[Part::Rotate, Part::EndOverlap],
            Self::Delete => &[Part::Delete],
        }
    }

    /// The calls that an undisturbed run cannot do without.
    pub fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Create => &[
                "POST /oauth/token",
                "POST /api/apikey/v1",
                "POST /api/graphql/v1",
                "POST secrets",
                "GET /api/apikey/v1",
                "PATCH edgetokens/edge/status",
            ],
            Self::Rotate => &[
                "GET /api/apikey/v1",
                "POST /api/apikey/v1",
                "POST /api/graphql/v1",
                "PUT secrets/edge",
                "PUT /api/apikey/v1/revokebyhash/{hash}",
                "PATCH edgetokens/edge/status",
            ],
            Self::Delete => &[
                "GET /api/apikey/v1",
                "PUT /api/apikey/v1/revokebyhash/{hash}",
                "PATCH edgetokens/edge",
            ],
        }
    }

    /// The EdgeToken.
    pub fn object(self, namespace: &Namespace) -> EdgeToken {
        let mut object = namespace.edge_token(NAME);
        if self == Self::Delete {
            object.spec.deletion_policy = DeletionPolicy::Revoke;
        }
        object
    }
}

impl Part {
    /// Makes the change.
    pub async fn begin(self, scene: Scene, namespace: &Namespace) {
        match self {
            Self::Create => {
                namespace.create_edge_token(&scene.object(namespace)).await;
            }
            Self::Rotate => {
                namespace
                    .annotate_edge_token(NAME, ROTATE_REQUESTED_AT, REQUEST)
                    .await;
            }
            Self::EndOverlap => {
                namespace
                    .annotate_edge_token(NAME, END_OVERLAP_REQUESTED_AT, REQUEST)
                    .await;
            }
            Self::Delete => namespace.delete_edge_token(NAME).await,
        }
    }

    /// Whether the status says that the change was acted on.
    pub fn is_done(self, object: &EdgeToken) -> bool {
        let Some(status) = &object.status else {
            return false;
        };
        match self {
            Self::Create => status.token.is_some(),
            Self::Rotate => status.last_handled_rotate_request.as_deref() == Some(REQUEST),
            Self::EndOverlap => {
                let mut retired = status.retired.iter();
                let is_ended = |cause| cause == RetirementCause::OverlapEnded;
                status.last_handled_end_overlap_request.as_deref() == Some(REQUEST)
                    && !retired.any(|retired| is_ended(retired.cause))
            }
            Self::Delete => false,
        }
    }
}
