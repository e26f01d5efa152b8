//! A certified OAuth 2.0 server that is not ours, oidc-provider on Node: what docs/oauth-servers.md says of a server that
//! goes by `resource` leads to a token, and its refusals are understood. Where there is no Node, the tests say so and pass.
//!
//! Its packages are those of `package-lock.json`, which names none of the places that they come from. They are fetched once.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use edge_credential_operator::{
    api::{
        EdgeCredentialSpec, Reason,
        token_request::{ClientAuthentication, RequestFormat, TokenFormat, TokenRequestSpec},
    },
    clock::Clock,
    http::{
        origin::Origin,
        route::{Deadlines, HttpClient, Route},
    },
    oauth::{
        ClientCredentials, RequestParameters, Token, TokenError, TokenRequest, TokenSource,
        client::HttpTokenSource,
    },
};
use kit::{
    control_plane::{RunFolder, free_port},
    markdown::blocks,
    process::GuardedProcess,
    workspace,
};
use reqwest::Url;
use serde_json::{Value, json};

const PAGE: &str = "docs/oauth-servers.md";

/// Many times what Node needs to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The server, until it's dropped.
struct Server {
    url: String,
    _process: GuardedProcess,
    _folder: RunFolder,
}

impl Server {
    /// `None`, and a word of it, where there is no Node.
    async fn start() -> Option<Self> {
        let packages = packages()?;
        let folder = RunFolder::create().unwrap();
        let port = free_port().unwrap();
        let log = folder.path().join("server.log");
        let process = GuardedProcess::command("oidc-provider", "node", &log)
            .arg(packages.join("server.mjs"))
            .arg(port.to_string());
        let mut process = process.spawn().unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let start = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            let ended = process.try_wait().unwrap().is_some();
            let late = start.elapsed() > START_TIMEOUT;
            assert!(!ended && !late, "no server: {}", process.log_tail(20));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(Self {
            url,
            _process: process,
            _folder: folder,
        })
    }

    /// Asks for a token with the client that the server knows for this way to authenticate.
    async fn ask(
        &self,
        spec: &TokenRequestSpec,
        secret: Option<&str>,
    ) -> Result<Token, TokenError> {
        let client = match spec.client_authentication {
            ClientAuthentication::ClientSecretBasic => "client_secret_basic",
            ClientAuthentication::ClientSecretPost => "client_secret_post",
        };
        let its_secret = format!("s3cret of {client}: 50 % & more+");
        let request = TokenRequest {
            parameters: RequestParameters {
                token_url: Url::parse(&format!("{}/token", self.url)).unwrap(),
                audience: spec.audience.clone(),
                scopes: spec.scopes.clone(),
                extra_parameters: spec.extra_parameters.clone(),
                format: spec.format,
                client_authentication: spec.client_authentication,
                token_format: spec.token_format,
            },
            credentials: ClientCredentials {
                client_id: client.into(),
                client_secret: secret.unwrap_or(&its_secret).into(),
            },
        };
        let allowed = [self.url.parse::<Origin>().unwrap()].into_iter().collect();
        let client = HttpClient::new(&Route::default(), Deadlines::default()).unwrap();
        let source = HttpTokenSource::new(allowed, client, Clock::system());
        source.request(&request).await.result
    }
}

/// How npm says that it reaches no registry.
const UNREACHABLE: [&str; 4] = ["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT"];

/// The folder with the server and its packages.
fn packages() -> Option<PathBuf> {
    static PACKAGES: OnceLock<Option<PathBuf>> = OnceLock::new();
    PACKAGES
        .get_or_init(|| {
            if Command::new("node").arg("--version").output().is_err() {
                eprintln!("not tested: there is no node on this machine");
                return None;
            }
            let ours = workspace().join("tests/oauth_servers");
            let folder = workspace().join(".cache/tools/oauth-servers");
            fs::create_dir_all(&folder).unwrap();
            // What is there is left alone: another run may be reading it.
            let server = fs::read(ours.join("server.mjs")).unwrap();
            let copied = folder.join("server.mjs");
            if fs::read(&copied).ok().as_ref() != Some(&server) {
                fs::write(copied, server).unwrap();
            }
            let lock = fs::read(ours.join("package-lock.json")).unwrap();
            let installed = folder.join("installed");
            if fs::read(&installed).ok().as_ref() != Some(&lock) {
                for file in ["package.json", "package-lock.json"] {
                    fs::copy(ours.join(file), folder.join(file)).unwrap();
                }
                let options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
                let npm = Command::new("npm")
                    .args(options)
                    .current_dir(&folder)
                    .output();
                let npm = npm.expect("npm, which comes with Node");
                let told = String::from_utf8_lossy(&npm.stderr);
                if UNREACHABLE.iter().any(|code| told.contains(code)) {
                    eprintln!("not tested: the packages cannot be fetched here");
                    return None;
                }
                assert!(npm.status.success(), "npm ci: {told}");
                fs::write(&installed, lock).unwrap();
            }
            Some(folder)
        })
        .clone()
}

/// What the page has for a server that goes by `resource`.
fn documented() -> TokenRequestSpec {
    let example = blocks(PAGE)
        .into_iter()
        .find(|block| block.text.contains("resource: "));
    let example: Value = serde_saphyr::from_str(&example.unwrap().text).unwrap();
    let spec: EdgeCredentialSpec = serde_json::from_value(example["spec"].clone()).unwrap();
    spec.token_request
}

/// `server.mjs` grants ten minutes. The token's claim `exp` is made before the header `Date`, by which its lifetime is judged,
/// so the second may change in between.
#[track_caller]
fn assert_lives_as_the_server_says(token: &Token) {
    let seconds = token.lifetime().as_secs();
    assert!((570..=600).contains(&seconds), "{seconds} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_documentation_says_leads_to_a_token_for_that_resource_and_scope() {
    let Some(server) = Server::start().await else {
        return;
    };
    let spec = documented();
    assert_eq!(
        spec.client_authentication,
        ClientAuthentication::ClientSecretBasic
    );
    for client_authentication in [
        ClientAuthentication::ClientSecretBasic,
        ClientAuthentication::ClientSecretPost,
    ] {
        let spec = TokenRequestSpec {
            client_authentication,
            ..spec.clone()
        };
        let token = server.ask(&spec, None).await.unwrap();
        assert_eq!(token.scope.as_deref(), Some("api:read"));
        assert_lives_as_the_server_says(&token);

        // The token says itself for whom it is.
        let named = TokenRequestSpec {
            audience: "https://api.example.com".to_owned(),
            ..spec.clone()
        };
        server.ask(&named, None).await.unwrap();
        let other = TokenRequestSpec {
            audience: "https://other.example.com".to_owned(),
            ..spec
        };
        let error = server.ask(&other, None).await.unwrap_err();
        assert_eq!(error.reason(), Reason::WrongAudience);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_resource_the_token_is_opaque_and_taken_where_any_is() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut spec = documented();
    spec.extra_parameters.clear();
    let error = server.ask(&spec, None).await.unwrap_err();
    assert_eq!(error.reason(), Reason::NotAJWT);
    spec.token_format = TokenFormat::Any;
    let token = server.ask(&spec, None).await.unwrap();
    assert_lives_as_the_server_says(&token);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_refusals_are_understood() {
    let Some(server) = Server::start().await else {
        return;
    };
    let spec = documented();
    let error = server.ask(&spec, Some("another")).await.unwrap_err();
    assert_eq!(error.reason(), Reason::CredentialsRejected, "{error}");

    let changed = |change: Value| -> TokenRequestSpec {
        let mut spec = serde_json::to_value(&spec).unwrap();
        let (key, value) = change.as_object().unwrap().iter().next().unwrap();
        spec[key] = value.clone();
        serde_json::from_value(spec).unwrap()
    };
    for (change, said) in [
        (json!({"scopes": ["api:admin"]}), "invalid_scope"),
        (
            json!({"extraParameters": {"resource": "https://else.example.com"}}),
            "invalid_target",
        ),
        (json!({"format": RequestFormat::Json}), "invalid_request"),
    ] {
        let error = server.ask(&changed(change), None).await.unwrap_err();
        assert_eq!(error.reason(), Reason::RequestRefused, "{said}: {error}");
        assert!(error.to_string().contains(said), "{said}: {error}");
    }
}

/// As RFC 6749 section 3.3 allows. Only what was granted then tells of it, which is in the status.
#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_the_server_does_not_know_is_left_out_of_what_is_granted() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut spec = documented();
    spec.scopes.push("api:unknown".to_owned());
    let token = server.ask(&spec, None).await.unwrap();
    assert_eq!(token.scope.as_deref(), Some("api:read"));
}
