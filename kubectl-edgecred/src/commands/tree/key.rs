//! What belongs to an EdgeToken alone: the API that its key is from, the key, and the ones that are no longer, or not yet, in use.

use edge_credential_operator::api::{
    EdgeToken,
    edge_token::{KeyStatus, RetiredKey, RetirementCause},
};
use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use serde_json::{Map, Value, json};

use super::drawn::Drawn;
use crate::{
    output::{
        style::{BAD, WARN, styled},
        times::{short, since, to_the_minute, until},
    },
    stored::{Source, judge_key},
};

impl Drawn for EdgeToken {
    const RENEWED: &'static str = "rotates";

    fn draw(&self, now: Timestamp) -> Vec<(&'static str, String)> {
        let status = self.status.as_ref();
        let key = status.and_then(|status| status.token.as_ref());
        let key = key.map_or_else(|| styled(BAD, "none yet"), |key| draw_key(key, now));
        let mut lines = vec![("api", draw_source(self)), ("key", key)];
        let pending = status.and_then(|status| status.pending.as_ref());
        lines.extend(pending.map(|pending| {
            let age = since(pending.since.0, now);
            let text = format!("{}   asked for {age} ago, not handed out yet", pending.mark);
            ("pending", text)
        }));
        let retired = status.map(|status| status.retired.iter());
        let retired = retired.into_iter().flatten();
        lines.extend(retired.map(|key| ("retired", draw_retired(key, now))));
        lines
    }

    fn is_proven(&self, target: &Secret, now: Timestamp) -> bool {
        judge_key(self, None, Some(target.clone()))
            .usable(now)
            .is_some()
    }

    fn judge_use(sees_renewals: bool) -> String {
        if sees_renewals {
            "sees rotations".into()
        } else {
            "read at its start: to be restarted after a rotation".into()
        }
    }

    fn details(&self) -> Map<String, Value> {
        let url = match Source::of(self) {
            Source::TokenApi(api) => api.url,
            Source::DeployApi(api) => api.url,
        };
        let status = self.status.as_ref();
        let details = json!({
            "api": url,
            "deliveryURL": self.spec.delivery_url,
            "key": status.and_then(|status| status.token.as_ref()),
            "pending": status.and_then(|status| status.pending.as_ref()),
            "retired": status.map(|status| &status.retired),
        });
        match details {
            Value::Object(mut details) => {
                details.retain(|_, value| !value.is_null());
                details
            }
            _ => Map::new(),
        }
    }
}

fn draw_source(object: &EdgeToken) -> String {
    match Source::of(object) {
        Source::TokenApi(api) => format!("Token API {}   scopes {}", api.url, api.scopes.join(" ")),
        Source::DeployApi(api) => {
            format!(
                "Deploy API {}   environment {}",
                api.url, api.environment_id
            )
        }
    }
}

fn draw_key(key: &KeyStatus, now: Timestamp) -> String {
    let mut parts = vec![key.mark.clone()];
    let tenant = key.tenant_id.as_ref();
    parts.extend(tenant.map(|tenant| format!("tenant {tenant}")));
    parts.push(format!("made {} ago", since(key.created_at.0, now)));
    parts.extend(key.rotate_at.as_ref().map(|at| {
        let rotates = if at.0 > now { "rotates in " } else { "" };
        format!("{rotates}{}", until(at.0, now, "rotation overdue"))
    }));
    parts.join("   ")
}

fn draw_retired(key: &RetiredKey, now: Timestamp) -> String {
    let mark = &key.mark;
    let until = key.revoke_at.0;
    match key.cause {
        RetirementCause::Replaced if now < until => {
            let left = short(until.duration_since(now));
            format!("{mark}   works until {}, for {left}", to_the_minute(until))
        }
        RetirementCause::Discarded => format!("{mark}   was never handed out, to be revoked"),
        RetirementCause::Replaced | RetirementCause::OverlapEnded => {
            let age = since(until, now);
            format!(
                "{mark}   {}",
                styled(WARN, format!("to be revoked, for {age} now"))
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_an_edge_token_are_told_with_until_when_they_work() {
        let now: Timestamp = "2026-11-26T10:00:00Z".parse().unwrap();
        let mark = |number: u32| format!("edge-token/1/000000000000000{number}");
        let object: EdgeToken = serde_json::from_value(json!({
            "apiVersion": "edgecredentials.io/v1alpha1",
            "kind": "EdgeToken",
            "metadata": {"name": "content", "namespace": "storefront", "uid": "1"},
            "spec": {"credentialsSecretRef": {"name": "edge-client"}},
            "status": {
                "token": {
                    "mark": mark(3), "tenantID": "acme-prod", "createdAt": "2026-11-26T09:00:00Z",
                    "rotateAt": "2027-02-24T09:00:00Z",
                },
                "pending": {"mark": mark(4), "since": "2026-11-26T09:59:57Z"},
                "retired": [
                    {
                        "mark": mark(2), "since": "2026-11-26T09:00:00Z", "cause": "Replaced",
                        "revokeAt": "2026-11-27T09:00:00Z",
                    },
                    {
                        "mark": mark(1), "since": "2026-11-25T09:00:00Z", "cause": "OverlapEnded",
                        "revokeAt": "2026-11-26T09:50:00Z",
                    },
                    {
                        "mark": mark(0), "since": "2026-11-26T09:00:00Z", "cause": "Discarded",
                        "revokeAt": "2026-11-26T09:00:00Z",
                    },
                ],
            },
        }))
        .unwrap();
        let lines = object.draw(now).into_iter().map(|(name, text)| {
            let text = anstream::adapter::strip_str(&text).to_string();
            format!("{name}: {text}").replace("edge-token/1/000000000000000", "#")
        });
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [
                "api: Token API https://edge.sitecorecloud.io/api/apikey/v1   scopes audience-delivery content-#everything#",
                "key: #3   tenant acme-prod   made 1h00m ago   rotates in 89d",
                "pending: #4   asked for 3s ago, not handed out yet",
                "retired: #2   works until 2026-11-27 09:00 UTC, for 23h00m",
                "retired: #1   to be revoked, for 10m now",
                "retired: #0   was never handed out, to be revoked",
            ]
        );
        let details = object.details();
        assert_eq!(details["retired"].as_array().map(Vec::len), Some(3));
        assert_eq!(details["key"]["tenantID"], "acme-prod");
    }
}
