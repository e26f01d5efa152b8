//! What the specs of all kinds have in common, turned into what is acted on, or what is wrong with it.
//!
//! The API server checks most of this by schema. It is checked again, because an object can be older than a rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use reqwest::Url;

use crate::{
    api::{
        Reason,
        credentials::CredentialsSecretRef,
        names::{is_label_key, is_label_value, is_secret_key, is_subdomain},
        size::stored_size,
        target::{
            Entry, MAX_ENTRIES, MAX_LABELS, MAX_SIZE, is_reserved_annotation, is_reserved_label,
        },
        token_request::{
            AUDIENCE_MAX_SIZE, MAX_PARAMETERS, MAX_SCOPES, PARAMETER_NAME_MAX_LENGTH,
            PARAMETERS_MAX_SIZE, SCOPE_MAX_LENGTH, TokenRequestSpec, URL_MAX_SIZE,
            is_standard_parameter,
        },
    },
    http::origin::{AllowedOrigins, Origin},
    oauth::RequestParameters,
};

/// Why a spec cannot be acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecProblem {
    /// A field breaks a rule.
    Invalid {
        /// The field's path.
        field: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// The token endpoint's origin is not in the administrator's list.
    OriginNotAllowed(Origin),
    /// An API's origin is not in the administrator's list.
    ApiOriginNotAllowed {
        /// The field's path.
        field: &'static str,
        /// The origin.
        origin: Origin,
    },
}

impl SpecProblem {
    /// The reason that conditions show.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid { .. } => Reason::InvalidSpec,
            Self::OriginNotAllowed(_) => Reason::TokenOriginNotAllowed,
            Self::ApiOriginNotAllowed { .. } => Reason::EdgeAPIOriginNotAllowed,
        }
    }
}

impl fmt::Display for SpecProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { field, rule } => write!(f, "{field} {rule}"),
            Self::OriginNotAllowed(origin) => write!(
                f,
                "client secrets may not be sent to {origin}: correct spec.tokenRequest.url, or have an administrator add the \
                 origin to the operator's --allowed-token-origin"
            ),
            Self::ApiOriginNotAllowed { field, origin } => write!(
                f,
                "tokens and keys may not be sent to {origin}: correct {field}, or have an administrator add the origin to \
                 the operator's --allowed-api-origin"
            ),
        }
    }
}

/// Checks the names of the two Secrets, before anything is read: a name becomes part of a URL, and one with a slash in
/// it could lead to another namespace.
pub fn check_names(credentials: &CredentialsSecretRef, target: &str) -> Result<(), SpecProblem> {
    for (field, name) in [
        ("spec.credentialsSecretRef.name", credentials.name.as_str()),
        ("spec.target.name", target),
    ] {
        ensure(is_subdomain(name), field, "must be the name of a Secret")?;
    }
    Ok(())
}

/// Says which rule a field breaks, unless it holds.
pub fn ensure(holds: bool, field: &'static str, rule: &'static str) -> Result<(), SpecProblem> {
    if holds {
        Ok(())
    } else {
        Err(SpecProblem::Invalid { field, rule })
    }
}

/// Checks which keys of which Secret are the credentials.
pub fn check_credentials(names: &CredentialsSecretRef, target: &str) -> Result<(), SpecProblem> {
    ensure(
        target != names.name,
        "spec.target.name",
        "must not be the credentials Secret",
    )?;
    for (field, key) in [
        (
            "spec.credentialsSecretRef.clientIDKey",
            &names.client_id_key,
        ),
        (
            "spec.credentialsSecretRef.clientSecretKey",
            &names.client_secret_key,
        ),
    ] {
        ensure(
            is_secret_key(key),
            field,
            "must be a key that a Secret can have",
        )?;
    }
    Ok(())
}

/// Makes the parameters of a request as they would be sent, if there were nothing else in the way.
pub fn make_parameters(request: &TokenRequestSpec) -> Result<RequestParameters, SpecProblem> {
    let field = "spec.tokenRequest.audience";
    ensure(
        request.audience.bytes().all(is_printable)
            && stored_size(&request.audience) <= AUDIENCE_MAX_SIZE,
        field,
        "must be at most 1024 printable ASCII characters",
    )?;
    let field = "spec.tokenRequest.scopes";
    ensure(
        request.scopes.len() <= MAX_SCOPES,
        field,
        "must be at most 16",
    )?;
    ensure(
        request.scopes.iter().all(|scope| is_scope(scope)),
        field,
        "must be 1 to 128 characters each that RFC 6749 allows, without <, > and &",
    )?;
    check_extra_parameters(&request.extra_parameters)?;
    Ok(RequestParameters {
        token_url: check_url("spec.tokenRequest.url", &request.url)?.0,
        audience: request.audience.clone(),
        scopes: request.scopes.clone(),
        extra_parameters: request.extra_parameters.clone(),
        format: request.format,
        client_authentication: request.client_authentication,
        token_format: request.token_format,
    })
}

/// Whether a byte is printable ASCII.
pub fn is_printable(b: u8) -> bool {
    matches!(b, b' '..=b'~')
}

/// Whether this is one scope: `scope-token` of RFC 6749 section 3.3, without the characters that take sixfold room in
/// the status.
fn is_scope(scope: &str) -> bool {
    (1..=SCOPE_MAX_LENGTH).contains(&scope.len())
        && scope
            .bytes()
            .all(|b| matches!(b, b'!'..=b'~') && !b"\"\\<>&".contains(&b))
}

fn check_extra_parameters(parameters: &BTreeMap<String, String>) -> Result<(), SpecProblem> {
    let field = "spec.tokenRequest.extraParameters";
    ensure(
        !parameters.keys().any(|name| is_standard_parameter(name)),
        field,
        "must not redefine a standard parameter of the request",
    )?;
    let is_name = |name: &String| {
        (1..=PARAMETER_NAME_MAX_LENGTH).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    ensure(
        parameters.keys().all(is_name),
        field,
        "must have names of 1 to 128 letters, digits, '.', '_' or '-'",
    )?;
    ensure(
        parameters
            .values()
            .all(|value| value.bytes().all(is_printable)),
        field,
        "must have values in printable ASCII",
    )?;
    ensure(
        parameters.len() <= MAX_PARAMETERS && stored_sizes(parameters) <= PARAMETERS_MAX_SIZE,
        field,
        "must be at most 16, and 4096 bytes in all",
    )
}

/// Parses a URL that something secret is sent to, and its origin.
pub fn check_url(field: &'static str, text: &str) -> Result<(Url, Origin), SpecProblem> {
    ensure(
        stored_size(text) <= URL_MAX_SIZE,
        field,
        "must have at most 2048 characters",
    )?;
    let is_part = |b: u8| is_printable(b) && !b" \"\\<>#".contains(&b);
    let url = Url::parse(text).ok().filter(|url| {
        text.bytes().all(is_part) && url.username().is_empty() && url.password().is_none()
    });
    url.and_then(|url| Origin::of(&url).map(|origin| (url, origin)))
        .ok_or(SpecProblem::Invalid {
            field,
            rule: "must be an http or https URL without user information and fragment",
        })
}

/// Checks that client secrets may be sent to the token endpoint.
pub fn check_origin(url: &Url, allowed: &AllowedOrigins) -> Result<(), SpecProblem> {
    let refused = Origin::of(url).filter(|_| !allowed.contain(url));
    refused.map_or(Ok(()), |origin| Err(SpecProblem::OriginNotAllowed(origin)))
}

/// Checks where one of Sitecore's APIs is: a JSON Web Token, or a key, is sent there.
pub fn check_api_url(
    field: &'static str,
    text: &str,
    allowed: &AllowedOrigins,
) -> Result<Url, SpecProblem> {
    let (url, origin) = check_url(field, text)?;
    if allowed.contain(&url) {
        Ok(url)
    } else {
        Err(SpecProblem::ApiOriginNotAllowed { field, origin })
    }
}

/// Checks the keys of a target. `carrier` is the rule that one of them has to have the token in it.
pub fn check_entries<E: Entry>(entries: &[E], carrier: &'static str) -> Result<(), SpecProblem> {
    let field = "spec.target.data";
    ensure(entries.len() <= MAX_ENTRIES, field, "must be at most 32")?;
    let mut keys = BTreeSet::new();
    for entry in entries {
        ensure(
            entry.is_taken() != entry.value().is_some(),
            field,
            "must set exactly one of from and value in each entry",
        )?;
        ensure(
            is_secret_key(entry.key()),
            field,
            "must name keys that a Secret can have",
        )?;
        ensure(keys.insert(entry.key()), field, "must not name a key twice")?;
    }
    let values = entries.iter().filter_map(Entry::value);
    ensure(
        values.map(stored_size).sum::<usize>() <= MAX_SIZE,
        field,
        "must have values of at most 8192 bytes in all",
    )?;
    ensure(entries.iter().any(Entry::has_token), field, carrier)
}

/// Checks the labels of a target.
pub fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), SpecProblem> {
    let field = "spec.target.labels";
    let is_reserved = labels.keys().any(|key| is_reserved_label(key));
    ensure(!is_reserved, field, "must not use a reserved key")?;
    ensure(
        labels
            .iter()
            .all(|(key, value)| is_label_key(key) && is_label_value(value)),
        field,
        "must be labels that a Secret can have",
    )?;
    ensure(labels.len() <= MAX_LABELS, field, "must be at most 16")
}

/// Checks the annotations of a target.
pub fn check_annotations(annotations: &BTreeMap<String, String>) -> Result<(), SpecProblem> {
    let field = "spec.target.annotations";
    let is_reserved = annotations.keys().any(|key| is_reserved_annotation(key));
    ensure(!is_reserved, field, "must not use a reserved key")?;
    ensure(
        annotations.keys().all(|key| is_label_key(key)),
        field,
        "must be annotations that a Secret can have",
    )?;
    ensure(
        annotations.len() <= MAX_LABELS && stored_sizes(annotations) <= MAX_SIZE,
        field,
        "must be at most 16, and 8192 bytes in all",
    )
}

fn stored_sizes(map: &BTreeMap<String, String>) -> usize {
    map.iter()
        .map(|(key, value)| stored_size(key) + stored_size(value))
        .sum()
}
