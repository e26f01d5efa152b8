//! `suspend` and `resume`: whether the operator does anything for an EdgeCredential.

use std::io::Write;

use anstream::eprintln;
use clap::Args;
use edge_credential_operator::api::EdgeCredential;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::Selection;
use crate::{
    cluster::access::Cluster, error::Error, exit::Exit, output::times::short, view::SUSPEND_REASON,
};

/// The command line of `suspend`.
#[derive(Args, Debug)]
pub struct SuspendArgs {
    /// Which EdgeCredentials.
    #[command(flatten)]
    pub selection: Selection,

    /// Note why, for who looks with `status`.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// The command line of `resume`.
#[derive(Args, Debug)]
pub struct ResumeArgs {
    /// Which EdgeCredentials.
    #[command(flatten)]
    pub selection: Selection,
}

/// Has nothing requested and nothing written any longer.
pub async fn suspend(cluster: &Cluster, args: &SuspendArgs) -> Result<Exit, Error> {
    let patch = json!({
        "metadata": {"annotations": {SUSPEND_REASON: args.reason}},
        "spec": {"suspend": true},
    });
    for name in args.selection.resolve(cluster).await? {
        let object = cluster.patch_edge_credential(&name, &patch).await?;
        writeln!(anstream::stdout(), "{name} suspended{}", validity(&object))?;
    }
    eprintln!("Nothing is renewed until `kubectl edgecred resume`.");
    Ok(Exit::Well)
}

/// Goes on.
pub async fn resume(cluster: &Cluster, args: &ResumeArgs) -> Result<Exit, Error> {
    let patch = json!({
        "metadata": {"annotations": {SUSPEND_REASON: null}},
        "spec": {"suspend": false},
    });
    for name in args.selection.resolve(cluster).await? {
        let object = cluster.patch_edge_credential(&name, &patch).await?;
        writeln!(anstream::stdout(), "{name} resumed{}", validity(&object))?;
    }
    Ok(Exit::Well)
}

/// How long the token in the target is good for as it is, as the end of a sentence.
fn validity(object: &EdgeCredential) -> String {
    let status = object.status.as_ref();
    let token = status.and_then(|status| status.token.as_ref());
    match token.map(|token| token.expires_at.0.duration_since(Timestamp::now())) {
        None => ", without a token".into(),
        Some(left) if left.is_positive() => format!(", its token expires in {}", short(left)),
        Some(ago) => format!(", its token expired {} ago", short(ago)),
    }
}
