//! `init`: from nothing to a token that a workload mounts: Secret, EdgeCredential, and the lines for the workload.

use std::{
    fs,
    io::{IsTerminal, Write},
    path::PathBuf,
};

use anstream::eprintln;
use clap::{Args, ValueEnum, builder::ValueHint};
use dialoguer::Password;
use edge_credential_operator::{
    api::{
        ConditionType, EdgeCredential, EdgeCredentialSpec, conditions,
        credentials::CredentialsSecretRef, target::Target, token_request::TokenRequestSpec,
    },
    rules::credentials::extract_credentials,
};
use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    cluster::access::{Cluster, Timeout, duration},
    error::Error,
    exit::Exit,
    kind::Kind,
    output::{
        format::write_yaml,
        progress::during,
        style::{GOOD, WARN, styled},
        times::short,
    },
    view::View,
};

/// The command line.
#[derive(Args, Debug)]
pub struct InitArgs {
    /// The EdgeCredential, and the Secret with the token.
    #[arg(value_name = "NAME", default_value = "edge-admin")]
    pub name: String,

    /// The Secret with the client credentials. One that is there is used as it is.
    #[arg(long, value_name = "SECRET", default_value = "edge-client")]
    pub credentials: String,

    /// Read the client id from this file instead of asking for it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub client_id_file: Option<PathBuf>,

    /// Read the client secret from this file instead of asking for it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub client_secret_file: Option<PathBuf>,

    /// The token endpoint, where it is not Sitecore's.
    #[arg(long, value_name = "URL")]
    pub token_url: Option<String>,

    /// Which lines to print for the workload.
    #[arg(long, value_name = "KIND", default_value = "deployment")]
    pub snippet: Snippet,

    /// Print the EdgeCredential, and create nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// Wait for the token for so long at most.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub timeout: Timeout,
}

/// Lines for a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Snippet {
    /// The part of a Deployment that mounts the token.
    Deployment,
    /// The same as values of most Helm charts.
    Helm,
    /// A server function of Next.js that reads the token on each call.
    Nextjs,
}

/// Creates what is missing, and waits for the token.
pub async fn run(cluster: &Cluster, args: &InitArgs) -> Result<Exit, Error> {
    let object = make_object(args);
    if args.dry_run {
        write_yaml(&mut anstream::stdout(), &object)?;
        return Ok(Exit::Well);
    }
    create_credentials(cluster, args).await?;
    cluster
        .create(Kind::EdgeCredential.resource(), &object)
        .await?;
    eprintln!("{} EdgeCredential {}", styled(GOOD, "✔"), args.name);
    let is_over = |object: &EdgeCredential| {
        let status = object.status.as_ref();
        let holds =
            |type_| status.is_some_and(|status| conditions::holds(&status.conditions, type_));
        holds(ConditionType::Ready) || holds(ConditionType::Stalled)
    };
    let ready = cluster.wait_until(&args.name, args.timeout.deadline(), is_over);
    let object = during("waiting for the token", ready).await?;
    let now = Timestamp::now();
    let view = View::of(&object, now);
    if view.state.exit() != Exit::Well {
        eprintln!("{} {:?}: {}", styled(WARN, "!"), view.state, view.why);
        let reason = view.reason.unwrap_or_default();
        eprintln!(
            "  Read `kubectl edgecred explain {reason}`. The operator goes on by itself once that is mended."
        );
        return Ok(view.state.exit());
    }
    let left = view
        .expires_at
        .map_or(String::new(), |time| short(time.duration_since(now)));
    eprintln!(
        "{} Secret {} holds a token that is valid for {left}. For the workload:\n",
        styled(GOOD, "✔"),
        view.target
    );
    writeln!(
        anstream::stdout(),
        "{}",
        snippet(args.snippet, &view.target)
    )?;
    Ok(Exit::Well)
}

fn make_object(args: &InitArgs) -> EdgeCredential {
    let mut request = TokenRequestSpec::default();
    if let Some(url) = &args.token_url {
        request.url = url.clone();
    }
    let spec = EdgeCredentialSpec {
        credentials_secret_ref: CredentialsSecretRef::named(&args.credentials),
        token_request: request,
        renew_before: None,
        renew_before_percentage: None,
        suspend: false,
        target: Target::default(),
    };
    EdgeCredential::new(&args.name, spec)
}

/// Creates the Secret with the client credentials, unless there is a sound one.
async fn create_credentials(cluster: &Cluster, args: &InitArgs) -> Result<(), Error> {
    let name = &args.credentials;
    let names = make_object(args).spec.credentials_secret_ref;
    let check = |secret: &Secret| {
        let checked = extract_credentials(Some(secret), &names).map(drop);
        checked.map_err(|problem| {
            Error::refused(
                format!("Secret \"{name}\": {problem}"),
                "Nothing was created. Enter the command again.",
            )
        })
    };
    if let Some(secret) = cluster.secret(&cluster.namespace, name).await? {
        check(&secret)?;
        eprintln!("{} Secret {name} is used as it is", styled(GOOD, "✔"));
        return Ok(());
    }
    let id = read(args.client_id_file.as_ref(), "Client id")?;
    let secret = read(args.client_secret_file.as_ref(), "Client secret")?;
    let bytes = |text: &SecretString| ByteString(text.expose_secret().as_bytes().to_vec());
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            ..ObjectMeta::default()
        },
        data: Some(
            [
                (names.client_id_key.clone(), bytes(&id)),
                (names.client_secret_key.clone(), bytes(&secret)),
            ]
            .into(),
        ),
        type_: Some("Opaque".into()),
        ..Secret::default()
    };
    check(&secret)?;
    cluster.create("secrets", &secret).await?;
    eprintln!("{} Secret {name}", styled(GOOD, "✔"));
    Ok(())
}

/// Reads a credential from a file, or asks for it without showing it. A newline at the end of a file is not part of it.
fn read(file: Option<&PathBuf>, what: &str) -> Result<SecretString, Error> {
    if let Some(path) = file {
        let text = fs::read_to_string(path).map_err(|source| Error::File {
            path: path.clone(),
            action: "read",
            source,
        })?;
        return Ok(text.trim_end_matches(['\r', '\n']).into());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Error::Unanswered);
    }
    // Not shown either: people swap the two.
    let answer = Password::new().with_prompt(what).interact();
    Ok(answer.map_err(|_| Error::Unanswered)?.into())
}

fn snippet(kind: Snippet, secret: &str) -> String {
    match kind {
        Snippet::Deployment => format!(
            "spec:\n  template:\n    spec:\n      containers:\n        - name: app\n          volumeMounts: [{{name: edge-token, mountPath: \
             /var/run/edge, readOnly: true}}]\n      volumes:\n        - name: edge-token\n          secret: {{secretName: {secret}}}"
        ),
        Snippet::Helm => format!(
            "volumes:\n  - name: edge-token\n    secret: {{secretName: {secret}}}\nvolumeMounts:\n  - {{name: edge-token, mountPath: \
             /var/run/edge, readOnly: true}}"
        ),
        Snippet::Nextjs => format!(
            "// Mount the Secret {secret} at /var/run/edge. In server code alone: a route handler or a server action.\n\
             import {{ readFile }} from \"node:fs/promises\";\n\n\
             export async function edgeSettings() {{\n  \
             // Read on every call: the token is renewed.\n  \
             const token = await readFile(\"/var/run/edge/access_token\", \"utf8\");\n  \
             const answer = await fetch(\"https://edge.sitecorecloud.io/api/admin/v1/settings\", {{\n    \
             headers: {{ Authorization: `Bearer ${{token}}` }},\n    cache: \"no-store\",\n  }});\n  \
             return answer.json();\n}}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_for_a_deployment_are_those_of_the_documentation() {
        let example = include_str!("../../../examples/mount.yaml");
        assert_eq!(
            format!("{}\n", snippet(Snippet::Deployment, "edge-admin")),
            example
        );
    }

    #[test]
    fn each_snippet_names_the_secret() {
        for kind in Snippet::value_variants() {
            assert!(snippet(*kind, "my-token").contains("my-token"), "{kind:?}");
        }
    }
}
