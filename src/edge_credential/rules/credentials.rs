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

/// Why a credentials Secret cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsProblem {
    /// It does not exist.
    NotFound,
    /// One of its keys cannot be used.
    Malformed {
        /// The key, as the EdgeCredential names it.
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
    /// The value is not UTF-8 text, or has control characters in it.
    NotText,
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
                    Flaw::NotText => "is not plain text: was it encoded twice?",
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
/// endpoint would answer 401, which looks like a wrong secret.
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
    let text = std::str::from_utf8(bytes).map_err(|_| Flaw::NotText)?;
    if text.trim().is_empty() {
        Err(Flaw::Empty)
    } else if text.trim() != text {
        Err(Flaw::Padded)
    } else if text.chars().any(char::is_control) {
        Err(Flaw::NotText)
    } else {
        Ok(text)
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
            (Some(b"CAN\nARY"), Flaw::NotText),
            (Some(b"CAN\0ARY"), Flaw::NotText),
            (Some(b"\xffCANARY"), Flaw::NotText),
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
