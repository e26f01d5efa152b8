//! What is shown of an object, of whatever kind: its state in one word, its times, and why.
//!
//! A kind is shown by all commands once it can be turned into a [`View`].

use edge_credential_operator::api::{
    ConditionType, EdgeCredential, EdgeCredentialStatus, conditions, failures::Failures,
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Condition,
    jiff::{SignedDuration, Timestamp},
};
use kube::{Resource, ResourceExt};
use serde::Serialize;

use crate::{
    exit::Exit,
    output::{
        style::{BAD, DIM, GOOD, WARN, styled},
        times::{ordinal, short, since},
    },
};

/// How long after its time a renewal is late, and the operator probably not at work. It mostly starts within a second.
const OVERDUE_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// Why an object was suspended, as [`suspend`](crate::commands::suspend) noted it.
pub const SUSPEND_REASON: &str = "edgecredentials.io/suspend-reason";

/// How an object stands, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum State {
    /// A person must act.
    Stalled,
    /// Its token has expired, and no other one is there.
    Expired,
    /// There is no valid token yet.
    NotReady,
    /// The token is valid, and its renewal fails and is tried again.
    Retrying,
    /// The renewal should have begun long ago.
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
    pub kind: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// How it stands.
    pub state: State,
    /// When its token expires, or expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When its token is renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renews_at: Option<Timestamp>,
    /// The Secret that has the token.
    pub target: String,
    /// Sitecore's tenant that the token opens.
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
    /// What is shown of an EdgeCredential at a time.
    pub fn of(object: &EdgeCredential, now: Timestamp) -> Self {
        let unseen = EdgeCredentialStatus::default();
        let status = object.status.as_ref().unwrap_or(&unseen);
        let token = status.token.as_ref();
        let situation = Situation {
            suspended: object.spec.suspend,
            suspend_reason: object.annotations().get(SUSPEND_REASON).map(String::as_str),
            seen: status.observed_generation.is_some()
                && status.observed_generation == object.metadata.generation,
            conditions: &status.conditions,
            failures: status.failures.as_ref(),
            expires_at: token.map(|token| token.expires_at.0),
            renews_at: token.map(|token| token.renew_at.0),
        };
        let state = situation.state(now);
        let said = situation.cause().or(situation.find(ConditionType::Ready));
        Self {
            kind: EdgeCredential::kind(&()).into(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            state,
            expires_at: situation.expires_at,
            renews_at: situation.renews_at,
            target: object.target_name().into(),
            tenant: token.and_then(|token| token.tenant_id.clone()),
            reason: said.map(|condition| condition.reason.clone()),
            message: said.map(|condition| condition.message.clone()),
            why: situation.why(state, now),
        }
    }

    /// The name as kubectl takes it.
    pub fn resource_name(&self) -> String {
        format!(
            "{}.edgecredentials.io/{}",
            self.kind.to_lowercase(),
            self.name
        )
    }

    /// The order in which objects are shown: the worst first, and of those the one that expires first.
    pub fn rank(&self) -> (State, Timestamp, &str, &str) {
        let expires_at = self.expires_at.unwrap_or(Timestamp::MAX);
        (self.state, expires_at, &self.namespace, &self.name)
    }
}

/// What the state follows from, whatever the kind.
struct Situation<'a> {
    suspended: bool,
    suspend_reason: Option<&'a str>,
    /// Whether the status describes the spec as it is.
    seen: bool,
    conditions: &'a [Condition],
    failures: Option<&'a Failures>,
    expires_at: Option<Timestamp>,
    renews_at: Option<Timestamp>,
}

impl<'a> Situation<'a> {
    fn find(&self, type_: ConditionType) -> Option<&'a Condition> {
        conditions::find(self.conditions, type_)
    }

    /// What is in the way.
    fn cause(&self) -> Option<&'a Condition> {
        let holds = |condition: &&Condition| condition.status == "True";
        [ConditionType::Stalled, ConditionType::Reconciling]
            .into_iter()
            .find_map(|type_| self.find(type_).filter(holds))
    }

    fn state(&self, now: Timestamp) -> State {
        let holds = |type_| conditions::holds(self.conditions, type_);
        let has_expired = self.expires_at.is_some_and(|expires_at| expires_at <= now);
        let is_late = self
            .renews_at
            .is_some_and(|renews_at| now.duration_since(renews_at) > OVERDUE_AFTER);
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
            let expired = self.expires_at.filter(|expires_at| *expires_at <= now);
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
                State::Unseen => "the operator has not seen it: kubectl edgecred doctor",
                State::Overdue | State::Expired => {
                    "the operator does not act: kubectl edgecred doctor"
                }
                _ => "",
            }
            .into();
        };
        match self.failures {
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
        api::{Reason, edge_credential::TokenStatus},
        cluster::retry::Class,
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

    /// The operator says so with its condition, and the table of classes says when.
    #[test]
    fn a_person_is_needed_where_the_operator_says_so() {
        assert!(Class::of(Reason::CredentialsRejected).is_stalled(7));
        assert_eq!(State::Stalled.exit(), Exit::NeedsPerson);
        assert_eq!(State::Retrying.exit(), Exit::Well);
        assert_eq!(State::NotReady.exit(), Exit::NotYet);
    }
}
