//! Why no answer came: what the errors of the HTTP library are to a person.

use std::{error::Error, fmt, io, iter::successors};

use rustls::CertificateError;

/// Why no answer came. The texts are fixed: nothing of what a server, a proxy or a certificate says is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// The name of the host could not be resolved.
    NameNotFound,
    /// The connection was refused.
    Refused,
    /// The certificate is by an unknown issuer, or not good for a server.
    Untrusted,
    /// The certificate is for another name.
    OtherName,
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// The proxy was reached, and did not connect to the endpoint, such as for want of a password (HTTP 407).
    ProxyRefused,
    /// There was no connection to the proxy.
    ProxyUnreachable,
    /// No connection, for another reason.
    Connect,
    /// Not in time, whatever came before.
    Timeout,
    /// The connection broke.
    Broken,
}

impl Unreachable {
    /// What happened to a server that is called so, such as `the token endpoint`.
    pub fn tell(self, server: &str) -> impl fmt::Display {
        fmt::from_fn(move |f| match self {
            Self::NameNotFound => write!(f, "the name of {server}'s host could not be resolved"),
            Self::Refused => write!(f, "the connection to {server} was refused"),
            Self::Untrusted => write!(f, "{server}'s certificate is not trusted"),
            Self::OtherName => write!(f, "{server}'s certificate is for another name"),
            Self::Expired => write!(f, "{server}'s certificate has expired"),
            Self::NotYetValid => write!(f, "{server}'s certificate is not valid yet"),
            Self::ProxyRefused => write!(f, "the proxy refused to connect to {server}"),
            Self::ProxyUnreachable => {
                write!(f, "the proxy before {server} could not be connected to")
            }
            Self::Connect => write!(f, "{server} could not be connected to"),
            Self::Timeout => write!(f, "{server} did not answer in time"),
            Self::Broken => write!(f, "the connection to {server} broke"),
        })
    }

    /// Whether it is certain that nothing was sent to the server. A time-out may have come before or after that.
    pub fn is_unsent(self) -> bool {
        !matches!(self, Self::Timeout | Self::Broken)
    }
}

impl From<&reqwest::Error> for Unreachable {
    fn from(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::Timeout
        } else if !error.is_connect() {
            Self::Broken
        } else if let Some(cause) = Self::find(error) {
            cause
        } else if error.is_dns() {
            Self::NameNotFound
        } else {
            Self::Connect
        }
    }
}

impl Unreachable {
    /// What is known of why there was no connection, from an error of an HTTP library and what caused it.
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        causes(error).find_map(classify)
    }
}

/// An error and what caused it, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| {
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        // The source of an I/O error is that of the error that it wraps, which would be left out.
        match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

fn classify(error: &(dyn Error + 'static)) -> Option<Unreachable> {
    if let Some(rustls::Error::InvalidCertificate(error)) = error.downcast_ref() {
        return Some(classify_certificate(error));
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return (error.kind() == io::ErrorKind::ConnectionRefused).then_some(Unreachable::Refused);
    }
    // The type of these errors is private to `hyper-util`, so only their text tells them. It is a constant of that library,
    // and those with a source are about the connection to the proxy itself.
    error
        .to_string()
        .starts_with("tunnel error: ")
        .then(|| match error.source() {
            Some(_) => Unreachable::ProxyUnreachable,
            None => Unreachable::ProxyRefused,
        })
}

fn classify_certificate(error: &CertificateError) -> Unreachable {
    match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Unreachable::OtherName
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Unreachable::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Unreachable::NotYetValid
        }
        _ => Unreachable::Untrusted,
    }
}
