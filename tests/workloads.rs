//! The programs of docs/workloads.md: each is given a token in a file, and its call is accepted by the stand-in for Sitecore's
//! services.

use std::{fs, process::Command};

use kit::{
    control_plane::RunFolder,
    markdown::{Mark, blocks},
    sitecore::Sitecore,
};
use serde_json::Value;

const PAGE: &str = "docs/workloads.md";

const GO: &str = r#"package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	client := http.Client{Transport: edgeTransport{}}
	answer, err := client.Get(os.Getenv("API") + "/api/admin/v1/settings")
	if err != nil {
		panic(err)
	}
	fmt.Println(answer.StatusCode)
}

"#;

/// A stand-in and a folder with a token that it takes.
struct Scene {
    sitecore: Sitecore,
    folder: RunFolder,
}

impl Scene {
    async fn new() -> Self {
        let sitecore = Sitecore::start().unwrap();
        sitecore.add_client("id", "secret");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "id"),
            ("client_secret", "secret"),
            ("audience", "https://api.sitecorecloud.io"),
        ];
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.post(sitecore.token_url()).form(&form).send().await;
        let text = answer.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        let folder = RunFolder::create().unwrap();
        let token = answer["access_token"].as_str().unwrap();
        fs::write(folder.path().join("access_token"), token).unwrap();
        Self { sitecore, folder }
    }

    /// Runs a program on the file, and returns what it printed. `None`, and a word of it, where there is no such program.
    fn run(&self, program: &str, args: &[&str], (file, text): (&str, &str)) -> Option<String> {
        let file = self.folder.path().join(file);
        fs::write(&file, text).unwrap();
        let mut command = Command::new(program);
        command.args(args).arg(file);
        command
            .env("EDGE", self.folder.path())
            .env("API", self.sitecore.url());
        for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(proxy);
        }
        let Ok(output) = command.output() else {
            eprintln!("not run: there is no {program} on this machine");
            return None;
        };
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {error}");
        Some(String::from_utf8(output.stdout).unwrap())
    }
}

/// The block of this language that this file is to run.
fn block(language: &str) -> String {
    let ours = Some(Mark::RunBy("tests/workloads.rs".to_owned()));
    let block = blocks(PAGE)
        .into_iter()
        .find(|block| block.language == language && block.mark == ours);
    block.expect("a block of this language").text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_script_calls_the_api_with_the_token_in_the_file() {
    let scene = Scene::new().await;
    let printed = scene.run("sh", &[], ("call.sh", &block("sh"))).unwrap();
    assert!(printed.contains("contentCacheTtl"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_program_calls_the_api_with_the_token_in_the_file() {
    let scene = Scene::new().await;
    if let Some(printed) = scene.run("node", &[], ("call.mjs", &block("js"))) {
        assert_eq!(printed.trim(), "200");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_go_program_calls_the_api_with_the_token_in_the_file() {
    let scene = Scene::new().await;
    let program = format!("{GO}{}", block("go"));
    if let Some(printed) = scene.run("go", &["run"], ("main.go", &program)) {
        assert_eq!(printed.trim(), "200");
    }
}
