//! What is sent: as Sitecore documents it, and no more than that.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    thread::{self, JoinHandle},
};

use edge_credential_operator::edge_api::{Access, EdgeApi};
use reqwest::Url;
use secrecy::SecretString;

use super::{PATIENT, PREFIX, api, new_key};

/// A server that answers one request with nothing, and tells it.
struct Listener {
    origin: String,
    heard: JoinHandle<String>,
}

impl Listener {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let heard = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !is_complete(&request) {
                let length = connection.read(&mut buffer).unwrap();
                assert!(length > 0, "it ended within a request");
                request.extend_from_slice(&buffer[..length]);
            }
            connection
                .write_all(b"HTTP/1.1 500 \r\ncontent-length: 0\r\n\r\n")
                .unwrap();
            String::from_utf8(request).unwrap()
        });
        Self { origin, heard }
    }

    fn url(&self, path: &str) -> Url {
        format!("{}{path}", self.origin).parse().unwrap()
    }

    /// The first line, the headers that matter, and the body.
    fn heard(self) -> (String, Vec<String>, String) {
        let request = self.heard.join().unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines().map(str::to_owned);
        let line = lines.next().unwrap();
        let is_plain = |header: &String| !header.starts_with("host: ");
        let mut headers: Vec<_> = lines.filter(is_plain).collect();
        headers.sort();
        (line, headers, body.to_owned())
    }
}

fn is_complete(request: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(request) else {
        return false;
    };
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    body.len() >= length
}

const USER_AGENT: &str = concat!(
    "user-agent: edge-credential-operator/",
    env!("CARGO_PKG_VERSION")
);

fn jwt() -> SecretString {
    "a.b.c".into()
}

#[tokio::test]
async fn a_key_is_asked_for_as_documented() {
    let listener = Listener::start();
    let base = listener.url("/api/apikey/v1");
    let access = Access {
        base: &base,
        jwt: &jwt(),
    };
    let api = api(&[&listener.origin], PATIENT);
    let asked = api.create_key(access, &new_key("edge-token/uid-1/1")).await;
    assert!(asked.result.is_err());
    let (line, headers, body) = listener.heard();
    assert_eq!(line, "POST /api/apikey/v1 HTTP/1.1");
    let expected = [
        "accept: */*",
        "authorization: Bearer a.b.c",
        "content-length: 123",
        "content-type: application/json",
        USER_AGENT,
    ];
    assert_eq!(headers, expected);
    assert_eq!(
        body,
        r##"{"CreatedBy":"edge-credential-operator","Label":"edge-token/uid-1/1","Scopes":["audience-delivery","content-#everything#"]}"##
    );
}

#[tokio::test]
async fn keys_are_listed_by_their_label_and_revoked_ones_are_not_left_out() {
    let listener = Listener::start();
    let base = listener.url("/api/apikey/v1");
    let access = Access {
        base: &base,
        jwt: &jwt(),
    };
    let api = api(&[&listener.origin], PATIENT);
    assert!(api.list_keys(access, PREFIX).await.result.is_err());
    let (line, headers, body) = listener.heard();
    assert_eq!(
        line,
        "GET /api/apikey/v1?label=edge-token%2Fuid-1%2F&pagesize=50&pagenumber=1 HTTP/1.1"
    );
    let expected = [
        "accept: application/json",
        "authorization: Bearer a.b.c",
        USER_AGENT,
    ];
    assert_eq!((&*headers, &*body), (&expected.map(String::from)[..], ""));
}

#[tokio::test]
async fn a_key_is_revoked_by_its_hash() {
    let listener = Listener::start();
    let base = listener.url("/api/apikey/v1/");
    let access = Access {
        base: &base,
        jwt: &jwt(),
    };
    let api = api(&[&listener.origin], PATIENT);
    assert!(api.revoke_key(access, "0a1b").await.result.is_err());
    let (line, headers, body) = listener.heard();
    assert_eq!(line, "PUT /api/apikey/v1/revokebyhash/0a1b HTTP/1.1");
    let expected = [
        "accept: */*",
        "authorization: Bearer a.b.c",
        "content-length: 0",
        USER_AGENT,
    ];
    assert_eq!((&*headers, &*body), (&expected.map(String::from)[..], ""));
}

#[tokio::test]
async fn a_key_is_obtained_for_its_environment() {
    let listener = Listener::start();
    let base = listener.url("");
    let access = Access {
        base: &base,
        jwt: &jwt(),
    };
    let api = api(&[&listener.origin], PATIENT);
    assert!(api.obtain_key(access, "6tVx").await.result.is_err());
    let (line, headers, body) = listener.heard();
    assert_eq!(
        line,
        "GET /api/environments/v1/6tVx/obtain-edge-token HTTP/1.1"
    );
    let expected = [
        "accept: application/json",
        "authorization: Bearer a.b.c",
        USER_AGENT,
    ];
    assert_eq!((&*headers, &*body), (&expected.map(String::from)[..], ""));
}

#[tokio::test]
async fn a_key_is_tried_with_the_smallest_query_and_without_a_token() {
    let listener = Listener::start();
    let url = listener.url("/api/graphql/v1");
    let api = api(&[&listener.origin], PATIENT);
    assert!(
        api.probe_key(&url, &"a2V5+/8=".into())
            .await
            .result
            .is_err()
    );
    let (line, headers, body) = listener.heard();
    assert_eq!(line, "POST /api/graphql/v1 HTTP/1.1");
    let expected = [
        "accept: application/json",
        "content-length: 24",
        "content-type: application/json",
        "sc_apikey: a2V5+/8=",
        USER_AGENT,
    ];
    assert_eq!(headers, expected);
    assert_eq!(body, r#"{"query":"{__typename}"}"#);
}
