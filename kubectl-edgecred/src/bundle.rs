//! An archive for who helps: what was seen of the operator and of its objects, without what is nobody's business.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use crate::kind::Object;

/// What stands for what was left out.
const REDACTED: &str = "(left out)";

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
pub fn without_values<K: Object>(object: &K) -> Value {
    let mut object = json!(object);
    let mut redact = |path: &str, is_foreign: fn(&str) -> bool| {
        let members = object.pointer_mut(path).and_then(Value::as_object_mut);
        let members = members.into_iter().flatten();
        let foreign = members.filter(|(key, _)| is_foreign(key));
        foreign.for_each(|(_, value)| *value = REDACTED.into());
    };
    redact("/metadata/annotations", |key| {
        !key.starts_with("edgecredentials.io/")
    });
    redact("/spec/target/annotations", |_| true);
    redact("/spec/tokenRequest/extraParameters", |_| true);
    let entries = object.pointer_mut("/spec/target/data");
    let entries = entries.and_then(Value::as_array_mut).into_iter().flatten();
    entries
        .filter_map(|entry| entry.get_mut("value"))
        .for_each(|value| *value = REDACTED.into());
    if let Some(metadata) = object
        .pointer_mut("/metadata")
        .and_then(Value::as_object_mut)
    {
        metadata.remove("managedFields");
    }
    object
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
    use edge_credential_operator::api::{EdgeCredential, EdgeToken};

    use super::*;

    fn object<K: Object>() -> K {
        serde_json::from_value(json!({
            "apiVersion": "edgecredentials.io/v1alpha1",
            "kind": K::KIND.as_str(),
            "metadata": {
                "name": "edge",
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "CANARY", "edgecredentials.io/note": "ours"},
                "managedFields": [{"manager": "CANARY"}],
            },
            "spec": {
                "credentialsSecretRef": {"name": "edge-client"},
                "tokenRequest": {"extraParameters": {"organization": "CANARY"}},
                "target": {
                    "annotations": {"a": "CANARY"},
                    "data": [{"key": "token"}, {"key": "x", "value": "CANARY"}],
                },
            },
        }))
        .unwrap()
    }

    #[test]
    fn what_people_put_into_an_object_is_left_out_of_an_archive() {
        for value in [
            without_values(&object::<EdgeCredential>()),
            without_values(&object::<EdgeToken>()),
        ] {
            let text = value.to_string();
            assert!(!text.contains("CANARY"), "{text}");
            assert!(text.contains("edge-client") && text.contains("ours"));
        }
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
