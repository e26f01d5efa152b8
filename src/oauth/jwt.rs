//! What is read from a JSON Web Token (RFC 7519). The signature is not verified: the token came from the endpoint
//! over TLS, and its verification is the duty of the API that receives it.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};

/// The longest token that is taken, in bytes. A Secret holds 1 MiB, an HTTP header often no more than 16 KiB.
pub const MAX_LENGTH: usize = 16 * 1024;

/// The claims that matter here. The times are kept as they were written, because any JSON number is allowed there.
#[derive(Debug, Deserialize)]
pub struct Claims {
    /// When it expires.
    pub exp: Option<Box<RawValue>>,
    /// When it was issued.
    pub iat: Option<Box<RawValue>>,
    /// When it becomes valid.
    pub nbf: Option<Box<RawValue>>,
    /// Whom it is for.
    #[serde(default)]
    aud: Value,
    /// The granted scopes.
    #[serde(default)]
    scope: Value,
    #[serde(default, rename = "https://auth.sitecorecloud.io/claims/tenant_id")]
    tenant_id: Value,
    #[serde(default, rename = "https://auth.sitecorecloud.io/claims/org_id")]
    organization_id: Value,
}

/// Reads the claims of a token; `None` where it is not three non-empty parts of base64url, the first two of them
/// JSON objects.
pub fn decode_claims(token: &str) -> Option<Claims> {
    if token.len() > MAX_LENGTH {
        return None;
    }
    let [header, payload, signature] =
        <[&str; 3]>::try_from(token.split('.').collect::<Vec<_>>()).ok()?;
    if signature.is_empty() || URL_SAFE_NO_PAD.decode(signature).is_err() {
        return None;
    }
    decode_object(header)?;
    serde_json::from_slice(&decode_object(payload)?).ok()
}

/// The JSON object that a part of a token is in base64url. Made sure of for the payload too: a struct can also be read
/// from a JSON array.
fn decode_object(part: &str) -> Option<Vec<u8>> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(&json).ok()?;
    Some(json)
}

impl Claims {
    /// Whether `aud`, a string or a list of strings, names the audience.
    pub fn is_for(&self, audience: &str) -> bool {
        match &self.aud {
            Value::String(aud) => aud == audience,
            Value::Array(auds) => auds.iter().any(|aud| aud == audience),
            _ => false,
        }
    }

    /// The granted scopes.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_str()
    }

    /// Sitecore's tenant id: the environment that the token opens.
    pub fn tenant_id(&self) -> Option<&str> {
        identifier(&self.tenant_id)
    }

    /// Sitecore's organization id.
    pub fn organization_id(&self) -> Option<&str> {
        identifier(&self.organization_id)
    }
}

/// A claim that is shown to people, only where it looks like an identifier: the token's content is not ours.
fn identifier(claim: &Value) -> Option<&str> {
    claim.as_str().filter(|id| {
        (1..=128).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str, signature: &str) -> String {
        let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
        format!(
            "{}.{}.{}",
            encode(header),
            encode(payload),
            encode(signature)
        )
    }

    #[test]
    fn claims_are_read_from_a_signed_token() {
        let token = token(
            r#"{"alg":"RS256"}"#,
            r#"{"aud":["a","b"],"exp":1.5e3,"scope":"x y","https://auth.sitecorecloud.io/claims/tenant_id":"t-1"}"#,
            "signature",
        );
        let claims = decode_claims(&token).unwrap();
        assert!(claims.is_for("b") && !claims.is_for("c"));
        assert_eq!(claims.exp.as_ref().unwrap().get(), "1.5e3");
        assert_eq!(claims.scope(), Some("x y"));
        assert_eq!(claims.tenant_id(), Some("t-1"));
        assert_eq!(claims.organization_id(), None);
    }

    #[test]
    fn what_is_not_a_signed_json_web_token_has_no_claims() {
        for token in [
            String::new(),
            "opaque".into(),
            "a.b".into(),
            "..".into(),
            token("{}", "{}", ""),
            token("[]", "{}", "s"),
            token("{}", "[]", "s"),
            token("{}", "7", "s"),
            token("{}", "[null,null,null,null,null,null,null]", "s"),
            format!("{}.extra", token("{}", "{}", "s")),
            format!("{}=", token("{}", "{}", "s")),
            token(
                "{}",
                &format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_LENGTH)),
                "s",
            ),
        ] {
            assert!(decode_claims(&token).is_none(), "{token:.80}");
        }
    }

    #[test]
    fn an_identifier_that_could_mislead_a_reader_is_not_shown() {
        for id in ["", "a b", "a\\nb", "<script>", &"x".repeat(129)] {
            let payload = format!(r#"{{"https://auth.sitecorecloud.io/claims/org_id":"{id}"}}"#);
            assert_eq!(
                decode_claims(&token("{}", &payload, "s"))
                    .unwrap()
                    .organization_id(),
                None
            );
        }
    }
}
