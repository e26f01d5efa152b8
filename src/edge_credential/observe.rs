//! Reads what a decision rests on.

use k8s_openapi::jiff::Timestamp;

use super::{
    context::Context,
    rules::{
        credentials::extract_credentials,
        error::Error,
        judge::{Observed, ObservedTarget},
        spec::{check_names, check_spec},
        target::{ProvenToken, check_ownership, find_token},
    },
};
use crate::{
    api::EdgeCredential,
    cluster::{object_key::ObjectKey, secrets::Secrets},
    oauth::{Token, TokenRequest},
    traffic::Caller,
};

/// Reads the credentials Secret and the target Secret, and judges them. The object itself comes from the watch.
pub async fn observe<'a>(
    context: &Context,
    object: &'a EdgeCredential,
) -> Result<Observed<'a>, Error> {
    check_names(object).map_err(Error::Spec)?;
    let secrets = Secrets::beside(object, &context.calls).ok_or(Error::Unidentified)?;
    let names = &object.spec.credentials_secret_ref;
    let target_name = object.target_name();
    let read = async |name: &str| {
        secrets
            .read(name)
            .await
            .map_err(|source| Error::ReadSecret {
                secret: name.into(),
                source,
            })
    };
    // Both to the end, and judged in order: the first one to fail would be another each time, and so the status.
    let (credentials_secret, target_secret) =
        futures::future::join(read(&names.name), read(target_name)).await;
    let (credentials_secret, target_secret) = (credentials_secret?, target_secret?);

    let parameters = check_spec(object, &context.allowed_origins)
        .map(|plan| plan.parameters)
        .map_err(Error::Spec);
    let credentials = extract_credentials(credentials_secret.as_ref(), names)
        .map(|credentials| context.failed_credentials.recognize(object, credentials))
        .map_err(|problem| Error::Credentials {
            secret: names.name.clone(),
            problem,
        });
    let target = target_secret
        .map(|secret| {
            check_ownership(&secret, object).map_err(|problem| Error::Target {
                secret: target_name.into(),
                problem,
            })?;
            let stored = parameters
                .as_ref()
                .ok()
                .and_then(|parameters| find_token(&secret, parameters));
            Ok(ObservedTarget { secret, stored })
        })
        .transpose();
    let request = match (&parameters, &credentials) {
        (Ok(parameters), Ok(credentials)) => Some(TokenRequest {
            parameters: parameters.clone(),
            credentials: credentials.client.clone(),
        }),
        _ => None,
    };
    let request = request.as_ref();
    let now = context.clock.now();
    let stored = target
        .as_ref()
        .ok()
        .and_then(|target: &Option<ObservedTarget>| target.as_ref()?.stored.as_ref());
    let caller = caller_of(object, stored, now);
    let held = request.and_then(|request| at_hand(context, object, request, stored, now));
    Ok(Observed {
        object,
        parameters,
        credentials,
        target,
        held,
        answered: context.handled_renewals.contains(object),
        circuit_open: request.is_some_and(|request| context.tokens.circuit_open(request, &caller)),
    })
}

/// A valid token in memory. What the target holds is remembered, lest its deletion cost a request after a restart.
fn at_hand(
    context: &Context,
    object: &EdgeCredential,
    request: &TokenRequest,
    stored: Option<&ProvenToken>,
    now: Timestamp,
) -> Option<Token> {
    let uid = object.metadata.uid.as_deref()?;
    let stored =
        stored.filter(|stored| stored.token.is_valid(now) && stored.is_of(&request.credentials));
    if let Some(stored) = stored {
        context.tokens.cache_for(request, uid, &stored.token);
    }
    context
        .tokens
        .cached(request, now)
        .or_else(|| context.tokens.cached_for(request, uid, now))
}

/// On whose behalf a token is requested: an object, with what is left of the token it has.
pub fn caller_of(object: &EdgeCredential, stored: Option<&ProvenToken>, now: Timestamp) -> Caller {
    Caller {
        object: ObjectKey::of(object),
        expires_at: stored
            .filter(|stored| stored.token.is_valid(now))
            .map(|stored| stored.token.expires_at),
    }
}
