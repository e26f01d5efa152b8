//! `make test` compiles the kit first, by itself, and then all tests.

use std::{collections::BTreeSet, process::Command};

use kit::workspace;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// The packages that are compiled for what is chosen so, each with its features. What runs in the compiler is left out.
fn compiled(choice: &[&str]) -> Result<BTreeSet<String>, Box<dyn std::error::Error>> {
    let tree = Command::new(env!("CARGO"))
        .current_dir(workspace())
        .args(["tree", "--locked", "--offline", "--prefix", "none"])
        .args(["--format", "{p} {f}"])
        .args(choice)
        .output()?;
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let lines = String::from_utf8(tree.stdout)?;
    let lines = lines.lines().map(|line| line.trim_end_matches(" (*)"));
    Ok(lines
        .filter(|line| !line.is_empty())
        .map(Into::into)
        .collect())
}

/// Otherwise all of them would be compiled twice: nearly everything depends on libc, whose features one old package asked for.
#[test]
fn what_is_compiled_for_the_kit_is_compiled_in_the_same_way_for_all_tests() -> TestResult {
    let kit = compiled(&["--package", "kit", "--edges", "normal,no-proc-macro"])?;
    let all = compiled(&["--workspace", "--edges", "normal,dev,no-proc-macro"])?;
    assert!(kit.len() > 100, "{} packages", kit.len());
    let twice: Vec<_> = kit.difference(&all).collect();
    assert!(twice.is_empty(), "compiled twice: {twice:#?}");
    Ok(())
}
