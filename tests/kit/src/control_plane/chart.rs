//! Rendering a Helm chart, without a cluster, and choosing from it.

use std::{path::Path, process::Stdio, time::Duration};

use super::{
    ControlPlane,
    error::{Error, Result},
    tools,
};
use crate::programs::Binaries;

/// What pods need, and no pod runs without a node.
const FOR_PODS: [&str; 5] = [
    "Deployment",
    "NetworkPolicy",
    "Pod",
    "PodDisruptionBudget",
    "Service",
];

/// An API server holds up whoever creates an object within 2 seconds of its definition, in case other API servers have not
/// seen the definition yet. Without a wait it would look as if an operator were that slow.
const SETTLE: Duration = Duration::from_secs(2);

impl ControlPlane {
    /// Applies all of a chart but what pods need, in a namespace of the release's name, and waits until its kinds are
    /// served.
    pub async fn install(&self, chart: &Path, release: &str) -> Result<()> {
        let manifests = render(self.binaries(), chart, release, release, &[])?;
        let wanted = select(&manifests, |kind| !FOR_PODS.contains(&kind));
        self.kubectl(&["create", "namespace", release]).await?;
        self.apply(&wanted).await?;
        self.wait_for_definitions().await?;
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }
}

/// The manifests that installing a chart would apply, its CRDs included. Each value is as for `--set`: `a.b=c`, with `\,`
/// for a comma. Blocks, for a fraction of a second.
pub fn render(
    binaries: &Binaries,
    chart: &Path,
    release: &str,
    namespace: &str,
    values: &[(&str, &str)],
) -> Result<String> {
    let values = values
        .iter()
        .map(|(key, value)| format!("--set={key}={value}"))
        .collect();
    template(binaries, chart, release, namespace, values)
}

/// As [`render`], with a file of values.
pub fn render_with(
    binaries: &Binaries,
    chart: &Path,
    release: &str,
    namespace: &str,
    values: &Path,
) -> Result<String> {
    let values = vec![format!("--values={}", values.display())];
    template(binaries, chart, release, namespace, values)
}

/// The notes that Helm prints after installing a chart, with values as [`render`] has them.
pub fn notes(
    binaries: &Binaries,
    chart: &Path,
    release: &str,
    namespace: &str,
    values: &[(&str, &str)],
) -> Result<String> {
    let chart = chart.to_string_lossy();
    let sets: Vec<_> = values
        .iter()
        .map(|(key, value)| format!("--set={key}={value}"))
        .collect();
    let mut args = vec!["install", release, &chart, "--dry-run=client"];
    args.extend(["--namespace", namespace]);
    args.extend(sets.iter().map(String::as_str));
    let printed = helm(binaries, &args)?;
    let (_, notes) = printed.split_once("\nNOTES:\n").unwrap_or_default();
    Ok(notes.to_owned())
}

fn template(
    binaries: &Binaries,
    chart: &Path,
    release: &str,
    namespace: &str,
    values: Vec<String>,
) -> Result<String> {
    let chart = chart.to_string_lossy();
    let mut args = vec!["template", release, &chart, "--include-crds"];
    args.extend(["--namespace", namespace]);
    args.extend(values.iter().map(String::as_str));
    helm(binaries, &args)
}

/// What Helm prints, without a cluster and with a home of its own.
fn helm(binaries: &Binaries, args: &[&str]) -> Result<String> {
    let home =
        tempfile::tempdir().map_err(Error::file("create a folder in", std::env::temp_dir()))?;
    let result = tools::helm(binaries, home.path())
        .args(args)
        .stdin(Stdio::null())
        .output();
    tools::check("helm", args, result)
}

/// The documents of these kinds.
pub fn select(manifests: &str, wanted: impl Fn(&str) -> bool) -> String {
    manifests
        .split("\n---")
        .filter(|document| {
            let kind = document
                .lines()
                .find_map(|line| line.strip_prefix("kind: "));
            kind.is_some_and(|kind| wanted(kind.trim()))
        })
        .collect::<Vec<_>>()
        .join("\n---")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documents_of_the_wanted_kinds_are_taken() {
        let manifests = "---\n# Source: a\nkind: Role\nrules:\n  kind: x\n---\nkind: Service\n---\nkind: Role\n";
        let selected = select(manifests, |kind| kind == "Role");
        assert_eq!(selected.matches("kind: Role").count(), 2);
        assert!(!selected.contains("Service"));
    }
}
