//! What single commands do in the cluster, and with which exit code.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use edge_credential_operator::api::{ConditionType, Reason};
use kit::{
    control_plane::ControlPlane,
    harness::{CLIENT, SECRET, credentials, text},
    sitecore::Scenario,
};
use serde_json::Value;

use super::stage::{Stage, command, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_costs_one_request_and_says_what_became_of_it() {
    let stage = Stage::new("renew").await;
    let before = text(&stage.shop().secret("edge-admin").await, "access_token");
    let requests = stage.sitecore().requests(CLIENT);
    let said = stage.enter(&["renew", "edge-admin", "--wait"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.stdout.starts_with("edge-admin: renewed, expires "),
        "{said:?}"
    );
    assert_eq!(stage.sitecore().requests(CLIENT), requests + 1);
    assert_ne!(
        text(&stage.shop().secret("edge-admin").await, "access_token"),
        before
    );

    // A person must act.
    let said = stage.enter(&["renew", "edge-legacy", "--wait"]).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.stdout.contains("CredentialsMalformed"), "{said:?}");
    // It passes by itself, and not in time.
    stage
        .sitecore()
        .set_scenario(CLIENT, Scenario::server_error());
    let said = stage
        .enter(&["renew", "edge-admin", "--wait", "--timeout=2s"])
        .await;
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.stdout.contains("not renewed yet"), "{said:?}");
    let status = stage.enter(&["status", "edge-admin", "-o", "json"]).await;
    let rows: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(
        (rows[0]["state"].as_str(), status.code),
        (Some("Retrying"), 0),
        "{status:?}"
    );
    stage.sitecore().back_to_normal();

    let said = stage.enter(&["renew", "edge-preview", "--wait"]).await;
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("resume edge-preview"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_rotated_and_its_former_one_revoked_when_that_is_asked_for() {
    let mut stage = Stage::new("rotate").await;
    let said = stage.enter(&["end-overlap", "storefront-content"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("there is no former key"), "{said:?}");
    let former = stage.key().await;
    stage.restart_operator().await;
    let said = stage
        .enter(&["rotate", "storefront-content", "--wait"])
        .await;
    assert_eq!(said.code, 0, "{said:?}");
    let expected = "storefront-content: rotated, the former key works until ";
    assert!(said.stdout.starts_with(expected), "{said:?}");
    assert_ne!(stage.key().await, former);

    // While both work, everybody is told.
    let name = "edgetoken/storefront-content";
    for (args, text) in [
        (["status", name], "the former key works for "),
        (["tree", name], "retired"),
        (["inspect", name], "a former key works for "),
    ] {
        let said = stage.enter(&args).await;
        assert!(said.stdout.contains(text) && said.code == 0, "{said:?}");
    }
    let said = stage.enter(&["doctor"]).await;
    let pod = format!("pod {}/storefront-5d8c7f9b4d-x7k2p", stage.shop().name);
    let expected = format!("{pod} began before the key in Secret storefront-content was made");
    assert!(said.stdout.contains(&expected), "{said:?}");

    let said = stage
        .enter(&["end-overlap", "storefront-content", "--wait"])
        .await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("1 former key is revoked"), "{said:?}");
    let live = stage
        .sitecore()
        .keys()
        .iter()
        .filter(|key| !key.is_revoked)
        .count();
    assert_eq!(live, 1);

    // The operator made a key just now, so this passes by itself, and not in time.
    let said = stage
        .enter(&["rotate", "storefront-content", "--wait", "--timeout=1s"])
        .await;
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.stdout.contains("not rotated yet"), "{said:?}");
    // A person must act.
    let mut broken = stage.shop().edge_token("broken");
    broken.spec.credentials_secret_ref.name = "edge-old-client".into();
    stage.shop().create_edge_token(&broken).await;
    stage
        .shop()
        .edge_token_says(
            "broken",
            ConditionType::Stalled,
            Reason::CredentialsMalformed,
        )
        .await;
    let said = stage
        .enter(&["rotate", "broken", "--wait", "--timeout=1s"])
        .await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.stdout.contains("CredentialsMalformed"), "{said:?}");

    let said = stage.enter(&["suspend", name]).await;
    assert!(said.stdout.contains("its key works on"), "{said:?}");
    let said = stage.enter(&["rotate", name]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains(&format!("resume {name}")), "{said:?}");
    let said = stage.enter(&["resume", "--all"]).await;
    assert!(
        said.stdout.contains(&format!("{name} resumed")) && said.stdout.contains("edge-admin"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_tried_where_sitecore_is_and_shown_to_nobody_who_did_not_ask() {
    let stage = Stage::new("key").await;
    let name = "edgetoken/storefront-content";
    let url = stage.sitecore().url().to_owned();
    let key = stage.key().await;
    let said = stage.enter(&["token", "etoken/storefront-content"]).await;
    assert_eq!(said.stdout, format!("{key}\n"), "{said:?}");

    let queries = || {
        let keys = stage.sitecore().keys();
        keys.iter().map(|key| key.uses).sum::<u64>()
    };
    let before = queries();
    let said = stage.enter(&["call", name]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.stderr.contains(&format!(
            "the key would go to {url}, which is none of Sitecore's"
        )),
        "{said:?}"
    );
    let said = stage.enter(&["inspect", name, "--verify"]).await;
    assert!(said.stdout.contains("the key was not sent to"), "{said:?}");
    assert_eq!(queries(), before);
    let api = format!("--api={url}");
    for query in [&["--query={ __typename }"][..], &[]] {
        let said = stage
            .enter(&[&["call", name, &api][..], query].concat())
            .await;
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.stdout.contains("__typename"), "{said:?}");
    }
    let origin = format!("--allowed-api-origin={url}");
    let said = stage.enter(&["inspect", name, "--verify", &origin]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.stdout.contains("the Delivery API takes it"),
        "{said:?}"
    );
    assert_eq!(queries(), before + 3);

    // With an operator at work it would be mended within a second.
    stage.enter(&["suspend", name]).await;
    stage
        .shop()
        .edge_token_that("storefront-content", "is suspended", |_| true)
        .await;
    stage
        .shop()
        .edit_secret("storefront-content", |secret| {
            let data = secret.data.as_mut().unwrap();
            data.get_mut("SITECORE_API_KEY").unwrap().0[0] ^= 1;
        })
        .await;
    let said = stage.enter(&["inspect", name]).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(
        said.stdout.contains("no value in it proves to be a key"),
        "{said:?}"
    );
    let said = stage.enter(&["token", name]).await;
    assert_eq!((said.code, &*said.stdout), (1, ""), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_objects_say_why_until_they_are_resumed() {
    let stage = Stage::new("suspend").await;
    let said = stage
        .enter(&["suspend", "edge-admin", "--reason", "moves to Berlin"])
        .await;
    assert_eq!(said.code, 0, "{said:?}");
    stage
        .shop()
        .has_reason("edge-admin", Reason::Suspended)
        .await;
    let status = stage.enter(&["status", "edge-admin", "--no-headers"]).await;
    assert!(
        status.stdout.contains("Suspended") && status.stdout.contains("moves to Berlin"),
        "{status:?}"
    );
    assert_eq!(stage.enter(&["resume", "edge-admin"]).await.code, 0);
    let object = stage
        .shop()
        .has_reason("edge-admin", Reason::TokenValid)
        .await;
    assert!(object.metadata.annotations.unwrap_or_default().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_undone_takes_the_name_of_the_tenant() {
    let stage = Stage::new("call").await;
    let api = format!("--api={}", stage.sitecore().url());
    let call = [
        "call",
        "edge-admin",
        "DELETE",
        "/api/admin/v1/content",
        &api,
    ];
    let said = stage.enter(&call).await;
    assert_eq!(said.code, 1);
    assert!(
        said.stderr
            .contains("deletes all published content of tenant acme-prod"),
        "{said:?}"
    );
    let other = [&call[..], &["--confirm-tenant=acme-test"]].concat();
    assert_eq!(stage.enter(&other).await.code, 1);
    assert!(stage.sitecore().deletions().is_empty());
    let confirmed = [&call[..], &["--confirm-tenant=acme-prod"]].concat();
    let said = stage.enter(&confirmed).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(stage.sitecore().deletions().len(), 1);
    // An API that refuses fails the command.
    let said = stage
        .enter(&["call", "edge-admin", "GET", "/api/nothing", &api])
        .await;
    assert_eq!(said.code, 1, "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_sends_one_request_and_writes_nothing() {
    let stage = Stage::new("trial").await;
    let requests = stage.sitecore().requests(CLIENT);
    let before = stage.shop().secret("edge-admin").await;
    let said = stage
        .enter(&[
            "test",
            "edge-admin",
            &format!("--allowed-token-origin={}", stage.sitecore().url()),
        ])
        .await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("a token was issued"), "{said:?}");
    assert_eq!(stage.sitecore().requests(CLIENT), requests + 1);
    assert_eq!(stage.shop().secret("edge-admin").await, before);

    // An EdgeToken asks the same endpoint, and no key is made for a trial.
    let keys = stage.sitecore().keys().len();
    let url = stage.sitecore().url();
    let said = stage
        .enter(&[
            "test",
            "edgetoken/storefront-content",
            &format!("--allowed-token-origin={url}"),
            &format!("--allowed-api-origin={url}"),
        ])
        .await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(stage.sitecore().requests(CLIENT), requests + 2);
    assert_eq!(stage.sitecore().keys().len(), keys);

    // Whoever has no such rights is told what the operator would allow by default.
    let said = stage.enter(&["test", "edge-admin"]).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.stdout.contains("TokenOriginNotAllowed"), "{said:?}");

    stage
        .sitecore()
        .set_scenario(CLIENT, Scenario::grant_not_allowed());
    let manifest = format!(
        "apiVersion: edgecredentials.io/v1alpha1\nkind: EdgeCredential\nmetadata: {{name: new}}\nspec:\n  credentialsSecretRef: {{name: \
         edge-client}}\n  tokenRequest: {{url: \"{}\"}}\n",
        stage.sitecore().token_url()
    );
    std::fs::write(stage.folder.path().join("edge.yaml"), manifest).unwrap();
    let manifest = format!(
        "apiVersion: edgecredentials.io/v1alpha1\nkind: EdgeToken\nmetadata: {{name: new}}\nspec:\n  credentialsSecretRef: {{name: \
         edge-client}}\n  tokenRequest: {{url: \"{}\"}}\n  deliveryURL: https://delivery.example/\n",
        stage.sitecore().token_url()
    );
    std::fs::write(stage.folder.path().join("key.yaml"), manifest).unwrap();
    let origin = format!("--allowed-token-origin={}", stage.sitecore().url());
    let said = stage.enter(&["test", "-f", "edge.yaml", &origin]).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.stdout.contains("ClientNotAllowed"), "{said:?}");
    // The first EdgeToken of a file is as good.
    let said = stage.enter(&["test", "-f", "key.yaml", &origin]).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.stdout.contains("EdgeAPIOriginNotAllowed"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_target_does_not_pass_inspection() {
    let stage = Stage::new("inspect").await;
    let said = stage.enter(&["inspect", "edge-admin", "--verify"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("the signature is good"), "{said:?}");
    // With an operator at work it would be mended within a second.
    stage.enter(&["suspend", "edge-admin"]).await;
    stage
        .shop()
        .has_reason("edge-admin", Reason::Suspended)
        .await;
    stage
        .shop()
        .replace_data("edge-client", &credentials("another-client", SECRET))
        .await;
    let said = stage.enter(&["inspect", "edge-admin"]).await;
    assert!(
        said.stdout.contains("requested with other credentials"),
        "{said:?}"
    );
    stage
        .shop()
        .edit_secret("edge-admin", |secret| {
            let data = secret.data.as_mut().unwrap();
            data.get_mut("access_token").unwrap().0[20] ^= 1;
        })
        .await;
    let said = stage.enter(&["inspect", "edge-admin"]).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(
        said.stdout.contains("no value in it proves to be a token"),
        "{said:?}"
    );
    let said = stage.enter(&["token", "edge-admin"]).await;
    assert_eq!((said.code, &*said.stdout), (1, ""), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_formats_are_those_of_kubectl() {
    let stage = Stage::new("format").await;
    let said = stage.enter(&["status", "-o", "name"]).await;
    assert_eq!(
        said.stdout,
        "edgecredential.edgecredentials.io/edge-legacy\nedgecredential.edgecredentials.io/edge-admin\n\
         edgetoken.edgecredentials.io/storefront-content\nedgecredential.edgecredentials.io/edge-preview\n"
    );
    assert_eq!(said.code, 3, "a person must act on one of them");
    let said = stage.enter(&["status", "-o", "yaml"]).await;
    assert!(
        said.stdout.contains("state: Stalled") && said.stdout.contains("kind: EdgeToken"),
        "{said:?}"
    );
    let said = stage.enter(&["tree", "edge-admin", "-o", "json"]).await;
    let tree: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        tree["workloads"][1]["name"], "edge-settings-watcher",
        "{tree}"
    );

    // What kubectl's completion reads.
    let said = stage.enter(&["__complete", "status", ""]).await;
    assert_eq!(
        said.stdout, "edge-admin\nedge-legacy\nedge-preview\nedgetoken/storefront-content\n:4\n",
        "{said:?}"
    );
    let said = stage.enter(&["__complete", "tree", "edgetoken/s"]).await;
    assert_eq!(said.stdout, "edgetoken/storefront-content\n:4\n");
    let said = stage.enter(&["__complete", "rotate", ""]).await;
    assert_eq!(said.stdout, "storefront-content\n:4\n");
    let said = stage.enter(&["__complete", "ren"]).await;
    assert!(
        said.stdout.starts_with("renew\tHave tokens renewed now"),
        "{said:?}"
    );
    let said = stage.enter(&["__complete", "explain", "Rate"]).await;
    assert!(said.stdout.starts_with("RateLimited"), "{said:?}");
    let folder = stage.folder.path().join("bin");
    std::fs::create_dir(&folder).unwrap();
    let said = stage
        .enter(&["completion", "--install", "--to", "bin"])
        .await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(folder.join("kubectl_complete-edgecred").is_file());

    // And kubectl itself, for which both are in its path.
    symlink(
        env!("CARGO_BIN_EXE_kubectl-edgecred"),
        folder.join("kubectl-edgecred"),
    )
    .unwrap();
    let kubectl = &stage.scene.control_plane.binaries().kubectl;
    let with_kubectl = async |args: &[&str]| {
        let mut command = Command::new(kubectl);
        let path = format!(
            "{}:{}",
            folder.display(),
            std::env::var("PATH").unwrap_or_default()
        );
        command
            .args(args)
            .env_clear()
            .env("PATH", path)
            .env("KUBECONFIG", &stage.kubeconfig);
        run(command).await
    };
    let said = with_kubectl(&["edgecred", "status", "-o", "name"]).await;
    assert!(said.stdout.contains("/edge-admin\n"), "{said:?}");
    let said = with_kubectl(&["__complete", "edgecred", "renew", "edge-a"]).await;
    assert!(said.stdout.starts_with("edge-admin\n"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_the_operator_says_so() {
    let plane = ControlPlane::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = plane.admin_kubeconfig();
    let said = run(command(folder.path(), &kubeconfig, &["status"])).await;
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.contains("this cluster has no edgecredentials"),
        "{said:?}"
    );
    assert!(
        said.stderr.contains("--context") && said.stderr.contains("docs/install.md"),
        "{said:?}"
    );
    let said = run(command(
        folder.path(),
        &kubeconfig,
        &["renew", "edge-admin"],
    ))
    .await;
    assert!(
        said.stderr.contains("this cluster has no edgecredentials"),
        "{said:?}"
    );
    let said = run(command(folder.path(), &kubeconfig, &["doctor"])).await;
    assert_eq!(said.code, 3);
    assert!(said.stdout.contains("there is no operator"), "{said:?}");

    // Without EdgeTokens, EdgeCredentials are shown alone.
    let definition = include_str!("../../../crds/edgecredentials.yaml");
    plane.apply(definition).await.unwrap();
    plane.wait_for_definitions().await.unwrap();
    let said = run(command(folder.path(), &kubeconfig, &["status"])).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!said.stderr.contains("not shown"), "{said:?}");
    let said = run(command(folder.path(), &kubeconfig, &["doctor"])).await;
    assert!(
        said.stdout
            .contains("✔ no definition of EdgeTokens, which is optional"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_cannot_be_asked_is_told_from_one_that_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let write =
        |name: &str, server: &str, user: &str| write_kubeconfig(folder.path(), name, server, user);
    let nobody = write("nobody", "https://127.0.0.1:1", "token: x");
    let nowhere = write("nowhere", "https://no-such-host.invalid", "token: x");
    let program = write(
        "program",
        "https://127.0.0.1:1",
        "exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-program, interactiveMode: Never}",
    );
    for (kubeconfig, args, said) in [
        (
            folder.path().join("none"),
            vec!["status"],
            "there is no kubeconfig",
        ),
        (nobody.clone(), vec!["status"], "the connection was refused"),
        (
            nobody.clone(),
            vec!["status", "--context=there"],
            "has no context \"there\"\n  There are: here.",
        ),
        (nowhere, vec!["status"], "the API server cannot be reached"),
        (program, vec!["status"], "the login failed"),
    ] {
        let printed = run(command(folder.path(), &kubeconfig, &args)).await;
        assert_eq!(printed.code, 1, "{printed:?}");
        assert!(printed.stderr.contains(said), "{printed:?}");
        assert_eq!(printed.stdout, "");
    }
    // Without a cluster these work.
    let nobody = &folder.path().join("none");
    assert_eq!(
        run(command(folder.path(), nobody, &["explain", "ratelimited"]))
            .await
            .code,
        0
    );
    assert_eq!(
        run(command(folder.path(), nobody, &["explain", "Unknown"]))
            .await
            .code,
        2
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_command_is_not_for_is_a_wrong_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = write_kubeconfig(folder.path(), "nobody", "https://127.0.0.1:1", "token: x");
    for (args, text) in [
        (&["renew", "edgetoken/x"][..], "x is an EdgeToken"),
        (
            &["rotate", "edgecredential/x"][..],
            "x is an EdgeCredential",
        ),
        (&["status", "secret/x"][..], "edgecredential or edgetoken"),
        (&["status", "a/../b"][..], "edgecredential or edgetoken"),
        (&["status", "A"][..], "not a name"),
        (&["call", "edge-admin"][..], "METHOD and PATH are missing"),
        (
            &["call", "edge-admin", "--query={x}"][..],
            "METHOD and PATH are missing",
        ),
        (
            &["call", "edgetoken/x", "GET", "/"][..],
            "the Delivery API alone",
        ),
    ] {
        let said = run(command(folder.path(), &kubeconfig, args)).await;
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.stderr.contains(text), "{said:?}");
    }
}

/// Writes a kubeconfig for a user of a server.
fn write_kubeconfig(folder: &Path, name: &str, server: &str, user: &str) -> PathBuf {
    let path = folder.join(name);
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\ncontexts: [{{name: here, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: \"{server}\"}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}
