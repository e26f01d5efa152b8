//! A workload as a team would write it, after the README's example: it reads the token from the mounted file for each
//! call. It ends at the first call that fails, and then its pod is started again, which is what the story looks for.

use k8s_openapi::jiff::Timestamp;
use kit::sitecore::Api;

use crate::{
    Result,
    node::image,
    scene::{NAME, NAMESPACE, Scene},
};

/// The workload's Deployment.
pub const WORKLOAD: &str = "edge-settings-watcher";

/// One call that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When the node took down the line that tells of it.
    pub at: Timestamp,
    /// A short hash of the token that it was made with.
    pub mark: String,
}

/// Starts it, and waits until it runs.
pub async fn start(scene: &Scene) -> Result<()> {
    let url = format!("{}{}/settings", scene.apis(), Api::Admin.path());
    let manifest = format!(
        r#"apiVersion: apps/v1
kind: Deployment
metadata: {{name: {WORKLOAD}, namespace: {NAMESPACE}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app.kubernetes.io/name: {WORKLOAD}}}}}
  template:
    metadata: {{labels: {{app.kubernetes.io/name: {WORKLOAD}}}}}
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
        - name: watcher
          image: {tools}
          imagePullPolicy: Never
          command: [/bin/sh, -c]
          args:
            - |
              while true; do
                token="$(cat /var/run/edge/access_token)"
                mark="$(printf %s "$token" | sha256sum | cut -c1-8)"
                wget -q -O /dev/null --header "Authorization: Bearer $token" {url} || exit 1
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
            secretName: {NAME}
            defaultMode: 0440
            items: [{{key: access_token, path: access_token}}]
"#,
        tools = image::TOOLS
    );
    let control_plane = &scene.node.control_plane;
    control_plane.apply(&manifest).await?;
    let deployment = format!("deployment/{WORKLOAD}");
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

/// The calls that it made and that were answered, as its log has them.
pub async fn calls(scene: &Scene) -> Result<Vec<Call>> {
    let deployment = format!("deployment/{WORKLOAD}");
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
