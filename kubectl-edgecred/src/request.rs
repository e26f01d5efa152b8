//! What a person asks the operator for by an annotation, and what became of it: renewals, rotations, the end of overlaps.

use std::{io::Write, time::Duration};

use anstream::eprintln;
use clap::Args;
use edge_credential_operator::api::{ConditionType, conditions};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::ResourceExt;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    cluster::access::{Cluster, Timeout, duration},
    error::Error,
    exit::Exit,
    kind::Object,
    name::ObjectName,
    output::progress::during,
    view::View,
};

/// How long a visit of the operator takes that finds out whether a request does away with what is in the way of an EdgeToken.
pub const SETTLE: Duration = Duration::from_secs(10);

/// Whether to wait for what was asked for.
#[derive(Args, Clone, Copy, Debug)]
pub struct WaitArgs {
    /// Wait until it is done, or until it is clear that a person must act.
    #[arg(long)]
    pub wait: bool,

    /// Wait for so long at most.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration, requires = "wait")]
    pub timeout: Timeout,
}

/// Something that is asked for by an annotation, each value of which is handled once.
pub struct Request<K> {
    /// The annotation.
    pub annotation: &'static str,
    /// What is asked for, such as `renewal`.
    pub noun: &'static str,
    /// What is then the case, such as `renewed`.
    pub done: &'static str,
    /// How long what was in the way before may still be told, though the request does away with it.
    pub settle: Duration,
    /// What became of the request with this value, by the object as it is, as it was before, and the time.
    pub judge: fn(object: &K, earlier: &K, value: &str, now: Timestamp) -> Outcome,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is under way.
    Pending,
    /// It is done, and what has come of it.
    Done(String),
    /// It is done, and nothing has changed: what is the case, and why.
    Unchanged(String, &'static str),
    /// Nothing happens until a person acts.
    Stalled(String),
}

/// Asks for it, all by the same value, and waits if that is wanted.
pub async fn ask<K: Object>(
    cluster: &Cluster,
    names: &[String],
    request: &Request<K>,
    args: &WaitArgs,
) -> Result<Exit, Error> {
    let value = Timestamp::now().to_string();
    let patch = json!({"metadata": {"annotations": {(request.annotation): value}}});
    let mut asked = Vec::new();
    for name in names {
        let earlier: K = cluster.get(name).await?;
        if earlier.is_suspended() {
            let entered = ObjectName::new(K::KIND, name);
            return Err(Error::refused(
                format!("{name} is suspended, so nothing would be done"),
                format!("Enter `kubectl edgecred resume {entered}` first."),
            ));
        }
        cluster.patch::<K>(name, &patch).await?;
        if !args.wait {
            writeln!(anstream::stdout(), "{name}: {} asked for", request.noun)?;
        }
        asked.push(earlier);
    }
    if !args.wait {
        eprintln!("See what becomes of it with `kubectl edgecred status`, or use --wait.");
        return Ok(Exit::Well);
    }
    let mut exits = Vec::new();
    let deadline = args.timeout.deadline();
    for earlier in &asked {
        exits.push(wait(cluster, earlier, request, &value, deadline).await?);
    }
    Ok(Exit::worst(exits))
}

async fn wait<K: Object>(
    cluster: &Cluster,
    earlier: &K,
    request: &Request<K>,
    value: &str,
    deadline: Instant,
) -> Result<Exit, Error> {
    let Request { noun, done, .. } = request;
    let name = earlier.name_any();
    let start = Instant::now();
    let judge = |object: &K| (request.judge)(object, earlier, value, Timestamp::now());
    let is_over = |object: &K| match judge(object) {
        Outcome::Pending => false,
        Outcome::Done(_) | Outcome::Unchanged(..) => true,
        Outcome::Stalled(_) => !is_stale(object, earlier, start.elapsed(), request.settle),
    };
    let what = format!("waiting for the operator: {noun} of {name}");
    let object = during(&what, cluster.wait_until(&name, deadline, is_over)).await?;
    let mut out = anstream::stdout();
    match judge(&object) {
        Outcome::Done(what) => {
            writeln!(out, "{name}: {what}")?;
            eprintln!("It took {:.1} s.", start.elapsed().as_secs_f64());
            Ok(Exit::Well)
        }
        Outcome::Unchanged(what, why) => {
            writeln!(out, "{name}: {what}")?;
            eprintln!("{why}");
            Ok(Exit::Well)
        }
        Outcome::Stalled(why) => {
            writeln!(out, "{name}: not {done}: {why}")?;
            eprintln!(
                "Nothing happens until a person acts. `kubectl edgecred explain` says what to do."
            );
            Ok(Exit::NeedsPerson)
        }
        Outcome::Pending => {
            let view = View::of(&object, Timestamp::now());
            let why = if view.why.is_empty() {
                "the operator has not answered".to_owned()
            } else {
                view.why
            };
            writeln!(out, "{name}: not {done} yet: {why}")?;
            eprintln!(
                "It is tried on. Look with `kubectl edgecred status`; `kubectl edgecred doctor` says whether the operator runs."
            );
            Ok(Exit::NotYet)
        }
    }
}

/// Whether what a person must act on is what was in the way before, and may be gone a moment later.
fn is_stale<K: Object>(object: &K, earlier: &K, waited: Duration, settle: Duration) -> bool {
    waited < settle && stalled(object) == stalled(earlier)
}

/// What a person must act on, by the object before and now: unless that is what an attempt before the request came to. An object on
/// which nothing is attempted is stalled at once.
pub fn find_stall<K: Object>(object: &K, earlier: &K, is_handled: bool) -> Option<String> {
    let attempt = |object: &K| object.said().failures.map(|it| it.last_attempt_at.0);
    let last = attempt(object);
    let counts = is_handled || last != attempt(earlier) || last.is_none();
    stalled(object)
        .filter(|_| counts)
        .map(|condition| format!("{}: {}", condition.reason, condition.message))
}

fn stalled<K: Object>(object: &K) -> Option<&Condition> {
    let found = conditions::find(object.said().conditions, ConditionType::Stalled);
    found.filter(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests {
    use edge_credential_operator::api::EdgeToken;

    use super::*;

    fn object(reason: Option<&str>) -> EdgeToken {
        let stalled = reason.map(|reason| {
            json!({
                "type": "Stalled", "status": "True", "reason": reason, "message": "",
                "lastTransitionTime": "2026-11-26T09:00:00Z",
            })
        });
        serde_json::from_value(json!({
            "apiVersion": "edgecredentials.io/v1alpha1",
            "kind": "EdgeToken",
            "metadata": {"name": "content"},
            "spec": {"credentialsSecretRef": {"name": "edge-client"}},
            "status": {"conditions": stalled.into_iter().collect::<Vec<_>>()},
        }))
        .unwrap()
    }

    /// A rotate request confirms another environment, and a status says so only at the end of a visit.
    #[test]
    fn what_was_in_the_way_before_is_waited_for_a_little() {
        let changed = object(Some("EnvironmentChanged"));
        let refused = object(Some("EdgeAPIForbidden"));
        let well = object(None);
        for (now, earlier, waited, expected) in [
            (&changed, &changed, 1, true),
            (&changed, &changed, 10, false),
            (&refused, &changed, 1, false),
            (&changed, &well, 1, false),
        ] {
            let waited = Duration::from_secs(waited);
            assert_eq!(is_stale(now, earlier, waited, SETTLE), expected);
        }
        assert!(!is_stale(
            &changed,
            &changed,
            Duration::ZERO,
            Duration::ZERO
        ));
        assert_eq!(
            find_stall(&changed, &well, false).as_deref(),
            Some("EnvironmentChanged: ")
        );
    }
}
