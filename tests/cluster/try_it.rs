//! The operator without an account at Sitecore: docs/try.md entered as it stands, and the demo in a kind cluster. examples/try is
//! applied as it is, and the operator finds the stand-in under the name of its Service.

use std::{fs, path::PathBuf, time::Duration};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Pod, Secret},
};
use kit::{
    control_plane::ControlPlane,
    harness::text,
    markdown::{Mark, blocks},
    script,
    sitecore::Sitecore,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::documentation::{Reader, play_the_node, say_that_it_runs};

const PAGE: &str = "docs/try.md";

/// The names of examples/try.
const NAMESPACE: &str = "edge-try";
const STAND_IN: &str = "sitecore-stand-in";
const CLIENT: &str = "demo-client";

/// A control plane, and what plays the part of a node with the operator and the stand-in.
struct Cluster {
    control_plane: ControlPlane,
    client: Client,
    sitecore: Sitecore,
    stand_in_log: TcpListener,
}

impl Cluster {
    async fn start() -> Self {
        let control_plane = ControlPlane::start().await.unwrap();
        let sitecore = Sitecore::start().unwrap();
        sitecore.add_client(CLIENT, "demo-secret");
        sitecore.set_lifetime(CLIENT, Duration::from_secs(300));
        Self {
            client: control_plane.admin_client().await.unwrap(),
            control_plane,
            sitecore,
            stand_in_log: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    /// Somebody to whom `kubectl logs` shows the stand-in's log.
    fn reader(&self) -> Reader {
        let port = self.stand_in_log.local_addr().unwrap().port();
        let log = PathBuf::from(format!("/dev/tcp/127.0.0.1/{port}"));
        Reader::new(&self.control_plane, &log, self.sitecore.token_url())
    }

    /// Never ends.
    async fn run(&self) {
        // A request by plain http comes to a proxy with its whole URL, and the stand-in answers for any host.
        let proxy = ("HTTP_PROXY".to_owned(), self.sitecore.url().to_owned());
        let log = self.control_plane.folder().join("try.log");
        let operator = play_the_node(&self.control_plane, &self.client, &log, |operator| {
            operator.add([], [proxy.clone()]);
        });
        tokio::join!(operator, self.run_stand_in(), self.show_stand_in_log());
    }

    async fn run_stand_in(&self) {
        let deployments = Api::<Deployment>::namespaced(self.client.clone(), NAMESPACE);
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if let Ok(Some(deployment)) = deployments.get_opt(STAND_IN).await {
                say_that_it_runs(&deployments, &deployment).await;
            }
        }
    }

    /// As tests/kit/tests/stand_in.rs finds it in the log of the program.
    async fn show_stand_in_log(&self) {
        while let Ok((mut connection, _)) = self.stand_in_log.accept().await {
            let line = "route=\"POST /oauth/token\" status=200\n";
            let lines = line.repeat(self.sitecore.requests(CLIENT).try_into().unwrap());
            let _ = connection.write_all(lines.as_bytes()).await;
        }
    }

    async fn target(&self) -> Secret {
        let secrets = Api::namespaced(self.client.clone(), NAMESPACE);
        secrets.get("edge-admin").await.unwrap()
    }

    /// Has the API server judge the stand-in's pod in its namespace, which enforces the restricted Pod Security Standard:
    /// nothing makes pods here.
    async fn has_the_stand_ins_pod_admitted(&self) {
        let deployments = Api::<Deployment>::namespaced(self.client.clone(), NAMESPACE);
        let deployment = deployments.get(STAND_IN).await.unwrap();
        let pod = Pod {
            metadata: ObjectMeta {
                name: Some(STAND_IN.to_owned()),
                ..ObjectMeta::default()
            },
            spec: deployment.spec.template.spec,
            ..Pod::default()
        };
        let only_judged = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let pods = Api::namespaced(self.client.clone(), NAMESPACE);
        pods.create(&only_judged, &pod).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_without_an_account_lead_to_a_token_that_is_renewed_and_given_back() {
    let cluster = Cluster::start().await;
    let reader = cluster.reader();
    let ours = Some(Mark::RunBy("tests/cluster/try_it.rs".to_owned()));
    let blocks: Vec<_> = blocks(PAGE)
        .into_iter()
        .filter(|block| block.mark == ours)
        .collect();
    let [install, look, renew, delete, count, remove] = &blocks[..] else {
        panic!("other commands: {blocks:#?}");
    };
    let read = async {
        reader.enter(install).await;
        cluster.has_the_stand_ins_pod_admitted().await;
        let printed = reader.enter(look).await;
        let (table, shown) = printed.trim_end().rsplit_once('\n').unwrap();
        assert!(
            table.contains("\nedge-admin   True    TokenValid   "),
            "{table}"
        );
        let first = text(&cluster.target().await, "access_token");
        assert_eq!(shown, first);
        cluster.sitecore.verify(&first).unwrap();

        reader.enter(renew).await;
        let renewed = cluster.target().await;
        assert_ne!(text(&renewed, "access_token"), first);

        reader.enter(delete).await;
        let restored = cluster.target().await;
        assert_eq!(restored.data, renewed.data);
        assert_ne!(restored.metadata.uid, renewed.metadata.uid);

        let requests = reader.enter(count).await;
        assert_eq!(requests.lines().count(), 2, "{requests}");

        reader.enter(remove).await;
        let namespaces = Api::<Namespace>::all(cluster.client.clone());
        assert_eq!(namespaces.get_opt(NAMESPACE).await.unwrap(), None);
        let deployments = Api::<Deployment>::all(cluster.client.clone());
        let left = deployments.list(&Default::default()).await.unwrap().items;
        assert!(left.is_empty(), "{left:?}");
    };
    tokio::select! {
        () = read => {}
        () = cluster.run() => {}
    }
}

/// With the real kubectl and Helm. There are no images here, and the cluster is there already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_in_a_kind_cluster_shows_a_token_that_is_renewed_and_given_back() {
    let cluster = Cluster::start().await;
    let reader = cluster.reader();
    let calls = cluster.control_plane.folder().join("kind.calls");
    let kind = format!(
        "#!/bin/sh\necho \"$*\" >> {}\nif [ \"$1\" = create ]; then cp {} \"$KUBECONFIG\"; fi\n",
        calls.display(),
        cluster.control_plane.admin_kubeconfig().display()
    );
    script::write(&reader.folder().join("kind"), &kind).unwrap();
    script::write(&reader.folder().join("docker"), "#!/bin/sh\n").unwrap();
    // The user's own cluster, and another run of this, keep their kubeconfig.
    let folder = reader.folder().join("demo");
    let command = format!("DEMO= DEMO_FOLDER={} tools/demo/kind.sh", folder.display());
    let output = tokio::select! {
        output = reader.run(&command) => output,
        () = cluster.run() => unreachable!("a node does not end"),
    };
    let printed = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{printed}\n{said}");
    for line in [
        "the Secret has another token",
        "the Secret is back, with the same token",
        "== All went well",
        "  kind delete cluster --name edge-demo",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{printed}");
    }
    let requests: Vec<_> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("token requests so far: "))
        .collect();
    assert_eq!(requests, ["1", "2", "2"]);
    let calls = fs::read_to_string(calls).unwrap();
    assert!(!calls.contains("delete"), "it stays up: {calls}");
    let shown = format!("  export KUBECONFIG={}/kubeconfig\n", folder.display());
    assert!(printed.contains(&shown), "{printed}");
    let deployments = Api::<Deployment>::all(cluster.client.clone());
    let deployments = deployments.list(&Default::default()).await.unwrap();
    let images = deployments.items.into_iter().map(|deployment| {
        let containers = deployment.spec.template.spec.unwrap().containers;
        containers[0].image.clone().unwrap()
    });
    assert_eq!(
        images.collect::<Vec<_>>(),
        [
            "localhost/edge-credential-operator:demo",
            "localhost/sitecore-stand-in:demo"
        ]
    );
}
