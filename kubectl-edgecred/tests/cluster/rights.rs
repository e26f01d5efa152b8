//! What somebody sees who may not see all.

use kit::{harness::PATIENCE, sitecore::Scenario};

use super::stage::{Stage, command, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_seen_is_named() {
    let stage = Stage::new("edit").await;
    let said = stage.enter(&["status", "-A"]).await;
    assert_eq!(said.code, 1);
    assert!(
        said.stderr
            .contains("you may not list edgecredentials.edgecredentials.io in all namespaces"),
        "{said:?}"
    );
    assert!(said.stderr.contains("Name a namespace with -n"), "{said:?}");
    let said = stage.enter(&["status", "-n", "kube-system"]).await;
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.contains("in namespace \"kube-system\""),
        "{said:?}"
    );
    let said = stage.enter(&["status", "nothing"]).await;
    assert!(
        said.stderr.contains("there is no edgecredentials"),
        "{said:?}"
    );
    let said = stage.enter(&["doctor"]).await;
    assert!(
        said.stdout
            .contains("? the operator: cannot list deployments.apps in all namespaces"),
        "{said:?}"
    );
    assert!(
        said.stdout.contains("all that this program needs"),
        "{said:?}"
    );

    // With the right to see EdgeCredentials alone, a table is still one.
    let namespace = &stage.shop().name;
    let plane = &stage.scene.control_plane;
    plane
        .kubectl(&[
            "create",
            "serviceaccount",
            "visitor",
            "--namespace",
            namespace,
        ])
        .await
        .unwrap();
    let role = [
        "create",
        "role",
        "visitor",
        "--verb=get,list",
        "--resource=edgecredentials.edgecredentials.io",
        "--namespace",
        namespace,
    ];
    plane.kubectl(&role).await.unwrap();
    let account = format!("--serviceaccount={namespace}:visitor");
    plane
        .kubectl(&[
            "create",
            "rolebinding",
            "visitor",
            "--role=visitor",
            &account,
            "--namespace",
            namespace,
        ])
        .await
        .unwrap();
    let kubeconfig = plane
        .service_account_kubeconfig(namespace, "visitor")
        .await
        .unwrap();
    let folder = stage.folder.path();
    let said = kit::harness::find(PATIENCE, async || {
        let said = run(command(folder, &kubeconfig, &["status"])).await;
        (said.code == 3).then_some(said)
    });
    let said = said.await.expect("the role is in force");
    assert!(
        said.stdout.contains("edge-admin") && said.stdout.contains('?'),
        "{said:?}"
    );
    assert!(
        said.stderr
            .contains("USED BY is not shown: cannot list pods"),
        "{said:?}"
    );
    assert!(
        said.stderr
            .contains("EdgeTokens are not shown: cannot list edgetokens"),
        "{said:?}"
    );
    let said = run(command(folder, &kubeconfig, &["tree", "edge-admin"])).await;
    assert!(
        said.stderr.contains("cannot get secrets \"edge-client\""),
        "{said:?}"
    );
    let said = run(command(folder, &kubeconfig, &["token", "edge-admin"])).await;
    assert_eq!((said.code, &*said.stdout), (1, ""));
    assert!(
        said.stderr
            .contains("you may not get secrets \"edge-admin\""),
        "{said:?}"
    );
    let said = run(command(folder, &kubeconfig, &["doctor"])).await;
    assert!(
        said.stdout
            .contains("you may not patch edgecredentials (for renew, suspend, resume)"),
        "{said:?}"
    );
    stage.sitecore().set_scenario_for_all(Scenario::Normal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_has_expired_is_told_from_a_missing_right() {
    let stage = Stage::new("login").await;
    let text = std::fs::read_to_string(&stage.kubeconfig).unwrap();
    let begin = text.find("token: ").unwrap() + 7;
    let kubeconfig = stage.folder.path().join("expired");
    let end = begin + text[begin..].find('\n').unwrap();
    std::fs::write(
        &kubeconfig,
        format!("{}expired{}", &text[..begin], &text[end..]),
    )
    .unwrap();
    let said = run(command(stage.folder.path(), &kubeconfig, &["status"])).await;
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.contains("does not know you") && said.stderr.contains("log in again"),
        "{said:?}"
    );
}
