//! Authorities and a proxy that come from files, which change while the operator runs.

use std::{fs, path::PathBuf, time::Duration};

use edge_credential_operator::{
    clock::Clock,
    http::{
        Unreachable,
        origin::{AllowedOrigins, Origin},
        route::{Deadlines, HttpClient},
    },
    oauth::{TokenError, TokenSource, client::HttpTokenSource},
    operator::route_files::RouteFiles,
};
use kit::sitecore::{Certificate, TlsFront, hostile::proxy};
use tempfile::TempDir;

use super::{CANARY, request_to, sitecore};

/// Longer than a file is not read.
const WHILE: Duration = Duration::from_secs(31);

/// A file with this content, in a folder of its own, which is gone at the end of the test.
fn file(content: &str) -> (PathBuf, TempDir) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, content).unwrap();
    (path, folder)
}

/// A source that follows these files.
fn following(files: RouteFiles, origin: &str) -> HttpTokenSource {
    let allowed: AllowedOrigins = [origin.parse::<Origin>().unwrap()].into_iter().collect();
    let route = files.read().unwrap();
    let client = HttpClient::new(&route, Deadlines::default()).unwrap();
    tokio::spawn(files.follow(client.clone(), route));
    HttpTokenSource::new(allowed, client, Clock::system())
}

/// Lets a file be read again, without waiting for it.
async fn pass() {
    tokio::task::yield_now().await;
    tokio::time::pause();
    tokio::time::advance(WHILE).await;
    tokio::time::resume();
    tokio::task::yield_now().await;
}

async fn ask(source: &HttpTokenSource, url: &str) -> Result<(), TokenError> {
    source.request(&request_to(url)).await.result.map(|_| ())
}

#[tokio::test]
async fn authorities_that_change_are_trusted_from_then_on_and_garbage_changes_nothing() {
    let sitecore = sitecore();
    let front = TlsFront::start(&sitecore, Certificate::Valid).unwrap();
    let another = TlsFront::start(&sitecore, Certificate::Valid).unwrap();
    let (path, _folder) = file(another.authority());
    let files = RouteFiles {
        token_ca: Some(path.clone()),
        token_proxy: None,
    };
    let source = following(files, &front.url());
    let asked = async || ask(&source, &front.token_url()).await;
    let untrusted = Err(TokenError::Unreachable(Unreachable::Untrusted));
    assert_eq!(asked().await, untrusted);

    fs::write(&path, front.authority()).unwrap();
    assert_eq!(asked().await, untrusted, "it was not read yet");
    pass().await;
    assert_eq!(asked().await, Ok(()));
    for broken in ["", CANARY] {
        fs::write(&path, broken).unwrap();
        pass().await;
        assert_eq!(asked().await, Ok(()), "{broken}");
    }
    fs::remove_file(&path).unwrap();
    pass().await;
    assert_eq!(asked().await, Ok(()), "it is gone");
    fs::write(&path, another.authority()).unwrap();
    pass().await;
    assert_eq!(asked().await, untrusted);
}

#[tokio::test]
async fn a_proxy_that_changes_is_used_from_then_on() {
    const URL: &str = "https://auth.example/oauth/token";
    let (path, _folder) = file("http://127.0.0.1:1");
    let files = RouteFiles {
        token_ca: None,
        token_proxy: Some(path.clone()),
    };
    let source = following(files, "https://auth.example");
    let cause = async || ask(&source, URL).await.unwrap_err();
    let nobody = TokenError::Unreachable(Unreachable::ProxyUnreachable);
    let refused = TokenError::Unreachable(Unreachable::ProxyRefused);
    assert_eq!(cause().await, nobody);
    let wants_password = proxy("HTTP/1.1 407 CANARY\r\n\r\n") + "\n";
    fs::write(&path, wants_password).unwrap();
    pass().await;
    assert_eq!(cause().await, refused);
}

#[test]
fn a_file_that_cannot_be_used_is_named_without_what_is_in_it() {
    let (path, _folder) = file(&format!("{CANARY} is no URL"));
    let files = RouteFiles {
        token_ca: None,
        token_proxy: Some(path.clone()),
    };
    let route = files.read().unwrap();
    let made = HttpClient::new(&route, Deadlines::default());
    let error = files.blame(made.unwrap_err());
    let expected = format!("the file {} cannot be used", path.display());
    assert_eq!(error.to_string(), expected);
    assert!(!format!("{error:?} {route:?}").contains(CANARY));
    fs::remove_file(&path).unwrap();
    let error = files.read().unwrap_err().to_string();
    assert_eq!(error, format!("the file {} cannot be read", path.display()));
}
