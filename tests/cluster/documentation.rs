//! The commands of README.md and of `docs/`, run as a reader would: page by page, in a shell, on a cluster that has nothing
//! yet. What plays the part of the node runs the operator as its Deployment says, and lets it find Sitecore's token endpoint
//! under its own name.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use kit::{
    control_plane::ControlPlane,
    harness::{Operator, PATIENCE, crd_is_served, deployed, find},
    markdown::{Block, blocks, pages},
    script,
    sitecore::{Certificate, Sitecore, TlsFront},
    workspace,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Command,
};

/// The pages, in the order in which they are read here: what is deleted is deleted last.
const PAGES: [&str; 30] = [
    "README.md",
    "docs/reference/edgecredential.md",
    "docs/workloads.md",
    "docs/edge-tokens.md",
    "docs/runbooks/EdgeTokenAPIFailing.md",
    "docs/runbooks/EdgeTokenKeyLeft.md",
    "docs/runbooks/EdgeTokenNotReady.md",
    "docs/runbooks/EdgeTokenRevocationOverdue.md",
    "docs/runbooks/EdgeTokenRotationOverdue.md",
    "docs/runbooks/EdgeTokenStalled.md",
    "docs/troubleshooting.md",
    "docs/log.md",
    "docs/monitoring.md",
    "docs/backup.md",
    "docs/runbooks/README.md",
    "docs/runbooks/EdgeCredentialNotReady.md",
    "docs/runbooks/EdgeCredentialOperatorAPIErrors.md",
    "docs/runbooks/EdgeCredentialOperatorAbsent.md",
    "docs/runbooks/EdgeCredentialOperatorNoLeader.md",
    "docs/runbooks/EdgeCredentialOperatorPanics.md",
    "docs/runbooks/EdgeCredentialOperatorWatchFailing.md",
    "docs/runbooks/EdgeCredentialRenewalFailing.md",
    "docs/runbooks/EdgeCredentialRenewalsOverdue.md",
    "docs/runbooks/EdgeCredentialStalled.md",
    "docs/runbooks/EdgeCredentialSuspendedTokenExpired.md",
    "docs/runbooks/EdgeCredentialTokenExpired.md",
    "docs/runbooks/EdgeCredentialTokenExpiresSoon.md",
    "docs/runbooks/EdgeCredentialTokenRequestsFailing.md",
    "docs/upgrade.md",
    "docs/install.md",
];

/// Where the documentation puts the operator.
const HOME: &str = "edge-credential-operator";

/// Where it has the first token.
const SHOP: &str = "storefront";

/// What a reader puts in the place of these words.
const WORDS: [(&str, &str); 6] = [
    ("NAMESPACE", SHOP),
    ("NAME", "edge-admin"),
    ("TARGET", "edge-admin"),
    ("CREDENTIALS", "edge-client"),
    ("SECRET", "edge-admin"),
    ("FILE", "/dev/null"),
];

/// What stands for `NAME` on pages about EdgeTokens: the one that the first of them has made.
const EDGE_TOKEN: &str = "storefront-content";

/// The host of the default `spec.tokenRequest.url`.
const TOKEN_HOST: &str = "auth.sitecorecloud.io";

/// The host of the Token API and the Delivery API by default.
const API_HOST: &str = "edge.sitecorecloud.io";

/// What a spec needs to be an object.
const EXAMPLE: &str = "apiVersion: edgecredentials.io/v1alpha1
kind: EdgeCredential
metadata: {name: example, namespace: storefront}
";

/// Fails where a command does, but not where `grep` finds nothing: that is an answer too.
const PRELUDE: &str = r#"
set -euo pipefail
grep() { command grep "$@" || [ $? -eq 1 ]; }
"#;

/// Somebody who reads the documentation and enters its commands.
pub struct Reader {
    folder: PathBuf,
    kubeconfig: PathBuf,
    token_url: String,
}

impl Reader {
    /// With kubectl and Helm on the path. No kubelet has a log here: `kubectl logs` shows this file, or what bash connects to
    /// at such a path (`/dev/tcp`).
    pub fn new(control_plane: &ControlPlane, log: &Path, token_url: String) -> Self {
        let folder = control_plane.folder().join("reader");
        fs::create_dir(&folder).unwrap();
        let binaries = control_plane.binaries();
        let kubectl = format!(
            "#!/usr/bin/env bash\nif [ \"$1\" = logs ]; then exec cat < {}; fi\nexec {} \"$@\"\n",
            log.display(),
            binaries.kubectl.display()
        );
        let helm = format!("#!/bin/sh\nexec {} \"$@\"\n", binaries.helm.display());
        for (name, text) in [("kubectl", kubectl), ("helm", helm)] {
            script::write(&folder.join(name), &text).unwrap();
        }
        Self {
            folder,
            kubeconfig: control_plane.admin_kubeconfig(),
            token_url,
        }
    }

    /// Enters a block, and returns what it printed.
    pub async fn enter(&self, block: &Block) -> String {
        let mut text = block.text.replace("TOKEN-URL", &self.token_url);
        let is_about_keys =
            block.page.contains("/EdgeToken") || block.page.ends_with("edge-tokens.md");
        if is_about_keys {
            text = replace_word(&text, "NAME", EDGE_TOKEN);
        }
        for (word, meant) in WORDS {
            text = replace_word(&text, word, meant);
        }
        let output = self.run(&text).await;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{}:{}\n{text}\n{printed}{}",
            block.page,
            block.line,
            String::from_utf8_lossy(&output.stderr)
        );
        printed
    }

    /// Has the API server judge each EdgeCredential that the documentation shows.
    async fn has_examples_accepted(&self) {
        let mut count = 0;
        for block in pages().iter().flat_map(|page| blocks(page)) {
            let is_whole = block.text.contains("kind: EdgeCredential");
            let is_part = block.text.starts_with("spec:\n  credentialsSecretRef:");
            if block.language != "yaml" || !(is_whole || is_part) {
                continue;
            }
            let head = if is_whole { "" } else { EXAMPLE };
            let text = format!(
                "kubectl apply --dry-run=server -f - <<'END'\n{head}{}END",
                block.text
            );
            self.enter(&Block { text, ..block }).await;
            count += 1;
        }
        assert!(count >= 6, "{count} examples");
    }

    /// Follows a block with a wrong client secret until the table is the one that README.md shows, and takes it back.
    async fn has_the_refusal_that_is_shown(&self, block: &Block) {
        let (until_applied, _) = block.text.split_once("kubectl wait").unwrap();
        let wrong = until_applied.replace("YOUR-CLIENT-SECRET", "WRONG");
        assert_ne!(wrong, until_applied);
        let applied = self.run(&wrong).await;
        assert!(applied.status.success(), "{applied:?}");
        // All but the age, which stands last.
        let without_age = |table: &str| -> Vec<String> {
            let rows = table.lines().map(str::trim_end);
            rows.map(|row| row.trim_end_matches(|c: char| c.is_ascii_digit() || "sm".contains(c)))
                .map(str::to_owned)
                .collect()
        };
        let [_, refused] = shown_tables();
        let look = &format!("kubectl get ecred --namespace {SHOP}");
        let mut printed = String::new();
        let seen = find(PATIENCE, async || {
            let output = self.run(look).await;
            printed = String::from_utf8_lossy(&output.stdout).into_owned();
            (without_age(&printed) == without_age(&refused)).then_some(())
        });
        assert!(seen.await.is_some(), "{printed}");
        let delete =
            format!("kubectl delete ecred/edge-admin secret/edge-client --namespace {SHOP}");
        assert!(self.run(&delete).await.status.success());
    }

    /// Where the programs are that the reader has.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Enters a text, and ends with the first command that fails.
    pub async fn run(&self, text: &str) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new("bash")
            .arg("-c")
            .arg(format!("{PRELUDE}{text}"))
            .current_dir(workspace())
            .env("PATH", format!("{}:{path}", self.folder.display()))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.folder)
            .env("KUBERC", "off")
            .env("no_proxy", "127.0.0.1,localhost")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_documentation_work_and_lead_to_a_token_that_is_renewed() {
    let control_plane = ControlPlane::start().await.unwrap();
    let client = control_plane.admin_client().await.unwrap();
    let sitecore = Sitecore::start().unwrap();
    sitecore.add_client("YOUR-CLIENT-ID", "YOUR-CLIENT-SECRET");
    let log = control_plane.folder().join("documentation.log");
    let mut reader = Reader::new(&control_plane, &log, sitecore.token_url());
    let secrets = Api::<Secret>::namespaced(client.clone(), SHOP);
    let token = async || {
        let secret = secrets.get_opt("edge-admin").await.ok()??;
        Some(secret.data?.remove("access_token")?.0)
    };

    let fronts = [TOKEN_HOST, API_HOST]
        .map(|host| TlsFront::start(&sitecore, Certificate::Named(host)).unwrap());
    let authority = control_plane.folder().join("authority.pem");
    let authorities = fronts.each_ref().map(|front| front.authority());
    fs::write(&authority, authorities.concat()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let urls = fronts.each_ref().map(TlsFront::url);
    tokio::spawn(serve_connects(listener, urls));
    let node = play_the_node(&control_plane, &client, &log, |operator| {
        let trusts = format!("--token-ca-file={}", authority.display());
        operator.add([trusts], [("HTTPS_PROXY".to_owned(), proxy.clone())]);
    });
    let read = async {
        let mut read = BTreeSet::new();
        for page in PAGES {
            if page == "docs/upgrade.md" {
                reader.has_examples_accepted().await;
            }
            let ours = blocks(page).into_iter().filter(is_run_here);
            for (number, block) in ours.enumerate() {
                eprintln!("{}:{}", block.page, block.line);
                read.insert(page.to_owned());
                match (page, number) {
                    ("README.md", 0) => {
                        reader.enter(&block).await;
                        reader.kubeconfig = editor(&control_plane).await;
                        continue;
                    }
                    ("README.md", 1) => {
                        reader.has_the_refusal_that_is_shown(&block).await;
                        let printed = reader.enter(&block).await;
                        let table = printed.lines().rev().take(2).collect::<Vec<_>>();
                        let [ready, _] = shown_tables();
                        assert_eq!(ready.lines().next(), Some(table[1]));
                        assert!(
                            table[0].starts_with("edge-admin   True    TokenValid   "),
                            "{printed}"
                        );
                        reader.kubeconfig = control_plane.admin_kubeconfig();
                    }
                    ("docs/reference/edgecredential.md", _) => {
                        let before = token().await.unwrap();
                        reader.enter(&block).await;
                        let renewed = find(PATIENCE, async || {
                            token().await.filter(|token| *token != before)
                        });
                        assert!(renewed.await.is_some(), "the token is not renewed");
                    }
                    ("docs/workloads.md", 0) => {
                        let deployment = "kubectl create deployment edge-admin --image=app --namespace storefront";
                        assert!(reader.run(deployment).await.status.success());
                        reader.enter(&block).await;
                    }
                    _ => {
                        reader.enter(&block).await;
                    }
                }
                // What a command deleted is there again for the next one.
                if page != "docs/install.md" {
                    let there = find(PATIENCE, token);
                    assert!(there.await.is_some(), "{page} left no token");
                }
            }
        }
        let ours = |page: &String| blocks(page).iter().any(is_run_here);
        let all: BTreeSet<_> = pages().into_iter().filter(ours).collect();
        assert_eq!(read, all);
    };
    tokio::select! {
        () = read => {}
        () = node => {}
    }
}

/// What README.md shows of `kubectl get ecred`: with a token, and with wrong credentials.
fn shown_tables() -> [String; 2] {
    let shown = blocks("README.md").into_iter();
    let shown = shown.filter(|block| block.language.is_empty());
    let tables: Vec<_> = shown.map(|block| block.text).collect();
    tables.try_into().unwrap()
}

/// Whether this test runs a block: no other one does, and nothing keeps it from being run.
fn is_run_here(block: &Block) -> bool {
    block.language == "console" && block.mark.is_none()
}

fn replace_word(text: &str, word: &str, meant: &str) -> String {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let inner = before.ends_with(is_inner) || after.starts_with(is_inner);
        replaced += before;
        replaced += if inner { word } else { meant };
        rest = after;
    }
    replaced + rest
}

/// A kubeconfig of somebody with the ClusterRole `edit` in the namespace of the first token, and nothing else.
async fn editor(control_plane: &ControlPlane) -> PathBuf {
    let account = format!(
        "apiVersion: v1
kind: ServiceAccount
metadata: {{name: editor, namespace: {SHOP}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: editor, namespace: {SHOP}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}}
subjects: [{{kind: ServiceAccount, name: editor, namespace: {SHOP}}}]
"
    );
    control_plane.apply(&account).await.unwrap();
    let user = format!("--as=system:serviceaccount:{SHOP}:editor");
    let may = [
        "auth",
        "can-i",
        "create",
        "edgecredentials",
        "--namespace",
        SHOP,
        &user,
    ];
    let allowed = find(PATIENCE, async || control_plane.kubectl(&may).await.ok());
    assert!(allowed.await.is_some(), "edit is not enough");
    control_plane
        .service_account_kubeconfig(SHOP, "editor")
        .await
        .unwrap()
}

/// Runs the operator while its Deployment is there, with what `prepare` adds to it, and says so in that one's status. Never
/// ends.
pub async fn play_the_node(
    control_plane: &ControlPlane,
    client: &Client,
    log: &Path,
    prepare: impl Fn(&mut Operator),
) {
    let deployments = Api::<Deployment>::namespaced(client.clone(), HOME);
    let mut running = None;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let Ok(deployment) = deployments.get_opt(HOME).await else {
            continue;
        };
        let Some(deployment) = deployment else {
            running = None;
            continue;
        };
        if running.is_none() {
            crd_is_served(control_plane).await;
            let mut operator =
                deployed("documentation", control_plane, client, HOME, &[], log).await;
            prepare(&mut operator);
            operator.start().await;
            running = Some(operator);
        }
        say_that_it_runs(&deployments, &deployment).await;
    }
}

/// Says in a Deployment's status what Kubernetes says there once its pod is ready.
pub async fn say_that_it_runs(deployments: &Api<Deployment>, deployment: &Deployment) {
    let generation = deployment.metadata.generation;
    let observed = deployment.status.as_ref();
    if observed.and_then(|status| status.observed_generation) == generation {
        return;
    }
    let condition = |type_: &str, reason: &str| {
        json!({"type": type_, "status": "True", "reason": reason, "message": "",
            "lastUpdateTime": null, "lastTransitionTime": null})
    };
    let status = json!({"status": {
        "observedGeneration": generation,
        "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "conditions": [
            condition("Available", "MinimumReplicasAvailable"),
            condition("Progressing", "NewReplicaSetAvailable"),
        ],
    }});
    let patch = Patch::Merge(&status);
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let _ = deployments
        .patch_status(name, &PatchParams::default(), &patch)
        .await;
}

/// A proxy that leads to these servers, each by the host of its URL.
async fn serve_connects(listener: TcpListener, urls: [String; 2]) {
    while let Ok((mut connection, _)) = listener.accept().await {
        let urls = urls.clone();
        tokio::spawn(async move {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(connection.read_u8().await?);
            }
            let asked = String::from_utf8_lossy(&asked);
            let host = asked
                .strip_prefix("CONNECT ")
                .and_then(|rest| rest.split_once(":443 "));
            let is_asked = |url: &&String| host.is_some_and(|(host, _)| url.contains(host));
            let Some(url) = urls.iter().find(is_asked) else {
                return Err(std::io::Error::from(ErrorKind::InvalidInput));
            };
            let port = url.rsplit(':').next().unwrap_or_default();
            connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            let mut server = TcpStream::connect(format!("127.0.0.1:{port}")).await?;
            copy_bidirectional(&mut connection, &mut server).await
        });
    }
}
