//! What the fuzzers start from, and what they found before, holds without them: no nightly compiler is needed.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::{fs, path::Path};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

/// The names in a folder, sorted.
fn names(folder: &str) -> Vec<String> {
    let path = Path::new(FOLDER).join(folder);
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

#[test]
fn every_input_of_the_corpora_and_every_earlier_finding_holds() {
    for (target, check) in fuzz::TARGETS {
        let corpus = format!("corpus/{target}");
        assert!(names(&corpus).len() > 5, "{corpus} is all but empty");
        for folder in [corpus, format!("regressions/{target}")] {
            for name in names(&folder) {
                let file = format!("{folder}/{name}");
                // Shown where the check panics.
                println!("{file}");
                check(&fs::read(Path::new(FOLDER).join(&file)).unwrap());
            }
        }
    }
}

#[test]
fn every_target_has_a_fuzzer_a_corpus_and_a_place_for_findings() {
    let mut targets = fuzz::TARGETS.map(|(target, _)| target);
    targets.sort();
    assert_eq!(names("corpus"), targets);
    assert_eq!(names("regressions"), targets);
    assert_eq!(
        names("fuzz_targets"),
        targets.map(|target| format!("{target}.rs"))
    );
}
