//! The rules of the API server that an operator for Secrets can run into.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::{
    error::ApiError,
    metadata::{finalizers, text},
    path::{ObjectName, ResourceName, Target},
};

/// An API server refuses a Secret with more data than this.
const SECRET_MAX_BYTES: usize = 1024 * 1024;

/// An API server refuses an Event with a longer note.
const EVENT_NOTE_MAX_BYTES: usize = 1024;

/// Checks that a body is an object for this path, as every write does before it looks at anything else.
pub(super) fn envelope(target: &Target, object: &Value) -> Result<(), ApiError> {
    if !object.is_object() {
        return Err(ApiError::bad_request(
            "the body of the request is not a JSON object",
        ));
    }
    let expected = target.api_version();
    match object["apiVersion"].as_str() {
        Some(given) if given == expected => {}
        given => {
            let given = given.unwrap_or_default();
            return Err(ApiError::bad_request(format!(
                "the API version in the data ({given}) does not match the expected API version ({expected})"
            )));
        }
    }
    if object["kind"].as_str().is_none_or(str::is_empty) {
        return Err(ApiError::bad_request("Object 'Kind' is missing"));
    }
    if let (Some(given), Some(expected)) = (object["metadata"]["name"].as_str(), &target.name)
        && given != expected
    {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({expected})"
        )));
    }
    if let Some(given) = object["metadata"]["namespace"].as_str()
        && !given.is_empty()
        && given != target.namespace
    {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Checks and completes a new object.
pub(super) fn create(
    resource: &ResourceName,
    name: &ObjectName,
    new: &mut Value,
) -> Result<(), ApiError> {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let given = name.name.as_str();
    if given.len() > 253
        || !given.chars().all(ok)
        || !given.starts_with(edge)
        || !given.ends_with(edge)
    {
        return Err(ApiError::invalid(
            resource,
            given,
            "metadata.name",
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'",
        ));
    }
    if resource.is("", "secrets") {
        complete_secret(new, "Opaque");
    }
    common(resource, name, new)
}

/// Checks and completes an object that replaces `old`.
pub(super) fn update(
    resource: &ResourceName,
    name: &ObjectName,
    old: &Value,
    new: &mut Value,
) -> Result<(), ApiError> {
    let added = finalizers(new).any(|new| finalizers(old).all(|old| old != new));
    if added && text(old, "deletionTimestamp").is_some() {
        let why = "no new finalizers can be added if the object is being deleted";
        let field = "metadata.finalizers";
        return Err(ApiError::invalid(resource, &name.name, field, why));
    }
    if resource.is("", "secrets") {
        complete_secret(new, old["type"].as_str().unwrap_or("Opaque"));
        let immutable = |field: &str| {
            let why = "field is immutable when `immutable` is set";
            Err(ApiError::invalid(resource, &name.name, field, why))
        };
        if new["type"] != old["type"] {
            return Err(ApiError::invalid(
                resource,
                &name.name,
                "type",
                "field is immutable",
            ));
        }
        if old["immutable"] == json!(true) {
            if new["immutable"] != json!(true) {
                return immutable("immutable");
            }
            if new["data"] != old["data"] {
                return immutable("data");
            }
        }
    }
    common(resource, name, new)
}

fn common(resource: &ResourceName, name: &ObjectName, new: &Value) -> Result<(), ApiError> {
    let invalid = |field: &str, why: &str| Err(ApiError::invalid(resource, &name.name, field, why));
    let owners = new["metadata"]["ownerReferences"].as_array();
    let owners = owners.map(Vec::as_slice).unwrap_or_default();
    if owners
        .iter()
        .filter(|o| o["controller"] == json!(true))
        .count()
        > 1
    {
        return invalid(
            "metadata.ownerReferences",
            "Only one reference can have Controller set to true",
        );
    }
    for owner in owners {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().is_none_or(str::is_empty) {
                return invalid(
                    &format!("metadata.ownerReferences.{field}"),
                    "must not be empty",
                );
            }
        }
    }
    if resource.is("events.k8s.io", "events")
        && new["note"].as_str().map_or(0, str::len) > EVENT_NOTE_MAX_BYTES
    {
        return invalid("note", "can have at most 1024 bytes");
    }
    if resource.is("", "secrets") {
        let mut size = 0;
        for (key, value) in new["data"].as_object().unwrap_or(&Map::new()) {
            let ok = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if key.is_empty() || key.len() > 253 || !key.chars().all(ok) {
                return invalid(
                    &format!("data[{key}]"),
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
                );
            }
            let Some(Ok(bytes)) = value.as_str().map(|text| BASE64_STANDARD.decode(text)) else {
                return Err(ApiError::bad_request(format!(
                    "Secret in version \"v1\" cannot be handled as a Secret: data.{key}: illegal base64 data"
                )));
            };
            size += bytes.len();
        }
        if size > SECRET_MAX_BYTES {
            return invalid("data", "Too long: may not be more than 1048576 bytes");
        }
    }
    Ok(())
}

/// Fills in the type and moves the write-only `stringData` to `data`.
fn complete_secret(secret: &mut Value, default_type: &str) {
    if secret["type"].as_str().is_none_or(str::is_empty) {
        secret["type"] = json!(default_type);
    }
    let Some(Value::Object(plain)) = secret.as_object_mut().and_then(|s| s.remove("stringData"))
    else {
        return;
    };
    for (key, value) in plain {
        secret["data"][key] = json!(BASE64_STANDARD.encode(value.as_str().unwrap_or_default()));
    }
}
