//! The audit log: every request that the API server has answered, and who sent it.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};
use serde::Deserialize;

use super::error::{Error, Result};

/// Logs all requests, without bodies. A request is logged when it has been answered, a watch also when it starts.
pub(super) const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// `ResponseComplete` for a request that has been answered. A watch has one of these when it ends, and
    /// `ResponseStarted` when it begins.
    pub stage: String,
    /// Who: `admin`, `system:serviceaccount:NAMESPACE:NAME`…
    pub user: String,
    /// With which program.
    pub user_agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The API group, empty for the core group.
    pub group: String,
    /// The resource's plural name. Empty for a path that is no resource, such as `/readyz`.
    pub resource: String,
    /// `status`, `token`… or empty.
    pub subresource: String,
    /// The namespace, or empty.
    pub namespace: String,
    /// The object's name, or empty. The API server doesn't log the name that it generates for a `generateName`.
    pub name: String,
    /// The path and query of the request.
    pub uri: String,
    /// The HTTP status code of the answer.
    pub code: u16,
    /// When the request came in.
    pub at: Timestamp,
}

impl AuditEvent {
    /// What it takes to be allowed this, as the rules of a role have it: `patch edgecredentials.io/edgecredentials/status`,
    /// `get /secrets`. `None` for a path that is no resource.
    pub fn right(&self) -> Option<String> {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        (!self.resource.is_empty()).then(|| {
            format!(
                "{} {}/{}{slash}{}",
                self.verb, self.group, self.resource, self.subresource
            )
        })
    }
}

/// The events of an audit log whose lines have this text in them. A last line without an end is still being written, and
/// left out.
pub(super) fn parse(log: &str, text: &str) -> Result<Vec<AuditEvent>> {
    log.split_inclusive('\n')
        .enumerate()
        .filter(|(_, line)| line.ends_with('\n') && line.contains(text))
        .map(|(index, line)| {
            serde_json::from_str::<Line>(line)
                .map(AuditEvent::from)
                .map_err(|source| Error::Audit {
                    line: index + 1,
                    source,
                })
        })
        .collect()
}

/// The fields of `audit.k8s.io/v1` Event that are of interest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: MicroTime,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl From<Line> for AuditEvent {
    fn from(line: Line) -> AuditEvent {
        AuditEvent {
            stage: line.stage,
            user: line.user.username,
            user_agent: line.user_agent,
            verb: line.verb,
            group: line.object_ref.api_group,
            resource: line.object_ref.resource,
            subresource: line.object_ref.subresource,
            namespace: line.object_ref.namespace,
            name: line.object_ref.name,
            uri: line.request_uri,
            code: line.response_status.code,
            at: line.request_received_timestamp.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"ResponseComplete","requestURI":"/apis/edgecredentials.io/v1alpha1/namespaces/storefront/edgecredentials/edge-admin/status","verb":"patch","user":{"username":"system:serviceaccount:ops:operator","groups":["system:authenticated"]},"sourceIPs":["127.0.0.1"],"userAgent":"operator","objectRef":{"resource":"edgecredentials","namespace":"storefront","name":"edge-admin","apiGroup":"edgecredentials.io","apiVersion":"v1alpha1","subresource":"status"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-11-23T10:00:00.123456Z","stageTimestamp":"2026-11-23T10:00:00.223456Z"}"#;
    const READYZ: &str = r#"{"stage":"ResponseComplete","requestURI":"/readyz","verb":"get","user":{"username":"admin"},"responseStatus":{"code":500},"requestReceivedTimestamp":"2026-11-23T10:00:00.123456Z"}"#;

    #[test]
    fn an_event_says_who_did_what_to_which_object() {
        let events = parse(&format!("{PATCH}\n"), "").unwrap();
        assert_eq!(events.len(), 1);
        let event = &events[0];
        assert_eq!(event.user, "system:serviceaccount:ops:operator");
        assert_eq!(event.verb, "patch");
        assert_eq!(event.group, "edgecredentials.io");
        assert_eq!(event.resource, "edgecredentials");
        assert_eq!(event.subresource, "status");
        assert_eq!(event.namespace, "storefront");
        assert_eq!(event.name, "edge-admin");
        assert_eq!(event.code, 200);
        assert_eq!(
            event.right().as_deref(),
            Some("patch edgecredentials.io/edgecredentials/status")
        );
        assert_eq!(event.at.to_string(), "2026-11-23T10:00:00.123456Z");
    }

    #[test]
    fn a_path_that_is_no_resource_is_an_event_too() {
        let events = parse(&format!("{READYZ}\n"), "").unwrap();
        assert_eq!(events[0].resource, "");
        assert_eq!(events[0].uri, "/readyz");
        assert_eq!(events[0].code, 500);
        assert_eq!(events[0].right(), None);
    }

    #[test]
    fn a_line_that_is_still_being_written_is_left_out() {
        let half = &PATCH[..PATCH.len() / 2];
        let events = parse(&format!("{READYZ}\n{half}"), "").unwrap();
        assert_eq!(events.len(), 1);
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = parse(&format!("{READYZ}\n{{}}\n"), "").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
