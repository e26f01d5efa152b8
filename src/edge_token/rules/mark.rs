//! The mark of an attempt to make a key.

use std::fmt;

/// What every label of a key begins with that this operator asked for.
const KIND: &str = "edge-token";

/// How many hexadecimal digits the random number has.
const DIGITS: usize = 16;

/// How many characters a label has at most. What the Token API allows is not documented.
const LABEL_MAX_LENGTH: usize = 128;

/// The mark of an attempt to make a key: 64 characters, with the uid of the object and a random number. It stands in the status
/// before the key can be there, and the key's label begins with it: so a key whose answer was lost is found again, and no
/// other is ever taken for it, in whatever cluster or copy of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    uid: Box<str>,
    number: u64,
}

impl Mark {
    /// The mark of one attempt for the object with this uid.
    pub fn new(uid: &str, number: u64) -> Self {
        Self {
            uid: uid.into(),
            number,
        }
    }

    /// Whether it is of the object with this uid.
    pub fn is_for(&self, uid: &str) -> bool {
        *self.uid == *uid
    }

    /// The random number, which with the uid of the object is all that it says.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// A mark as a status or a target has it. `None` where it is none of the object with this uid, as after a restore.
    pub fn parse(text: &str, uid: &str) -> Option<Self> {
        let digits = text.strip_prefix(&prefix(uid))?;
        let is_digit = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
        let is_mark = digits.len() == DIGITS && digits.bytes().all(is_digit);
        let number = is_mark.then(|| u64::from_str_radix(digits, 16).ok())??;
        Some(Self::new(uid, number))
    }

    /// The mark with which a label begins that is of the object with this uid.
    pub fn find(label: &str, uid: &str) -> Option<Self> {
        let mark = label.get(..prefix(uid).len() + DIGITS)?;
        Self::parse(mark, uid)
    }

    /// The label to ask for: it tells people whose the key is.
    pub fn label(&self, namespace: &str, name: &str) -> String {
        let label = format!("{self}/{namespace}/{name}");
        label.chars().take(LABEL_MAX_LENGTH).collect()
    }

    /// Whether a key with this label is of this attempt.
    pub fn is_of(&self, label: &str) -> bool {
        label.starts_with(&self.to_string())
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KIND}/{}/{:016x}", self.uid, self.number)
    }
}

/// What the labels of all keys of the object with this uid begin with.
pub fn prefix(uid: &str) -> String {
    format!("{KIND}/{uid}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b6a2a4e-30c5-4a6a-9d8c-2f8e6b1c7d10";

    #[test]
    fn a_mark_has_64_characters_and_is_read_again_for_its_own_object_only() {
        let mark = Mark::new(UID, 0xab);
        let text = mark.to_string();
        assert_eq!(text, format!("edge-token/{UID}/00000000000000ab"));
        assert_eq!(text.len(), 64);
        assert_eq!(Mark::parse(&text, UID), Some(mark));
        assert_eq!(Mark::parse(&text, &UID.replace('0', "1")), None);
    }

    #[test]
    fn what_is_no_mark_is_not_taken_for_one() {
        let mark = Mark::new(UID, 1).to_string();
        for text in [
            "",
            &prefix(UID),
            &mark[..63],
            &format!("{mark}0"),
            &mark.replace("0000", "000G"),
            &mark.to_uppercase(),
        ] {
            assert_eq!(Mark::parse(text, UID), None, "{text}");
        }
    }

    #[test]
    fn a_label_begins_with_the_mark_and_is_cut_where_it_is_too_long() {
        let mark = Mark::new(UID, 1);
        let label = mark.label("storefront", "edge");
        assert_eq!(label, format!("{mark}/storefront/edge"));
        let long = mark.label(&"n".repeat(63), &"ö".repeat(253));
        assert_eq!(long.chars().count(), LABEL_MAX_LENGTH);
        for label in [&label, &long, &mark.to_string()] {
            assert!(mark.is_of(label));
            assert_eq!(Mark::find(label, UID).as_ref(), Some(&mark));
            assert_eq!(Mark::find(label, "another-uid"), None);
            assert!(!Mark::new(UID, 2).is_of(label));
        }
    }
}
