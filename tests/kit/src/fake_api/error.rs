//! Refusals, as the API server words them.

use serde_json::{Value, json};

use super::path::ResourceName;

/// A refused request: a status code and what the `Status` body says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ApiError {
    pub code: u16,
    pub reason: String,
    pub message: String,
    /// `Status.details`; null when there are none.
    pub details: Value,
}

impl ApiError {
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            details: Value::Null,
        }
    }

    fn about(mut self, resource: &ResourceName, name: &str) -> Self {
        self.details = json!({"name": name, "group": resource.group, "kind": resource.plural});
        self
    }

    fn with_causes(mut self, causes: Value) -> Self {
        self.details["causes"] = causes;
        self
    }

    pub fn not_found(resource: &ResourceName, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} \"{name}\" not found")).about(resource, name)
    }

    pub fn no_such_path() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    pub fn already_exists(resource: &ResourceName, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{resource} \"{name}\" already exists"),
        )
        .about(resource, name)
    }

    pub fn conflict(resource: &ResourceName, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// The object changed since the version that the request names.
    pub fn stale(resource: &ResourceName, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    pub fn other_uid(resource: &ResourceName, name: &str, given: &str, actual: &str) -> Self {
        let why = format!(
            "Precondition failed: UID in precondition: {given}, UID in object meta: {actual}"
        );
        Self::conflict(resource, name, &why)
    }

    /// A value that the resource's validation refuses.
    pub fn invalid(resource: &ResourceName, name: &str, field: &str, why: &str) -> Self {
        let message = format!("{resource} \"{name}\" is invalid: {field}: {why}");
        Self::new(422, "Invalid", message)
            .about(resource, name)
            .with_causes(json!([{"reason": "FieldValueInvalid", "message": why, "field": field}]))
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn forbidden(resource: &ResourceName, name: &str, why: &str) -> Self {
        let message = format!("{resource} \"{name}\" is forbidden: {why}");
        Self::new(403, "Forbidden", message).about(resource, name)
    }

    pub fn namespace_terminating(resource: &ResourceName, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let message = format!("namespace {namespace} is being terminated");
        let cause = json!([{"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}]);
        Self::forbidden(resource, name, &why).with_causes(cause)
    }

    /// The version asked for is older than the kept history.
    pub fn expired(message: &str) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The `Status` object that answers the request.
    pub fn body(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}
