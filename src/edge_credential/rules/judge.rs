//! What was read of one EdgeCredential, and what it means.

use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};

use super::{
    failures::counted_failures,
    spec::{Plan, check_spec},
    target::{ProvenToken, find_token},
};
use crate::{
    api::{EdgeCredential, credentials::SecretVersion, failures::Failures},
    http::origin::AllowedOrigins,
    oauth::{Token, TokenRequest},
    rules::{
        credentials::{Credentials, CredentialsProblem, extract_credentials},
        spec::SpecProblem,
        target::{Ownership, TargetProblem, check_ownership},
        versions::Versions,
    },
};

/// Everything that a decision rests on.
#[derive(Debug)]
pub struct Observed<'a> {
    pub object: &'a EdgeCredential,
    /// What is to be done by the spec, or what is wrong with it.
    pub plan: Result<Plan, SpecProblem>,
    /// Who asks, or what is wrong with the credentials Secret.
    pub credentials: Result<Credentials, CredentialsProblem>,
    /// The version of the credentials Secret, sound or not.
    pub credentials_version: Option<SecretVersion>,
    /// The target Secret if it is there, or why it must not be written.
    pub target: Result<Option<ObservedTarget>, TargetProblem>,
    pub memory: Remembered,
}

/// A target Secret that is ours.
#[derive(Clone)]
pub struct ObservedTarget {
    /// The Secret as it is.
    pub secret: Secret,
    /// The token in it, if it proves itself.
    pub stored: Option<ProvenToken>,
}

/// What this process remembers, and no Secret says.
#[derive(Debug, Default)]
pub struct Remembered {
    /// A valid token that an equal request brought.
    pub token: Option<Token>,
    /// Whether that token was requested because of the renew request that the object has now.
    pub answers_renew_request: bool,
    /// Whether it is this object's turn at the token endpoint, or an answer has come for it: then it is not its own back-off
    /// that says when it may try again.
    pub may_ask: bool,
}

/// Leaves the Secret out: its own `Debug` prints the bytes.
impl std::fmt::Debug for ObservedTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObservedTarget")
            .field("stored", &self.stored)
            .finish_non_exhaustive()
    }
}

/// Judges an object and the two Secrets that it names, as they were read. Nothing is remembered yet.
///
/// A Secret that lost its owner, in a backup or because the EdgeCredential was made anew, counts as ours if it proves to hold
/// a token, valid or expired, for this object, its parameters and its credentials.
pub fn judge<'a>(
    object: &'a EdgeCredential,
    allowed: &AllowedOrigins,
    credentials_secret: Option<&Secret>,
    target_secret: Option<Secret>,
) -> Observed<'a> {
    let plan = check_spec(object, allowed);
    let names = &object.spec.credentials_secret_ref;
    let credentials = extract_credentials(credentials_secret, names);
    let target = target_secret.map_or(Ok(None), |secret| {
        let ownership = check_ownership(&secret, object)?;
        let stored = find_token(&secret, object);
        match (ownership, &credentials) {
            (Ownership::Ours, _) => Ok(Some(ObservedTarget { secret, stored })),
            (Ownership::Adoptable(problem), Ok(credentials)) => {
                let is_proven = |stored: &ProvenToken| stored.is_of(&credentials.client);
                if stored.as_ref().is_some_and(is_proven) {
                    Ok(Some(ObservedTarget { secret, stored }))
                } else {
                    Err(problem)
                }
            }
            // Without credentials nothing can prove itself, and nothing is written: first they have to be there.
            (Ownership::Adoptable(_), Err(_)) => Ok(None),
        }
    });
    Observed {
        object,
        plan,
        credentials,
        credentials_version: credentials_secret
            .and_then(|secret| SecretVersion::of(&secret.metadata)),
        target,
        memory: Remembered::default(),
    }
}

impl Observed<'_> {
    /// The request that brings a token, where spec and credentials are sound.
    pub fn request(&self) -> Option<TokenRequest> {
        Some(TokenRequest {
            parameters: self.plan.as_ref().ok()?.parameters.clone(),
            credentials: self.credentials.as_ref().ok()?.client.clone(),
        })
    }

    /// The target Secret as it is, where it is ours.
    pub fn existing(&self) -> Option<&Secret> {
        let target = self.target.as_ref().ok()?.as_ref()?;
        Some(&target.secret)
    }

    /// The token that the target proves to hold, also where it has expired.
    pub fn stored(&self) -> Option<&ProvenToken> {
        self.target.as_ref().ok()?.as_ref()?.stored.as_ref()
    }

    /// The token that the target proves to hold, where it is valid.
    pub fn valid(&self, now: Timestamp) -> Option<&ProvenToken> {
        self.stored().filter(|stored| stored.token.is_valid(now))
    }

    /// The versions of the two Secrets. Credentials that are known to have failed have the version in which they did.
    pub fn versions(&self) -> Versions {
        let target = self.existing();
        Versions {
            credentials: match &self.credentials {
                Ok(credentials) => credentials.version.clone(),
                Err(_) => self.credentials_version.clone(),
            },
            target: target.and_then(|secret| SecretVersion::of(&secret.metadata)),
        }
    }

    /// Whether a person asked for a renewal that was not handled yet. The target knows too, in case the operator was
    /// killed between its write and that of the status.
    pub fn has_renew_request(&self, now: Timestamp) -> bool {
        let Some(request) = self.object.renew_request() else {
            return false;
        };
        let status = self.object.status.as_ref();
        let handled = status.and_then(|status| status.last_handled_renew_request.as_deref());
        let stored = self.valid(now);
        let answered = stored.and_then(|stored| stored.renew_request.as_deref());
        handled != Some(request) && answered != Some(request)
    }

    /// Whether the object needs another token than the target holds.
    pub fn needs_token(&self, now: Timestamp) -> bool {
        let (Ok(credentials), Ok(plan)) = (&self.credentials, &self.plan) else {
            return false;
        };
        let is_fresh = |known: &Token| plan.is_fresh(self.object, known, now);
        let is_good = |stored: &ProvenToken| {
            !stored.is_due(now) && stored.is_of(&credentials.client) && !self.has_renew_request(now)
        };
        let rests = self.valid(now).is_some_and(is_good) && self.failures(now).is_none();
        !rests && !self.memory.token.as_ref().is_some_and(is_fresh)
    }

    /// Whether a renewal that a person asked for is still to be requested: the token in memory may be the answer.
    pub fn must_request_renewal(&self, now: Timestamp) -> bool {
        let answered = self.memory.answers_renew_request && self.memory.token.is_some();
        self.has_renew_request(now) && !answered
    }

    /// The failures that still count. A new generation, changed credentials or a renew request begin anew, and so does a
    /// token in the target that was requested after the last attempt that failed: the status of that success was lost.
    pub fn failures(&self, now: Timestamp) -> Option<&Failures> {
        let credentials = self.credentials.as_ref().ok()?;
        let failures = counted_failures(self.object, credentials, now)?;
        let request = self.object.renew_request();
        let came_after = |stored: &ProvenToken| {
            failures.last_attempt_at.0 <= stored.token.issued_at
                && stored.is_of(&credentials.client)
                && request.is_none_or(|request| stored.renew_request.as_deref() == Some(request))
        };
        let is_over = self.must_request_renewal(now) || self.valid(now).is_some_and(came_after);
        (!is_over).then_some(failures)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        api::EdgeCredentialStatus,
        edge_credential::testing::{
            allowed, ask_to_renew, at, client, credentials_secret, failures, object, object_with,
            target_with, token,
        },
    };

    /// The target of the usual object as a backup brings it back: its owner is not in it.
    fn restored() -> Secret {
        let mut secret = target_with(&object(), token(0, 3600));
        secret.metadata.owner_references = None;
        secret
    }

    /// The target of an EdgeCredential of the same name that was there before, or in another cluster.
    fn of_an_earlier_one() -> Secret {
        let mut earlier = object();
        earlier.metadata.uid = Some("uid-0".into());
        target_with(&earlier, token(0, 3600))
    }

    fn adopts(object: &EdgeCredential, secret: Secret) -> Result<bool, TargetProblem> {
        let credentials = credentials_secret(&client("s3cret-CANARY"));
        let observed = judge(object, &allowed(), Some(&credentials), Some(secret));
        observed.target.map(|target| target.is_some())
    }

    #[test]
    fn a_secret_that_lost_its_owner_is_adopted_if_it_proves_itself_for_this_object() {
        for secret in [restored(), of_an_earlier_one()] {
            assert_eq!(adopts(&object(), secret), Ok(true));
        }
        // Its token has expired: what it proves is whose it is.
        let mut expired = target_with(&object(), token(-7200, -3600));
        expired.metadata.owner_references = None;
        assert_eq!(adopts(&object(), expired), Ok(true));
    }

    fn needs_token(object: &EdgeCredential, target: Option<Secret>, known: Option<Token>) -> bool {
        let credentials = credentials_secret(&client("s3cret-CANARY"));
        let mut observed = judge(object, &allowed(), Some(&credentials), target);
        observed.memory.token = known;
        observed.needs_token(at(0))
    }

    #[test]
    fn another_token_is_needed_unless_the_target_or_this_process_has_one_that_will_do() {
        let (good, due) = (|| token(-60, 3600), || token(-3000, 600));
        let object = object();
        let holds = |token| Some(target_with(&object, token));
        for (target, known, expected) in [
            (holds(good()), None, false),
            (holds(good()), Some(due()), false),
            (holds(due()), None, true),
            (holds(due()), Some(due()), true),
            (holds(due()), Some(good()), false),
            (None, Some(good()), false),
            (None, None, true),
        ] {
            let what = format!("{target:?} {known:?}");
            assert_eq!(needs_token(&object, target, known), expected, "{what}");
        }
        let mut asked = object.clone();
        ask_to_renew(&mut asked, "now");
        assert!(needs_token(&asked, holds(good()), None));
        let of_others = credentials_secret(&client("another"));
        let observed = judge(&object, &allowed(), Some(&of_others), holds(good()));
        assert!(observed.needs_token(at(0)));
        let without_credentials = judge(&object, &allowed(), None, holds(due()));
        assert!(
            !without_credentials.needs_token(at(0)),
            "nothing can be asked"
        );
        // What failed is tried again, whatever the target holds.
        let credentials = credentials_secret(&client("s3cret-CANARY"));
        let mut failing = object.clone();
        failing.status = Some(EdgeCredentialStatus {
            observed_generation: object.metadata.generation,
            credentials: SecretVersion::of(&credentials.metadata),
            failures: Some(failures(1, 60)),
            ..EdgeCredentialStatus::default()
        });
        assert!(needs_token(&failing, holds(good()), None));
    }

    #[test]
    fn what_does_not_prove_itself_for_this_object_is_refused() {
        type Change = fn(&mut Secret);
        let rows: [(&str, Change); 4] = [
            ("no proof", |secret| secret.metadata.annotations = None),
            ("a forged proof", |secret| {
                let annotations = secret.metadata.annotations.as_mut().unwrap();
                for proof in annotations.values_mut() {
                    *proof = proof.replace("2027", "2028");
                }
            }),
            ("another token", |secret| {
                let other = target_with(&object(), token(1, 3601));
                secret.data = other.data;
            }),
            ("another type", |secret| {
                secret.type_ = Some("kubernetes.io/tls".into());
            }),
        ];
        for (row, change) in rows {
            for (mut secret, problem) in [
                (restored(), TargetProblem::NotOwned),
                (of_an_earlier_one(), TargetProblem::OwnedByPredecessor),
            ] {
                change(&mut secret);
                let refused = adopts(&object(), secret).unwrap_err();
                assert!(
                    refused == problem || refused == TargetProblem::NotOwned,
                    "{row}: {refused:?}"
                );
            }
        }
    }

    #[test]
    fn of_two_objects_with_equal_inputs_none_adopts_the_others_secret() {
        let mut other = object();
        other.metadata.name = Some("other".into());
        other.spec.target.name = Some("edge".into());
        assert_eq!(adopts(&other, restored()), Err(TargetProblem::NotOwned));
        assert_eq!(
            adopts(&other, of_an_earlier_one()),
            Err(TargetProblem::OwnedByAnother)
        );
    }

    #[test]
    fn a_secret_for_other_parameters_or_credentials_is_not_adopted() {
        let other_scope = object_with(json!({"tokenRequest": {"scopes": ["other"]}}));
        assert_eq!(
            adopts(&other_scope, restored()),
            Err(TargetProblem::NotOwned)
        );
        let other_credentials = credentials_secret(&client("another-CANARY"));
        let object = object();
        let observed = judge(
            &object,
            &allowed(),
            Some(&other_credentials),
            Some(restored()),
        );
        assert_eq!(observed.target.unwrap_err(), TargetProblem::NotOwned);
    }

    #[test]
    fn without_credentials_they_are_what_is_missing_first() {
        let object = object();
        let observed = judge(&object, &allowed(), None, Some(restored()));
        assert!(matches!(observed.target, Ok(None)));
        assert_eq!(
            observed.credentials.unwrap_err(),
            CredentialsProblem::NotFound
        );
    }

    #[test]
    fn a_request_takes_a_sound_spec_and_sound_credentials() {
        let credentials = credentials_secret(&client("s3cret-CANARY"));
        let judged = |object: &EdgeCredential, credentials: Option<&Secret>| {
            let request = judge(object, &allowed(), credentials, None).request();
            request.map(|request| request.parameters.audience)
        };
        let audience = object().spec.token_request.audience;
        assert_eq!(judged(&object(), Some(&credentials)), Some(audience));
        assert_eq!(judged(&object(), None), None);
        let elsewhere = object_with(json!({"tokenRequest": {"url": "https://evil.example"}}));
        assert_eq!(judged(&elsewhere, Some(&credentials)), None);
    }

    #[test]
    fn a_token_counts_for_a_spec_that_is_not_sound_if_it_was_requested_with_its_parameters() {
        let credentials = credentials_secret(&client("s3cret-CANARY"));
        let secret = target_with(&object(), token(0, 3600));
        let counts = |spec, allowed: &AllowedOrigins| {
            let object = object_with(spec);
            let target = Some(secret.clone());
            let observed = judge(&object, allowed, Some(&credentials), target);
            assert!(observed.plan.is_err());
            observed.valid(at(60)).is_some()
        };
        let nowhere = AllowedOrigins::default();
        assert!(counts(json!({}), &nowhere));
        for spec in [
            json!({"renewBefore": "soon"}),
            json!({"target": {"labels": {"a..b/c": "x"}}}),
            json!({"target": {"data": [{"key": "..data", "from": "AccessToken"}]}}),
        ] {
            assert!(counts(spec.clone(), &allowed()), "{spec}");
        }
        for request in [
            json!({"url": "https://evil.example/oauth/token"}),
            json!({"scopes": ["other"]}),
            json!({"audience": "https://other.example"}),
        ] {
            let spec = json!({"tokenRequest": request, "renewBefore": "soon"});
            assert!(!counts(spec.clone(), &allowed()), "{spec}");
        }
    }

    #[test]
    fn a_token_counts_as_valid_until_it_expires() {
        let object = object();
        let credentials = credentials_secret(&client("s3cret-CANARY"));
        let target = target_with(&object, token(0, 3600));
        let observed = judge(&object, &allowed(), Some(&credentials), Some(target));
        assert!(observed.valid(at(3599)).is_some());
        assert!(observed.valid(at(3600)).is_none());
        assert!(observed.stored().is_some());
    }
}
