//! No secret is in anything that a command prints or writes, but where it was asked for.

use std::io::Read;

use clap::CommandFactory;
use kit::{
    canary::assert_absent,
    harness::{CLIENT, SECRET, text},
};
use kubectl_edgecred::cli::Cli;

use super::stage::{Stage, write_files};

/// The EdgeToken, as it is entered.
const KEY: &str = "edgetoken/storefront-content";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_prints_a_secret_unless_it_was_asked_for() {
    let mut stage = Stage::new("canary").await;
    stage.restart_operator().await;
    write_files(&stage);
    let former_key = stage.key().await;
    let token = text(&stage.shop().secret("edge-admin").await, "access_token");
    let api = format!("--api={}", stage.sitecore().url());
    let api_origin = format!("--allowed-api-origin={}", stage.sitecore().url());
    let origin = format!("--allowed-token-origin={}", stage.sitecore().url());
    let url = format!("--token-url={}", stage.sitecore().token_url());
    let mut commands: Vec<Vec<&str>> = Vec::new();
    for format in ["table", "wide", "json", "yaml", "name"] {
        for command in ["status", "events", "doctor"] {
            commands.push(vec![command, "-o", format]);
        }
        for command in ["tree", "inspect"] {
            commands.push(vec![command, "edge-admin", "-o", format]);
            commands.push(vec![command, "edge-legacy", "-o", format]);
            commands.push(vec![command, KEY, "-o", format]);
        }
        commands.push(vec!["explain", "-o", format]);
    }
    commands.extend([
        vec!["inspect", "edge-admin", "--verify"],
        vec!["call", "edge-admin", "GET", "/api/admin/v1/settings", &api],
        vec!["call", "edge-admin", "GET", "/api/apikey/v1", &api],
        vec!["call", "edge-admin", "DELETE", "/api/admin/v1/cache", &api],
        vec!["test", "edge-admin", &origin],
        vec!["test", "edge-legacy", &origin],
        vec!["test", KEY, &origin, &api_origin],
        vec!["validate", "-f", "k8s"],
        vec![
            "init",
            "edge-new",
            "--credentials=new-client",
            "--client-id-file=id.txt",
            "--client-secret-file=secret.txt",
            &url,
        ],
        vec!["init", "edge-dry", "--dry-run"],
        vec!["suspend", "edge-new"],
        vec!["resume", "edge-new"],
        vec!["renew", "edge-new"],
        vec!["doctor", "--bundle=support.tar.gz"],
        vec!["events", KEY],
        vec!["call", KEY, &api],
        vec!["call", KEY],
        vec!["inspect", KEY, "--verify", &api_origin],
        vec!["rotate", "storefront-content", "--wait"],
        vec!["tree", KEY],
        vec!["inspect", KEY],
        vec!["status", KEY, "-o", "json"],
        vec!["end-overlap", "storefront-content", "--wait"],
        vec!["suspend", KEY],
        vec!["resume", KEY],
        vec!["token", "edgetoken/nothing"],
        vec!["completion"],
        vec!["__complete", "status", ""],
        vec!["token", "edge-legacy"],
    ]);
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(
            commands.iter().any(|args| args[0] == name),
            "{name} is not tried"
        );
    }
    let mut outputs = Vec::new();
    for args in &commands {
        let said = stage.enter(args).await;
        assert_ne!(said.code, 2, "{args:?}: {said:?}");
        outputs.push((args.join(" "), said.stdout + &said.stderr));
    }
    let archive = std::fs::File::open(stage.folder.path().join("support.tar.gz")).unwrap();
    let mut bundle = String::new();
    let mut unpacked = flate2::read::GzDecoder::new(archive);
    unpacked.read_to_string(&mut bundle).unwrap();
    assert!(
        bundle.contains("edge-legacy")
            && bundle.contains("CredentialsMalformed")
            && bundle.contains("storefront-content"),
        "{bundle}"
    );
    outputs.push(("the archive".into(), bundle));
    let outputs: Vec<_> = outputs
        .iter()
        .map(|(what, said)| (&**what, said.clone()))
        .collect();
    let key = stage.key().await;
    assert_ne!(key, former_key, "it was rotated");
    assert_absent(&[CLIENT, SECRET, &token, &former_key, &key], &outputs);

    // Where it is asked for, it is the token and nothing else.
    let said = stage.enter(&["token", "edge-admin"]).await;
    assert_eq!(
        (said.stdout, said.stderr, said.code),
        (format!("{token}\n"), String::new(), 0)
    );
    let said = stage.enter(&["token", KEY]).await;
    assert_eq!(
        (said.stdout, said.stderr, said.code),
        (format!("{key}\n"), String::new(), 0)
    );
}
