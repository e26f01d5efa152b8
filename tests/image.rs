//! The Containerfiles say what other files say too, and what each other says: they must not say something else.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use kit::control_plane::RunFolder;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The text between the first pair of quotes after `key`.
fn quoted<'a>(text: &'a str, key: &str) -> &'a str {
    let (_, rest) = text.split_once(key).unwrap();
    rest.split('"').nth(1).unwrap()
}

/// The operator's Containerfile and the stand-in's, each with the name of its binary.
const CONTAINERFILES: [(&str, &str); 2] = [
    ("Containerfile", "edge-credential-operator"),
    ("tests/kit/Containerfile", "sitecore-stand-in"),
];

#[test]
fn the_images_are_built_with_the_compiler_of_the_toolchain_file() {
    let toolchain = read("rust-toolchain.toml");
    let expected = format!("/rust:{}-", quoted(&toolchain, "channel = "));
    for (containerfile, _) in CONTAINERFILES {
        assert!(read(containerfile).contains(&expected), "{containerfile}");
    }
}

/// A release looks up the digests in one of them, and builds both from what they are there.
#[test]
fn both_images_are_built_from_the_same_ones() {
    let bases = CONTAINERFILES.map(|(containerfile, _)| {
        let text = read(containerfile);
        let is_base = |line: &&str| line.starts_with("ARG ") && line.contains("_IMAGE=");
        let bases = text.lines().filter(is_base);
        bases.map(str::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(bases[0].len(), 2);
    assert_eq!(bases[0], bases[1]);
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
    for (containerfile, binary) in CONTAINERFILES {
        let text = read(containerfile);
        let (_, last) = text.rsplit_once("\nFROM ").unwrap();
        assert!(last.lines().all(|line| !line.starts_with("RUN")));
        assert!(last.contains("\nUSER 65532:65532\n"), "{containerfile}");
        let entry = format!("\nENTRYPOINT [\"/usr/local/bin/{binary}\"]\n");
        assert!(last.contains(&entry), "{containerfile}");
    }
}

/// Whatever a Containerfile copies from the source tree must not be left out of it.
#[test]
fn what_is_copied_into_an_image_is_not_ignored() {
    let ignored = read(".dockerignore");
    let kept: Vec<_> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    for (containerfile, _) in CONTAINERFILES {
        let text = read(containerfile);
        let copied = text.lines().filter_map(|line| line.strip_prefix("COPY "));
        let copied = copied.filter(|copied| !copied.starts_with("--from"));
        // Behind the last space is where to.
        let sources = copied.filter_map(|copied| copied.rsplit_once(' '));
        for path in sources.flat_map(|(sources, _)| sources.split(' ')) {
            let is_kept = kept.iter().any(|kept| Path::new(path).starts_with(kept));
            assert!(is_kept, "{containerfile} copies {path}");
        }
    }
}

/// A package of the workspace whose manifest is not copied ends each build with an error, whichever package is built: as it did
/// when kubectl's plugin had become one.
#[test]
fn what_is_copied_before_the_first_build_is_a_workspace_that_cargo_takes() {
    for (containerfile, _) in CONTAINERFILES {
        let folder = RunFolder::create().unwrap();
        for instruction in instructions(&read(containerfile)) {
            match instruction.split_once(' ') {
                Some(("COPY", paths)) => copy(paths, folder.path()),
                Some(("RUN", script)) => {
                    let (before, _) = script.split_once("cargo build").unwrap();
                    let before = before.trim_end().trim_end_matches("&&");
                    let shell = ["-ec", before];
                    assert!(run("sh", &shell, folder.path()).status.success());
                    break;
                }
                _ => {}
            }
        }
        let metadata = ["metadata", "--no-deps", "--offline", "--locked"];
        let cargo = run(env!("CARGO"), &metadata, folder.path());
        let told = String::from_utf8_lossy(&cargo.stderr);
        assert!(cargo.status.success(), "{containerfile}: {told}");
    }
}

/// The instructions of the stage that builds, each in one line.
fn instructions(containerfile: &str) -> Vec<String> {
    let (_, stages) = containerfile.split_once("\nFROM ${RUST_IMAGE}").unwrap();
    let (stage, _) = stages.split_once("\nFROM ").unwrap();
    let lines = stage.lines().filter(|line| !line.starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", "");
    joined.lines().map(str::to_owned).collect()
}

/// Copies files and folders, of which the last path says where to.
fn copy(paths: &str, to: &Path) {
    let (sources, target) = paths.rsplit_once(' ').unwrap();
    let target = to.join(target);
    fs::create_dir_all(&target).unwrap();
    for source in sources.split(' ') {
        let source = match source.strip_suffix('/') {
            Some(folder) => format!("{folder}/."),
            None => source.to_owned(),
        };
        let arguments = ["-r", &source, target.to_str().unwrap()];
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(run("cp", &arguments, here).status.success(), "{source}");
    }
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}
