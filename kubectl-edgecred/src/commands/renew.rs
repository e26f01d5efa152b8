//! `renew`: has tokens renewed now, and with `--wait` says what became of it.

use std::io::Write;

use anstream::eprintln;
use clap::Args;
use edge_credential_operator::api::{
    ConditionType, EdgeCredential, conditions, edge_credential::RENEW_REQUESTED_AT,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::Selection;
use crate::{
    cluster::access::{Cluster, Timeout, duration},
    error::Error,
    exit::Exit,
    output::{
        progress::during,
        times::{short, to_the_minute},
    },
    view::View,
};

/// The command line.
#[derive(Args, Debug)]
pub struct RenewArgs {
    /// Which EdgeCredentials.
    #[command(flatten)]
    pub selection: Selection,

    /// Wait until the new tokens are in their Secrets, or until it is clear that a person must act.
    #[arg(long)]
    pub wait: bool,

    /// Wait for so long at most.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, requires = "wait")]
    pub timeout: Timeout,
}

/// What became of a renewal.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    /// It is under way.
    Pending,
    /// The new token is written, with this expiry.
    Renewed(Timestamp),
    /// The endpoint gave the token again that was there.
    SameToken(Timestamp),
    /// Nothing happens until a person acts.
    Stalled(String),
}

/// Asks for renewals, all by the same value: of objects with equal inputs, one token request serves all.
pub async fn run(cluster: &Cluster, args: &RenewArgs) -> Result<Exit, Error> {
    let names = args.selection.resolve(cluster).await?;
    let request = Timestamp::now().to_string();
    let patch = json!({"metadata": {"annotations": {RENEW_REQUESTED_AT: request}}});
    let mut asked = Vec::new();
    for name in names {
        let earlier = cluster.edge_credential(&name).await?;
        if earlier.spec.suspend {
            return Err(Error::refused(
                format!("{name} is suspended, so nothing would be requested"),
                format!("Enter `kubectl edgecred resume {name}` first."),
            ));
        }
        cluster.patch_edge_credential(&name, &patch).await?;
        if !args.wait {
            writeln!(anstream::stdout(), "{name}: renewal asked for")?;
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
        exits.push(wait(cluster, earlier, &request, deadline).await?);
    }
    Ok(Exit::worst(exits))
}

async fn wait(
    cluster: &Cluster,
    earlier: &EdgeCredential,
    request: &str,
    deadline: Instant,
) -> Result<Exit, Error> {
    let name = earlier.metadata.name.as_deref().unwrap_or_default();
    let start = Instant::now();
    let is_over = |object: &EdgeCredential| judge(object, earlier, request) != Outcome::Pending;
    let what = format!("waiting for the operator to renew {name}");
    let object = during(&what, cluster.wait_until(name, deadline, is_over)).await?;
    let mut out = anstream::stdout();
    let expiry =
        |status: &EdgeCredential| Some(status.status.as_ref()?.token.as_ref()?.expires_at.0);
    match judge(&object, earlier, request) {
        Outcome::Renewed(expires_at) => {
            let was = expiry(earlier)
                .map_or(String::new(), |was| format!(", was {}", to_the_minute(was)));
            let left = short(expires_at.duration_since(Timestamp::now()));
            writeln!(
                out,
                "{name}: renewed, expires {} (+{left}){was}",
                to_the_minute(expires_at)
            )?;
            eprintln!("written in {:.1} s", start.elapsed().as_secs_f64());
            Ok(Exit::Well)
        }
        Outcome::SameToken(expires_at) => {
            writeln!(
                out,
                "{name}: unchanged, expires {}",
                to_the_minute(expires_at)
            )?;
            eprintln!(
                "The token endpoint gave the same token again: it issues another one when that expires."
            );
            Ok(Exit::Well)
        }
        Outcome::Stalled(why) => {
            writeln!(out, "{name}: not renewed: {why}")?;
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
            writeln!(out, "{name}: not renewed yet: {why}")?;
            eprintln!(
                "It is tried on. Look with `kubectl edgecred status`; `kubectl edgecred doctor` says whether the operator runs."
            );
            Ok(Exit::NotYet)
        }
    }
}

/// What became of a renewal that was asked for by this value, by the object before and now.
fn judge(object: &EdgeCredential, earlier: &EdgeCredential, request: &str) -> Outcome {
    let Some(status) = &object.status else {
        return Outcome::Pending;
    };
    let stalled = conditions::find(&status.conditions, ConditionType::Stalled)
        .filter(|condition| condition.status == "True");
    let before = earlier.status.as_ref();
    let was_stalled = before
        .and_then(|status| status.failures.as_ref())
        .map(|failures| failures.last_attempt_at.0);
    let attempt = status
        .failures
        .as_ref()
        .map(|failures| failures.last_attempt_at.0);
    let is_handled = status.last_handled_renew_request.as_deref() == Some(request);
    if let Some(stalled) = stalled
        && (is_handled || attempt != was_stalled || attempt.is_none())
    {
        return Outcome::Stalled(format!("{}: {}", stalled.reason, stalled.message));
    }
    match &status.token {
        // The operator renews a token that was given again once it has expired, and no other.
        Some(token) if is_handled && status.failures.is_none() => {
            if token.renew_at == token.expires_at {
                Outcome::SameToken(token.expires_at.0)
            } else {
                Outcome::Renewed(token.expires_at.0)
            }
        }
        _ => Outcome::Pending,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ASKED: &str = "2026-11-26T10:00:00Z";

    fn object(status: Value) -> EdgeCredential {
        serde_json::from_value(json!({
            "apiVersion": "edgecredentials.io/v1alpha1",
            "kind": "EdgeCredential",
            "metadata": {"name": "edge-admin"},
            "spec": {"credentialsSecretRef": {"name": "edge-client"}},
            "status": status,
        }))
        .unwrap()
    }

    fn token(hour: u32) -> Value {
        json!({
            "issuedAt": format!("2026-11-26T{hour:02}:00:00Z"),
            "expiresAt": format!("2026-11-27T{hour:02}:00:00Z"),
            "renewAt": format!("2026-11-26T{:02}:00:00Z", hour + 8),
        })
    }

    fn failures(minute: u32) -> Value {
        json!({
            "count": 7,
            "reason": "CredentialsRejected",
            "lastAttemptAt": format!("2026-11-26T10:{minute:02}:00Z"),
            "nextAttemptAt": "2026-11-26T11:00:00Z",
        })
    }

    #[test]
    fn a_renewal_is_over_once_its_token_is_written_or_a_person_must_act() {
        let stalled = json!([{
            "type": "Stalled", "status": "True", "reason": "CredentialsRejected", "message": "HTTP 401.",
            "lastTransitionTime": "2026-11-26T09:00:00Z",
        }]);
        let earlier = object(json!({"token": token(1)}));
        let mut given_again = token(1);
        given_again["renewAt"] = given_again["expiresAt"].clone();
        let expiry = |hour: u32| format!("2026-11-27T{hour:02}:00:00Z").parse().unwrap();
        for (status, outcome) in [
            (json!({"token": token(1)}), Outcome::Pending),
            (json!({"token": token(10)}), Outcome::Pending),
            (
                json!({"token": token(10), "lastHandledRenewRequest": ASKED}),
                Outcome::Renewed(expiry(10)),
            ),
            (
                json!({"token": given_again, "lastHandledRenewRequest": ASKED}),
                Outcome::SameToken(expiry(1)),
            ),
            (
                json!({"token": token(1), "lastHandledRenewRequest": ASKED, "failures": failures(0)}),
                Outcome::Pending,
            ),
            (
                json!({"token": token(1), "lastHandledRenewRequest": ASKED, "failures": failures(0), "conditions": stalled}),
                Outcome::Stalled("CredentialsRejected: HTTP 401.".into()),
            ),
        ] {
            assert_eq!(
                judge(&object(status.clone()), &earlier, ASKED),
                outcome,
                "{status}"
            );
        }
    }

    /// The operator begins anew where somebody asks for a renewal: that it was stalled before says nothing.
    #[test]
    fn what_was_stalled_before_is_not_over_until_it_was_tried_again() {
        let condition = json!([{
            "type": "Stalled", "status": "True", "reason": "CredentialsRejected", "message": "HTTP 401.",
            "lastTransitionTime": "2026-11-26T09:00:00Z",
        }]);
        let earlier = object(json!({"failures": failures(0), "conditions": condition}));
        assert_eq!(judge(&earlier, &earlier, ASKED), Outcome::Pending);
        let tried = object(json!({"failures": failures(5), "conditions": condition}));
        assert!(matches!(
            judge(&tried, &earlier, ASKED),
            Outcome::Stalled(_)
        ));
    }
}
