//! The spec, turned into the parameters of a token request, or what is wrong with it.
//!
//! The API server checks most of this by schema. It is checked again, because an object can be older than a rule.

use std::{collections::BTreeSet, fmt};

use reqwest::Url;

use crate::{
    api::{
        EdgeCredential, Reason,
        edge_credential::{STANDARD_PARAMETERS, Source, is_reserved_key},
    },
    oauth::{
        RequestParameters,
        origin::{AllowedOrigins, Origin},
    },
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
}

impl SpecProblem {
    /// The reason that conditions show.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid { .. } => Reason::InvalidSpec,
            Self::OriginNotAllowed(_) => Reason::TokenOriginNotAllowed,
        }
    }
}

impl fmt::Display for SpecProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { field, rule } => write!(f, "{field} {rule}"),
            Self::OriginNotAllowed(origin) => write!(
                f,
                "client secrets may not be sent to {origin}: correct spec.tokenURL, or have an administrator add the \
                 origin to the operator's --allowed-token-origin"
            ),
        }
    }
}

/// The request parameters of an EdgeCredential, once its whole spec has been found sound.
pub fn parameters(
    object: &EdgeCredential,
    allowed: &AllowedOrigins,
) -> Result<RequestParameters, SpecProblem> {
    let spec = &object.spec;
    let invalid = |field, rule| SpecProblem::Invalid { field, rule };

    if object.target_name() == spec.credentials_secret_ref.name {
        return Err(invalid(
            "spec.target.name",
            "must not be the credentials Secret",
        ));
    }
    if spec.renew_before().is_err() {
        return Err(invalid(
            "spec.renewBefore",
            "must be a duration such as 8h or 90m",
        ));
    }
    if spec.audience.is_empty() {
        return Err(invalid("spec.audience", "must not be empty"));
    }
    if STANDARD_PARAMETERS
        .iter()
        .any(|standard| spec.extra_parameters.contains_key(*standard))
    {
        return Err(invalid(
            "spec.extraParameters",
            "must not redefine a standard parameter of the request",
        ));
    }
    check_target(object)?;

    let token_url = Url::parse(&spec.token_url)
        .ok()
        .filter(|url| {
            url.username().is_empty() && url.password().is_none() && url.fragment().is_none()
        })
        .ok_or(invalid(
            "spec.tokenURL",
            "must be an http or https URL without user information and fragment",
        ))?;
    let origin =
        Origin::of(&token_url).ok_or(invalid("spec.tokenURL", "must be an http or https URL"))?;
    if !allowed.contain(&token_url) {
        return Err(SpecProblem::OriginNotAllowed(origin));
    }
    Ok(RequestParameters {
        token_url,
        audience: spec.audience.clone(),
        scopes: spec.scopes.clone(),
        extra_parameters: spec.extra_parameters.clone(),
        format: spec.request_format,
        client_authentication: spec.client_authentication,
        token_format: spec.token_format,
    })
}

fn check_target(object: &EdgeCredential) -> Result<(), SpecProblem> {
    let target = &object.spec.target;
    let invalid = |field, rule| Err(SpecProblem::Invalid { field, rule });

    let mut keys = BTreeSet::new();
    for entry in &target.data {
        if entry.from.is_some() == entry.value.is_some() {
            return invalid(
                "spec.target.data",
                "must set exactly one of from and value in each entry",
            );
        }
        if !keys.insert(&entry.key) {
            return invalid("spec.target.data", "must not name a key twice");
        }
    }
    let carries_token = |source| {
        matches!(
            source,
            Source::AccessToken | Source::Authorization | Source::Json
        )
    };
    if !target
        .data
        .iter()
        .any(|entry| entry.from.is_some_and(carries_token))
    {
        return invalid(
            "spec.target.data",
            "must carry the token: from AccessToken, Authorization or JSON",
        );
    }
    if target.labels.keys().any(|key| is_reserved_key(key)) {
        return invalid("spec.target.labels", "must not use a reserved key");
    }
    if target.annotations.keys().any(|key| is_reserved_key(key)) {
        return invalid("spec.target.annotations", "must not use a reserved key");
    }
    Ok(())
}
