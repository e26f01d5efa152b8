//! `renew`: has tokens renewed now, and with `--wait` says what became of it.

use std::time::Duration;

use clap::Args;
use clap_complete::ArgValueCandidates;
use edge_credential_operator::api::{EdgeCredential, edge_credential::RENEW_REQUESTED_AT};
use k8s_openapi::jiff::Timestamp;

use super::{Selection, completion::edge_credential_names};
use crate::{
    cluster::access::Cluster,
    error::Error,
    exit::Exit,
    kind::Object,
    output::times::{short, to_the_minute},
    request::{Outcome, Request, WaitArgs, ask, find_stall},
};

/// The command line.
#[derive(Args, Debug)]
#[command(mut_arg("names", |names| names.help("The EdgeCredentials").add(ArgValueCandidates::new(edge_credential_names))))]
pub struct RenewArgs {
    /// Which EdgeCredentials.
    #[command(flatten)]
    pub selection: Selection,

    /// Whether to wait.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Asks for renewals. Of objects with equal inputs, one token request serves all.
pub async fn run(cluster: &Cluster, args: &RenewArgs) -> Result<Exit, Error> {
    let names = args.selection.of::<EdgeCredential>(cluster).await?;
    let request = Request {
        annotation: RENEW_REQUESTED_AT,
        noun: "renewal",
        done: "renewed",
        settle: Duration::ZERO,
        judge,
    };
    ask(cluster, &names, &request, &args.wait).await
}

/// What became of a renewal that was asked for by this value, by the object before and now.
fn judge(
    object: &EdgeCredential,
    earlier: &EdgeCredential,
    value: &str,
    now: Timestamp,
) -> Outcome {
    let Some(status) = &object.status else {
        return Outcome::Pending;
    };
    let is_handled = status.last_handled_renew_request.as_deref() == Some(value);
    if let Some(why) = find_stall(object, earlier, is_handled) {
        return Outcome::Stalled(why);
    }
    let Some(token) = &status.token else {
        return Outcome::Pending;
    };
    if !is_handled || status.failures.is_some() {
        return Outcome::Pending;
    }
    let expires = to_the_minute(token.expires_at.0);
    // The operator renews a token that was given again once it has expired, and no other.
    if token.renew_at == token.expires_at {
        return Outcome::Unchanged(
            format!("unchanged, expires {expires}"),
            "The token endpoint gave the same token again: it issues another one when that expires.",
        );
    }
    let left = short(token.expires_at.0.duration_since(now));
    let was = earlier.said().expires_at;
    let was = was.map_or(String::new(), |was| format!(", was {}", to_the_minute(was)));
    Outcome::Done(format!("renewed, expires {expires} (+{left}){was}"))
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
        let now = "2026-11-26T10:00:00Z".parse().unwrap();
        for (status, outcome) in [
            (json!({"token": token(1)}), Outcome::Pending),
            (json!({"token": token(10)}), Outcome::Pending),
            (
                json!({"token": token(10), "lastHandledRenewRequest": ASKED}),
                Outcome::Done(
                    "renewed, expires 2026-11-27 10:00 UTC (+1d00h), was 2026-11-27 01:00 UTC"
                        .into(),
                ),
            ),
            (
                json!({"token": given_again, "lastHandledRenewRequest": ASKED}),
                Outcome::Unchanged(
                    "unchanged, expires 2026-11-27 01:00 UTC".into(),
                    "The token endpoint gave the same token again: it issues another one when that expires.",
                ),
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
                judge(&object(status.clone()), &earlier, ASKED, now),
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
        let now = "2026-11-26T10:05:00Z".parse().unwrap();
        assert_eq!(judge(&earlier, &earlier, ASKED, now), Outcome::Pending);
        let tried = object(json!({"failures": failures(5), "conditions": condition}));
        assert!(matches!(
            judge(&tried, &earlier, ASKED, now),
            Outcome::Stalled(_)
        ));
    }
}
