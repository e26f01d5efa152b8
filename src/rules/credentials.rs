//! The credentials Secret, turned into client credentials, or what is wrong with it.

use std::fmt;

use k8s_openapi::{ByteString, api::core::v1::Secret};

use crate::{
    api::{
        Reason,
        credentials::{CredentialsSecretRef, SecretVersion},
    },
    oauth::ClientCredentials,
};

/// Client credentials, and which version of the Secret they were read from.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Client id and client secret.
    pub client: ClientCredentials,
    /// The Secret's version, or the earlier one in which the same credentials are known to have failed.
    pub version: Option<SecretVersion>,
}

/// What was found in a credentials Secret.
#[derive(Clone, Debug)]
pub struct FoundCredentials {
    /// Who asks, or what is wrong with the Secret.
    pub credentials: Result<Credentials, CredentialsProblem>,
    /// The version of the Secret, sound or not.
    pub version: Option<SecretVersion>,
}

impl FoundCredentials {
    /// What a Secret has, or that it is not there.
    pub fn of(secret: Option<&Secret>, names: &CredentialsSecretRef) -> Self {
        Self {
            credentials: extract_credentials(secret, names),
            version: secret.and_then(|secret| SecretVersion::of(&secret.metadata)),
        }
    }
}

impl From<Credentials> for FoundCredentials {
    fn from(credentials: Credentials) -> Self {
        Self {
            version: credentials.version.clone(),
            credentials: Ok(credentials),
        }
    }
}

/// The longest client id or client secret, in bytes. A long header is refused by servers in ways that look like an outage.
pub const MAX_LENGTH: usize = 1024;

/// Why a credentials Secret cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsProblem {
    /// It does not exist.
    NotFound,
    /// One of its keys cannot be used.
    Malformed {
        /// The key, as the object names it.
        key: String,
        /// What is wrong with its value.
        flaw: Flaw,
    },
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The key is not there.
    Missing,
    /// The value is empty.
    Empty,
    /// The value is longer than [`MAX_LENGTH`].
    TooLong,
    /// The value has a character in it that nobody sees, such as editors and clipboards add.
    Invisible(&'static str),
    /// The value has something else in it than printable ASCII.
    NotPrintable,
    /// The value begins or ends with white space.
    Padded,
}

impl CredentialsProblem {
    /// The reason that conditions show.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotFound => Reason::CredentialsNotFound,
            Self::Malformed { .. } => Reason::CredentialsMalformed,
        }
    }
}

impl fmt::Display for CredentialsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => {
                f.write_str("it does not exist: create it with the client id and the client secret")
            }
            Self::Malformed { key, flaw } => {
                write!(f, "key \"{key}\" ")?;
                f.write_str(match flaw {
                    Flaw::Missing => {
                        "is missing: add it, or name another key in spec.credentialsSecretRef"
                    }
                    Flaw::Empty => "is empty",
                    Flaw::TooLong => "is longer than 1024 bytes: is it another file's content?",
                    Flaw::Invisible(name) => {
                        return write!(
                            f,
                            "has {name} in it, which nobody sees: copy the value again, as plain text"
                        );
                    }
                    Flaw::NotPrintable => {
                        "has other characters than printable ASCII in it: was the text put under data, which has to be \
                         base64, and not under stringData?"
                    }
                    Flaw::Padded => {
                        "begins or ends with white space or a newline: write it with printf %s or \
                         kubectl create secret generic --from-literal"
                    }
                })
            }
        }
    }
}

/// Reads the two keys. Anything that could not have been meant so is refused here, before it is sent anywhere: the
/// endpoint would answer 401, which looks like a wrong secret. What is allowed is `VSCHAR` (RFC 6749 appendix A).
pub fn extract_credentials(
    secret: Option<&Secret>,
    names: &CredentialsSecretRef,
) -> Result<Credentials, CredentialsProblem> {
    let secret = secret.ok_or(CredentialsProblem::NotFound)?;
    let value = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        text(bytes)
            .map(|text| text.into())
            .map_err(|flaw| CredentialsProblem::Malformed {
                key: key.into(),
                flaw,
            })
    };
    Ok(Credentials {
        client: ClientCredentials {
            client_id: value(&names.client_id_key)?,
            client_secret: value(&names.client_secret_key)?,
        },
        version: SecretVersion::of(&secret.metadata),
    })
}

fn text(bytes: Option<&ByteString>) -> Result<&str, Flaw> {
    let bytes = &bytes.ok_or(Flaw::Missing)?.0;
    if bytes.len() > MAX_LENGTH {
        return Err(Flaw::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Flaw::NotPrintable)?;
    if let Some(name) = text.chars().find_map(invisible) {
        return Err(Flaw::Invisible(name));
    }
    if text.trim().is_empty() {
        Err(Flaw::Empty)
    } else if text.trim() != text {
        Err(Flaw::Padded)
    } else if text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        Ok(text)
    } else {
        Err(Flaw::NotPrintable)
    }
}

/// The name of a character that looks like nothing, or like a space.
fn invisible(c: char) -> Option<&'static str> {
    match c {
        '\u{feff}' => Some("a byte-order mark"),
        '\u{200b}'..='\u{200d}' | '\u{2060}' => Some("a zero-width space"),
        '\u{a0}' | '\u{202f}' => Some("a non-breaking space"),
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' => {
            Some("a mark of the writing direction")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn secret(pairs: &[(&str, &[u8])]) -> Secret {
        let data = pairs
            .iter()
            .map(|(key, value)| ((*key).into(), ByteString(value.to_vec())))
            .collect();
        Secret {
            data: Some(data),
            ..Secret::default()
        }
    }

    fn names() -> CredentialsSecretRef {
        CredentialsSecretRef {
            name: "edge-client".into(),
            client_id_key: "id".into(),
            client_secret_key: "secret".into(),
        }
    }

    #[test]
    fn the_two_named_keys_are_read() {
        let secret = secret(&[("id", b"me"), ("secret", b"s3cr3t with space")]);
        let read = extract_credentials(Some(&secret), &names()).unwrap();
        assert_eq!(read.client.client_id.expose_secret(), "me");
        assert_eq!(
            read.client.client_secret.expose_secret(),
            "s3cr3t with space"
        );
    }

    #[test]
    fn a_missing_secret_is_waited_for() {
        assert_eq!(
            extract_credentials(None, &names()).unwrap_err(),
            CredentialsProblem::NotFound
        );
    }

    #[test]
    fn every_flaw_names_the_key_and_shows_nothing_of_the_value() {
        for (value, flaw) in [
            (None, Flaw::Missing),
            (Some(&b""[..]), Flaw::Empty),
            (Some(b" \n"), Flaw::Empty),
            (Some(b"CANARY\n"), Flaw::Padded),
            (Some(b"CANARY\r\n"), Flaw::Padded),
            (Some(b" CANARY"), Flaw::Padded),
            (Some(b"CAN\nARY"), Flaw::NotPrintable),
            (Some(b"CAN\0ARY"), Flaw::NotPrintable),
            (Some(b"\xffCANARY"), Flaw::NotPrintable),
            (Some("CANÄRY".as_bytes()), Flaw::NotPrintable),
            // microsoft/azuredevopslabs#715, bitnami-labs/sealed-secrets#1410
            (
                Some("\u{feff}CANARY".as_bytes()),
                Flaw::Invisible("a byte-order mark"),
            ),
            (
                Some("CANARY\u{200b}".as_bytes()),
                Flaw::Invisible("a zero-width space"),
            ),
            (
                Some("CAN\u{a0}ARY".as_bytes()),
                Flaw::Invisible("a non-breaking space"),
            ),
            (
                Some("\u{202e}CANARY".as_bytes()),
                Flaw::Invisible("a mark of the writing direction"),
            ),
            (Some(&[b'x'; MAX_LENGTH + 1]), Flaw::TooLong),
        ] {
            let mut pairs = vec![("id", &b"me"[..])];
            pairs.extend(value.map(|value| ("secret", value)));
            let problem = extract_credentials(Some(&secret(&pairs)), &names()).unwrap_err();
            let message = problem.to_string();
            assert!(
                message.contains("\"secret\"") && !message.contains("CAN"),
                "{message}"
            );
            assert_eq!(
                problem,
                CredentialsProblem::Malformed {
                    key: "secret".into(),
                    flaw
                }
            );
        }
    }
}
