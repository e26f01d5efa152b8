//! Looks for marked secrets where none may be.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Panics if one of the marks, as it is or in base64, appears in one of the outputs, which are given with their names.
#[track_caller]
pub fn assert_absent(marks: &[&str], outputs: &[(&str, String)]) {
    for mark in marks {
        assert!(!mark.is_empty(), "an empty mark is everywhere");
        let encoded = STANDARD.encode(mark);
        for (what, output) in outputs {
            for mark in [*mark, &encoded] {
                assert!(!output.contains(mark), "{what} shows {mark}: {output}");
            }
        }
    }
}
