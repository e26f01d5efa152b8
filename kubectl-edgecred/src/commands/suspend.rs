//! `suspend` and `resume`: whether the operator does anything for an object.

use std::io::Write;

use anstream::eprintln;
use clap::Args;
use edge_credential_operator::api::{EdgeCredential, EdgeToken};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::Selection;
use crate::{
    cluster::{access::Cluster, errors::CallError},
    error::Error,
    exit::Exit,
    kind::{Kind, Object},
    output::times::short,
    view::SUSPEND_REASON,
};

/// The command line of `suspend`.
#[derive(Args, Debug)]
pub struct SuspendArgs {
    /// Which objects.
    #[command(flatten)]
    pub selection: Selection,

    /// Note why, for who looks with `status`.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// The command line of `resume`.
#[derive(Args, Debug)]
pub struct ResumeArgs {
    /// Which objects.
    #[command(flatten)]
    pub selection: Selection,
}

/// Has nothing requested and nothing written any longer.
pub async fn suspend(cluster: &Cluster, args: &SuspendArgs) -> Result<Exit, Error> {
    let patch = json!({
        "metadata": {"annotations": {SUSPEND_REASON: args.reason}},
        "spec": {"suspend": true},
    });
    change(cluster, &args.selection, &patch, "suspended").await?;
    eprintln!("Nothing is renewed or rotated until `kubectl edgecred resume`.");
    Ok(Exit::Well)
}

/// Goes on.
pub async fn resume(cluster: &Cluster, args: &ResumeArgs) -> Result<Exit, Error> {
    let patch = json!({
        "metadata": {"annotations": {SUSPEND_REASON: null}},
        "spec": {"suspend": false},
    });
    change(cluster, &args.selection, &patch, "resumed").await?;
    Ok(Exit::Well)
}

async fn change(
    cluster: &Cluster,
    selection: &Selection,
    patch: &Value,
    done: &str,
) -> Result<(), Error> {
    for object in selection.of_any_kind(cluster).await? {
        let name = &object.name;
        let validity = match object.kind {
            Kind::EdgeCredential => change_one::<EdgeCredential>(cluster, name, patch).await?,
            Kind::EdgeToken => change_one::<EdgeToken>(cluster, name, patch).await?,
        };
        writeln!(anstream::stdout(), "{object} {done}, {validity}")?;
    }
    Ok(())
}

/// Changes an object, and returns how long what is in its target is good for as it is.
async fn change_one<K: Object>(
    cluster: &Cluster,
    name: &str,
    patch: &Value,
) -> Result<String, CallError> {
    let object: K = cluster.patch(name, patch).await?;
    let said = object.said();
    let left = said
        .expires_at
        .map(|at| at.duration_since(Timestamp::now()));
    Ok(match left {
        _ if !said.has_token => "without a token".into(),
        None => "its key works on".into(),
        Some(left) if left.is_positive() => format!("its token expires in {}", short(left)),
        Some(ago) => format!("its token expired {} ago", short(ago)),
    })
}
