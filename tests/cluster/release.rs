//! A release as administrators know it: installed from the chart before this one, upgraded, rolled back and uninstalled, with
//! the real Helm.

use std::fs;
use std::process::Command;

use edge_credential_operator::api::EdgeCredential;
use k8s_openapi::api::core::v1::Namespace as KubeNamespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kit::control_plane::ControlPlane;
use kit::sitecore::Sitecore;
use kube::Api;
use kube::api::DeleteParams;

use kit::harness::{
    CHART, CLIENT, Namespace, PATIENCE, SECRET, assert_nothing_was_refused, crd_is_served, deployed,
};

/// The chart before this one, with the present definition, flags and rights in it: none with earlier ones was released.
const PREVIOUS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/chart/previous/edge-credential-operator-0.0.1.tgz"
);

/// A user's chart, as the installation guide has it.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/helm/storefront");

const RELEASE: &str = "edge";
const HOME: &str = "operators";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrade_rollback_and_uninstall_change_no_token_cost_no_request_and_hold_up_no_namespace() {
    let control_plane = ControlPlane::start().await.unwrap();
    let client = control_plane.admin_client().await.unwrap();
    let sitecore = Sitecore::start().unwrap();
    sitecore.add_client(CLIENT, SECRET);
    let log = control_plane.folder().join("release.log");
    let origin = sitecore.url().to_owned();
    let shop = Namespace::create(client.clone(), "shop".into(), origin, log.clone()).await;
    let shops = std::slice::from_ref(&shop);
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let definition = async || {
        let name = "edgecredentials.edgecredentials.io";
        definitions.get(name).await.unwrap().metadata
    };

    let origins = format!("allowedTokenOrigins={{{}}}", sitecore.url());
    let values = ["--namespace", HOME, "--set", &*origins];
    let helm = async |args: &[&str]| {
        let done = control_plane.helm(args).await;
        done.unwrap_or_else(|error| panic!("helm {}: {error:?}", args[0]))
    };
    let install = ["install", RELEASE, PREVIOUS, "--create-namespace"];
    helm(&[&install[..], &values].concat()).await;
    crd_is_served(&control_plane).await;
    let uid = definition().await.uid;
    shop.create_credentials().await;
    let operator = async || {
        let name = "release";
        let mut operator = deployed(name, &control_plane, &client, HOME, shops, &log).await;
        operator.start().await;
        operator
    };
    let mut running = operator().await;
    shop.create_ready("edge").await;
    let target = shop.secret("edge").await;

    let chart = fs::read_to_string(format!("{CHART}/Chart.yaml")).unwrap();
    let version = chart
        .lines()
        .find_map(|line| line.strip_prefix("version: "));
    let current = version.unwrap().to_owned();
    let upgrade = [&["upgrade", RELEASE, CHART][..], &values].concat();
    let rollback = ["rollback", RELEASE, "1", "--namespace", HOME].to_vec();
    for (step, version) in [
        (&upgrade, &*current),
        (&rollback, "0.0.1"),
        (&upgrade, &*current),
    ] {
        helm(step).await;
        let (code, _) = running.terminate().await;
        assert_eq!(code, 0, "{}", running.log_tail());
        running = operator().await;
        let looked = format!("{} has looked at it", step[0]);
        shop.until(PATIENCE, &looked, async || {
            let metrics = running.get("/metrics").await.ok()?.1;
            metrics
                .contains("edgecredential_reconciliations_total{outcome=\"Success\"}")
                .then_some(())
        })
        .await;
        assert_eq!(shop.secret("edge").await, target, "{}", step[0]);
        assert_eq!(sitecore.requests(CLIENT), 1, "{}", step[0]);
        let definition = definition().await;
        assert_eq!(definition.uid, uid, "{}", step[0]);
        let chart = &definition.labels.unwrap()["helm.sh/chart"];
        assert!(chart.ends_with(version), "{} left {chart}", step[0]);
    }

    running.terminate().await;
    let events = control_plane.audit_events_of(&running.user).unwrap();
    assert!(!events.is_empty(), "{} did nothing", running.user);
    assert_nothing_was_refused(&events);
    helm(&["uninstall", RELEASE, "--namespace", HOME, "--wait"]).await;
    assert_eq!(definition().await.uid, uid);
    shop.object("edge").await;
    assert_eq!(shop.secret("edge").await, target);

    // There's no finalizer that nobody is there to remove.
    let namespaces = Api::<KubeNamespace>::all(client.clone());
    let deletion = namespaces.delete("shop", &DeleteParams::default()).await;
    deletion.unwrap();
    shop.until(PATIENCE, "the namespace is gone", async || {
        let namespace = namespaces.get_opt("shop").await.ok()?;
        namespace.is_none().then_some(())
    })
    .await;
    assert_eq!(sitecore.requests(CLIENT), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_chart_is_installed_after_the_release_with_the_definition_and_not_as_one_with_it() {
    let control_plane = ControlPlane::start().await.unwrap();
    let client = control_plane.admin_client().await.unwrap();
    let install = async |release: &str, chart: &str| {
        let args = ["install", release, chart, "--namespace", release];
        control_plane
            .helm(&[&args[..], &["--create-namespace"]].concat())
            .await
    };

    // As a chart that has both: Helm does not know the kind.
    let both = control_plane.folder().join("both");
    let copied = Command::new("cp").args(["-r", CHART]).arg(&both).status();
    assert!(copied.unwrap().success());
    let template = "templates/edgecredential.yaml";
    fs::copy(format!("{EXAMPLE}/{template}"), both.join(template)).unwrap();
    let refused = install("both", both.to_str().unwrap()).await;
    let refused = format!("{:?}", refused.unwrap_err());
    assert!(refused.contains("no matches for kind"), "{refused}");

    install(RELEASE, CHART).await.unwrap();
    crd_is_served(&control_plane).await;
    install("storefront", EXAMPLE).await.unwrap();
    let objects = Api::<EdgeCredential>::namespaced(client, "storefront");
    objects.get("edge-admin").await.unwrap();
}
