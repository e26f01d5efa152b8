//! The commands of docs/kubectl.md, run in their order; what they print is what the page shows, but for numbers and blanks.
//! `make generate` does not write the page anew, since this takes a control plane: `UPDATE_GENERATED=1 cargo test -p kubectl-edgecred
//! --test cluster documentation` does.

use kit::{
    canary::assert_absent,
    generated,
    harness::{CLIENT, SECRET, text},
    markdown::{self, Mark},
    workspace,
};

use super::stage::{Printed, Stage, command, run, write_files};

const PAGE: &str = "docs/kubectl.md";
const THIS: &str = "kubectl-edgecred/tests/cluster/documentation.rs";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_what_the_commands_print() {
    let mut stage = Stage::alone("page").await;
    stage.restart_operator().await;
    write_files(&stage);
    let former_key = stage.key().await;
    let blocks = markdown::blocks(PAGE);
    let mut page = markdown::read(PAGE);
    let mut outputs = Vec::new();
    let mut marks = Vec::new();
    let mut count = 0;
    for (block, shown) in blocks.iter().zip(&blocks[1..]) {
        if block.mark != Some(Mark::RunBy(THIS.into())) {
            continue;
        }
        let mut printed = String::new();
        for line in block.text.lines() {
            let said = enter(&stage, line).await;
            printed += &presentable(&stage, &said, &mut marks);
            outputs.push((line, said.stdout + &said.stderr));
            count += 1;
        }
        if skeleton(&printed) != skeleton(&shown.text) {
            let fence = |text: &str| format!("```console\n{}```\n\n```\n{text}```\n", block.text);
            let (before, after) = (fence(&shown.text), fence(&printed));
            assert!(page.contains(&before), "{before}");
            page = page.replacen(&before, &after, 1);
        }
    }
    assert!(count >= 18, "{count} commands");
    let key = stage.key().await;
    let token = text(&stage.shop().secret("edge-admin").await, "access_token");
    let outputs: Vec<_> = outputs
        .iter()
        .map(|(line, said)| (*line, said.clone()))
        .collect();
    assert_absent(&[CLIENT, SECRET, &token, &former_key, &key], &outputs);
    generated::compare(&workspace().join(PAGE), &page);
}

/// Enters a line as a shell would, as far as the page needs it.
async fn enter(stage: &Stage, line: &str) -> Printed {
    let mut words: Vec<String> = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(Into::into)),
            _ => words.push(part.into()),
        }
    }
    assert_eq!(words[..2], ["kubectl", "edgecred"], "{line}");
    let mut args: Vec<&str> = words[2..].iter().map(String::as_str).collect();
    // What stands in for Sitecore's API is elsewhere.
    let api = format!("--api={}", stage.sitecore().url());
    let url = format!("--token-url={}", stage.sitecore().token_url());
    let origin = format!("--allowed-api-origin={}", stage.sitecore().url());
    match args[0] {
        "call" => args.push(&api),
        "inspect" => args.push(&origin),
        "init" => args.push(&url),
        _ => {}
    }
    // Whoever is on call may see the operator.
    let said = if matches!(args[0], "doctor" | "test") {
        args.extend(["--namespace", &stage.shop().name]);
        let kubeconfig = stage.scene.control_plane.admin_kubeconfig();
        run(command(stage.folder.path(), &kubeconfig, &args)).await
    } else {
        stage.enter(&args).await
    };
    assert!(said.code != 2 && said.code != -1, "{line}: {said:?}");
    said
}

/// What was printed, with the names of a real place.
fn presentable(stage: &Stage, said: &Printed, marks: &mut Vec<String>) -> String {
    let server = stage.scene.control_plane.api_server_url();
    let end = if said.stdout.is_empty() || said.stdout.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    // What `init` says comes before the lines for the workload.
    let text = if said.stderr.starts_with('✔') {
        format!("{}{}", said.stderr, said.stdout)
    } else {
        format!("{}{end}{}", said.stdout, said.stderr)
    };
    let api = format!("{}/api", stage.sitecore().url());
    number_marks(&text, marks)
        .replace(&api, "https://edge.sitecorecloud.io/api")
        .replace(stage.sitecore().url(), "https://auth.sitecorecloud.io")
        .replace(
            server.trim_end_matches('/'),
            "https://cluster.example.com:6443",
        )
        .replace("page-1", "storefront")
        .replace("page-operator", "edge-credential-operator")
        .replace("operator/page-", "operator/")
}

/// A text with the marks of keys, which are random, numbered in the order in which the page shows them.
fn number_marks(text: &str, marks: &mut Vec<String>) -> String {
    const PREFIX: &str = "edge-token/";
    const UID: &str = "0b6a2a4e-30c5-4a6a-9d8c-2f8e6b1c7d10";
    let shown = text
        .split_whitespace()
        .filter(|word| word.starts_with(PREFIX));
    for mark in shown {
        if !marks.iter().any(|known| known == mark) {
            marks.push(mark.to_owned());
        }
    }
    let numbered = marks.iter().enumerate();
    numbered.fold(text.to_owned(), |text, (number, mark)| {
        text.replace(mark, &format!("{PREFIX}{UID}/{number:016x}"))
    })
}

/// What stays the same from run to run.
fn skeleton(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| {
        let words = line.split_whitespace().map(|word| {
            let mut skeleton = String::new();
            for c in word.chars() {
                match c {
                    '0'..='9' if skeleton.ends_with('0') => {}
                    '0'..='9' => skeleton.push('0'),
                    c => skeleton.push(c),
                }
            }
            // How many units a time has depends on the time.
            skeleton
                .replace("0h0m", "0s")
                .replace("0m0s", "0s")
                .replace("0m", "0s")
        });
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect()
}
