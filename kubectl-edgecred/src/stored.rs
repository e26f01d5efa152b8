//! The token that a target proves to hold, found by the operator's own rule.

use edge_credential_operator::{
    api::EdgeCredential,
    edge_credential::rules::target::{ProvenToken, find_token},
};
use k8s_openapi::jiff::Timestamp;

use crate::{cluster::access::Cluster, error::Error, output::times::to_the_minute};

/// The valid token of an EdgeCredential of the namespace.
pub async fn valid_token(
    cluster: &Cluster,
    name: &str,
) -> Result<(EdgeCredential, ProvenToken), Error> {
    let object = cluster.edge_credential(name).await?;
    let target = object.target_name();
    let secret = cluster.secret(&cluster.namespace, target).await?;
    let see = || format!("See why with `kubectl edgecred status {name}`.");
    let Some(secret) = secret else {
        return Err(Error::refused(
            format!("the Secret \"{target}\" is not there yet"),
            see(),
        ));
    };
    let Some(proven) = find_token(&secret, &object) else {
        return Err(Error::refused(
            format!("the Secret \"{target}\" proves no token for the spec of {name} as it is"),
            format!("See which check fails with `kubectl edgecred inspect {name}`."),
        ));
    };
    let expires_at = proven.token.expires_at;
    if !proven.token.is_valid(Timestamp::now()) {
        return Err(Error::refused(
            format!("the token expired at {}", to_the_minute(expires_at)),
            see(),
        ));
    }
    Ok((object, proven))
}
