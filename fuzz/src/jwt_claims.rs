//! JSON Web Tokens: what has claims is a bearer token, and a claim that is shown is an identifier.

use edge_credential_operator::oauth::{
    jwt::{self, Claims, MAX_LENGTH},
    response::is_bearer_token,
};
use serde_json::Value;

use super::answer;

/// Checks a token as it stands, and one whose header is the first line and whose payload is the rest.
pub fn check(input: &[u8]) {
    if let Ok(token) = std::str::from_utf8(input) {
        read(token);
    }
    let (header, payload) = answer::split(input, b"\n").unwrap_or((b"{}", input));
    if let Some(claims) = read(&answer::jwt(header, payload)) {
        same_as_said(&claims, payload);
    }
}

fn read(token: &str) -> Option<Claims> {
    let claims = jwt::decode_claims(token)?;
    assert!(token.len() <= MAX_LENGTH && is_bearer_token(token));
    assert_eq!(token.split('.').filter(|part| !part.is_empty()).count(), 3);
    for id in [claims.tenant_id(), claims.organization_id()]
        .into_iter()
        .flatten()
    {
        assert!((1..=128).contains(&id.len()), "{id}");
        assert!(
            id.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
            "{id}"
        );
    }
    Some(claims)
}

/// Reads the payload once more, by other means.
fn same_as_said(claims: &Claims, payload: &[u8]) {
    // Fails where an unknown claim has a number that is none for `Value`, which does not matter here.
    let Ok(said) = serde_json::from_slice::<Value>(payload) else {
        return;
    };
    assert!(said.is_object());
    let audiences: Vec<&str> = match &said["aud"] {
        Value::String(aud) => vec![aud],
        Value::Array(auds) => auds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    assert!(audiences.iter().all(|audience| claims.is_for(audience)));
    assert!(
        !claims.is_for("https://nobody.example") || audiences.contains(&"https://nobody.example")
    );
    assert_eq!(claims.scope(), said["scope"].as_str());
    for (claim, read) in [
        ("exp", &claims.exp),
        ("iat", &claims.iat),
        ("nbf", &claims.nbf),
    ] {
        assert_eq!(read.is_some(), !said[claim].is_null(), "{claim}");
    }
}
