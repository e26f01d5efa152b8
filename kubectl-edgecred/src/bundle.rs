//! An archive for who helps: what was seen of the operator and of EdgeCredentials, without what is nobody's business.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use edge_credential_operator::api::EdgeCredential;
use flate2::{Compression, write::GzEncoder};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

/// Writes files with these names and contents into an archive.
pub fn pack(path: &Path, files: &[(&str, Value)]) -> io::Result<()> {
    let mut archive =
        tar::Builder::new(GzEncoder::new(File::create(path)?, Compression::default()));
    for (name, content) in files {
        let bytes = serde_json::to_vec_pretty(content)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, format!("edgecred/{name}"), &*bytes)?;
    }
    archive.into_inner()?.finish()?.flush()
}

/// An object without what people may have put into it that is nobody's business: fixed values, extra parameters, and the annotations
/// of others, among which is the manifest as it was last applied.
pub fn without_values(object: &EdgeCredential) -> Value {
    const REDACTED: &str = "(left out)";
    let mut object = object.clone();
    object.metadata.managed_fields = None;
    let annotations = object.metadata.annotations.iter_mut().flatten();
    let foreign = annotations.filter(|(key, _)| !key.starts_with("edgecredentials.io/"));
    foreign.for_each(|(_, value)| *value = REDACTED.into());
    let target = &mut object.spec.target;
    target
        .annotations
        .values_mut()
        .for_each(|value| *value = REDACTED.into());
    target
        .data
        .iter_mut()
        .filter_map(|entry| entry.value.as_mut())
        .for_each(|value| *value = REDACTED.into());
    let parameters = &mut object.spec.token_request.extra_parameters;
    parameters
        .values_mut()
        .for_each(|value| *value = REDACTED.into());
    json!(object)
}

/// A Deployment's metadata, arguments and status. Variables may hold anything.
pub fn without_environment(deployment: &Deployment) -> Value {
    let pod = deployment.spec.template.spec.as_ref();
    let containers = pod.map(|pod| pod.containers.iter());
    let containers = containers.into_iter().flatten().map(|container| {
        json!({"name": container.name, "image": container.image, "args": container.args, "resources": container.resources})
    });
    json!({
        "namespace": deployment.metadata.namespace,
        "name": deployment.metadata.name,
        "labels": deployment.metadata.labels,
        "replicas": deployment.spec.replicas,
        "containers": containers.collect::<Vec<_>>(),
        "status": deployment.status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_put_into_an_object_is_left_out_of_an_archive() {
        let object: EdgeCredential = serde_json::from_value(json!({
            "apiVersion": "edgecredentials.io/v1alpha1",
            "kind": "EdgeCredential",
            "metadata": {"name": "edge", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "CANARY"}},
            "spec": {
                "credentialsSecretRef": {"name": "edge-client"},
                "tokenRequest": {"extraParameters": {"organization": "CANARY"}},
                "target": {
                    "annotations": {"a": "CANARY"},
                    "data": [{"key": "token", "from": "AccessToken"}, {"key": "x", "value": "CANARY"}],
                },
            },
        }))
        .unwrap();
        let text = without_values(&object).to_string();
        assert!(!text.contains("CANARY"), "{text}");
        assert!(text.contains("edge-client"));
    }

    #[test]
    fn the_environment_of_the_operator_is_left_out_of_an_archive() {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "operator"},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{
                "name": "operator", "args": ["run"], "env": [{"name": "HTTPS_PROXY", "value": "http://CANARY@proxy"}],
            }]}}},
        }))
        .unwrap();
        let text = without_environment(&deployment).to_string();
        assert!(!text.contains("CANARY") && text.contains("run"), "{text}");
    }
}
