//! Which objects share the token of another.

use edge_credential_operator::{
    api::{EdgeCredential, EdgeToken},
    rules::{credentials::extract_credentials, spec::make_parameters},
};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    cluster::{
        access::Cluster,
        errors::CallError,
        objects::{Found, Scope},
    },
    kind::Object,
    name::ObjectName,
};

/// What a token request is made of. Those with equal inputs share one token.
struct Inputs {
    parameters: String,
    client: SecretString,
}

/// The others, of either kind, that would send an equal request, with their namespaces: in all namespaces, or, where those may not be
/// seen, in its own. Of those whose credentials may not be read nothing is known.
pub(super) async fn find<K: Object>(
    cluster: &Cluster,
    object: &K,
    credentials: Option<&Secret>,
) -> Result<Vec<String>, CallError> {
    let Some(ours) = inputs(object, credentials) else {
        return Ok(Vec::new());
    };
    let mut sharers = of_kind::<EdgeCredential, K>(cluster, object, &ours).await?;
    sharers.extend(of_kind::<EdgeToken, K>(cluster, object, &ours).await?);
    Ok(sharers)
}

async fn of_kind<O: Object, K: Object>(
    cluster: &Cluster,
    object: &K,
    ours: &Inputs,
) -> Result<Vec<String>, CallError> {
    let found: Found<O> = match cluster.list_if_served(&Scope::All, None).await {
        Ok(found) => found,
        Err(_) => cluster.list_if_served(&cluster.scope(false), None).await?,
    };
    let mut sharers = Vec::new();
    for other in found.objects {
        let parameters = parameters(&other);
        if other.uid() == object.uid() || parameters.as_ref() != Some(&ours.parameters) {
            continue;
        }
        let namespace = other.namespace().unwrap_or_default();
        let secret = cluster.secret(&namespace, &other.credentials().name).await;
        let theirs = secret
            .ok()
            .and_then(|secret| client(&other, secret.as_ref()));
        if theirs.is_some_and(|theirs| theirs.expose_secret() == ours.client.expose_secret()) {
            let name = ObjectName::new(O::KIND, &other.name_any());
            sharers.push(format!("{namespace}/{name}"));
        }
    }
    Ok(sharers)
}

fn inputs<K: Object>(object: &K, credentials: Option<&Secret>) -> Option<Inputs> {
    Some(Inputs {
        parameters: parameters(object)?,
        client: client(object, credentials)?,
    })
}

fn parameters<K: Object>(object: &K) -> Option<String> {
    let parameters = make_parameters(object.token_request()).ok()?;
    Some(parameters.fingerprint())
}

fn client<K: Object>(object: &K, credentials: Option<&Secret>) -> Option<SecretString> {
    let credentials = extract_credentials(credentials, object.credentials()).ok()?;
    Some(credentials.client.fingerprint())
}
