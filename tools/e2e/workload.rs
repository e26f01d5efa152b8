//! Workloads as a team would write them, after the README's example: they read the token or the key from the mounted file for
//! each call. One ends at the first call that fails, and then its pod is started again, which is what the story looks for.

use k8s_openapi::jiff::Timestamp;
use kit::sitecore::Api;

use crate::{
    Result,
    node::image,
    scene::{KEY, NAME, NAMESPACE, Scene},
};

/// A Deployment that calls an API with what is in a Secret.
#[derive(Debug)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// The Secret that it mounts.
    pub secret: &'static str,
    /// The key in the Secret.
    pub key: &'static str,
    /// The API.
    pub api: Api,
    /// What it gives `wget`, and how it calls the value.
    call: &'static str,
}

/// Calls the Admin API with the token.
pub const WATCHER: Workload = Workload {
    name: "edge-settings-watcher",
    secret: NAME,
    key: "access_token",
    api: Api::Admin,
    call: r#"--header "Authorization: Bearer $value" "$api/settings""#,
};

/// Queries the Delivery API with the key.
pub const READER: Workload = Workload {
    name: "edge-content-reader",
    secret: KEY,
    key: "SITECORE_API_KEY",
    api: Api::Delivery,
    call: r#"--header "sc_apikey: $value" --header "Content-Type: application/json" --post-data '{"query":"{__typename}"}' "$api""#,
};

/// One call that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When the node took down the line that tells of it.
    pub at: Timestamp,
    /// A short hash of the token or the key that it was made with.
    pub mark: String,
}

/// Starts one, and waits until it runs.
pub async fn start(scene: &Scene, workload: &Workload) -> Result<()> {
    let Workload {
        name,
        secret,
        key,
        api,
        call,
    } = workload;
    let api = format!("{}{}", scene.apis(), api.path());
    let manifest = format!(
        r#"apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app.kubernetes.io/name: {name}}}}}
  template:
    metadata: {{labels: {{app.kubernetes.io/name: {name}}}}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 0
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: app
          image: {tools}
          imagePullPolicy: Never
          command: [/bin/sh, -c]
          args:
            - |
              api={api}
              while true; do
                value="$(cat /var/run/edge/{key})"
                mark="$(printf %s "$value" | sha256sum | cut -c1-8)"
                wget -q -O /dev/null {call} || exit 1
                echo "answered $mark"
                sleep 0.2
              done
          resources:
            requests: {{cpu: 5m, memory: 16Mi}}
            limits: {{memory: 64Mi}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: [ALL]}}
          volumeMounts:
            - {{name: edge-token, mountPath: /var/run/edge, readOnly: true}}
      volumes:
        - name: edge-token
          secret:
            secretName: {secret}
            defaultMode: 0440
            items: [{{key: {key}, path: {key}}}]
"#,
        tools = image::TOOLS
    );
    let control_plane = &scene.node.control_plane;
    control_plane.apply(&manifest).await?;
    let deployment = format!("deployment/{name}");
    let wait = [
        "rollout",
        "status",
        &deployment,
        "--namespace",
        NAMESPACE,
        "--timeout=60s",
    ];
    control_plane.kubectl(&wait).await?;
    Ok(())
}

/// The calls that one made and that were answered, as its log has them.
pub async fn calls(scene: &Scene, workload: &Workload) -> Result<Vec<Call>> {
    let deployment = format!("deployment/{}", workload.name);
    let args = [
        "logs",
        &deployment,
        "--namespace",
        NAMESPACE,
        "--timestamps",
    ];
    let log = scene.node.control_plane.kubectl(&args).await?;
    Ok(log.lines().filter_map(call).collect())
}

fn call(line: &str) -> Option<Call> {
    let (at, text) = line.split_once(' ')?;
    Some(Call {
        at: at.parse().ok()?,
        mark: text.strip_prefix("answered ")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answered_calls_are_taken_from_the_log() {
        let found = call("2026-11-25T02:00:00.123456789Z answered 0a1b2c3d").unwrap();
        assert_eq!(found.mark, "0a1b2c3d");
        assert_eq!(
            call("2026-11-25T02:00:00.123456789Z wget: server returned error"),
            None
        );
    }
}
