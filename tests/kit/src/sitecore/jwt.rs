//! The signing key, and the tokens made and checked with it.

use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Prefix of the claims that Sitecore adds.
pub const CLAIMS_PREFIX: &str = "https://auth.sitecorecloud.io/claims/";

/// The claims of a token that passed [`verify`](super::Sitecore::verify).
#[derive(Clone, Debug, Deserialize)]
pub struct Claims {
    /// The stand-in's URL with a slash at the end.
    pub iss: String,
    /// `<client id>@clients`.
    pub sub: String,
    /// The audience: a string, or a list of them where a scenario made it one.
    pub aud: Value,
    /// Issued at, in seconds since 1970. RFC 7519 allows a fraction.
    pub iat: f64,
    /// Expires at, in seconds since 1970.
    pub exp: f64,
    /// The client id.
    pub azp: String,
    /// Scopes granted, with blanks in between.
    pub scope: String,
    /// `client-credentials`.
    pub gty: String,
    /// Different in every token, so that two of the same second differ.
    pub jti: String,
    /// The environment.
    #[serde(rename = "https://auth.sitecorecloud.io/claims/tenant_id")]
    pub tenant_id: Option<String>,
    /// The organization.
    #[serde(rename = "https://auth.sitecorecloud.io/claims/org_id")]
    pub org_id: String,
}

struct Key {
    pair: RsaKeyPair,
    id: String,
    verifier: DecodingKey,
}

/// One key for the whole process: making one takes long, most of all in a debug build.
fn key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key can be made");
        let public = pair.public_key();
        let verifier = DecodingKey::from_rsa_raw_components(
            public.modulus().big_endian_without_leading_zero(),
            public.exponent().big_endian_without_leading_zero(),
        );
        Key {
            id: URL_SAFE_NO_PAD.encode(&super::sha256(public.as_ref())[..16]),
            pair,
            verifier,
        }
    })
}

/// Makes the key now, lest the first token take longer than the others.
pub(super) fn make_key() {
    key();
}

/// The public key as a JSON Web Key Set.
pub(super) fn jwks() -> Value {
    let key = key();
    let public = key.pair.public_key();
    json!({"keys": [{
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": key.id,
        "n": URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
        "e": URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
    }]})
}

/// A JWT with these claims.
///
/// Signed with aws-lc-rs itself, so that `jsonwebtoken` in [`verify`] is a second opinion.
pub(super) fn sign(claims: &Map<String, Value>) -> String {
    let key = key();
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": key.id});
    let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(Value::from(claims.clone()).to_string()));
    let mut signature = vec![0; key.pair.public_modulus_len()];
    key.pair
        .sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            token.as_bytes(),
            &mut signature,
        )
        .expect("an RSA key can sign");
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    token
}

/// Checks signature, issuer, audience and both ends of the validity, with no leeway.
pub(super) fn verify(
    token: &str,
    issuer: &str,
    audiences: &[String],
    now: Duration,
) -> Result<Claims, Error> {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_issuer(&[issuer]);
    validation.set_audience(audiences);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    // jsonwebtoken looks at whole seconds and allows the second of `exp` itself; a service does not.
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<Value>(token, &key().verifier, &validation)?.claims;
    let number = |name: &str| claims.get(name).and_then(Value::as_f64);
    if number("exp").is_none_or(|exp| exp <= now.as_secs_f64()) {
        return Err(ErrorKind::ExpiredSignature.into());
    }
    if number("nbf").is_some_and(|nbf| nbf > now.as_secs_f64()) {
        return Err(ErrorKind::ImmatureSignature.into());
    }
    Ok(serde_json::from_value(claims)?)
}
