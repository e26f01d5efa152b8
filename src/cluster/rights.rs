//! What the operator may do with Secrets, asked before a token is requested: one that cannot be stored is paid for in vain.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, api::PostParams};
use parking_lot::Mutex;
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use super::calls::Calls;

/// How long a granted right is relied on. A write that is refused corrects it earlier.
const GRANTED_FOR: Duration = Duration::from_mins(10);

/// How long any other answer is relied on, for all objects of the namespace together: less than each of them waits for its
/// next attempt.
const DOUBTED_FOR: Duration = Duration::from_secs(5);

/// How a Secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// The Secret does not exist yet.
    Create,
    /// The Secret exists.
    Update,
}

impl Verb {
    /// How a Secret is written in place of `existing`.
    pub fn to_replace<T>(existing: Option<&T>) -> Self {
        match existing {
            None => Self::Create,
            Some(_) => Self::Update,
        }
    }

    /// The verb as it stands in a role.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
        }
    }
}

/// Remembers the rights to write Secrets, by namespace and verb, so that many objects cost one question.
#[derive(Debug, Default)]
pub struct Rights(Mutex<HashMap<Key, Arc<AsyncMutex<Right>>>>);

type Key = (String, Verb);

/// What was found out, and until when it holds.
#[derive(Clone, Copy, Debug)]
struct Right {
    granted: bool,
    until: Instant,
}

impl Right {
    fn granted() -> Self {
        Self {
            granted: true,
            until: Instant::now() + GRANTED_FOR,
        }
    }

    /// Nothing is known, since the API server was not asked yet.
    fn unknown() -> Self {
        Self {
            granted: true,
            until: Instant::now(),
        }
    }

    fn holds(&self) -> bool {
        Instant::now() < self.until
    }
}

impl Rights {
    /// Whether the operator may write Secrets of a namespace so. Yes where the API server does not answer: then the write
    /// itself shows it.
    pub async fn may(&self, verb: Verb, namespace: &str, calls: &Calls) -> bool {
        let entry = self.entry(verb, namespace);
        // Those who ask at the same time wait for one answer.
        let mut answer = entry.lock().await;
        if !answer.holds() {
            *answer = match ask(verb, namespace, calls).await {
                Some(true) => Right::granted(),
                other => Right {
                    granted: other.is_none(),
                    until: Instant::now() + DOUBTED_FOR,
                },
            };
        }
        answer.granted
    }

    /// A Secret of the namespace was written so: no proof is better.
    pub fn proven(&self, verb: Verb, namespace: &str) {
        self.put(verb, namespace, Right::granted());
    }

    /// A Secret of the namespace could not be written so for lack of a right, or for another reason that looks the same.
    pub fn doubt(&self, verb: Verb, namespace: &str) {
        self.put(verb, namespace, Right::unknown());
    }

    fn put(&self, verb: Verb, namespace: &str, answer: Right) {
        let answer = Arc::new(AsyncMutex::new(answer));
        self.0.lock().insert((namespace.to_owned(), verb), answer);
    }

    fn entry(&self, verb: Verb, namespace: &str) -> Arc<AsyncMutex<Right>> {
        self.0
            .lock()
            .entry((namespace.to_owned(), verb))
            .or_insert_with(|| Arc::new(AsyncMutex::new(Right::unknown())))
            .clone()
    }
}

/// Asks the API server; `None` where it does not say. Every authenticated user may ask, by Kubernetes' own
/// ClusterRole `system:basic-user`.
async fn ask(verb: Verb, namespace: &str, calls: &Calls) -> Option<bool> {
    let question = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.into()),
                verb: Some(verb.as_str().into()),
                resource: Some("secrets".into()),
                version: Some("v1".into()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(calls.client());
    let params = PostParams::default();
    let answer = calls.read(reviews.create(&params, &question)).await;
    Some(answer.ok()?.status?.allowed)
}
