//! The Delivery API: gives content by GraphQL to who has a key. Here only whether it takes the key matters.

use serde::Deserialize;
use serde_json::Value;

use super::error::Cause;
use crate::http::json::parse_object;

/// In which header the key is sent.
pub const KEY_HEADER: &str = "sc_apikey";

/// The smallest query there is. It reads no content.
pub const QUERY: &str = r#"{"query":"{__typename}"}"#;

/// What an answer says of the key that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It gave data for the key.
    Accepted,
    /// It refused the key (HTTP 401 or 403).
    Refused,
    /// It says nothing of the key. What is answered to one that is refused is not documented.
    Unknown,
}

/// The answer of GraphQL.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Value,
}

/// What a success says of the key: that it was accepted where there is data, whatever errors are beside it.
pub fn judge_success(status: u16, body: &[u8]) -> Verdict {
    match parse_object(body) {
        Some(Answer { data }) if status == 200 && !data.is_null() => Verdict::Accepted,
        _ => Verdict::Unknown,
    }
}

/// What a failure says of the key; `None` where it is no answer to the query at all.
pub fn judge_failure(cause: &Cause) -> Option<Verdict> {
    match cause {
        Cause::Refused { status: 401 | 403 } => Some(Verdict::Refused),
        Cause::Refused { status } if !matches!(status, 407 | 408 | 500..) => Some(Verdict::Unknown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_accepted_where_data_came_for_it() {
        for (status, body, verdict) in [
            (200, r#"{"data":{"__typename":"Query"}}"#, Verdict::Accepted),
            (
                200,
                r#"{"data":{"__typename":"Query"},"errors":[{}]}"#,
                Verdict::Accepted,
            ),
            (
                200,
                r#"{"data":null,"errors":[{"message":"Unauthorized"}]}"#,
                Verdict::Unknown,
            ),
            (
                200,
                r#"{"errors":[{"message":"Unauthorized"}]}"#,
                Verdict::Unknown,
            ),
            (200, "{}", Verdict::Unknown),
            (200, "[true]", Verdict::Unknown),
            (200, "<html>", Verdict::Unknown),
            (200, "", Verdict::Unknown),
            (202, r#"{"data":{"__typename":"Query"}}"#, Verdict::Unknown),
        ] {
            assert_eq!(judge_success(status, body.as_bytes()), verdict, "{body}");
        }
    }

    #[test]
    fn a_key_is_refused_by_two_statuses_and_by_nothing_else() {
        let refused = |status| judge_failure(&Cause::Refused { status });
        for status in [401, 403] {
            assert_eq!(refused(status), Some(Verdict::Refused));
        }
        for status in [400, 404, 409, 422] {
            assert_eq!(refused(status), Some(Verdict::Unknown));
        }
        for status in [407, 408, 500, 503] {
            assert_eq!(refused(status), None);
        }
        for cause in [
            Cause::OriginNotAllowed,
            Cause::RateLimited { quota: None },
            Cause::Redirected { status: 302 },
            Cause::TooLarge,
        ] {
            assert_eq!(judge_failure(&cause), None, "{cause:?}");
        }
    }
}
