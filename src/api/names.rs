//! Kubernetes' own rules for the names that a user writes down: a name that the API server would refuse later, in a
//! Secret that holds a token that was paid for, is refused at once. Each rule is here twice, as a pattern for the
//! schema and as a function for objects that are older than the schema.

/// The longest name of a Secret, prefix of a label, and key in a Secret.
pub const MAX_LENGTH: usize = 253;

/// The longest name of a label or annotation without its prefix, and the longest value of a label.
pub const LABEL_MAX_LENGTH: usize = 63;

/// A DNS subdomain (RFC 1123), as the name of a Secret has to be.
pub(super) const SUBDOMAIN: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// A key in a Secret: a file's name, which neither is `.` nor begins with `..`.
pub(super) const SECRET_KEY: &str = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$";

/// A key of a label or annotation, but for the length of its prefix. Kubernetes lets the prefix of an annotation have
/// capital letters as well.
pub(super) const LABEL_KEY: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";

/// A label's value.
pub(super) const LABEL_VALUE: &str = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";

/// Whether a Secret, or the prefix of a label, can have such a name.
pub fn is_subdomain(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_LENGTH).contains(&name.len())
        && name.split('.').all(|part| {
            !part.is_empty()
                && part.bytes().all(is_inner)
                && !part.starts_with('-')
                && !part.ends_with('-')
        })
}

/// Whether a Secret can have such a key.
pub fn is_secret_key(key: &str) -> bool {
    (1..=MAX_LENGTH).contains(&key.len())
        && key != "."
        && !key.starts_with("..")
        && key.bytes().all(is_name_byte)
}

/// Whether a label or annotation can have such a key.
pub fn is_label_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    prefix.is_none_or(is_subdomain) && !name.is_empty() && is_label_value(name)
}

/// Whether a label can have such a value.
pub fn is_label_value(value: &str) -> bool {
    let is_outer = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    value.len() <= LABEL_MAX_LENGTH
        && value.bytes().all(is_name_byte)
        && is_outer(value.bytes().next())
        && is_outer(value.bytes().next_back())
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._".contains(&b)
}
