//! The closed list of reasons that conditions, events, log lines and metrics use.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares [`Reason`] with its meaning and remedy side by side, so that the reference can be generated from it.
macro_rules! reasons {
    ($($name:ident: $meaning:literal, $remedy:literal;)+) => {
        /// Why an EdgeCredential or an EdgeToken is in its state. The names are API: they are never changed, only added to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name as it stands in conditions.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// What the reason says.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)+
                }
            }

            /// What a person can do about it.
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Self::$name => $remedy,)+
                }
            }
        }
    };
}

reasons! {
    TokenValid:
        "The target holds a valid token for the current spec.",
        "Nothing.";
    RenewalFailing:
        "The target holds a valid token for the current spec, but its renewal fails. It is tried again. The condition `Reconciling` has the cause.",
        "Follow the cause's advice, before the token expires.";
    RenewalStalled:
        "The target holds a valid token for the current spec, but it is not renewed until a person acts. The condition `Stalled` has the cause.",
        "Follow the cause's advice, before the token expires.";
    Suspended:
        "`spec.suspend` is true: nothing is requested and nothing is written.",
        "Set `spec.suspend` to false when the token should be kept valid again.";
    TokenExpired:
        "The token in the target has expired and no new one could be had. The condition `Reconciling` or `Stalled` has the cause.",
        "Follow the cause's advice.";
    InvalidSpec:
        "The spec breaks a rule that the API server did not check, because the object is older than the rule.",
        "Correct the field that the message names.";
    TokenOriginNotAllowed:
        "The origin of `spec.tokenRequest.url` is not in the operator's list, so the client secret is not sent there.",
        "Correct `spec.tokenRequest.url`, or have an administrator add the origin with `--allowed-token-origin`.";
    CredentialsNotFound:
        "The credentials Secret does not exist.",
        "Create it; the operator goes on within a second, with `--watch-secrets=false` within 5 minutes.";
    CredentialsMalformed:
        "A key of the credentials Secret is missing, empty, too long, not printable ASCII, or has white space around it (`echo` adds a newline).",
        "Correct the key that the message names, with `printf %s` or `kubectl create secret generic --from-literal`.";
    TargetNotOwned:
        "A Secret of the target's name exists and was not made for this object. It is never touched.",
        "Delete or rename that Secret, or create the object with another `spec.target.name`.";
    TargetConflict:
        "Another EdgeCredential or EdgeToken owns the target.",
        "Give one of the two another `spec.target.name`.";
    TargetImmutable:
        "The target Secret is marked immutable, so a renewed token cannot be written.",
        "Delete the target Secret; it is written again from the token at hand. Then replace the pods that mount it: they keep the old token otherwise.";
    TargetWriteForbidden:
        "The API server refused the write of the target: a quota, an admission policy or missing rights.",
        "Look at the message, which names the quota, policy or webhook where the API server does, and at the operator's role in the namespace.";
    TargetWriteFailed:
        "The API server could not store the target. The token is kept in memory, and only the write is tried again.",
        "Nothing, unless it lasts: then look at the API server and at etcd's space.";
    KubernetesUnavailable:
        "A call to the Kubernetes API failed. It is tried again.",
        "Nothing, unless it lasts: then look at the API server.";
    InternalError:
        "The operator itself failed on this object (a panic). Others are served on.",
        "Report it with the line of the operator's log that names the place in the program. A change to the object is tried at once.";
    RBACMissing:
        "The operator lacks a right in this namespace.",
        "Grant the operator's ServiceAccount the verb and resource that the message names.";
    TokenEndpointUnavailable:
        "The token endpoint could not be reached, did not answer in time, or answered with a server error. It is tried again.",
        "Nothing, unless it lasts: then check network policy, proxy, DNS and the endpoint's status.";
    WaitingForTurn:
        "Others wait for the token endpoint too, and it is not this one's turn yet.",
        "Nothing. If it lasts, see whether the endpoint is slow, or whether very many objects are new.";
    RateLimited:
        "The token endpoint or an API asked to wait (HTTP 429), or said with an earlier answer that no request is left. It is tried again.",
        "Look for other programs that use the same client instead of sharing a token.";
    CredentialsRejected:
        "The token endpoint refused the client id or the client secret (HTTP 401).",
        "Put the right credentials into the credentials Secret. Client id and secret may be swapped, or the client was deleted.";
    ClientNotAllowed:
        "The token endpoint knows the client but refuses the request (HTTP 403): wrong kind of client, audience or scope.",
        "Use an Edge administration client, and check `spec.tokenRequest.audience` and `spec.tokenRequest.scopes`.";
    RequestRefused:
        "The token endpoint refused the request as invalid (HTTP 4xx).",
        "Check `spec.tokenRequest.scopes`, `spec.tokenRequest.extraParameters`, `spec.tokenRequest.format` and `spec.tokenRequest.clientAuthentication`.";
    RedirectRefused:
        "The token endpoint or an API answered with a redirect, which is never followed: it could send what is secret elsewhere.",
        "Put the final URL into the field of the one that the message names, such as `spec.tokenRequest.url`.";
    InvalidResponse:
        "The token endpoint's answer is not what OAuth 2.0 says (not JSON, cut off, a doubled member, or an error with status 200), or an API's is not what it is documented to be.",
        "Check the URL of the one that the message names, such as `spec.tokenRequest.url`: it may be the address of a web page.";
    ResponseTooLarge:
        "The answer of the token endpoint or of an API is larger than 64 KiB.",
        "Check the URL of the one that the message names, such as `spec.tokenRequest.url`: it may be the address of a web page.";
    UnsupportedTokenType:
        "The answer has no token type, or another than `Bearer`.",
        "Check that `spec.tokenRequest.url` issues bearer tokens for this client.";
    InvalidTokenBytes:
        "The answer has no token, or one with characters that cannot stand in an `Authorization` header (RFC 6750 section 2.1).",
        "Report it to the owner of the token endpoint.";
    NotAJWT:
        "The token is not a JSON Web Token.",
        "Check `spec.tokenRequest.audience`: some endpoints give an opaque token where it is unknown. If that is what you want, set `spec.tokenRequest.tokenFormat` to `Any`.";
    UnknownLifetime:
        "Neither `expires_in` nor the token says how long it is valid.",
        "Report it to the owner of the token endpoint: without a lifetime no renewal can be planned.";
    InvalidLifetime:
        "`expires_in`, or `exp` or `iat` of the token, is not a usable number.",
        "Report it to the owner of the token endpoint.";
    ExpiredOnArrival:
        "The token was expired, about to expire (within 10 seconds), or not valid yet when it arrived.",
        "Check the token endpoint's clock and the lifetime it is configured with.";
    WrongAudience:
        "The token is not for the audience that was asked for.",
        "Check `spec.tokenRequest.audience`.";
    EdgeAPIUnavailable:
        "The Token API or the Deploy API could not be reached, did not answer in time, or answered with a server error. It is tried again.",
        "Nothing, unless it lasts: then check network policy, proxy, DNS and Sitecore's status. The key in the target works on.";
    EdgeAPIUnauthorized:
        "The Token API or the Deploy API refused the JSON Web Token (HTTP 401), also one that was issued for the purpose.",
        "Check that the client in the credentials Secret is one for the API, and `spec.tokenRequest.audience`.";
    EdgeAPIForbidden:
        "The Token API or the Deploy API does not allow the client to do that (HTTP 403).",
        "Use an Edge administration client for the Token API, and an automation client for the Deploy API.";
    EdgeAPIRefused:
        "The Token API or the Deploy API refused the call (HTTP 4xx), or has no key for the environment.",
        "Check `spec.tokenAPI` or `spec.deployAPI`: the URL first, then the scopes.";
    EdgeAPIOriginNotAllowed:
        "The origin of `spec.tokenAPI.url`, `spec.deployAPI.url` or `spec.deliveryURL` is not in the operator's list, so neither a JSON Web Token nor a key is sent there.",
        "Correct the URL, or have an administrator add the origin with `--allowed-api-origin`.";
    EnvironmentNotFound:
        "The Deploy API does not know the environment (HTTP 404), or the client may not see it.",
        "Check `spec.deployAPI.environmentID` and the organization of the client.";
    EnvironmentChanged:
        "The Token API does not list the present key with these credentials, so they are of another environment. Nothing is made or revoked, and the key in the target works on.",
        "Put credentials of the right environment into the credentials Secret. If the other environment is wanted, ask for a rotation with `edgecredentials.io/rotate-requested-at`.";
    UnrecordedKeys:
        "The Token API lists keys of this EdgeToken that it did not record, as after its status was lost or the cluster was copied. Nothing is made or revoked.",
        "Find out who uses them, and revoke those that nobody does. The message has the number, and their labels begin with `edge-token/` and the uid of the EdgeToken.";
    KeyNotListed:
        "The Token API does not list the key that it made, by its label. The key is used, but could not be found again to be revoked.",
        "Look for the key at Sitecore by the time in `status.token.createdAt`, and report how its label differs.";
    KeyNotRevoked:
        "The Token API answered that it did not revoke a key, or lists it as valid after it was revoked. It is tried again.",
        "Nothing, unless it lasts: then revoke the key at Sitecore. Its label begins with the mark in `status.retired`.";
    TooManyKeys:
        "The Token API lists more keys than the operator reads (20 pages), so that it cannot know which are this EdgeToken's. Nothing is made or revoked.",
        "Ask Sitecore how keys can be removed, or use another environment.";
    DeliveryRefused:
        "The Delivery API refuses the key (HTTP 401 or 403). A new one is not handed out, and no former one is revoked.",
        "Wait some minutes after a key was made. If it lasts, check `spec.deliveryURL` and the scopes, or set `spec.verify` to `None`.";
    DeliveryUnavailable:
        "The Delivery API could not be reached, or its answer does not say whether it takes the key. It is tried again.",
        "Nothing, unless it lasts: then check `spec.deliveryURL`, network policy, proxy and DNS, or set `spec.verify` to `None`.";
}

impl Reason {
    /// The reason of this name. One that is not known is of a later version, which was installed before this one: it
    /// is taken for one that passes by itself, so that nothing waits longer than it must.
    fn named(name: &str) -> Self {
        let known = Self::ALL.iter().find(|reason| reason.as_str() == name);
        known.copied().unwrap_or(Self::TokenEndpointUnavailable)
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self::named(&name))
    }
}

/// No enum: a status with a reason of a later version must remain one that can be written.
impl JsonSchema for Reason {
    fn schema_name() -> Cow<'static, str> {
        "Reason".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z]+$"})
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
