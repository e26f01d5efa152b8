//! Files that are generated and checked in.

use std::{env, fs, path::Path};

/// Fails unless a file is what it should be. With `UPDATE_GENERATED` set, writes it first.
pub fn compare(file: &Path, expected: &str) {
    if env::var_os("UPDATE_GENERATED").is_some() {
        let written = fs::write(file, expected);
        written.unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
    }
    let found = fs::read_to_string(file);
    let found = found.unwrap_or_else(|error| panic!("read {}: {error}", file.display()));
    assert!(
        found == expected,
        "{} is out of date: run make generate",
        file.display()
    );
}
