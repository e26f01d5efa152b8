//! What happens to an EdgeToken.

use std::fmt;

use edge_credential_operator::api::EdgeToken;
use edge_credential_operator::api::edge_token::{
    DeletionPolicy, END_OVERLAP_REQUESTED_AT, ROTATE_REQUESTED_AT, RetirementCause,
};
use kit::harness::{CREDENTIALS, Namespace, SECRET, credentials};
use kit::sitecore::{Api, EdgeKey};

use crate::run::TOKEN_REQUEST;
use crate::stage::{Stage, TENANT};

/// The EdgeToken, and its target.
pub const NAME: &str = "edge";

/// Another environment than [`TENANT`]. Each has the id of its tenant at the Deploy API.
pub const ELSEWHERE: &str = "elsewhere";

/// The client of that environment.
pub const CLIENT_ELSEWHERE: &str = "elsewhere-client-id";

/// The value of both annotations.
const REQUEST: &str = "2026-11-26T10:00:00Z";

/// What a key of the default scopes may not read.
const SCOPE: &str = "audience-preview";

pub const CREATE_KEY: &str = "POST /api/apikey/v1";
const LIST_KEYS: &str = "GET /api/apikey/v1";
const REVOKE_KEY: &str = "PUT /api/apikey/v1/revokebyhash/{hash}";
pub const OBTAIN_KEY: &str = "GET /api/environments/v1/tenant/obtain-edge-token";
pub const OBTAIN_ELSEWHERE: &str = "GET /api/environments/v1/elsewhere/obtain-edge-token";
const TRY_KEY: &str = "POST /api/graphql/v1";
const CREATE_TARGET: &str = "POST secrets";
const REPLACE_TARGET: &str = "PUT secrets/edge";
const READ_HISTORY: &str = "LIST secrets";
const PATCH_STATUS: &str = "PATCH edgetokens/edge/status";
const REMOVE_FINALIZER: &str = "PATCH edgetokens/edge";

/// A change, from the moment when somebody makes it until the operator is at rest again.
#[derive(Debug)]
pub struct Scene {
    /// What it is called where it is told of.
    name: &'static str,
    /// Where the keys are from.
    api: Api,
    /// What happens, one after the other.
    pub parts: &'static [Part],
    /// The calls that an undisturbed run cannot do without.
    pub calls: &'static [&'static str],
}

pub static SCENES: [Scene; 10] = [
    Scene {
        name: "create a key",
        api: Api::Token,
        parts: &[Part::Create],
        calls: &[
            TOKEN_REQUEST,
            CREATE_KEY,
            TRY_KEY,
            CREATE_TARGET,
            LIST_KEYS,
            PATCH_STATUS,
        ],
    },
    Scene {
        name: "rotate a key and end the overlap",
        api: Api::Token,
        parts: &[Part::Rotate, Part::EndOverlap],
        calls: &[
            LIST_KEYS,
            CREATE_KEY,
            TRY_KEY,
            REPLACE_TARGET,
            REVOKE_KEY,
            PATCH_STATUS,
        ],
    },
    Scene {
        name: "change the scopes",
        api: Api::Token,
        parts: &[Part::Rescope],
        calls: &[LIST_KEYS, CREATE_KEY, TRY_KEY, REPLACE_TARGET, PATCH_STATUS],
    },
    Scene {
        // From the API server's history first, since a process that has just begun remembers nothing, and then from memory.
        name: "delete the target twice",
        api: Api::Token,
        parts: &[Part::DeleteTarget, Part::DeleteTarget],
        calls: &[READ_HISTORY, CREATE_TARGET, PATCH_STATUS],
    },
    Scene {
        name: "lose the target and its key",
        api: Api::Token,
        parts: &[Part::LoseTarget],
        calls: &[
            READ_HISTORY,
            LIST_KEYS,
            CREATE_KEY,
            TRY_KEY,
            CREATE_TARGET,
            PATCH_STATUS,
        ],
    },
    Scene {
        name: "take credentials of another environment and confirm it",
        api: Api::Token,
        parts: &[Part::Move, Part::Confirm],
        calls: &[
            TOKEN_REQUEST,
            LIST_KEYS,
            CREATE_KEY,
            TRY_KEY,
            REPLACE_TARGET,
            PATCH_STATUS,
        ],
    },
    Scene {
        name: "delete and revoke",
        api: Api::Token,
        parts: &[Part::Delete],
        calls: &[LIST_KEYS, REVOKE_KEY, REMOVE_FINALIZER],
    },
    Scene {
        name: "obtain a key",
        api: Api::Deploy,
        parts: &[Part::Create],
        calls: &[
            TOKEN_REQUEST,
            OBTAIN_KEY,
            TRY_KEY,
            CREATE_TARGET,
            PATCH_STATUS,
        ],
    },
    Scene {
        name: "obtain another key",
        api: Api::Deploy,
        parts: &[Part::Rotate],
        calls: &[OBTAIN_KEY, TRY_KEY, REPLACE_TARGET, PATCH_STATUS],
    },
    Scene {
        name: "obtain the key of another environment",
        api: Api::Deploy,
        parts: &[Part::Redirect],
        calls: &[OBTAIN_ELSEWHERE, TRY_KEY, REPLACE_TARGET, PATCH_STATUS],
    },
];

/// A part of a scene, which the operator does before the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// An EdgeToken is created.
    Create,
    /// Another key is asked for.
    Rotate,
    /// The end of the overlap is asked for.
    EndOverlap,
    /// The spec has another scope.
    Rescope,
    /// The target is deleted.
    DeleteTarget,
    /// The target is deleted, and the API server does not tell any more what it was.
    LoseTarget,
    /// The credentials become those of another environment. Nothing is made there before somebody asks for it.
    Move,
    /// Another key is asked for there.
    Confirm,
    /// The spec names another environment.
    Redirect,
    /// An EdgeToken is deleted whose keys are to be revoked then.
    Delete,
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Scene {
    /// Whether the EdgeToken is there and ready at first.
    pub fn begins_ready(&self) -> bool {
        self.parts[0] != Part::Create
    }

    /// Whether the EdgeToken is gone at the end.
    pub fn ends_deleted(&self) -> bool {
        self.parts.contains(&Part::Delete)
    }

    /// How many keys are made where nothing fails.
    pub fn keys(&self) -> usize {
        self.parts.iter().filter(|part| part.needs_key()).count()
    }

    /// The EdgeToken.
    fn object(&self, namespace: &Namespace) -> EdgeToken {
        let mut object = match self.api {
            Api::Deploy => namespace.deployed_edge_token(NAME, TENANT),
            _ => namespace.edge_token(NAME),
        };
        if self.ends_deleted() {
            object.spec.deletion_policy = DeletionPolicy::Revoke;
        }
        object
    }
}

impl Part {
    /// Makes the change.
    pub async fn begin(self, scene: &Scene, stage: &Stage) {
        let namespace = &stage.namespace;
        match self {
            Self::Create => {
                namespace.create_edge_token(&scene.object(namespace)).await;
            }
            Self::Rotate | Self::Confirm => {
                namespace
                    .annotate_edge_token(NAME, ROTATE_REQUESTED_AT, REQUEST)
                    .await;
            }
            Self::EndOverlap => {
                namespace
                    .annotate_edge_token(NAME, END_OVERLAP_REQUESTED_AT, REQUEST)
                    .await;
            }
            Self::Rescope => {
                let edit = |object: &mut EdgeToken| {
                    let api = object.spec.token_api.as_mut().unwrap();
                    api.scopes.push(SCOPE.to_owned());
                };
                namespace.edit_edge_token(NAME, edit).await;
            }
            Self::DeleteTarget => namespace.delete_secret(NAME).await,
            Self::LoseTarget => {
                stage.proxy.refuse_history();
                namespace.delete_secret(NAME).await;
            }
            Self::Move => {
                let credentials = credentials(CLIENT_ELSEWHERE, SECRET);
                namespace.replace_data(CREDENTIALS, &credentials).await;
            }
            Self::Redirect => {
                let edit = |object: &mut EdgeToken| {
                    let api = object.spec.deploy_api.as_mut().unwrap();
                    api.environment_id = ELSEWHERE.to_owned();
                };
                namespace.edit_edge_token(NAME, edit).await;
            }
            Self::Delete => namespace.delete_edge_token(NAME).await,
        }
    }

    /// Whether another key is made for it.
    fn needs_key(self) -> bool {
        !matches!(
            self,
            Self::EndOverlap | Self::DeleteTarget | Self::Move | Self::Delete
        )
    }

    /// Whether Sitecore's services have nothing to do with it.
    pub fn is_internal(self) -> bool {
        matches!(self, Self::DeleteTarget | Self::Move)
    }

    /// Whether there is no target until the operator has done its part.
    pub fn takes_target(self) -> bool {
        matches!(self, Self::DeleteTarget | Self::LoseTarget)
    }

    /// Whether it may wait until it is known what an attempt made: the key that is there is as good as the next one.
    pub fn may_wait(self) -> bool {
        matches!(self, Self::Rotate | Self::EndOverlap | Self::Confirm)
    }

    /// Whether the change was acted on, as far as the status and the key in the target tell.
    pub fn is_done(self, object: &EdgeToken, key: &EdgeKey) -> bool {
        let Some(status) = &object.status else {
            return false;
        };
        let is_rotated = status.last_handled_rotate_request.as_deref() == Some(REQUEST);
        let retired = |wanted| {
            let mut retired = status.retired.iter();
            retired.any(|retired| retired.cause == wanted)
        };
        match self {
            Self::Create => status.token.is_some(),
            Self::Rotate => is_rotated,
            Self::EndOverlap => {
                status.last_handled_end_overlap_request.as_deref() == Some(REQUEST)
                    && !retired(RetirementCause::OverlapEnded)
            }
            Self::Rescope => key.scopes.iter().any(|scope| scope == SCOPE),
            Self::LoseTarget => retired(RetirementCause::Replaced),
            Self::Confirm => is_rotated && key.tenant_id == ELSEWHERE,
            Self::Redirect => key.tenant_id == ELSEWHERE,
            // Their versions are in the status.
            Self::DeleteTarget | Self::Move => true,
            Self::Delete => false,
        }
    }
}
