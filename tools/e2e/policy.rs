//! What network policies let through, tried from inside of pods: with the chart's policy as it is by default, and with one
//! that names who may reach what.

use std::{fmt, net::SocketAddr};

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    Result,
    node::{image, needs},
    operator::{Process, addresses},
    scene::{API_PORT, DNS_PORT, HOST, MONITORING, NAMESPACE, ODD_DNS_PORT, Scene, TOKEN_PORT},
    workload::WATCHER,
};

/// The pod that may read the operator's metrics.
const SCRAPER: &str = "scraper";

/// The operator's port.
pub const OPERATOR_PORT: u16 = 8080;

/// Who tries to reach something.
#[derive(Clone, Copy, Debug)]
enum Caller {
    Operator,
    Scraper,
    /// No policy is about it.
    Workload,
}

/// What a caller does.
#[derive(Clone, Copy, Debug)]
enum Call {
    /// Makes a connection.
    Tcp,
    /// Asks for the token endpoint's name, by UDP.
    Dns,
}

/// Which policy is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The chart's, as it is by default.
    Default,
    /// The chart's, with the values of [`narrow`].
    Narrow,
}

/// One way from one to another.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    caller: Caller,
    call: Call,
    to: SocketAddr,
    what: &'static str,
    /// The policies that are to let it through.
    open: &'static [Policy],
}

impl Attempt {
    /// Whether this policy is to let it through.
    pub fn is_allowed(&self, policy: Policy) -> bool {
        self.open.contains(&policy)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let caller = match self.caller {
            Caller::Operator => "the operator",
            Caller::Scraper => "a pod of the namespace monitoring",
            Caller::Workload => "the workload",
        };
        write!(f, "{caller} to {} at {}", self.what, self.to)
    }
}

/// What is tried. Whatever a policy closes to one caller is open to another one, or with another policy.
pub fn attempts(scene: &Scene, operator: &Pod) -> Vec<Attempt> {
    use {Call::*, Caller::*};
    const ALWAYS: &[Policy] = &[Policy::Default, Policy::Narrow];
    const BY_DEFAULT: &[Policy] = &[Policy::Default];
    const NEVER: &[Policy] = &[];

    let api_server = scene.node.control_plane.api_server_address();
    let names = |port| SocketAddr::new(scene.network.first_outside(), port);
    let odd = names(ODD_DNS_PORT);
    let mut ways = vec![
        (Operator, Tcp, api_server, "the API server", ALWAYS),
        (Operator, Dns, names(DNS_PORT), "the name server", ALWAYS),
        (Operator, Dns, odd, "another port by UDP", NEVER),
        (Workload, Dns, odd, "another port by UDP", ALWAYS),
    ];
    for outside in scene.network.outside() {
        let at = |port| SocketAddr::new(outside, port);
        let (token, api) = (at(TOKEN_PORT), at(API_PORT));
        ways.extend([
            (Operator, Tcp, token, "the token endpoint", ALWAYS),
            (Operator, Tcp, api, "another port by TCP", BY_DEFAULT),
            (Workload, Tcp, api, "another port by TCP", ALWAYS),
        ]);
    }
    for address in addresses(operator) {
        let metrics = SocketAddr::new(address, OPERATOR_PORT);
        ways.extend([
            (Scraper, Tcp, metrics, "the operator's metrics", ALWAYS),
            (Workload, Tcp, metrics, "the operator's metrics", BY_DEFAULT),
        ]);
    }
    ways.into_iter()
        .map(|(caller, call, to, what, open)| Attempt {
            caller,
            call,
            to,
            what,
            open,
        })
        .collect()
}

/// Values for the chart: the operator may reach the API server and the token endpoint, and may be reached by the pods of one
/// namespace and from one address outside.
pub fn narrow(scene: &Scene) -> Value {
    let outside: Vec<Value> = scene
        .network
        .outside()
        .into_iter()
        .map(|address| {
            let length = if address.is_ipv4() { 32 } else { 128 };
            json!({"ipBlock": {"cidr": format!("{address}/{length}")}})
        })
        .collect();
    let monitoring =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": MONITORING}}});
    let from = [&[monitoring], &outside[..]].concat();
    let ports = [
        scene.node.control_plane.api_server_address().port(),
        TOKEN_PORT,
    ];
    json!({"networkPolicy": {
        "from": from,
        "egress": [{
            "to": outside,
            "ports": ports.map(|port| json!({"port": port, "protocol": "TCP"})),
        }],
    }})
}

/// Starts the pod that may read the operator's metrics, and waits until it runs.
pub async fn start_scraper(scene: &Scene) -> Result<()> {
    let manifest = format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {SCRAPER}, namespace: {MONITORING}}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  securityContext: {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: {SCRAPER}
      image: {}
      imagePullPolicy: Never
      securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
",
        image::TOOLS
    );
    let control_plane = &scene.node.control_plane;
    control_plane.apply(&manifest).await?;
    let pod = format!("pod/{SCRAPER}");
    let wait = [
        "wait",
        "--for=condition=Ready",
        "--timeout=60s",
        "--namespace",
        MONITORING,
        &pod,
    ];
    control_plane.kubectl(&wait).await?;
    Ok(())
}

/// Whether it is let through.
pub async fn passes(scene: &Scene, operator: Process, attempt: &Attempt) -> Result<bool> {
    let script = script(attempt);
    let told = match attempt.caller {
        Caller::Operator => in_network_of(operator, &script).await?,
        Caller::Scraper => in_pod(scene, MONITORING, SCRAPER, &script).await?,
        Caller::Workload => {
            let pod = format!("deployment/{}", WATCHER.name);
            in_pod(scene, NAMESPACE, &pod, &script).await?
        }
    };
    match told.trim() {
        "passed" => Ok(true),
        "refused" => Ok(false),
        _ => Err(format!("{attempt}: cannot be tried").into()),
    }
}

/// Tries it for three seconds: where a policy lets packets vanish, nothing ever comes back.
fn script(attempt: &Attempt) -> String {
    let (address, port) = (attempt.to.ip(), attempt.to.port());
    let call = match attempt.call {
        Call::Tcp => format!("nc -w 3 {address} {port} </dev/null"),
        Call::Dns => {
            let kind = if address.is_ipv4() { "a" } else { "aaaa" };
            format!("timeout 3 busybox nslookup -type={kind} -port={port} {HOST} {address}")
        }
    };
    format!("if busybox {call} >/dev/null 2>&1; then echo passed; else echo refused; fi")
}

async fn in_pod(scene: &Scene, namespace: &str, pod: &str, script: &str) -> Result<String> {
    let control_plane = &scene.node.control_plane;
    let args = [
        "exec",
        "--namespace",
        namespace,
        pod,
        "--",
        "sh",
        "-c",
        script,
    ];
    Ok(control_plane.kubectl(&args).await?)
}

/// Runs a script where the operator's packets come from: there's no shell in its image.
async fn in_network_of(operator: Process, script: &str) -> Result<String> {
    let busybox = needs::busybox().ok_or("busybox is missing")?;
    let output = Command::new("nsenter")
        .arg(format!("--net=/proc/{}/ns/net", operator.pid()))
        .arg(busybox)
        .args(["sh", "-c", script])
        .kill_on_drop(true)
        .output()
        .await?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
