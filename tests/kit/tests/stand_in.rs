//! The stand-in as a program of its own, with the arguments that examples/try gives it in a cluster.

use std::fs;
use std::time::Duration;

use kit::control_plane::{RunFolder, free_port};
use kit::harness::{PATIENCE, find};
use kit::process::GuardedProcess;
use kit::workspace;
use reqwest::Client;
use serde_json::Value;

/// The objects of a file of examples/try.
fn example(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(workspace().join("examples/try").join(file)).unwrap();
    let documents = text.split("\n---\n");
    documents
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

#[tokio::test]
async fn the_stand_in_of_the_example_gives_its_client_tokens_of_minutes_logs_that_and_ends_when_asked()
 {
    let [deployment, service, _] = &example("stand-in.yaml")[..] else {
        panic!("a Deployment, a Service and a NetworkPolicy");
    };
    let [credentials, edge_credential] = &example("edge-credential.yaml")[..] else {
        panic!("a Secret and an EdgeCredential");
    };
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let declared = container["ports"][0]["containerPort"].to_string();
    let port = free_port().unwrap().to_string();
    let args = container["args"].as_array().unwrap().iter();
    let args = args.map(|arg| arg.as_str().unwrap().replace(&declared, &port));
    let folder = RunFolder::create().unwrap();
    let log = folder.path().join("stand-in.log");
    let program = env!("CARGO_BIN_EXE_sitecore-stand-in");
    let command = GuardedProcess::command("the stand-in", program, &log).args(args);
    let mut process = command.spawn().unwrap();

    // The EdgeCredential asks the Service.
    let url = edge_credential["spec"]["tokenRequest"]["url"].as_str();
    let host = format!(
        "http://{}.{}.svc/",
        service["metadata"]["name"].as_str().unwrap(),
        service["metadata"]["namespace"].as_str().unwrap()
    );
    let path = url.unwrap().strip_prefix(&host).unwrap();
    let http = Client::builder().no_proxy().build().unwrap();
    let form = [
        ("grant_type", "client_credentials"),
        ("audience", kit::sitecore::AUDIENCE),
        ("client_id", credential(credentials, "client_id")),
        ("client_secret", credential(credentials, "client_secret")),
    ];
    let answer = find(PATIENCE, async || {
        let request = http.post(format!("http://127.0.0.1:{port}/{path}"));
        request.form(&form).send().await.ok()
    });
    let answer = answer.await.expect("it answers").text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["expires_in"], 300, "{answer}");
    // Its first client has an environment.
    let token = answer["access_token"].as_str().unwrap();
    let path = "api/environments/v1/demo-environment/obtain-edge-token";
    let request = http.get(format!("http://127.0.0.1:{port}/{path}"));
    let obtained = request.bearer_auth(token).send().await.unwrap();
    assert_eq!(obtained.status(), 200);

    process.signal("TERM").unwrap();
    let code = tokio::time::timeout(Duration::from_secs(30), process.wait());
    assert_eq!(code.await.expect("it ends").unwrap(), 0);
    let log = fs::read_to_string(log).unwrap();
    let requests = log.matches("route=\"POST /oauth/token\" status=200");
    assert_eq!(requests.count(), 1, "{log}");
}

fn credential<'a>(secret: &'a Value, key: &str) -> &'a str {
    secret["stringData"][key].as_str().unwrap()
}
