//! No secret is in anything that a command prints or writes, but where it was asked for.

use std::io::Read;

use clap::CommandFactory;
use kit::{
    canary::assert_absent,
    harness::{CLIENT, SECRET, text},
};
use kubectl_edgecred::cli::Cli;

use super::stage::{Stage, write_files};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_prints_a_secret_unless_it_was_asked_for() {
    let stage = Stage::new("canary").await;
    write_files(&stage);
    let token = text(&stage.shop().secret("edge-admin").await, "access_token");
    let api = format!("--api={}", stage.sitecore().url());
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
        bundle.contains("edge-legacy") && bundle.contains("CredentialsMalformed"),
        "{bundle}"
    );
    outputs.push(("the archive".into(), bundle));
    let outputs: Vec<_> = outputs
        .iter()
        .map(|(what, said)| (&**what, said.clone()))
        .collect();
    assert_absent(&[CLIENT, SECRET, &token], &outputs);

    // Where it is asked for, it is the token and nothing else.
    let said = stage.enter(&["token", "edge-admin"]).await;
    assert_eq!(
        (said.stdout, said.stderr, said.code),
        (format!("{token}\n"), String::new(), 0)
    );
}
