//! The rules that the folders stand for, checked in the source text: who may know whom, and who may do I/O.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What each part may import of the others. Imports go one way.
const LAYERS: [(&str, &[&str]); 6] = [
    ("api/", &[]),
    ("clock.rs", &[]),
    ("oauth/", &["api", "clock"]),
    ("config.rs", &["oauth"]),
    ("edge_credential/", &["api", "clock", "oauth"]),
    (
        "operator/",
        &["api", "clock", "config", "edge_credential", "oauth"],
    ),
];

/// Files that only compute: what they say depends on their arguments alone.
const PURE: [&str; 22] = [
    "api/conditions.rs",
    "api/credentials.rs",
    "api/edge_credential.rs",
    "api/failures.rs",
    "api/mod.rs",
    "api/reason.rs",
    "api/target.rs",
    "api/token_request.rs",
    "edge_credential/credentials.rs",
    "edge_credential/decide.rs",
    "edge_credential/error.rs",
    "edge_credential/parameters.rs",
    "edge_credential/revisit.rs",
    "edge_credential/status.rs",
    "edge_credential/target.rs",
    "edge_credential/transition.rs",
    "oauth/breaker.rs",
    "oauth/jwt.rs",
    "oauth/limits.rs",
    "oauth/origin.rs",
    "oauth/response.rs",
    "operator/lease/election.rs",
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
                folders.push(path);
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

/// What stands right after `root::` in paths and in groups of imports.
fn names<'a>(code: &'a str, root: &str) -> BTreeSet<&'a str> {
    let root = format!("{root}::");
    let begins_a_word = |at: usize| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':'))
    };
    code.match_indices(&root)
        .filter(|(at, _)| begins_a_word(*at))
        .flat_map(|(at, _)| {
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => members(group),
                None => vec![word(rest)],
            }
        })
        .collect()
}

/// The first word of each member of a group, up to the brace that closes it.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut members) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.push(word(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members.retain(|member| !member.is_empty());
    members
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn names_are_found_in_paths_and_in_groups() {
    let code = "use crate::{api::{A, b::C}, clock::Clock,\n oauth};\nlet x = crate::config::y(); mycrate::no();";
    let expected = ["api", "clock", "config", "oauth"].into();
    assert_eq!(names(code, "crate"), expected);
}

#[test]
fn imports_go_one_way() {
    for Source { path, code } in sources() {
        let allowed: &[&str] = match path.as_str() {
            "lib.rs" => &[],
            "main.rs" => {
                let used = names(&code, "edge_credential_operator");
                let expected = ["api", "config", "operator"].into();
                assert!(used.is_subset(&expected), "{path}: {used:?}");
                continue;
            }
            _ => {
                let layer = LAYERS.iter().find(|(layer, _)| path.starts_with(layer));
                layer.unwrap_or_else(|| panic!("{path} is in a layer")).1
            }
        };
        let (layer, _) = path.split_once('/').unwrap_or((&path, ""));
        for used in names(&code, "crate") {
            assert!(
                used == layer || allowed.contains(&used),
                "{path} imports crate::{used}"
            );
        }
        assert!(!code.contains("super::super"), "{path}");
    }
}

#[test]
fn what_only_computes_does_no_io_and_asks_for_no_time() {
    let sources = sources();
    for path in PURE {
        let code = &source(&sources, path).code;
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
            ("std", &["collections", "error", "fmt", "str", "time"]),
        ] {
            for name in names(code, root) {
                assert!(allowed.contains(&name), "{path} uses {root}::{name}");
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
        let neighbours = names(code, "super");
        for io in ["client", "context", "observe", "reconcile", "share"] {
            assert!(!neighbours.contains(io), "{path} uses super::{io}");
        }
    }
}

#[test]
fn what_is_listed_as_pure_is_all_but_the_files_that_do_io() {
    let doing_io = [
        "edge_credential/claims.rs",
        "edge_credential/context.rs",
        "edge_credential/leadership.rs",
        "edge_credential/mod.rs",
        "edge_credential/observe.rs",
        "edge_credential/reconcile.rs",
        "edge_credential/rights.rs",
        "oauth/client.rs",
        "oauth/gate.rs",
        "oauth/mod.rs",
        "oauth/share.rs",
    ];
    for Source { path, .. } in sources() {
        if ["api/", "oauth/", "edge_credential/"]
            .iter()
            .any(|layer| path.starts_with(layer))
        {
            let path = path.as_str();
            assert!(PURE.contains(&path) != doing_io.contains(&path), "{path}");
        }
    }
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
        // The one way to a Secret takes the namespace from the EdgeCredential.
        let reads_secrets = code.contains("Api<Secret>");
        assert!(
            !reads_secrets || path == "edge_credential/observe.rs",
            "{path} has an Api<Secret>"
        );
        if path == "edge_credential/observe.rs" {
            assert!(!code.contains("Api::all") && !code.contains("Api::default_namespaced"));
        }
        // Watches span namespaces, and take metadata only. A question about rights is of no namespace.
        for cluster_wide in ["Api::all", "Api::<"] {
            let allowed = ["operator/controller.rs", "edge_credential/rights.rs"];
            assert!(
                !code.contains(cluster_wide) || allowed.contains(&&*path),
                "{path} has {cluster_wide}"
            );
        }
        if path.starts_with("operator/") || path == "edge_credential/rights.rs" {
            let unwrapped = code.replace("PartialObjectMeta<Secret>", "");
            assert!(!unwrapped.contains("Secret>"), "{path}");
        }
    }
}

#[test]
fn panics_are_warned_of_by_clippy_outside_tests() {
    let sources = sources();
    for path in ["lib.rs", "main.rs"] {
        let code = &source(&sources, path).code;
        for lint in [
            "unwrap_used",
            "expect_used",
            "panic",
            "indexing_slicing",
            "todo",
            "unimplemented",
            "unreachable",
        ] {
            assert!(code.contains(&format!("clippy::{lint}")), "{path}: {lint}");
        }
    }
    // What clippy can be told to overlook is not overlooked here.
    for Source { path, code } in sources {
        assert!(
            !code.contains("#[allow(") && !code.contains("#[expect("),
            "{path}"
        );
    }
}
