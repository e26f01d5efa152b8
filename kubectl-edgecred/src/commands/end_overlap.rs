//! `end-overlap`: has former keys revoked now, as after a leak, and with `--wait` says what became of it.

use std::{collections::BTreeSet, io::Write};

use clap::Args;
use clap_complete::ArgValueCandidates;
use edge_credential_operator::api::{
    EdgeToken,
    edge_token::{END_OVERLAP_REQUESTED_AT, RetirementCause},
};
use k8s_openapi::jiff::Timestamp;

use super::{Selection, completion::edge_token_names};
use crate::{
    cluster::access::Cluster,
    error::Error,
    exit::Exit,
    request::{Outcome, Request, SETTLE, WaitArgs, ask, find_stall},
};

/// The command line.
#[derive(Args, Debug)]
#[command(mut_arg("names", |names| names.help("The EdgeTokens").add(ArgValueCandidates::new(edge_token_names))))]
pub struct EndOverlapArgs {
    /// Which EdgeTokens.
    #[command(flatten)]
    pub selection: Selection,

    /// Whether to wait.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Asks for the end of the overlaps there are.
pub async fn run(cluster: &Cluster, args: &EndOverlapArgs) -> Result<Exit, Error> {
    let mut names = Vec::new();
    for name in args.selection.of::<EdgeToken>(cluster).await? {
        let object: EdgeToken = cluster.get(&name).await?;
        if former_keys(&object).is_empty() {
            writeln!(anstream::stdout(), "{name}: there is no former key")?;
        } else {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Ok(Exit::Well);
    }
    let request = Request {
        annotation: END_OVERLAP_REQUESTED_AT,
        noun: "end of the overlap",
        done: "ended",
        settle: SETTLE,
        judge,
    };
    ask(cluster, &names, &request, &args.wait).await
}

/// The marks of the keys that were handed out once and are to be revoked.
fn former_keys(object: &EdgeToken) -> BTreeSet<&str> {
    let status = object.status.as_ref();
    let retired = status.map(|status| status.retired.iter());
    let retired = retired.into_iter().flatten();
    let former = retired.filter(|retired| retired.cause != RetirementCause::Discarded);
    former.map(|retired| &*retired.mark).collect()
}

/// What became of the overlaps whose end was asked for by this value, by the object before and now.
fn judge(object: &EdgeToken, earlier: &EdgeToken, value: &str, _: Timestamp) -> Outcome {
    let status = object.status.as_ref();
    let handled = status.and_then(|status| status.last_handled_end_overlap_request.as_deref());
    let is_handled = handled == Some(value);
    let former = former_keys(earlier);
    if is_handled && former.is_disjoint(&former_keys(object)) {
        return Outcome::Done(match former.len() {
            1 => "1 former key is revoked".into(),
            count => format!("{count} former keys are revoked"),
        });
    }
    find_stall(object, earlier, is_handled).map_or(Outcome::Pending, Outcome::Stalled)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ASKED: &str = "2026-11-26T10:00:00Z";

    fn object(retired: &[(u32, &str)], handled: Option<&str>) -> EdgeToken {
        let retired = retired.iter().map(|(mark, cause)| {
            json!({
                "mark": format!("edge-token/1/000000000000000{mark}"), "since": "2026-11-26T09:00:00Z", "cause": cause,
                "revokeAt": "2026-11-27T09:00:00Z",
            })
        });
        serde_json::from_value(json!({
            "apiVersion": "edgecredentials.io/v1alpha1",
            "kind": "EdgeToken",
            "metadata": {"name": "content"},
            "spec": {"credentialsSecretRef": {"name": "edge-client"}},
            "status": {
                "retired": retired.collect::<Vec<Value>>(),
                "lastHandledEndOverlapRequest": handled,
            },
        }))
        .unwrap()
    }

    #[test]
    fn an_overlap_is_ended_once_the_keys_of_before_are_recorded_no_longer() {
        let now = "2026-11-26T10:00:00Z".parse().unwrap();
        let earlier = object(&[(1, "Replaced"), (2, "Discarded")], None);
        for (now_retired, handled, outcome) in [
            (&[(1, "Replaced")][..], None, Outcome::Pending),
            (&[(1, "OverlapEnded")][..], Some(ASKED), Outcome::Pending),
            // Gone by itself, and the request not seen.
            (&[][..], None, Outcome::Pending),
            // What nobody ever had is no former key.
            (
                &[(2, "Discarded")][..],
                Some(ASKED),
                Outcome::Done("1 former key is revoked".into()),
            ),
            // One that was replaced since has an overlap of its own.
            (
                &[(3, "Replaced")][..],
                Some(ASKED),
                Outcome::Done("1 former key is revoked".into()),
            ),
        ] {
            let object = object(now_retired, handled);
            assert_eq!(judge(&object, &earlier, ASKED, now), outcome);
        }
    }
}
