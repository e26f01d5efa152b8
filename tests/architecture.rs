//! The rules that the folders stand for, checked in the source text: who may know whom, and who may do I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each part may import of the others. Imports go one way.
const LAYERS: [(&str, &[&str]); 11] = [
    ("api", &[]),
    ("clock", &[]),
    ("http", &["api", "clock"]),
    ("oauth", &["api", "clock", "http"]),
    ("edge_api", &["api", "clock", "http"]),
    ("cluster", &["api", "clock"]),
    (
        "traffic",
        &["api", "clock", "cluster", "edge_api", "http", "oauth"],
    ),
    ("rules", &["api", "cluster", "edge_api", "http", "oauth"]),
    (
        "edge_credential",
        &[
            "api", "clock", "cluster", "http", "oauth", "rules", "traffic",
        ],
    ),
    (
        "edge_token",
        &[
            "api", "clock", "cluster", "edge_api", "http", "oauth", "rules", "traffic",
        ],
    ),
    (
        "operator",
        &[
            "api",
            "clock",
            "cluster",
            "edge_api",
            "edge_credential",
            "edge_token",
            "http",
            "oauth",
            "traffic",
        ],
    ),
];

/// The folders of files that only compute: what they say depends on their arguments alone.
const PURE_FOLDERS: [&str; 2] = ["api/", "rules/"];

/// The files beside those that only compute too.
const PURE_FILES: &[&str] = &[
    "cluster/denial.rs",
    "cluster/errors.rs",
    "cluster/back_off.rs",
    "cluster/transition.rs",
    "edge_api/delivery_api.rs",
    "edge_api/deploy_api.rs",
    "edge_api/error.rs",
    "edge_api/token_api.rs",
    "http/json.rs",
    "http/rate_limits.rs",
    "http/origin.rs",
    "http/proxy.rs",
    "oauth/http_status.rs",
    "oauth/jwt.rs",
    "oauth/response.rs",
    "operator/events/queue.rs",
    "operator/lease/election.rs",
    "operator/lease/timings.rs",
    "traffic/caller.rs",
    "traffic/endpoint.rs",
    "traffic/floor.rs",
    "traffic/holds.rs",
    "traffic/line.rs",
    "traffic/outage.rs",
    "traffic/pace.rs",
    "traffic/queue.rs",
    "traffic/tenant.rs",
    "traffic/tokens.rs",
];

/// A file of `src` without comments and without its tests.
struct Source {
    path: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("tests") {
                    folders.push(path);
                }
            } else if !["tests.rs", "testing.rs"]
                .iter()
                .any(|name| path.ends_with(name))
            {
                sources.push(Source {
                    path: path.strip_prefix(&root).unwrap().to_str().unwrap().into(),
                    code: code(&fs::read_to_string(&path).unwrap()),
                });
            }
        }
    }
    assert!(sources.len() > 20, "{} files", sources.len());
    sources
}

fn code(text: &str) -> String {
    let text = text
        .split_once("#[cfg(test)]\nmod tests")
        .map_or(text, |(code, _)| code);
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn source<'a>(sources: &'a [Source], path: &str) -> &'a Source {
    let found = sources.iter().find(|source| source.path == path);
    found.unwrap_or_else(|| panic!("{path} is there"))
}

/// The paths below `root::` that stand in the code, with their groups taken apart: `root::a::{b, c::d}` is `a::b` and
/// `a::c::d`.
fn paths(code: &str, root: &str) -> BTreeSet<String> {
    let root = format!("{root}::");
    let begins_a_word = |at: usize| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':'))
    };
    let mut found = BTreeSet::new();
    for (at, _) in code
        .match_indices(&root)
        .filter(|(at, _)| begins_a_word(*at))
    {
        flatten("", &code[at + root.len()..], &mut found);
    }
    found
}

/// Takes a path apart that begins `text`, and returns what follows it.
fn flatten<'a>(prefix: &str, text: &'a str, found: &mut BTreeSet<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches([',', ' ', '\n']);
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
            rest = flatten(prefix, rest, found);
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*'));
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    let path = match prefix {
        "" => word.to_owned(),
        prefix => format!("{prefix}::{word}"),
    };
    match rest.strip_prefix("::") {
        Some(rest) => flatten(&path, rest, found),
        None => {
            found.insert(path);
            // What is left of `x as y`.
            rest.trim_start_matches(|c| c != ',' && c != '}' && c != ';')
        }
    }
}

/// The first words of [`paths`].
fn names(code: &str, root: &str) -> BTreeSet<String> {
    let first = |path: &String| path.split("::").next().unwrap_or_default().to_owned();
    paths(code, root).iter().map(first).collect()
}

/// The files that a file imports from.
fn imported<'a>(file: &Source, files: &'a BTreeSet<String>) -> BTreeSet<&'a str> {
    let parent = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
    let parent = match file.path.ends_with("mod.rs") {
        true => parent,
        false => parent.rsplit_once('/').map_or("", |(parent, _)| parent),
    };
    let below = |folder: &str, paths: BTreeSet<String>| -> Vec<String> {
        let full = |path: String| format!("{folder}/{}", path.replace("::", "/"));
        paths.into_iter().map(full).collect()
    };
    let mut imports = below("", paths(&file.code, "crate"));
    if file.path.ends_with("mod.rs") {
        // What it re-exports is relative to its folder.
        let declared = file.code.lines().filter_map(|line| {
            let name = line.trim_start_matches("pub ").strip_prefix("mod ")?;
            name.strip_suffix(';')
        });
        for module in declared {
            let folder = format!("{parent}/{module}");
            imports.extend(below(&folder, paths(&file.code, module)));
        }
        imports.extend(below(parent, paths(&file.code, "self")));
    } else {
        imports.extend(below(parent, paths(&file.code, "super")));
    }
    imports
        .iter()
        .filter_map(|import| file_of(import.trim_start_matches('/'), files))
        .filter(|import| *import != file.path)
        .collect()
}

/// The file that a path leads to: the longest part of it that is one.
fn file_of<'a>(path: &str, files: &'a BTreeSet<String>) -> Option<&'a str> {
    let mut path = path;
    loop {
        for file in [format!("{path}.rs"), format!("{path}/mod.rs")] {
            if let Some(file) = files.get(&file) {
                return Some(file);
            }
        }
        path = path.rsplit_once('/')?.0;
    }
}

#[test]
fn names_are_found_in_paths_and_in_groups() {
    let code = "use crate::{api::{A, b::C as D}, clock::Clock,\n oauth};\nlet x = crate::config::y(); mycrate::no();";
    let expected = ["api::A", "api::b::C", "clock::Clock", "config::y", "oauth"];
    assert_eq!(paths(code, "crate"), expected.map(String::from).into());
    let expected = ["api", "clock", "config", "oauth"];
    assert_eq!(names(code, "crate"), expected.map(String::from).into());
}

#[test]
fn imports_go_one_way() {
    for Source { path, code } in sources() {
        let top = path.split(['/', '.']).next().unwrap();
        let allowed: &[&str] = match path.as_str() {
            "lib.rs" => &[],
            "main.rs" => {
                let used = names(&code, "edge_credential_operator");
                assert_eq!(used, ["operator".to_owned()].into(), "{path}");
                continue;
            }
            _ => {
                let layer = LAYERS.iter().find(|(layer, _)| *layer == top);
                layer.unwrap_or_else(|| panic!("{path} is in a layer")).1
            }
        };
        for used in names(&code, "crate") {
            assert!(
                used == top || allowed.contains(&&*used),
                "{path} imports crate::{used}"
            );
        }
        assert!(!code.contains("super::super"), "{path}");
    }
}

#[test]
fn no_two_files_import_each_other_by_whatever_way() {
    let sources = sources();
    let files: BTreeSet<String> = sources.iter().map(|source| source.path.clone()).collect();
    let mut left: BTreeMap<&str, BTreeSet<&str>> = sources
        .iter()
        .map(|source| (source.path.as_str(), imported(source, &files)))
        .collect();
    assert!(left["edge_credential/reconcile.rs"].contains("edge_credential/context.rs"));
    assert!(left["traffic/mod.rs"].contains("traffic/requests.rs"));
    // Neither a file that imports nothing of what is left is in a circle, nor one that nothing of it imports.
    while let Some(outside) = left
        .iter()
        .find(|(path, imports)| {
            imports.iter().all(|import| !left.contains_key(import))
                || !left.values().any(|imports| imports.contains(*path))
        })
        .map(|(path, _)| *path)
    {
        left.remove(outside);
    }
    assert!(left.is_empty(), "a circle: {left:#?}");
}

#[test]
fn what_only_computes_does_no_io_and_asks_for_no_time() {
    let sources = sources();
    for path in PURE_FILES {
        source(&sources, path);
    }
    let pure = sources.iter().filter(|source| {
        PURE_FILES.contains(&&*source.path)
            || PURE_FOLDERS.iter().any(|folder| {
                format!("/{}", source.path)
                    .contains(&format!("/{}", folder.trim_start_matches('/')))
            })
    });
    let mut count = 0;
    for Source { path, code } in pure {
        count += 1;
        for (root, allowed) in [
            // Types of objects and errors, but nothing that talks to a cluster.
            (
                "kube",
                &["CustomResource", "Error", "KubeSchema", "Resource"][..],
            ),
            ("reqwest", &["Url"]),
            ("tokio", &[]),
            ("futures", &[]),
            ("tracing", &[]),
            (
                "std",
                &[
                    "borrow",
                    "collections",
                    "error",
                    "fmt",
                    "mem",
                    "ops",
                    "str",
                    "time",
                ],
            ),
        ] {
            for name in names(code, root) {
                assert!(allowed.contains(&&*name), "{path} uses {root}::{name}");
            }
        }
        for banned in [
            "Api<",
            "async ",
            ".await",
            "Timestamp::now",
            "SystemTime",
            "Instant::now",
            "Clock",
            "rand::",
            "static ",
        ] {
            let uses = code.replace("'static ", "").contains(banned);
            assert!(!uses, "{path} has \"{banned}\" in it");
        }
    }
    assert!(count > 25, "{count} files");
}

#[test]
fn the_time_is_asked_for_in_one_place() {
    for Source { path, code } in sources() {
        for now in ["Timestamp::now", "SystemTime"] {
            assert!(!code.contains(now) || path == "clock.rs", "{path}: {now}");
        }
    }
}

#[test]
fn the_content_of_secrets_is_read_in_one_namespace_only() {
    for Source { path, code } in sources() {
        // The one way to a Secret takes the namespace from the object.
        let reads_secrets = code.contains("Api<Secret>");
        assert!(
            !reads_secrets || path == "cluster/secrets.rs",
            "{path} has an Api<Secret>"
        );
        if path == "cluster/secrets.rs" {
            assert!(!code.contains("Api::all") && !code.contains("Api::default_namespaced"));
        }
        // Watches span namespaces, and take metadata only. A question about rights is of no namespace.
        for cluster_wide in ["Api::all", "Api::<"] {
            let allowed = ["operator/controller.rs", "cluster/rights.rs"];
            assert!(
                !code.contains(cluster_wide) || allowed.contains(&&*path),
                "{path} has {cluster_wide}"
            );
        }
        // A watch names the resource alone; what it takes is said by its selection.
        if path.starts_with("operator/") || path == "cluster/rights.rs" {
            let metadata = [
                "PartialObjectMeta<Secret>",
                "metadata_of::<Secret>",
                "Watch::of::<Secret>",
                "<SeenSecret>",
            ];
            let rest = metadata
                .iter()
                .fold(code, |code, text| code.replace(text, ""));
            assert!(!rest.contains("Secret>"), "{path}");
        }
    }
}

#[test]
fn the_page_on_the_architecture_names_files_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let quoted = page.split('`').skip(1).step_by(2);
    let mut folder = root.join("src");
    let mut count = 0;
    for name in quoted.filter(|name| name.ends_with(".rs")) {
        // A name without a folder is in the folder before it.
        let places = [
            root.join(name),
            folder.join(name),
            root.join("src").join(name),
        ];
        let place = places.iter().find(|place| place.is_file());
        let place = place.unwrap_or_else(|| panic!("{name} is there"));
        if *place == places[0] {
            folder = place.parent().unwrap().to_owned();
        }
        count += 1;
    }
    assert!(count > 40, "{count} files");
}

#[test]
fn panics_are_warned_of_by_clippy_outside_tests() {
    let sources = sources();
    let code = &source(&sources, "lib.rs").code;
    for lint in [
        "unwrap_used",
        "expect_used",
        "panic",
        "indexing_slicing",
        "todo",
        "unimplemented",
        "unreachable",
    ] {
        assert!(code.contains(&format!("clippy::{lint}")), "{lint}");
    }
    // What clippy can be told to overlook is not overlooked here.
    for Source { path, code } in sources {
        assert!(
            !code.contains("#[allow(") && !code.contains("#[expect("),
            "{path}"
        );
    }
}
