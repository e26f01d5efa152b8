//! Whether a token is signed with a key that its endpoint publishes.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use edge_credential_operator::{
    api::EdgeCredential, edge_credential::rules::target::ProvenToken, http::origin::Origin,
};
use reqwest::Url;
use secrecy::ExposeSecret;
use serde::Deserialize;

use crate::{
    check::Check,
    error::Error,
    http::{client, no_answer},
    output::progress::during,
};

/// The keys that an endpoint publishes (RFC 7517), as far as they matter here.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    #[serde(default)]
    kid: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

/// Checks the signature with the keys that the token endpoint's host publishes.
pub(super) async fn verify(object: &EdgeCredential, proven: &ProvenToken) -> Result<Check, Error> {
    let url = Url::parse(&object.spec.token_request.url).ok();
    let Some(origin) = url.as_ref().and_then(Origin::of) else {
        return Ok(Check::unseen(
            "the signature: the token endpoint has no origin",
        ));
    };
    let keys = client()?
        .get(format!("{origin}/.well-known/jwks.json"))
        .send();
    let answer = during(&format!("asking {origin} for its keys"), keys).await;
    let answer = answer.map_err(|error| no_answer(origin.as_str(), &error))?;
    let bytes = answer
        .bytes()
        .await
        .map_err(|error| no_answer(origin.as_str(), &error))?;
    let Ok(keys) = serde_json::from_slice::<KeySet>(&bytes) else {
        return Ok(Check::unseen(format!(
            "the signature: {origin} publishes no keys at /.well-known/jwks.json"
        )));
    };
    Ok(check_signature(
        proven.token.access_token.expose_secret(),
        &keys,
    ))
}

fn check_signature(token: &str, keys: &KeySet) -> Check {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let parts = token.rsplit_once('.').and_then(|(signed, signature)| {
        let header = decode(signed.split_once('.')?.0)?;
        let header: Header = serde_json::from_slice(&header).ok()?;
        Some((signed, decode(signature)?, header))
    });
    let Some((signed, signature, header)) = parts else {
        return Check::unseen("the signature: the token is opaque");
    };
    if header.alg != "RS256" {
        return Check::unseen("the signature: it is of another kind than RS256");
    }
    let key = keys.keys.iter().find(|key| key.kid == header.kid);
    let Some((n, e)) = key.and_then(|key| Some((decode(&key.n)?, decode(&key.e)?))) else {
        return Check::bad(
            "the token is signed with a key that the endpoint does not publish",
            "It may have replaced its keys: have the token renewed with `kubectl edgecred renew`.",
        );
    };
    let key = RsaPublicKeyComponents { n, e };
    match key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature) {
        Ok(()) => Check::good("the signature is good, by the keys that the endpoint publishes"),
        Err(_) => Check::bad(
            "the signature is wrong",
            "No API takes this token: have it renewed with `kubectl edgecred renew`.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;

    #[test]
    fn an_opaque_token_and_a_foreign_key_are_told_apart() {
        let keys = KeySet { keys: Vec::new() };
        assert_eq!(check_signature("opaque", &keys).verdict, Verdict::Unseen);
        let token = format!(
            "{}.e30.c2ln",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"1"}"#)
        );
        assert_eq!(check_signature(&token, &keys).verdict, Verdict::Bad);
        let token = format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
        assert_eq!(check_signature(&token, &keys).verdict, Verdict::Unseen);
    }
}
