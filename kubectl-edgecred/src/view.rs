//! What is shown of an object, of whatever kind: its state in one word, its times, and why.

use edge_credential_operator::api::{ConditionType, conditions};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Condition,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt;
use serde::Serialize;

use crate::{
    exit::Exit,
    kind::{Kind, Object, Said},
    name::ObjectName,
    output::{
        style::{BAD, DIM, GOOD, WARN, styled},
        times::{ordinal, short, since},
    },
};

/// Why an object was suspended, as [`suspend`](crate::commands::suspend) noted it.
pub const SUSPEND_REASON: &str = "edgecredentials.io/suspend-reason";

/// How an object stands, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum State {
    /// A person must act.
    Stalled,
    /// Its token has expired, and no other one is there.
    Expired,
    /// There is no valid token, or no key, yet.
    NotReady,
    /// The token or key is valid, and its renewal or rotation fails and is tried again.
    Retrying,
    /// The renewal or rotation should have begun long ago.
    Overdue,
    /// The operator has not seen the object as it is now.
    Unseen,
    /// All is well.
    Ready,
    /// Nothing is done, as somebody wants it.
    Suspended,
}

impl State {
    /// The word in its colour.
    pub fn colored(self) -> String {
        let style = match self {
            Self::Stalled | Self::Expired => BAD,
            Self::NotReady | Self::Retrying | Self::Overdue | Self::Unseen => WARN,
            Self::Ready => GOOD,
            Self::Suspended => DIM,
        };
        styled(style, format!("{self:?}"))
    }

    /// What it means to a pipeline.
    pub fn exit(self) -> Exit {
        match self {
            // Whoever uses an expired token fails now, and an operator that does not act needs a person too.
            Self::Stalled | Self::Expired | Self::Overdue => Exit::NeedsPerson,
            Self::NotReady | Self::Unseen => Exit::NotYet,
            Self::Retrying | Self::Ready | Self::Suspended => Exit::Well,
        }
    }
}

/// What is shown of an object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// The kind.
    pub kind: Kind,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// How it stands.
    pub state: State,
    /// When its token expires, or expired. A key does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When its token is renewed, or its key rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renews_at: Option<Timestamp>,
    /// Until when its former key works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap_until: Option<Timestamp>,
    /// The Secret that has the token or the key.
    pub target: String,
    /// Sitecore's tenant that the token or the key opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The reason of what is in the way, or why it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The whole message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why, in a few words; empty where all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl View {
    /// What is shown of an object at a time.
    pub fn of<K: Object>(object: &K, now: Timestamp) -> Self {
        let said = object.said();
        let generation = object.meta().generation;
        let situation = Situation {
            suspended: object.is_suspended(),
            suspend_reason: object.annotations().get(SUSPEND_REASON).map(String::as_str),
            seen: said.observed_generation.is_some() && said.observed_generation == generation,
            overdue_after: K::OVERDUE_AFTER,
            said,
        };
        let state = situation.state(now);
        let told = situation.cause().or(situation.find(ConditionType::Ready));
        Self {
            kind: K::KIND,
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            state,
            expires_at: said.expires_at,
            renews_at: said.renews_at,
            overlap_until: said.overlap_until,
            target: object.target().into(),
            tenant: said.tenant.map(Into::into),
            reason: told.map(|condition| condition.reason.clone()),
            message: told.map(|condition| condition.message.clone()),
            why: situation.why(state, now),
        }
    }

    /// The name as this program's commands take it.
    pub fn entered_name(&self) -> String {
        ObjectName::new(self.kind, &self.name).to_string()
    }

    /// The name as kubectl takes it.
    pub fn resource_name(&self) -> String {
        format!("{}.edgecredentials.io/{}", self.kind.singular(), self.name)
    }

    /// Kind, namespace and name, for who reads them.
    pub fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    /// The order in which objects are shown: the worst first, and of those the one that expires first.
    pub fn rank(&self) -> (State, Timestamp, &str, Kind, &str) {
        let expires_at = self.expires_at.unwrap_or(Timestamp::MAX);
        (
            self.state,
            expires_at,
            &self.namespace,
            self.kind,
            &self.name,
        )
    }
}

/// What the state follows from, whatever the kind.
struct Situation<'a> {
    suspended: bool,
    suspend_reason: Option<&'a str>,
    /// Whether the status describes the spec as it is.
    seen: bool,
    overdue_after: SignedDuration,
    said: Said<'a>,
}

impl<'a> Situation<'a> {
    fn find(&self, type_: ConditionType) -> Option<&'a Condition> {
        conditions::find(self.said.conditions, type_)
    }

    /// What is in the way.
    fn cause(&self) -> Option<&'a Condition> {
        let holds = |condition: &&Condition| condition.status == "True";
        [ConditionType::Stalled, ConditionType::Reconciling]
            .into_iter()
            .find_map(|type_| self.find(type_).filter(holds))
    }

    fn state(&self, now: Timestamp) -> State {
        let Said {
            conditions,
            expires_at,
            renews_at,
            ..
        } = self.said;
        let holds = |type_| conditions::holds(conditions, type_);
        let has_expired = expires_at.is_some_and(|expires_at| expires_at <= now);
        let is_late =
            renews_at.is_some_and(|renews_at| now.duration_since(renews_at) > self.overdue_after);
        if !self.seen {
            State::Unseen
        } else if holds(ConditionType::Stalled) {
            State::Stalled
        } else if self.suspended {
            State::Suspended
        } else if has_expired {
            State::Expired
        } else if !holds(ConditionType::Ready) {
            State::NotReady
        } else if holds(ConditionType::Reconciling) {
            State::Retrying
        } else if is_late {
            State::Overdue
        } else {
            State::Ready
        }
    }

    fn why(&self, state: State, now: Timestamp) -> String {
        if state == State::Suspended {
            let expires_at = self.said.expires_at;
            let expired = expires_at.filter(|expires_at| *expires_at <= now);
            let expired = expired.map(|_| "its token has expired".to_owned());
            let reason = self.suspend_reason.map(printable);
            return expired
                .into_iter()
                .chain(reason)
                .collect::<Vec<_>>()
                .join(": ");
        }
        let Some(cause) = self.cause() else {
            return match state {
                State::Unseen => "the operator has not seen it: kubectl edgecred doctor".into(),
                State::Overdue | State::Expired => {
                    "the operator does not act: kubectl edgecred doctor".into()
                }
                _ => self.overlap(now).unwrap_or_default(),
            };
        };
        match self.said.failures {
            Some(failures) => {
                let next = failures.next_attempt_at.0.duration_since(now);
                let next = if next.is_positive() {
                    format!("in {}", short(next))
                } else {
                    "now".into()
                };
                format!(
                    "{}, {} try, next {next}",
                    cause.reason,
                    ordinal(failures.count)
                )
            }
            None => format!(
                "{} for {}",
                cause.reason,
                since(cause.last_transition_time.0, now)
            ),
        }
    }

    /// How long a former key works, which whoever still has it wants to know.
    fn overlap(&self, now: Timestamp) -> Option<String> {
        let left = self.said.overlap_until?.duration_since(now);
        left.is_positive()
            .then(|| format!("the former key works for {}", short(left)))
    }
}

/// What somebody wrote, without what moves a cursor or spoils a table.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect()
}

/// How many objects are in which state, and when the first one expires, as a sentence.
pub fn summary(views: &[View], now: Timestamp) -> String {
    let counts: Vec<_> = [
        (State::Stalled, "needs you", "need you"),
        (State::Expired, "expired", "expired"),
        (State::NotReady, "not ready", "not ready"),
        (State::Retrying, "retries", "retry"),
        (State::Overdue, "overdue", "overdue"),
        (State::Unseen, "not seen yet", "not seen yet"),
        (State::Ready, "ready", "ready"),
        (State::Suspended, "suspended", "suspended"),
    ]
    .into_iter()
    .filter_map(|(state, one, more)| {
        match views.iter().filter(|view| view.state == state).count() {
            0 => None,
            1 => Some(format!("1 {one}")),
            count => Some(format!("{count} {more}")),
        }
    })
    .collect();
    let first = views
        .iter()
        .filter_map(|view| view.expires_at)
        .filter(|time| *time > now)
        .min();
    let first = first.map_or(String::new(), |time| {
        format!(" First expiry in {}.", short(time.duration_since(now)))
    });
    format!("{}: {}.{first}", views.len(), counts.join(", "))
}

#[cfg(test)]
mod tests {
    use edge_credential_operator::{
        api::{
            EdgeCredential, EdgeCredentialStatus, EdgeToken, Reason, edge_credential::TokenStatus,
            failures::Failures,
        },
        cluster::back_off::Class,
    };
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(NOW + seconds).unwrap()
    }

    /// An object with a token that expires and is renewed so many seconds from now, and these conditions.
    fn object(
        name: &str,
        times: Option<(i64, i64)>,
        conditions: &[(&str, &str, Reason)],
    ) -> EdgeCredential {
        let mut object: EdgeCredential = serde_json::from_value(json!({
            "apiVersion": "edgecredentials.io/v1alpha1",
            "kind": "EdgeCredential",
            "metadata": {"name": name, "namespace": "storefront", "generation": 1},
            "spec": {"credentialsSecretRef": {"name": "edge-client"}},
        }))
        .unwrap();
        object.status = Some(EdgeCredentialStatus {
            observed_generation: Some(1),
            conditions: conditions
                .iter()
                .map(|(type_, status, reason)| Condition {
                    type_: (*type_).into(),
                    status: (*status).into(),
                    reason: reason.as_str().into(),
                    message: "A message.".into(),
                    last_transition_time: Time(at(-120)),
                    observed_generation: Some(1),
                })
                .collect(),
            token: times.map(|(expires, renews)| TokenStatus {
                issued_at: Time(at(-3600)),
                expires_at: Time(at(expires)),
                renew_at: Time(at(renews)),
                audience: String::new(),
                scope: None,
                tenant_id: Some("acme-prod".into()),
                organization_id: None,
            }),
            ..EdgeCredentialStatus::default()
        });
        object
    }

    fn failing(
        mut object: EdgeCredential,
        count: i32,
        reason: Reason,
        next: i64,
    ) -> EdgeCredential {
        object.status.as_mut().unwrap().failures = Some(Failures {
            count,
            reason,
            last_attempt_at: Time(at(-60)),
            next_attempt_at: Time(at(next)),
        });
        object
    }

    fn all() -> Vec<(EdgeCredential, State, &'static str)> {
        use Reason::*;
        let ready = ("Ready", "True", TokenValid);
        let mut suspended = object("suspended", None, &[("Ready", "False", Suspended)]);
        suspended.spec.suspend = true;
        let mut left = object("left", Some((-60, -600)), &[("Ready", "False", Suspended)]);
        left.spec.suspend = true;
        left.annotations_mut()
            .insert(SUSPEND_REASON.into(), "moved\nto Berlin".into());
        let mut unseen = object("unseen", None, &[]);
        unseen.status = Some(serde_json::from_value(json!({"observedGeneration": -1})).unwrap());
        vec![
            (
                failing(
                    object(
                        "stalled",
                        Some((11_520, -18_000)),
                        &[
                            ("Ready", "True", RenewalStalled),
                            ("Stalled", "True", CredentialsRejected),
                        ],
                    ),
                    7,
                    CredentialsRejected,
                    1260,
                ),
                State::Stalled,
                "CredentialsRejected, 7th try, next in 21m",
            ),
            (
                failing(
                    object(
                        "expired",
                        Some((-60, -18_000)),
                        &[
                            ("Ready", "False", TokenExpired),
                            ("Reconciling", "True", TokenEndpointUnavailable),
                        ],
                    ),
                    3,
                    TokenEndpointUnavailable,
                    -1,
                ),
                State::Expired,
                "TokenEndpointUnavailable, 3rd try, next now",
            ),
            (
                object("dead", Some((-1, -18_000)), &[ready]),
                State::Expired,
                "the operator does not act: kubectl edgecred doctor",
            ),
            (
                object(
                    "new",
                    None,
                    &[
                        ("Ready", "False", CredentialsNotFound),
                        ("Reconciling", "True", CredentialsNotFound),
                    ],
                ),
                State::NotReady,
                "CredentialsNotFound for 2m00s",
            ),
            (
                object(
                    "retrying",
                    Some((28_680, -120)),
                    &[
                        ("Ready", "True", RenewalFailing),
                        ("Reconciling", "True", TokenEndpointUnavailable),
                    ],
                ),
                State::Retrying,
                "TokenEndpointUnavailable for 2m00s",
            ),
            (
                object("overdue", Some((600, -301)), &[ready]),
                State::Overdue,
                "the operator does not act: kubectl edgecred doctor",
            ),
            (
                unseen,
                State::Unseen,
                "the operator has not seen it: kubectl edgecred doctor",
            ),
            (
                object("ready", Some((81_660, 50_520)), &[ready]),
                State::Ready,
                "",
            ),
            (suspended, State::Suspended, ""),
            (
                left,
                State::Suspended,
                "its token has expired: moved to Berlin",
            ),
        ]
    }

    #[test]
    fn each_state_has_its_word_and_says_why() {
        for (object, state, why) in all() {
            let view = View::of(&object, at(0));
            assert_eq!((view.state, &*view.why), (state, why), "{}", view.name);
        }
    }

    #[test]
    fn the_worst_comes_first_and_of_those_what_expires_first() {
        let mut views: Vec<_> = all()
            .iter()
            .map(|(object, ..)| View::of(object, at(0)))
            .collect();
        views.reverse();
        views.sort_by(|one, other| one.rank().cmp(&other.rank()));
        let names: Vec<_> = views.iter().map(|view| &*view.name).collect();
        assert_eq!(
            names,
            [
                "stalled",
                "expired",
                "dead",
                "new",
                "retrying",
                "overdue",
                "unseen",
                "ready",
                "left",
                "suspended"
            ]
        );
        assert_eq!(
            summary(&views, at(0)),
            "10: 1 needs you, 2 expired, 1 not ready, 1 retries, 1 overdue, 1 not seen yet, 1 ready, 2 suspended. First expiry in 10m."
        );
    }

    #[test]
    fn a_status_of_an_earlier_spec_says_nothing() {
        let mut object = object(
            "edited",
            Some((600, 300)),
            &[("Ready", "True", Reason::TokenValid)],
        );
        object.metadata.generation = Some(2);
        assert_eq!(View::of(&object, at(0)).state, State::Unseen);
    }

    fn edge_token(rotate_at: i64, revoke_at: i64, cause: &str) -> EdgeToken {
        serde_json::from_value(json!({
            "apiVersion": "edgecredentials.io/v1alpha1",
            "kind": "EdgeToken",
            "metadata": {"name": "content", "namespace": "storefront", "generation": 1},
            "spec": {"credentialsSecretRef": {"name": "edge-client"}},
            "status": {
                "observedGeneration": 1,
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "TokenValid", "message": "A message.",
                    "lastTransitionTime": at(-120),
                }],
                "token": {
                    "mark": "edge-token/1/0000000000000001", "tenantID": "acme-prod", "createdAt": at(-3600),
                    "rotateAt": at(rotate_at),
                },
                "retired": [{
                    "mark": "edge-token/1/0000000000000000", "since": at(-3600), "cause": cause, "revokeAt": at(revoke_at),
                }],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_key_does_not_expire_and_tells_until_when_the_former_one_works() {
        let object = edge_token(7200, 3600, "Replaced");
        let view = View::of(&object, at(0));
        assert_eq!(
            (view.state, &*view.why),
            (State::Ready, "the former key works for 1h00m")
        );
        assert_eq!((view.expires_at, view.renews_at), (None, Some(at(7200))));
        assert_eq!(view.tenant.as_deref(), Some("acme-prod"));
        assert_eq!(view.entered_name(), "edgetoken/content");
        assert_eq!(view.resource_name(), "edgetoken.edgecredentials.io/content");
        // One that was never handed out, and one whose overlap is over, concern nobody.
        for former in [
            edge_token(7200, 3600, "Discarded"),
            edge_token(7200, -1, "Replaced"),
        ] {
            assert_eq!(View::of(&former, at(0)).why, "");
        }
        for (rotate_at, state) in [(-3600, State::Ready), (-3601, State::Overdue)] {
            let late = View::of(&edge_token(rotate_at, 3600, "Replaced"), at(0));
            assert_eq!(late.state, state);
        }
    }

    /// The operator says so with its condition, and the table of classes says when.
    #[test]
    fn a_person_is_needed_where_the_operator_says_so() {
        assert!(Class::of(Reason::CredentialsRejected).is_stalled(7));
        assert_eq!(State::Stalled.exit(), Exit::NeedsPerson);
        assert_eq!(State::Retrying.exit(), Exit::Well);
        assert_eq!(State::NotReady.exit(), Exit::NotYet);
    }
}
