//! How much room a text takes where the API server stores it, as JSON in etcd.
//!
//! Go writes some characters as an escape sequence, `<` for example as `\u003c`. A bound on characters would so be one
//! on a sixth, or on a quarter, of what is stored.

/// The bytes that a text takes as stored, without its quotes.
pub fn stored_size(text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            '"' | '\\' | '\n' | '\r' | '\t' => 2,
            '<' | '>' | '&' | '\u{0}'..'\u{20}' | '\u{2028}' | '\u{2029}' => 6,
            c => c.len_utf8(),
        })
        .sum()
}

/// The same in CEL, for an expression whose value is a string.
pub(super) fn stored_size_rule(text: &str) -> String {
    let doubled = r#"["\\\n\r\t]"#;
    let sixfold = r"[<>&\x00-\x08\x0b\x0c\x0e-\x1f]";
    let doubled_from_three = r"[\x{2028}\x{2029}]";
    format!(
        "bytes({text}).size() + {text}.findAll(r'{doubled}').size() + 5 * {text}.findAll(r'{sixfold}').size() \
         + 3 * {text}.findAll(r'{doubled_from_three}').size()"
    )
}
