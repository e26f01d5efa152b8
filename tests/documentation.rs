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

/// Where a file of the repository is as it is.
const RAW: &str =
    "https://raw.githubusercontent.com/edge-credential-operator/edge-credential-operator";

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
    let more = [
        "SECURITY.md",
        "CONTRIBUTING.md",
        "CODE_OF_CONDUCT.md",
        "CHANGELOG.md",
    ]
    .map(str::to_owned);
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

/// Artifact Hub shows them.
#[test]
fn the_links_and_pictures_of_the_chart_lead_to_files_that_are_there() {
    let chart = markdown::read("charts/edge-credential-operator/Chart.yaml");
    for address in [format!("{RAW}/main/"), format!("{REPOSITORY}/blob/main/")] {
        let words = chart.split_whitespace();
        let paths: Vec<_> = words
            .filter_map(|word| word.strip_prefix(&address))
            .collect();
        assert!(paths.len() >= 3, "{paths:?}");
        for path in paths {
            assert!(workspace().join(path).is_file(), "{path}");
        }
    }
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
    shown("docs/edge-tokens.md", "examples/edge-token.yaml");
    assert_eq!(markdown::read("examples/mount.yaml").lines().count(), 9);
}

/// A line that was worded anew is looked for in vain, and so is one that the page does not have. Those of libraries are told
/// apart by their names.
#[test]
fn the_lines_of_the_log_are_those_of_the_program() {
    // A line about either kind is there once.
    let of_any_kind = |text: &str| {
        text.replace("{}s", "EdgeTokens")
            .replace("EdgeCredentials", "EdgeTokens")
    };
    let program = of_any_kind(&sources(&workspace().join("src")).replace('\\', ""));
    let page = of_any_kind(&markdown::read("docs/log.md"));
    let (lines, _) = page.split_once("## Fields").unwrap();
    let rows = lines.lines().filter(|line| line.starts_with("| `"));
    let told: Vec<_> = rows
        .filter_map(|row| row.split(" | ").next())
        .filter(|cell| {
            !cell.contains("--") && !cell.contains("RUST_LOG") && !cell.contains("kube_client")
        })
        .flat_map(|cell| {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .flat_map(|line| line.split('…'))
        })
        .map(str::trim)
        .filter(|text| text.len() > 3)
        .collect();
    assert!(told.len() > 20, "{told:?}");
    for text in told {
        assert!(program.contains(text), "the log never says {text:?}");
    }
    let messages: Vec<_> = messages(&program).collect();
    assert!(messages.len() > 20, "{messages:?}");
    for message in messages {
        for text in message.split(['{', '}']).step_by(2).map(str::trim) {
            assert!(lines.contains(text), "the page lacks {message:?}");
        }
    }
}

/// What is logged at the level info and above, up to what explains it.
fn messages(program: &str) -> impl Iterator<Item = &str> {
    let macros = ["tracing::info!(", "tracing::warn!(", "tracing::error!("];
    let calls = macros
        .into_iter()
        .flat_map(|name| program.split(name).skip(1));
    calls.filter_map(|call| {
        let parts: Vec<_> = call.split('"').collect();
        // The message is an argument of its own: any other text is a part of one.
        let mut texts = parts.chunks_exact(2).filter(|part| {
            let before = part[0].trim_end();
            before.is_empty() || before.ends_with(',')
        });
        texts.next()?[1].split([':', '(']).next()
    })
}

#[test]
fn the_versions_that_were_run_are_those_that_are_built() {
    let version = |folder: &str, module: &str| {
        let modules = markdown::read(&format!("tests/{folder}/go.mod"));
        let line = modules.lines().find_map(|line| {
            line.trim()
                .trim_start_matches("require ")
                .strip_prefix(module)?
                .strip_prefix(" v")
        });
        line.unwrap().split(' ').next().unwrap().to_owned()
    };
    for run in [
        version("kit/controlplane/kubernetes", "k8s.io/kubernetes"),
        version("kit/controlplane/helm", "helm.sh/helm/v4"),
        version("chart/helm3", "helm.sh/helm/v3"),
    ] {
        for page in ["docs/stability.md", "docs/testing/reliability.md"] {
            assert!(
                markdown::read(page).contains(&run),
                "{page} does not say {run}"
            );
        }
    }
    let chart = markdown::read("charts/edge-credential-operator/Chart.yaml");
    assert!(chart.contains("kubeVersion: \">=1.33.0-0\""));
    for page in [
        "README.md",
        "docs/install.md",
        "docs/upgrade.md",
        "docs/stability.md",
    ] {
        assert!(markdown::read(page).contains("1.33 to 1.37"), "{page}");
    }
}

#[test]
fn the_figures_of_the_promises_are_those_that_were_measured() {
    let (readme, measured) = (
        markdown::read("README.md"),
        markdown::read("docs/testing/reliability.md"),
    );
    let both = |figure: &str| {
        assert!(readme.contains(figure), "README.md lacks {figure}");
        assert!(
            measured.contains(figure),
            "it was not measured that {figure}"
        );
    };
    for figure in [
        "26 kills",
        "33 restarts of the API server",
        "11 outages",
        "432 of 432",
        "0 expired seconds",
        "1.11",
    ] {
        both(figure);
    }
    let before = |text: &str| -> Vec<u64> {
        let found = measured.match_indices(text).map(|(at, _)| {
            let digits = measured[..at].rsplit(|c: char| !(c.is_ascii_digit() || c == ','));
            digits
                .into_iter()
                .next()
                .unwrap()
                .replace(',', "")
                .parse()
                .unwrap()
        });
        found.collect()
    };
    let [one, other] = before(" tokens: ")
        .into_iter()
        .chain(before(" tokens, exactly those needed"))
        .collect::<Vec<_>>()[..]
    else {
        panic!("two operators")
    };
    let tokens = one + other;
    let lost = before(" for kills after a target was damaged")[0];
    assert!(readme.contains(&format!(
        "{} tokens, {} needed, {lost} lost to kills",
        grouped(tokens),
        grouped(tokens - lost)
    )));
    assert_eq!(before(" objects by hand"), [10_000]);
}

/// A number as people write it.
fn grouped(number: u64) -> String {
    format!("{},{:03}", number / 1000, number % 1000)
}

/// The text of all files below a folder.
fn sources(folder: &Path) -> String {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| match entry.unwrap().path() {
            path if path.is_dir() => sources(&path),
            path => fs::read_to_string(path).unwrap(),
        })
        .collect()
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

/// The chart's defaults are for the number of objects that the page says, by the table on it.
#[test]
fn the_charts_memory_limit_is_that_of_the_sizing_table() {
    let page = markdown::read("docs/scaling.md");
    let (_, rest) = page
        .split_once("The chart's defaults are those for ")
        .unwrap();
    let (objects, _) = rest.split_once('.').unwrap();
    let row = format!("| up to {objects} | ");
    let (_, rest) = page
        .split_once(&row)
        .unwrap_or_else(|| panic!("no row {row}"));
    let (limit, _) = rest.split_once(' ').unwrap();
    let values = markdown::read("charts/edge-credential-operator/values.yaml");
    let (_, rest) = values.split_once("\nresources:\n").unwrap();
    let (_, rest) = rest.split_once("limits:\n    memory: ").unwrap();
    let (chart, _) = rest.split_once('\n').unwrap();
    let mebibytes = |text: &str| text.strip_suffix("Mi").unwrap().parse::<u64>().unwrap();
    assert!(
        mebibytes(chart) >= mebibytes(limit),
        "{chart} for {objects} objects"
    );
}
