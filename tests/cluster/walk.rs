//! The walk through docs/install.md without a cluster, entered as it stands but for its ports and its folder.

use std::{fs, time::Duration};

use kit::{
    control_plane::{ControlPlane, free_port},
    harness::{PATIENCE, crd_is_served, find},
    markdown::{Mark, blocks},
    process::GuardedProcess,
    sitecore::Sitecore,
    workspace,
};

use crate::documentation::Reader;

const PAGE: &str = "docs/install.md";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_walk_without_a_cluster_leads_to_a_token_that_is_renewed_and_taken() {
    let control_plane = ControlPlane::start().await.unwrap();
    let sitecore = Sitecore::start().unwrap();
    sitecore.add_client("demo-client", "demo-secret");
    sitecore.set_lifetime("demo-client", Duration::from_secs(60));
    let log = control_plane.folder().join("walk.log");
    let reader = Reader::new(&control_plane, &log, sitecore.token_url());
    let folder = control_plane.folder().join("try");
    let metrics = format!("127.0.0.1:{}", free_port().unwrap());
    let ours = Some(Mark::RunBy("tests/cluster/walk.rs".to_owned()));
    let texts: Vec<_> = blocks(PAGE)
        .into_iter()
        .filter(|block| block.mark == ours)
        .map(|block| {
            let text = block.text.replace("http://127.0.0.1:8089", sitecore.url());
            let text = text.replace("127.0.0.1:8080", &metrics);
            text.replace(".cache/try", folder.to_str().unwrap())
        })
        .collect();
    let [install, kubeconfig, run, ask, use_it, renewed, clean_up] = &texts[..] else {
        panic!("another walk: {texts:#?}");
    };
    // What says no, or finds a difference, ends with 1.
    let enter = async |text: &str| -> String {
        let output = reader.run(&format!("set +e\n{text}")).await;
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    };

    let printed = enter(install).await;
    assert!(printed.contains("STATUS: deployed"), "{printed}");
    crd_is_served(&control_plane).await;
    let printed = enter(kubeconfig).await;
    let user = "system:serviceaccount:edge-credential-operator:edge-credential-operator";
    assert!(
        printed.contains(user) && printed.ends_with("no\n"),
        "{printed}"
    );

    let program = kit::operator::program().unwrap();
    let run = run.replace(
        "target/debug/edge-credential-operator",
        program.to_str().unwrap(),
    );
    let path = std::env::var("PATH").unwrap();
    let _operator = GuardedProcess::command("the walk's operator", "bash", &log)
        .args(["-c", &run])
        .current_dir(workspace())
        .env("PATH", format!("{}:{path}", reader.folder().display()))
        .env("KUBECONFIG", control_plane.admin_kubeconfig())
        .env("EDGE_CREDENTIAL_LISTEN", &metrics)
        .spawn()
        .unwrap();
    let leads = find(PATIENCE, async || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        log.contains(": leading ").then_some(())
    });
    assert!(
        leads.await.is_some(),
        "{}",
        fs::read_to_string(&log).unwrap()
    );

    let printed = enter(ask).await;
    assert!(
        printed.contains("edge-admin   True    TokenValid"),
        "{printed}"
    );
    let printed = enter(use_it).await;
    assert!(printed.ends_with("200\n"), "{printed}");
    let printed = enter(renewed).await;
    assert!(printed.contains("differ: "), "{printed}");
    assert!(printed.contains("outcome=\"Success\"} 2"), "{printed}");
    enter(clean_up).await;
    assert!(!folder.exists());
}
