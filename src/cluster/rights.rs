//! What the operator may do with Secrets, asked before a token is requested: one that cannot be stored is paid for in vain.
//!
//! One answer for all namespaces is enough where it is yes. A no means little: the right may be granted in each namespace, or
//! for single Secrets by their names (`resourceNames` in a Role). So a namespace is asked about only then, and a Secret
//! only where that is a no too.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, api::PostParams};
use parking_lot::Mutex;
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use super::calls::Calls;

/// How long a right that was granted in a namespace is relied on. A write that is refused corrects it earlier.
const GRANTED_FOR: Duration = Duration::from_mins(10);

/// How long any other answer about a namespace is relied on, for all objects in it together: less than each of them waits
/// for its next attempt.
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

/// Remembers the rights to write Secrets, so that many objects cost one question.
#[derive(Debug, Default)]
pub struct Rights {
    creates: VerbRights,
    updates: VerbRights,
}

/// The right to write Secrets in one way.
#[derive(Debug, Default)]
struct VerbRights {
    everywhere: AsyncMutex<Answer>,
    namespaces: Mutex<HashMap<String, Arc<AsyncMutex<Answer>>>>,
}

/// What was found out.
#[derive(Clone, Copy, Debug)]
struct Answer {
    granted: bool,
    /// Until when it holds; for good where there is no such time.
    until: Option<Instant>,
}

impl Answer {
    /// About all namespaces. A no costs only the questions about single namespaces.
    fn everywhere(granted: Option<bool>) -> Self {
        Self {
            granted: granted == Some(true),
            until: granted.is_none().then(|| Instant::now() + DOUBTED_FOR),
        }
    }

    /// About one namespace. A yes where the API server does not say: then the write itself shows it.
    fn in_namespace(granted: Option<bool>) -> Self {
        let holds = match granted {
            Some(true) => GRANTED_FOR,
            Some(false) | None => DOUBTED_FOR,
        };
        Self {
            granted: granted.unwrap_or(true),
            until: Some(Instant::now() + holds),
        }
    }

    fn holds(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

impl Default for Answer {
    /// Nothing is known.
    fn default() -> Self {
        Self {
            granted: false,
            until: Some(Instant::now()),
        }
    }
}

impl Rights {
    /// Whether the operator may write a Secret so. Yes where the API server does not answer.
    pub async fn may(&self, verb: Verb, namespace: &str, secret: &str, calls: &Calls) -> bool {
        let rights = self.of(verb);
        if rights.is_granted_everywhere(verb, calls).await
            || rights.is_granted_in(namespace, verb, calls).await
        {
            return true;
        }
        match verb {
            // The API server does not know the name either when it decides, so no role can grant it.
            Verb::Create => false,
            Verb::Update => ask(verb, namespace, secret, calls).await.unwrap_or(true),
        }
    }

    /// A Secret of the namespace could not be written so for lack of a right, or for another reason that looks the same.
    pub fn doubt(&self, verb: Verb, namespace: &str) {
        let rights = self.of(verb);
        rights.namespaces.lock().remove(namespace);
        // Whoever holds it asks right now.
        if let Ok(mut everywhere) = rights.everywhere.try_lock()
            && everywhere.granted
        {
            *everywhere = Answer::default();
        }
    }

    fn of(&self, verb: Verb) -> &VerbRights {
        match verb {
            Verb::Create => &self.creates,
            Verb::Update => &self.updates,
        }
    }
}

impl VerbRights {
    async fn is_granted_everywhere(&self, verb: Verb, calls: &Calls) -> bool {
        // Those who ask at the same time wait for one answer.
        let mut everywhere = self.everywhere.lock().await;
        if !everywhere.holds() {
            *everywhere = Answer::everywhere(ask(verb, "", "", calls).await);
        }
        everywhere.granted
    }

    async fn is_granted_in(&self, namespace: &str, verb: Verb, calls: &Calls) -> bool {
        let entry = self.entry(namespace);
        let mut answer = entry.lock().await;
        if !answer.holds() {
            *answer = Answer::in_namespace(ask(verb, namespace, "", calls).await);
        }
        answer.granted
    }

    fn entry(&self, namespace: &str) -> Arc<AsyncMutex<Answer>> {
        let mut namespaces = self.namespaces.lock();
        if let Some(entry) = namespaces.get(namespace) {
            return entry.clone();
        }
        // What does not hold any longer is of no use, also of namespaces that are gone.
        namespaces.retain(|_, entry| entry.try_lock().map_or(true, |answer| answer.holds()));
        let entry = Arc::<AsyncMutex<Answer>>::default();
        namespaces.insert(namespace.to_owned(), entry.clone());
        entry
    }
}

/// Asks the API server about a Secret, or about all where `secret` is empty, and about all namespaces where `namespace` is;
/// `None` where it does not say. Every authenticated user may ask, by Kubernetes' own ClusterRole `system:basic-user`.
async fn ask(verb: Verb, namespace: &str, secret: &str, calls: &Calls) -> Option<bool> {
    let question = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.into()),
                name: Some(secret.into()),
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
