//! The documentation: its links lead somewhere, its examples are the files, and each of its commands is run or says why not.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use kit::{
    markdown::{self, Mark, blocks, pages},
    workspace,
};

const REPOSITORY: &str = "https://github.com/edge-credential-operator/edge-credential-operator";

/// The languages that a reader copies and runs.
const RUNNABLE: [&str; 6] = ["console", "csharp", "go", "js", "sh", "bash"];

#[test]
fn the_readme_is_read_in_ten_minutes() {
    let lines = markdown::read("README.md").lines().count();
    assert!(lines <= 130, "{lines} lines");
}

#[test]
fn each_command_is_run_by_a_test_or_says_why_not() {
    let mut run = 0;
    for block in pages().iter().flat_map(|page| blocks(page)) {
        let place = format!("{}:{}", block.page, block.line);
        if !RUNNABLE.contains(&&*block.language) {
            assert!(
                block.mark.is_none() || block.language == "yaml",
                "{place} has no commands"
            );
            continue;
        }
        match block.mark {
            Some(Mark::NotRun(reason)) => assert!(reason.len() > 5, "{place} has no reason"),
            Some(Mark::RunBy(file)) => {
                let test = fs::read_to_string(workspace().join(&file));
                let test = test.unwrap_or_else(|error| panic!("{place}: {file}: {error}"));
                assert!(test.contains(&block.page), "{file} does not know {place}");
                run += 1;
            }
            // tests/cluster/documentation.rs runs these, and fails where a page is none of its own.
            None => {
                assert_eq!(block.language, "console", "{place} has no mark");
                run += 1;
            }
        }
    }
    assert!(run > 50, "{run} are run");
}

#[test]
fn each_link_leads_to_a_place_that_is_there() {
    let more = ["SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(str::to_owned);
    let mut count = 0;
    for page in pages().into_iter().chain(more) {
        for link in links(&markdown::read(&page)) {
            let (target, fragment) = link.split_once('#').unwrap_or((&link, ""));
            let ours = target.strip_prefix(REPOSITORY).and_then(|path| {
                path.strip_prefix("/blob/main/")
                    .or(path.strip_prefix("/tree/main/"))
            });
            let path = match ours {
                Some(path) => PathBuf::from(path),
                None if target.contains(':') => continue,
                None if target.is_empty() => PathBuf::from(&page),
                None => {
                    let path = normal(&Path::new(&page).parent().unwrap().join(target));
                    // The site has these pages alone.
                    let leaves = page.starts_with("docs/") && !path.starts_with("docs");
                    assert!(
                        !leaves,
                        "{page} links to {link}, which the site does not have"
                    );
                    path
                }
            };
            assert!(workspace().join(&path).exists(), "{page} links to {link}");
            if !fragment.is_empty() {
                let there = anchors(&markdown::read(path.to_str().unwrap()));
                assert!(
                    there.contains(fragment),
                    "{page} links to {link}: {there:#?}"
                );
            }
            count += 1;
        }
    }
    assert!(count > 150, "{count} links");
}

#[test]
fn the_site_has_each_page() {
    let summary = markdown::read("docs/SUMMARY.md");
    let listed: BTreeSet<_> = links(&summary).map(|link| format!("docs/{link}")).collect();
    let there: BTreeSet<_> = pages()
        .into_iter()
        .filter(|page| page.starts_with("docs/") && page != "docs/SUMMARY.md")
        .collect();
    assert_eq!(listed, there);
}

#[test]
fn the_examples_in_the_documentation_are_the_files_in_examples() {
    let shown = |page: &str, example: &str| {
        let file = markdown::read(example);
        let shown: String = file
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(
            blocks(page).iter().any(|block| block.text == shown),
            "{page} does not show {example} as it is"
        );
    };
    shown("README.md", "examples/mount.yaml");
    shown("docs/workloads.md", "examples/mount.yaml");
    assert_eq!(markdown::read("examples/mount.yaml").lines().count(), 9);
}

/// The targets of all links and pictures, but in code.
fn links(text: &str) -> impl Iterator<Item = String> {
    let mut in_block = false;
    let prose: String = text
        .lines()
        .filter(|line| {
            in_block ^= line.trim_start().starts_with("```");
            !in_block
        })
        .flat_map(|line| line.split('`').step_by(2).chain(["\n"]))
        .collect();
    let ends: Vec<_> = prose.match_indices("](").map(|(at, _)| at + 2).collect();
    ends.into_iter().filter_map(move |begin| {
        let target = prose.get(begin..)?.split_once(')')?.0;
        Some(target.to_owned())
    })
}

/// What the headings of a page are called in links, as GitHub and mdBook do it.
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            });
            kept.collect()
        })
        .collect()
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => assert!(normal.pop(), "{}", path.display()),
            component => normal.push(component),
        }
    }
    normal
}
