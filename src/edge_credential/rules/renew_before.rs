//! How long before its expiry a token is renewed, as the spec says.

use k8s_openapi::jiff::SignedDuration;

use crate::api::EdgeCredentialSpec;

/// How long before its expiry a token is renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RenewBefore {
    /// One third of the lifetime (cert-manager's rule).
    #[default]
    OneThird,
    /// So long; where that is not shorter than the lifetime, one third of it.
    Duration(SignedDuration),
    /// So many hundredths of the lifetime, from 1 to 99.
    Percentage(i32),
}

/// A spec that does not say it in one sound way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRenewBefore {
    /// The field's path.
    pub field: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl RenewBefore {
    /// What a spec says, or what is wrong with it.
    pub fn of(spec: &EdgeCredentialSpec) -> Result<Self, InvalidRenewBefore> {
        let invalid = |field, rule| Err(InvalidRenewBefore { field, rule });
        match (&spec.renew_before, spec.renew_before_percentage) {
            (None, None) => Ok(Self::OneThird),
            (Some(text), None) => match text.parse::<SignedDuration>() {
                Ok(duration) if !duration.is_negative() => Ok(Self::Duration(duration)),
                _ => invalid("spec.renewBefore", "must be a duration such as 8h or 90m"),
            },
            (None, Some(percentage @ 1..=99)) => Ok(Self::Percentage(percentage)),
            (None, Some(_)) => invalid("spec.renewBeforePercentage", "must be from 1 to 99"),
            (Some(_), Some(_)) => invalid(
                "spec.renewBeforePercentage",
                "must not be set together with spec.renewBefore",
            ),
        }
    }

    /// How old a token of this lifetime is when it is renewed.
    pub fn age(self, lifetime: SignedDuration) -> SignedDuration {
        lifetime
            - match self {
                Self::Duration(before) if before < lifetime => before,
                Self::Percentage(percentage) => lifetime * percentage / 100,
                Self::OneThird | Self::Duration(_) => lifetime / 3,
            }
    }
}
