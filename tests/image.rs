//! The Containerfile says what other files say too: it must not say something else.

use std::{fs, path::Path};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The text between the first pair of quotes after `key`.
fn quoted<'a>(text: &'a str, key: &str) -> &'a str {
    let (_, rest) = text.split_once(key).unwrap();
    rest.split('"').nth(1).unwrap()
}

#[test]
fn the_image_is_built_with_the_compiler_of_the_toolchain_file() {
    let toolchain = read("rust-toolchain.toml");
    let expected = format!("/rust:{}-", quoted(&toolchain, "channel = "));
    assert!(read("Containerfile").contains(&expected), "{expected}");
}

#[test]
fn the_labels_say_what_the_package_says() {
    let (containerfile, manifest) = (read("Containerfile"), read("Cargo.toml"));
    let (_, package) = manifest.split_once("[package]").unwrap();
    let label = |name: &str| quoted(&containerfile, &format!("image.{name}="));
    assert_eq!(label("title"), quoted(package, "name = "));
    assert_eq!(label("description"), quoted(package, "description = "));
    assert_eq!(label("licenses"), quoted(&manifest, "license = "));
}

#[test]
fn nothing_runs_in_the_last_stage_because_it_has_no_shell() {
    let containerfile = read("Containerfile");
    let (_, last) = containerfile.rsplit_once("\nFROM ").unwrap();
    assert!(last.lines().all(|line| !line.starts_with("RUN")));
    assert!(last.contains("\nUSER 65532:65532\n"));
    assert!(last.contains("\nENTRYPOINT [\"/usr/local/bin/edge-credential-operator\"]\n"));
}
