//! The name of an object on the command line, as kubectl has it: `NAME`, or with its kind, `edgetoken/NAME`.

use std::{fmt, str::FromStr};

use edge_credential_operator::api::{EdgeCredential, GROUP, names::is_subdomain};
use kube::Resource;

use crate::{error::Error, kind::Kind};

/// A name as it was entered. Of which kind one without a kind is, the command says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    kind: Option<Kind>,
    name: String,
}

/// An object of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// Text that names no object.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAName {
    /// What is before the slash is no kind of this program.
    #[error("the kind must be edgecredential or edgetoken")]
    Kind,
    /// No object can have such a name.
    #[error("not a name: names have lower-case letters, digits, '-' and '.'")]
    Name,
}

impl FromStr for Entered {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (Some(find_kind(kind).ok_or(NotAName::Kind)?), name),
            None => (None, text),
        };
        // It becomes part of a URL.
        if !is_subdomain(name) {
            return Err(NotAName::Name);
        }
        Ok(Self {
            kind,
            name: name.into(),
        })
    }
}

impl Entered {
    /// The object of either kind: without a kind, an EdgeCredential.
    pub fn of_any_kind(&self) -> ObjectName {
        ObjectName {
            kind: self.kind.unwrap_or(Kind::EdgeCredential),
            name: self.name.clone(),
        }
    }

    /// The name of an object of this kind, for a command that has to do with no other.
    pub fn of(&self, kind: Kind) -> Result<&str, Error> {
        match self.kind {
            Some(other) if other != kind => Err(Error::usage(
                format!(
                    "{} is an {other}, and this command is for {kind}s",
                    self.name
                ),
                format!("See `kubectl edgecred --help` for what can be done with {other}s."),
            )),
            _ => Ok(&self.name),
        }
    }
}

impl ObjectName {
    /// An object of this kind and name.
    pub fn new(kind: Kind, name: &str) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }
}

/// As it is entered.
impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::EdgeCredential => f.write_str(&self.name),
            kind => write!(f, "{}/{}", kind.singular(), self.name),
        }
    }
}

/// The kind that kubectl would take this for: a singular, a plural or a short name, with or without version and group.
fn find_kind(text: &str) -> Option<Kind> {
    let text = text.to_ascii_lowercase();
    let (word, group) = text.split_once('.').unwrap_or((&text, GROUP));
    let version = EdgeCredential::version(&());
    let without_version = group.strip_prefix(&*version);
    let group = without_version
        .and_then(|group| group.strip_prefix('.'))
        .unwrap_or(group);
    let is_called = |kind: &Kind| {
        let (plural, _) = kind.resource().split_once('.').unwrap_or_default();
        word == kind.singular() || word == plural || kind.short_names().contains(&word)
    };
    let kind = Kind::ALL.into_iter().find(is_called);
    kind.filter(|_| group == GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_kind_as_kubectl_has_it() {
        for (text, kind) in [
            ("edge", None),
            ("edgecredential/edge", Some(Kind::EdgeCredential)),
            ("edgecredentials/edge", Some(Kind::EdgeCredential)),
            ("ecred/edge", Some(Kind::EdgeCredential)),
            ("edgetoken/edge", Some(Kind::EdgeToken)),
            ("EdgeToken/edge", Some(Kind::EdgeToken)),
            ("edgetokens/edge", Some(Kind::EdgeToken)),
            ("etoken/edge", Some(Kind::EdgeToken)),
            ("edgetokens.edgecredentials.io/edge", Some(Kind::EdgeToken)),
            (
                "edgetoken.v1alpha1.edgecredentials.io/edge",
                Some(Kind::EdgeToken),
            ),
        ] {
            let name = "edge".to_owned();
            assert_eq!(
                text.parse::<Entered>(),
                Ok(Entered { kind, name }),
                "{text}"
            );
        }
    }

    #[test]
    fn what_names_no_object_is_refused() {
        for (text, problem) in [
            ("", NotAName::Name),
            ("Edge", NotAName::Name),
            ("edgetoken/", NotAName::Name),
            ("edgetoken/a/b", NotAName::Name),
            ("../secrets/x", NotAName::Kind),
            ("secret/edge", NotAName::Kind),
            ("edgetokens.example.com/edge", NotAName::Kind),
            ("edgetokens.v1.edgecredentials.io/edge", NotAName::Kind),
            ("/edge", NotAName::Kind),
        ] {
            assert_eq!(text.parse::<Entered>(), Err(problem), "{text}");
        }
    }

    #[test]
    fn a_name_without_a_kind_is_of_the_kind_that_the_command_is_for() {
        let bare: Entered = "edge".parse().unwrap();
        assert_eq!(bare.of_any_kind().to_string(), "edge");
        assert_eq!(bare.of(Kind::EdgeToken).unwrap(), "edge");
        let key: Entered = "etoken/edge".parse().unwrap();
        assert_eq!(key.of_any_kind().to_string(), "edgetoken/edge");
        let refused = key.of(Kind::EdgeCredential).unwrap_err().to_string();
        assert!(refused.contains("edge is an EdgeToken"), "{refused}");
    }
}
