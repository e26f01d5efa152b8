//! `rotate`: has keys replaced now, and with `--wait` says what became of it.

use clap::Args;
use clap_complete::ArgValueCandidates;
use edge_credential_operator::api::{EdgeToken, edge_token::ROTATE_REQUESTED_AT};
use k8s_openapi::jiff::Timestamp;

use super::{Selection, completion::edge_token_names};
use crate::{
    cluster::access::Cluster,
    error::Error,
    exit::Exit,
    kind::Object,
    output::times::{short, to_the_minute},
    request::{Outcome, Request, SETTLE, WaitArgs, ask, find_stall},
};

/// The command line.
#[derive(Args, Debug)]
#[command(mut_arg("names", |names| names.help("The EdgeTokens").add(ArgValueCandidates::new(edge_token_names))))]
pub struct RotateArgs {
    /// Which EdgeTokens.
    #[command(flatten)]
    pub selection: Selection,

    /// Whether to wait.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Asks for other keys.
pub async fn run(cluster: &Cluster, args: &RotateArgs) -> Result<Exit, Error> {
    let names = args.selection.of::<EdgeToken>(cluster).await?;
    let request = Request {
        annotation: ROTATE_REQUESTED_AT,
        noun: "rotation",
        done: "rotated",
        settle: SETTLE,
        judge,
    };
    ask(cluster, &names, &request, &args.wait).await
}

/// What became of a rotation that was asked for by this value, by the object before and now. The request counts as handled, and the
/// key as the current one, before it is written; the version of the target is told when that is done.
fn judge(object: &EdgeToken, earlier: &EdgeToken, value: &str, now: Timestamp) -> Outcome {
    let Some(status) = &object.status else {
        return Outcome::Pending;
    };
    let before = earlier.status.as_ref();
    let is_handled = status.last_handled_rotate_request.as_deref() == Some(value);
    let mark = status.token.as_ref().map(|key| &key.mark);
    let former = before.and_then(|status| Some(&status.token.as_ref()?.mark));
    let is_other = mark.is_some() && mark != former;
    let is_written =
        status.target.is_some() && Some(&status.target) != before.map(|status| &status.target);
    if is_handled && is_other && is_written {
        return Outcome::Done(describe(object, now));
    }
    find_stall(object, earlier, is_handled).map_or(Outcome::Pending, Outcome::Stalled)
}

fn describe(object: &EdgeToken, now: Timestamp) -> String {
    match object.said().overlap_until {
        Some(until) if now < until => format!(
            "rotated, the former key works until {} (+{})",
            to_the_minute(until),
            short(until.duration_since(now))
        ),
        _ if object.spec.deploy_api.is_some() => {
            "rotated, the former key works on: the Deploy API revokes none".into()
        }
        _ => "rotated".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ASKED: &str = "2026-11-26T10:00:00Z";

    fn object(status: Value) -> EdgeToken {
        serde_json::from_value(json!({
            "apiVersion": "edgecredentials.io/v1alpha1",
            "kind": "EdgeToken",
            "metadata": {"name": "content"},
            "spec": {"credentialsSecretRef": {"name": "edge-client"}},
            "status": status,
        }))
        .unwrap()
    }

    fn status(mark: u32, version: &str, handled: Option<&str>) -> Value {
        json!({
            "token": {"mark": format!("edge-token/1/000000000000000{mark}"), "createdAt": "2026-11-26T09:00:00Z"},
            "target": {"name": "content", "uid": "1", "resourceVersion": version},
            "lastHandledRotateRequest": handled,
        })
    }

    #[test]
    fn a_rotation_is_over_once_another_key_is_in_the_target_or_a_person_must_act() {
        let now = "2026-11-26T10:00:00Z".parse().unwrap();
        let earlier = object(status(1, "7", None));
        let mut rotated = status(2, "8", Some(ASKED));
        rotated["retired"] = json!([{
            "mark": "edge-token/1/0000000000000001", "since": "2026-11-26T10:00:00Z", "cause": "Replaced",
            "revokeAt": "2026-11-27T10:00:00Z",
        }]);
        let mut stalled = status(1, "7", None);
        stalled["conditions"] = json!([{
            "type": "Stalled", "status": "True", "reason": "TooManyKeys", "message": "Eight.",
            "lastTransitionTime": "2026-11-26T10:00:00Z",
        }]);
        for (status, outcome) in [
            (status(1, "7", None), Outcome::Pending),
            // Handled, and not written yet.
            (status(2, "7", Some(ASKED)), Outcome::Pending),
            // Rotated by the clock a moment before.
            (status(2, "8", Some("another")), Outcome::Pending),
            (
                rotated,
                Outcome::Done(
                    "rotated, the former key works until 2026-11-27 10:00 UTC (+1d00h)".into(),
                ),
            ),
            (stalled, Outcome::Stalled("TooManyKeys: Eight.".into())),
        ] {
            assert_eq!(
                judge(&object(status.clone()), &earlier, ASKED, now),
                outcome,
                "{status}"
            );
        }
    }
}
