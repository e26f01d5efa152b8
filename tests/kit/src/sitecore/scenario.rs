//! What the token endpoint answers instead of a plain success.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tokio::sync::watch;

use super::wire::Wire;

/// How the token endpoint answers a client.
///
/// Variants that end in a token ([`Token`](Scenario::Token), [`Delay`](Scenario::Delay), [`Withheld`](Scenario::Withheld),
/// [`Drip`](Scenario::Drip), [`HugeBody`](Scenario::HugeBody), [`IssueThenReset`](Scenario::IssueThenReset)) check the
/// credentials first, as [`Normal`](Scenario::Normal) does; all others answer whatever was sent.
#[derive(Clone, Debug, Default)]
pub enum Scenario {
    /// As the real endpoint does.
    #[default]
    Normal,
    /// A success that deviates in one of its members or claims.
    Token(TokenShape),
    /// An OAuth error.
    OAuthError(OAuthError),
    /// 429 with the bucket of the whole tenant in `X-RateLimit-*`.
    TooManyRequests {
        /// When to come back.
        retry_after: RetryAfter,
        /// The value of `Auth0-Client-Quota-Limit`, such as `b=per_hour;q=10;r=0;t=3540`. Default: no such header.
        client_quota: Option<String>,
    },
    /// 503 with a plain-text body.
    Unavailable(RetryAfter),
    /// An HTML page, as a proxy in between sends it.
    Html {
        /// The HTTP status, such as 500 or 200.
        status: u16,
    },
    /// Anything else.
    Raw {
        /// The HTTP status.
        status: u16,
        /// Headers, in order.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// A redirect, which a client must not follow: it would carry the secret to another host.
    Redirect {
        /// 302, 307 or 308.
        status: u16,
        /// The `Location`.
        location: String,
    },
    /// A valid token answer, padded to this many bytes.
    HugeBody(usize),
    /// A body that begins like a token answer and never ends.
    EndlessBody,
    /// No answer, not even headers, until the client gives up.
    Hang,
    /// The normal answer, late.
    Delay(Duration),
    /// The normal answer, when the other end is dropped: see [`withhold`](super::Sitecore::withhold).
    Withheld(watch::Receiver<()>),
    /// The normal answer, one byte at a time with this pause between two bytes.
    Drip(Duration),
    /// The connection is reset before anything is done.
    Reset,
    /// A token is issued (and counted), then the connection is reset: the answer is lost.
    IssueThenReset,
    /// Bytes in place of an answer, whether they are HTTP or not.
    Wire(Wire),
}

impl Scenario {
    /// A success with this JSON text as `expires_in`: `0`, `-5`, `"900"`, `900.5`, `1e400`.
    pub fn expires_in(json: &str) -> Self {
        TokenShape {
            expires_in: Member::Json(json.into()),
            ..TokenShape::default()
        }
        .into()
    }

    /// A success without `expires_in`.
    pub fn without_expires_in() -> Self {
        TokenShape {
            expires_in: Member::Absent,
            ..TokenShape::default()
        }
        .into()
    }

    /// A success without `scope`.
    pub fn without_scope() -> Self {
        TokenShape {
            scope: Member::Absent,
            ..TokenShape::default()
        }
        .into()
    }

    /// A success with this token type, such as `bearer` or `DPoP`.
    pub fn token_type(token_type: &str) -> Self {
        TokenShape {
            token_type: Member::text(token_type),
            ..TokenShape::default()
        }
        .into()
    }

    /// A success with this token instead of a JWT. Control characters are escaped as JSON wants it.
    pub fn access_token(token: &str) -> Self {
        TokenShape {
            access_token: Member::text(token),
            ..TokenShape::default()
        }
        .into()
    }

    /// A success with an opaque token, as Auth0 gives when no audience is known.
    pub fn opaque_token() -> Self {
        Self::access_token("b3BhcXVlLXRva2VuLW5vdC1hLWp3dA")
    }

    /// A success without `access_token`.
    pub fn without_access_token() -> Self {
        TokenShape {
            access_token: Member::Absent,
            ..TokenShape::default()
        }
        .into()
    }

    /// A JWT with this claim changed; `null` leaves the claim out. `aud` makes the wrong audience.
    pub fn claim(name: &str, value: Value) -> Self {
        TokenShape {
            claims: vec![(name.into(), value)],
            ..TokenShape::default()
        }
        .into()
    }

    /// A JWT that lives this many seconds, while `expires_in` states the client's lifetime.
    pub fn jwt_lifetime(seconds: i64) -> Self {
        TokenShape {
            jwt_lifetime: Some(seconds),
            ..TokenShape::default()
        }
        .into()
    }

    /// A JWT that expired a minute before it was sent.
    pub fn expired_on_arrival() -> Self {
        Self::jwt_lifetime(-60)
    }

    /// A JWT whose `nbf` is this many seconds ahead.
    pub fn not_valid_for(seconds: i64) -> Self {
        TokenShape {
            not_before: Some(seconds),
            ..TokenShape::default()
        }
        .into()
    }

    /// A success with one more member, given as JSON text. The name of a usual member makes a duplicate key, `error`
    /// makes a success that is none.
    pub fn with_member(name: &str, json: &str) -> Self {
        TokenShape {
            more: vec![(name.into(), json.into())],
            ..TokenShape::default()
        }
        .into()
    }

    /// An OAuth error with this status, code and description.
    pub fn oauth_error(status: u16, error: &str, description: &str) -> Self {
        Self::OAuthError(OAuthError::new(status, error, description))
    }

    /// A success whose body is said to be compressed so (`gzip`, `br`), which no client asked for.
    pub fn compressed(encoding: &str, body: Vec<u8>) -> Self {
        Self::Raw {
            status: 200,
            headers: vec![
                ("content-type".into(), "application/json".into()),
                ("content-encoding".into(), encoding.into()),
            ],
            body,
        }
    }

    /// 10 KiB of gzip that become 10 MiB where somebody decompresses them.
    pub fn compressed_bomb() -> Self {
        Self::compressed("gzip", gzip(&vec![b' '; 10 * 1024 * 1024]))
    }

    /// 401, as for a wrong client id or secret.
    pub fn access_denied() -> Self {
        Self::OAuthError(OAuthError::unauthorized())
    }

    /// 403, as for a client of the wrong kind.
    pub fn grant_not_allowed() -> Self {
        Self::oauth_error(
            403,
            "unauthorized_client",
            "Grant type 'client_credentials' not allowed for the client.",
        )
    }

    /// 403, as for an audience the client may not ask for.
    pub fn no_client_grant(audience: &str) -> Self {
        Self::OAuthError(OAuthError::no_client_grant(audience))
    }

    /// 400, as for a parameter that is missing.
    pub fn invalid_request() -> Self {
        Self::oauth_error(
            400,
            "invalid_request",
            "Missing required parameter: audience",
        )
    }

    /// 500 in OAuth's form, as a failing login hook gives.
    pub fn server_error() -> Self {
        Self::oauth_error(500, "server_error", "Something went wrong.")
    }

    /// 429 without quota headers.
    pub fn too_many_requests(retry_after: RetryAfter) -> Self {
        Self::TooManyRequests {
            retry_after,
            client_quota: None,
        }
    }
}

/// Answers that are withheld until this is released or dropped.
#[derive(Debug)]
#[must_use]
pub struct Withheld(pub(super) watch::Sender<()>);

impl Withheld {
    /// Lets the answers go.
    pub fn release(self) {
        drop(self.0);
    }
}

/// Compresses a body as `Content-Encoding: gzip` has it.
pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(body)
        .and_then(|()| encoder.finish())
        .expect("memory takes everything")
}

impl From<Wire> for Scenario {
    fn from(wire: Wire) -> Self {
        Self::Wire(wire)
    }
}

impl From<TokenShape> for Scenario {
    fn from(shape: TokenShape) -> Self {
        Self::Token(shape)
    }
}

/// Where a success deviates from the usual one. The default deviates nowhere.
#[derive(Clone, Debug, Default)]
pub struct TokenShape {
    /// The member `access_token`.
    pub access_token: Member,
    /// The member `token_type`.
    pub token_type: Member,
    /// The member `expires_in`.
    pub expires_in: Member,
    /// The member `scope`.
    pub scope: Member,
    /// Members put after the usual ones, as name and JSON text.
    pub more: Vec<(String, String)>,
    /// Seconds from now to the JWT's `exp`. Default: the client's lifetime.
    pub jwt_lifetime: Option<i64>,
    /// Seconds added to the JWT's `iat`.
    pub issued_at: i64,
    /// Seconds from now to the JWT's `nbf`. Default: no `nbf`, as Sitecore's tokens.
    pub not_before: Option<i64>,
    /// Claims changed last; `null` leaves the claim out.
    pub claims: Vec<(String, Value)>,
}

/// One member of the token answer.
#[derive(Clone, Debug, Default)]
pub enum Member {
    /// The usual value.
    #[default]
    Usual,
    /// Left out.
    Absent,
    /// This JSON text, which nobody checks.
    Json(String),
}

impl Member {
    /// This string.
    pub fn text(text: &str) -> Self {
        Self::Json(Value::from(text).to_string())
    }
}

/// An OAuth error answer.
#[derive(Clone, Debug)]
pub struct OAuthError {
    /// The HTTP status.
    pub status: u16,
    /// The member `error`.
    pub error: String,
    /// The member `error_description`, before the text of [`set_error_text`](super::Sitecore::set_error_text).
    pub description: String,
}

impl OAuthError {
    pub(super) fn new(status: u16, error: &str, description: &str) -> Self {
        Self {
            status,
            error: error.into(),
            description: description.into(),
        }
    }

    // Auth0 answers this, and not `invalid_client`, for a wrong id as well as for a wrong secret.
    pub(super) fn unauthorized() -> Self {
        Self::new(401, "access_denied", "Unauthorized")
    }

    pub(super) fn invalid_request(description: &str) -> Self {
        Self::new(400, "invalid_request", description)
    }

    pub(super) fn no_client_grant(audience: &str) -> Self {
        Self::new(
            403,
            "access_denied",
            &format!(
                "Client is not authorized to access \"{audience}\". You need to create a \"client-grant\" associated \
                 to this API."
            ),
        )
    }
}

/// The header `Retry-After`.
#[derive(Clone, Debug, Default)]
pub enum RetryAfter {
    /// No such header.
    #[default]
    None,
    /// Seconds.
    Seconds(u64),
    /// An HTTP date, this many seconds from now; may lie in the past.
    Date(i64),
    /// Any text.
    Raw(String),
}
