//! What was read of one EdgeToken, and what it means.

use k8s_openapi::{
    api::core::v1::Secret,
    jiff::{SignedDuration, Timestamp},
};

use super::{
    decide::{Made, Observed, Record, Visit},
    ledger::{End, Ledger},
    mark::{Mark, prefix},
    record::{Key, find_key, render},
    spec::{Allowed, Plan, check_spec},
};
use crate::{
    api::{
        EdgeToken,
        credentials::SecretVersion,
        edge_token::{DeletionPolicy, END_OVERLAP_REQUESTED_AT, ROTATE_REQUESTED_AT},
        failures::Failures,
    },
    rules::{
        credentials::FoundCredentials,
        failures::is_possible,
        spec::SpecProblem,
        target::{Ownership, TargetProblem, check_ownership},
        times::fraction,
        versions::Versions,
    },
};

/// The finalizer of objects whose keys are revoked before they are deleted.
pub const FINALIZER: &str = "edgecredentials.io/revoke";

/// Over how much of its age the rotations of keys are spread that were made together.
const SPREAD: f64 = 0.05;

/// The longest value of an annotation that asks for something. A longer one would not fit into the status.
const REQUEST_MAX_LENGTH: usize = 64;

/// What was read of one EdgeToken.
#[derive(Debug)]
pub struct Judged<'a> {
    pub object: &'a EdgeToken,
    /// What is to be done by the spec, or what is wrong with it.
    pub plan: Result<Plan, SpecProblem>,
    /// Who asks, or what is wrong with the credentials Secret.
    pub credentials: FoundCredentials,
    /// The target Secret if it is there, or why it must not be written.
    pub target: Result<Option<ObservedTarget>, TargetProblem>,
    /// The attempts there are. Where the status was lost, the one that the target proves is the current one.
    pub ledger: Ledger,
    /// Whether the status was lost.
    pub was_lost: bool,
    prefix: String,
}

/// A target Secret that is ours.
#[derive(Clone)]
pub struct ObservedTarget {
    /// The Secret as it is.
    pub secret: Secret,
    /// The key in it, if it proves itself for the spec.
    pub proven: Option<(Key, Record)>,
}

/// What this process remembers of an object, and no Secret says.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// The current key, as it was read or made last.
    pub key: Option<Key>,
    /// The key that was made last, if it is still of use.
    pub made: Option<Key>,
    /// When another key may be asked for.
    pub creates_from: Option<Timestamp>,
    /// Of how many that were asked for in a row it is not known whether they were made.
    pub unknown_creations: u32,
    /// When the keys were listed last.
    pub last_survey: Option<Timestamp>,
    /// The rotation request for which a key was asked for last.
    pub tried_request: Option<String>,
    /// Until when no API is called, because what its answers led to could not be written.
    pub rests_until: Option<Timestamp>,
    /// Until when the Delivery API asked not to be called.
    pub probes_from: Option<Timestamp>,
}

/// Leaves the Secret out: its own `Debug` prints the bytes.
impl std::fmt::Debug for ObservedTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObservedTarget")
            .field("proven", &self.proven)
            .finish_non_exhaustive()
    }
}

/// Judges an object and the two Secrets that it names, as they were found. A Secret that lost its owner is not ours: the uid of
/// the object is in the proof, so that no copy of it can revoke what the original uses.
pub fn judge<'a>(
    object: &'a EdgeToken,
    allowed: &Allowed,
    credentials: FoundCredentials,
    target_secret: Option<Secret>,
) -> Judged<'a> {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let plan = check_spec(object, allowed);
    let fingerprint = plan.as_ref().ok().map(|plan| plan.source.fingerprint());
    let target = target_secret.map_or(Ok(None), |secret| match check_ownership(&secret, object)? {
        Ownership::Ours => {
            let proven = fingerprint.and_then(|it| find_key(&secret, uid, it));
            Ok(Some(ObservedTarget { secret, proven }))
        }
        Ownership::Adoptable(problem) => Err(problem),
    });
    let mut ledger = Ledger::of_object(object);
    let proven = target.as_ref().ok().and_then(Option::as_ref);
    let proven = proven.and_then(|target| target.proven.as_ref());
    let was_lost = proven.is_some_and(|(_, record)| ledger.adopt(&record.mark));
    Judged {
        object,
        plan,
        credentials,
        target,
        ledger,
        was_lost,
        prefix: prefix(uid),
    }
}

impl Judged<'_> {
    /// The target Secret as it is, where it is ours.
    pub fn existing(&self) -> Option<&Secret> {
        let target = self.target.as_ref().ok()?.as_ref()?;
        Some(&target.secret)
    }

    fn stored(&self) -> Option<&(Key, Record)> {
        self.target.as_ref().ok()?.as_ref()?.proven.as_ref()
    }

    /// The current key, and what the target proves of it.
    pub fn proven(&self) -> Option<&(Key, Record)> {
        let current = self.ledger.current.as_ref();
        self.stored()
            .filter(|(_, record)| Some(&record.mark) == current)
    }

    /// What the target proves, where its key may be used: it is the current one, or a former one that is not to be revoked yet.
    pub fn usable(&self, now: Timestamp) -> Option<&Record> {
        let (_, record) = self.stored()?;
        let is_former = || {
            let mut retired = self.ledger.retired.iter();
            retired.any(|retired| {
                retired.mark == record.mark
                    && matches!(retired.end, End::Overlap(until) if now < until)
            })
        };
        let is_current = self.ledger.current.as_ref() == Some(&record.mark);
        (is_current || is_former()).then_some(record)
    }

    /// The current key, from the target or from memory.
    pub fn current_key<'a>(&'a self, remembered: &'a Remembered) -> Option<&'a Key> {
        let plan = self.plan.as_ref().ok()?;
        let fingerprint = plan.source.fingerprint();
        let current = self.ledger.current.as_ref()?;
        let is_current = |key: &&Key| key.made.mark == *current && key.fingerprint == fingerprint;
        let remembered = || {
            let keys = remembered.key.iter().chain(&remembered.made);
            keys.into_iter().find(is_current)
        };
        self.proven().map(|(key, _)| key).or_else(remembered)
    }

    /// The target as it should be, where the current key is at hand.
    pub fn rendered(&self, remembered: &Remembered, now: Timestamp) -> Option<Secret> {
        let plan = self.plan.as_ref().ok()?;
        let key = self.current_key(remembered)?;
        let written_at = self.proven().map_or(now, |(_, record)| record.written_at);
        Some(render(self.object, plan, key, written_at, self.existing()))
    }

    /// When the current key is to be replaced, if ever.
    pub fn rotate_at(&self) -> Option<Timestamp> {
        let plan = self.plan.as_ref().ok()?;
        rotate_at(self.object, plan, self.created_at()?)
    }

    /// When the current key was made.
    pub fn created_at(&self) -> Option<Timestamp> {
        if let Some((_, record)) = self.proven() {
            return Some(record.created_at);
        }
        let status = self.object.status.as_ref();
        let token = status.and_then(|status| status.token.as_ref())?;
        let current = self.ledger.current.as_ref()?;
        (token.mark == current.to_string()).then_some(token.created_at.0)
    }

    /// Whether the current key was seen in a list.
    fn is_listed(&self) -> bool {
        let status = self.object.status.as_ref();
        let token = status.and_then(|status| status.token.as_ref());
        let current = self.ledger.current.as_ref().map(ToString::to_string);
        token.is_some_and(|token| token.hash.is_some() && Some(&token.mark) == current.as_ref())
    }

    /// The rotation request that was not acted on yet.
    pub fn rotate_request(&self) -> Option<&str> {
        let request = rotate_request_of(self.object)?;
        let status = self.object.status.as_ref();
        let handled = status.and_then(|status| status.last_handled_rotate_request.as_deref());
        let answered = self
            .proven()
            .and_then(|(_, record)| record.rotate_request.as_deref());
        (handled != Some(request) && answered != Some(request)).then_some(request)
    }

    /// The request to end all overlaps that was not acted on yet.
    pub fn end_request(&self) -> Option<&str> {
        let request = end_request_of(self.object)?;
        let status = self.object.status.as_ref();
        let handled = status.and_then(|status| status.last_handled_end_overlap_request.as_deref());
        (handled != Some(request) && !self.was_lost).then_some(request)
    }

    /// The failures that count. A new generation, changed credentials or a request of a person begin anew.
    pub fn failures(&self, remembered: &Remembered, now: Timestamp) -> Option<&Failures> {
        let status = self.object.status.as_ref()?;
        let failures = status.failures.as_ref()?;
        let same_spec = status.observed_generation == self.object.metadata.generation;
        let same_credentials = status.credentials == self.credentials.version;
        let counts = same_spec && same_credentials && is_possible(failures, now);
        let request = self.rotate_request();
        let is_asked_anew = request.is_some() && request != remembered.tried_request.as_deref();
        (counts && !is_asked_anew).then_some(failures)
    }

    /// The versions of the two Secrets.
    pub fn versions(&self) -> Versions {
        let target = self.existing();
        Versions {
            credentials: self.credentials.version.clone(),
            target: target.and_then(|secret| SecretVersion::of(&secret.metadata)),
        }
    }

    /// What keeps everything from being done, if anything does.
    pub fn is_blocked(&self) -> bool {
        let is_immutable = self
            .existing()
            .is_some_and(|secret| secret.immutable == Some(true));
        self.object.spec.suspend || self.plan.is_err() || self.target.is_err() || is_immutable
    }

    /// All that a decision rests on.
    pub fn observed<'b>(
        &'b self,
        remembered: &'b Remembered,
        made: Option<&'b Made>,
        visit: &'b Visit,
        read_at: Option<Timestamp>,
        rendered: Option<&Secret>,
        is_abandoned: bool,
    ) -> Observed<'b> {
        let metadata = &self.object.metadata;
        let plan = self.plan.as_ref().ok();
        let revokes = self.object.spec.deletion_policy == DeletionPolicy::Revoke;
        Observed {
            prefix: &self.prefix,
            deleted_at: metadata.deletion_timestamp.as_ref().map(|time| time.0),
            is_abandoned,
            has_finalizer: has_finalizer(self.object),
            wants_finalizer: revokes && self.object.spec.deploy_api.is_none(),
            is_blocked: self.is_blocked(),
            ledger: &self.ledger,
            lists: plan.is_some_and(|plan| plan.source.lists()),
            is_listed: self.is_listed(),
            proven: self.proven().map(|(_, record)| record),
            has_value: self.current_key(remembered).is_some(),
            is_rendered: rendered.is_some() && rendered == self.existing(),
            read_at,
            made,
            visit,
            overlap: plan.map_or(SignedDuration::from_hours(24), |plan| plan.overlap),
            rotate_at: self.rotate_at(),
            is_rotation_requested: self.rotate_request().is_some(),
            is_end_requested: self.end_request().is_some(),
            not_before: None,
            creates_from: remembered.creates_from,
            last_survey: remembered.last_survey,
            rests_until: remembered.rests_until,
            probes_from: remembered.probes_from,
        }
    }

    /// Why the target must not be written, if it must not.
    pub fn target_problem(&self) -> Option<TargetProblem> {
        match &self.target {
            Err(problem) => Some(*problem),
            Ok(Some(target)) if target.secret.immutable == Some(true) => {
                Some(TargetProblem::Immutable)
            }
            Ok(_) => None,
        }
    }
}

/// When a key is to be replaced that was made at this time, if ever: up to a twentieth of its age earlier, by its object's uid.
pub fn rotate_at(object: &EdgeToken, plan: &Plan, created_at: Timestamp) -> Option<Timestamp> {
    let every = plan.every?;
    let uid = object.metadata.uid.as_deref()?;
    let early = every.mul_f64(SPREAD * fraction(&[uid]));
    let at = created_at.saturating_add(every - early).ok()?;
    Timestamp::from_second(at.as_second()).ok()
}

/// The value of the annotation that asks for another key.
pub fn rotate_request_of(object: &EdgeToken) -> Option<&str> {
    annotation(object, ROTATE_REQUESTED_AT)
}

/// The value of the annotation that asks to end the overlaps.
pub fn end_request_of(object: &EdgeToken) -> Option<&str> {
    annotation(object, END_OVERLAP_REQUESTED_AT)
}

/// The attempts whose keys can be found at Sitecore, and revoked: all but those of the Deploy API.
pub fn revocable<'a>(object: &EdgeToken, ledger: &'a Ledger) -> impl Iterator<Item = &'a Mark> {
    let lists = object.spec.deploy_api.is_none();
    ledger.marks().filter(move |_| lists)
}

/// Whether the object is not deleted before its keys are revoked.
pub fn has_finalizer(object: &EdgeToken) -> bool {
    let mut finalizers = object.metadata.finalizers.iter().flatten();
    finalizers.any(|name| name == FINALIZER)
}

fn annotation<'a>(object: &'a EdgeToken, name: &str) -> Option<&'a str> {
    let annotations = object.metadata.annotations.as_ref()?;
    let value = annotations.get(name)?;
    (1..=REQUEST_MAX_LENGTH)
        .contains(&value.len())
        .then_some(value)
}
