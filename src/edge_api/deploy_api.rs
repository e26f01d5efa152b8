//! The Deploy API: gives the key of an environment.

use reqwest::Url;
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    error::Cause,
    token_api::{below, check_key},
};
use crate::http::json::parse_object;

/// Where the key of an environment is to be had.
pub fn obtain_url(base: &Url, environment_id: &str) -> Url {
    let route = [
        "api",
        "environments",
        "v1",
        environment_id,
        "obtain-edge-token",
    ];
    below(base, route)
}

/// The answer: the key, which may be absent. `edgeUrl` is ignored: what it holds is documented in two ways.
#[derive(Deserialize)]
struct Answer {
    #[serde(default, rename = "apiKey", alias = "ApiKey")]
    api_key: Option<SecretString>,
}

/// Reads the answer.
pub fn read_obtained(body: &[u8]) -> Result<SecretString, Cause> {
    let answer: Answer = parse_object(body).ok_or(Cause::Malformed)?;
    check_key(answer.api_key.ok_or(Cause::NoKey)?)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn the_environment_is_a_part_of_the_path() {
        for base in ["https://deploy.example", "https://deploy.example/"] {
            let url = obtain_url(&base.parse().unwrap(), "abc-1/2");
            let expected = "https://deploy.example/api/environments/v1/abc-1%2F2/obtain-edge-token";
            assert_eq!(url.as_str(), expected);
        }
    }

    #[test]
    fn a_key_is_obtained_or_there_is_none_or_it_is_no_answer() {
        let read = |body: &str| {
            let read = read_obtained(body.as_bytes());
            read.map(|key| key.expose_secret().to_owned())
        };
        let key = r#"{"apiKey":"YWJj","edgeUrl":null}"#;
        assert_eq!(read(key).as_deref(), Ok("YWJj"));
        for none in [r#"{"apiKey":null,"edgeUrl":"https://x"}"#, "{}"] {
            assert_eq!(read(none), Err(Cause::NoKey), "{none}");
        }
        for body in [
            r#"{"apiKey":""}"#,
            r#"{"apiKey":"a b"}"#,
            r#"{"apiKey":7}"#,
            r#"{"apiKey":"YWJj","apiKey":"YWJj"}"#,
            r#"["YWJj"]"#,
            r#""YWJj""#,
            "YWJj",
            "",
        ] {
            assert_eq!(read(body), Err(Cause::Malformed), "{body}");
        }
    }
}
