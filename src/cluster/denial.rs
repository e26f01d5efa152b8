//! What refused a write, as far as the API server says so in a fixed form.

use std::fmt;

use crate::api::names::is_subdomain;

/// What refused a write. Of the API server's text it holds a name at most, and only one that such an object can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial<'a> {
    /// The operator lacks the right.
    MissingRight,
    /// A quota of the namespace would be exceeded.
    Quota(Option<&'a str>),
    /// An admission policy, validating or mutating.
    Policy(Option<&'a str>),
    /// An admission webhook.
    Webhook(Option<&'a str>),
    /// An admission webhook that cannot be asked.
    BrokenWebhook(Option<&'a str>),
}

impl<'a> Denial<'a> {
    /// Finds the fixed form with which a message begins. What follows it may quote anything, and is not looked at.
    pub fn of(error: &'a kube::Error) -> Option<Self> {
        let kube::Error::Api(status) = error else {
            return None;
        };
        let text = without_object(&status.message);
        let name = |begin: &str, end: char| {
            let (name, _) = text.strip_prefix(begin)?.split_once(end)?;
            Some(Some(name).filter(|name| is_subdomain(name)))
        };
        let user = text.starts_with("User \"").then_some(Self::MissingRight);
        user.or_else(|| name("exceeded quota: ", ',').map(Self::Quota))
            .or_else(|| name("ValidatingAdmissionPolicy '", '\'').map(Self::Policy))
            .or_else(|| name("policy '", '\'').map(Self::Policy))
            .or_else(|| name("admission webhook \"", '"').map(Self::Webhook))
            .or_else(|| {
                name("Internal error occurred: failed calling webhook \"", '"')
                    .map(Self::BrokenWebhook)
            })
    }

    /// Whether it was decided that the write must not be, rather than that nobody could decide.
    pub fn is_decided(self) -> bool {
        !matches!(self, Self::BrokenWebhook(_))
    }
}

/// A message without the object that the API server itself puts before it, as in `secrets "edge" is forbidden: `.
fn without_object(message: &str) -> &str {
    match message.split_once(" is forbidden: ") {
        Some((object, rest))
            if object
                .split([' ', '"'])
                .all(|word| word.is_empty() || is_subdomain(word)) =>
        {
            rest
        }
        _ => message,
    }
}

impl fmt::Display for Denial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (article, what, name, does) = match *self {
            Self::MissingRight => return f.write_str("the operator lacks the right"),
            Self::Quota(name) => ("a", "ResourceQuota", name, "would be exceeded"),
            Self::Policy(name) => ("an", "admission policy", name, "denies it"),
            Self::Webhook(name) => ("an", "admission webhook", name, "denies it"),
            Self::BrokenWebhook(name) => ("an", "admission webhook", name, "cannot be asked"),
        };
        match name {
            Some(name) => write!(f, "{what} \"{name}\" {does}"),
            None => write!(f, "{article} {what} {does}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge_credential::testing::{CANARY, denial};

    fn told(message: &str) -> Option<String> {
        Denial::of(&denial(403, message)).map(|denial| denial.to_string())
    }

    #[test]
    fn what_refused_is_found_in_the_fixed_forms_with_its_name_only() {
        for (message, expected) in [
            (
                "secrets is forbidden: User \"CANARY\" cannot create resource \"secrets\" in API group \"\" in the namespace \"a\"",
                "the operator lacks the right",
            ),
            (
                "secrets \"edge\" is forbidden: exceeded quota: few, requested: CANARY",
                "ResourceQuota \"few\" would be exceeded",
            ),
            (
                "secrets \"edge\" is forbidden: ValidatingAdmissionPolicy 'a.b' with binding 'CANARY' denied request: CANARY",
                "admission policy \"a.b\" denies it",
            ),
            (
                "edgecredentials.edgecredentials.io \"edge\" is forbidden: ValidatingAdmissionPolicy 'a' denied request: CANARY",
                "admission policy \"a\" denies it",
            ),
            (
                "policy 'a' with binding 'b' denied request: CANARY",
                "admission policy \"a\" denies it",
            ),
            (
                "admission webhook \"labels.example.com\" denied the request: CANARY",
                "admission webhook \"labels.example.com\" denies it",
            ),
            (
                "Internal error occurred: failed calling webhook \"a.example.com\": CANARY",
                "admission webhook \"a.example.com\" cannot be asked",
            ),
        ] {
            assert_eq!(told(message).as_deref(), Some(expected), "{message}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_left_out() {
        let long = "a".repeat(254);
        for name in ["", CANARY, "a b", "a\n", "é", "-a", &*long] {
            for (message, expected) in [
                (
                    format!("admission webhook \"{name}\" denied the request"),
                    "an admission webhook denies it",
                ),
                (
                    format!(
                        "secrets \"edge\" is forbidden: ValidatingAdmissionPolicy '{name}' denied"
                    ),
                    "an admission policy denies it",
                ),
                (
                    format!("secrets \"edge\" is forbidden: exceeded quota: {name}, requested"),
                    "a ResourceQuota would be exceeded",
                ),
            ] {
                assert_eq!(told(&message).as_deref(), Some(expected), "{message}");
            }
        }
    }

    #[test]
    fn text_that_only_quotes_a_fixed_form_tells_nothing() {
        for message in [
            "",
            CANARY,
            "CANARY is forbidden: exceeded quota: few, requested",
            "it said: secrets \"edge\" is forbidden: exceeded quota: few, requested",
            "secrets \"edge\" is forbidden: CANARY: exceeded quota: few, requested",
            "secrets \"edge\" is forbidden: exceeded quota: few",
            "admission webhook \"a.example.com",
        ] {
            assert_eq!(told(message), None, "{message}");
        }
        // A webhook's own words come after its name, and do not become anybody else's.
        let quoting = "admission webhook \"a.example.com\" denied the request: secrets \"edge\" is forbidden: exceeded quota: few, r";
        let expected = "admission webhook \"a.example.com\" denies it";
        assert_eq!(told(quoting).as_deref(), Some(expected));
    }
}
