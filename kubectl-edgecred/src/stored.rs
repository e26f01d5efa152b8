//! The token or the key that a target proves to hold, found by the operator's own rules.

use edge_credential_operator::{
    api::{
        EdgeCredential, EdgeToken,
        edge_token::{DeployApi, TokenApi},
    },
    edge_credential::rules::target::{ProvenToken, find_token},
    edge_token::rules::{
        judge::{Judged, judge},
        spec::Allowed,
    },
    http::origin::{AllowedOrigins, Origin},
    rules::credentials::FoundCredentials,
};
use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use reqwest::Url;
use secrecy::SecretString;

use crate::{
    cluster::access::Cluster,
    error::Error,
    kind::{Kind, Object},
    name::ObjectName,
    output::times::to_the_minute,
};

/// The valid token of an EdgeCredential of the namespace.
pub async fn valid_token(
    cluster: &Cluster,
    name: &str,
) -> Result<(EdgeCredential, ProvenToken), Error> {
    let object: EdgeCredential = cluster.get(name).await?;
    let secret = target(cluster, &object, name).await?;
    let Some(proven) = find_token(&secret, &object) else {
        return Err(unproven(&object, name, "token"));
    };
    let expires_at = proven.token.expires_at;
    if !proven.token.is_valid(Timestamp::now()) {
        return Err(Error::refused(
            format!("the token expired at {}", to_the_minute(expires_at)),
            see(Kind::EdgeCredential, name),
        ));
    }
    Ok((object, proven))
}

/// The key of an EdgeToken of the namespace: the current one, or a former one that is not to be revoked yet.
pub async fn usable_key(cluster: &Cluster, name: &str) -> Result<(EdgeToken, SecretString), Error> {
    let object: EdgeToken = cluster.get(name).await?;
    let secret = target(cluster, &object, name).await?;
    let judged = judge_key(&object, None, Some(secret));
    let is_usable = judged.usable(Timestamp::now()).is_some();
    let stored = judged.target.ok().flatten();
    let stored = stored.and_then(|target| target.proven);
    match stored {
        Some((key, _)) if is_usable => Ok((object, key.value)),
        _ => Err(unproven(&object, name, "key that works")),
    }
}

/// What the two Secrets of an EdgeToken mean. What is in them is judged, and nothing sent: so whatever origins it names are as good as
/// allowed here.
pub fn judge_key<'a>(
    object: &'a EdgeToken,
    credentials: Option<&Secret>,
    target: Option<Secret>,
) -> Judged<'a> {
    let spec = &object.spec;
    let api = match Source::of(object) {
        Source::TokenApi(api) => api.url,
        Source::DeployApi(api) => api.url,
    };
    let allowed = Allowed {
        token_endpoints: origins(&[&spec.token_request.url]),
        apis: origins(&[&api, &spec.delivery_url]),
    };
    let credentials = FoundCredentials::of(credentials, &spec.credentials_secret_ref);
    judge(object, &allowed, credentials, target)
}

/// Where the key of an EdgeToken is from.
pub enum Source {
    /// It is made with the Token API.
    TokenApi(TokenApi),
    /// It is fetched from the Deploy API.
    DeployApi(DeployApi),
}

impl Source {
    /// What the spec says, with its default.
    pub fn of(object: &EdgeToken) -> Self {
        let spec = &object.spec;
        match &spec.deploy_api {
            Some(api) => Self::DeployApi(api.clone()),
            None => Self::TokenApi(spec.token_api.clone().unwrap_or_default()),
        }
    }
}

fn origins(urls: &[&str]) -> AllowedOrigins {
    let urls = urls.iter().filter_map(|url| Url::parse(url).ok());
    urls.filter_map(|url| Origin::of(&url)).collect()
}

async fn target<K: Object>(cluster: &Cluster, object: &K, name: &str) -> Result<Secret, Error> {
    let target = object.target();
    let secret = cluster.secret(&cluster.namespace, target).await?;
    secret.ok_or_else(|| {
        Error::refused(
            format!("the Secret \"{target}\" is not there yet"),
            see(K::KIND, name),
        )
    })
}

fn unproven<K: Object>(object: &K, name: &str, what: &str) -> Error {
    let target = object.target();
    let entered = ObjectName::new(K::KIND, name);
    Error::refused(
        format!("the Secret \"{target}\" proves no {what} for the spec of {name} as it is"),
        format!("See which check fails with `kubectl edgecred inspect {entered}`."),
    )
}

fn see(kind: Kind, name: &str) -> String {
    let entered = ObjectName::new(kind, name);
    format!("See why with `kubectl edgecred status {entered}`.")
}
