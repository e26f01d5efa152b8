//! What belongs to an EdgeCredential alone: its token.

use edge_credential_operator::{api::EdgeCredential, edge_credential::rules::target::find_token};
use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};

use super::drawn::Drawn;
use crate::output::{
    style::{BAD, WARN, styled},
    times::until,
};

impl Drawn for EdgeCredential {
    const RENEWED: &'static str = "renews";

    fn draw(&self, now: Timestamp) -> Vec<(&'static str, String)> {
        vec![("token", draw_token(self, now))]
    }

    fn is_proven(&self, target: &Secret, _: Timestamp) -> bool {
        find_token(target, self).is_some()
    }

    fn judge_use(sees_renewals: bool) -> String {
        if sees_renewals {
            "sees renewals".into()
        } else {
            styled(WARN, "! keeps the first token for the pod's life")
        }
    }
}

fn draw_token(object: &EdgeCredential, now: Timestamp) -> String {
    let status = object.status.as_ref();
    let Some(token) = status.and_then(|status| status.token.as_ref()) else {
        return styled(BAD, "none yet");
    };
    let mut parts = Vec::new();
    if !token.audience.is_empty() {
        parts.push(format!("for {}", token.audience));
    }
    let tenant = token.tenant_id.as_ref();
    parts.extend(tenant.map(|tenant| format!("tenant {tenant}")));
    parts.extend(token.scope.as_ref().map(|scope| format!("scopes {scope}")));
    let expires = if token.expires_at.0 > now {
        "expires in "
    } else {
        ""
    };
    parts.push(format!(
        "{expires}{}",
        until(token.expires_at.0, now, "expired")
    ));
    parts.join("   ")
}
