//! Proxies that do not connect: told apart from an endpoint that does not answer.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::Command,
};

use edge_credential_operator::{
    http::{Unreachable, route::Deadlines},
    oauth::TokenError,
};
use kit::sitecore::hostile::{PATIENT, nowhere, proxy};
use reqwest::{Client, Proxy};

use super::{CANARY, SHORT, ask, raw, sitecore_with};

/// What an endpoint behind this proxy fails with.
async fn fail_behind(proxy: &str, deadlines: Deadlines) -> Unreachable {
    let client = Client::builder()
        .proxy(Proxy::all(proxy).unwrap())
        .connect_timeout(deadlines.connect)
        .timeout(deadlines.total)
        .build()
        .unwrap();
    let sent = client.post("https://auth.example/oauth/token").send().await;
    Unreachable::from(&sent.unwrap_err())
}

#[tokio::test]
async fn a_proxy_that_refuses_to_connect_is_told_apart_however_it_does() {
    for answer in [
        "HTTP/1.1 407 CANARY\r\nproxy-authenticate: Basic\r\n\r\n",
        "HTTP/1.1 403 CANARY\r\n\r\nCANARY",
        "HTTP/1.1 502 CANARY\r\n\r\n",
        "CANARY\r\n\r\n",
        "",
    ] {
        let cause = fail_behind(&proxy(answer), PATIENT).await;
        assert_eq!(cause, Unreachable::ProxyRefused, "{answer:?}");
        assert!(!format!("{} {cause:?}", cause.tell("it")).contains(CANARY));
    }
}

#[tokio::test]
async fn a_proxy_that_cannot_be_connected_to_is_not_taken_for_the_endpoint() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let closed = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    for url in [closed, nowhere()] {
        let cause = fail_behind(&url, PATIENT).await;
        assert_eq!(cause, Unreachable::ProxyUnreachable, "{url}");
    }
}

#[tokio::test]
async fn a_proxy_that_says_nothing_is_a_time_out() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    assert_eq!(fail_behind(&url, SHORT).await, Unreachable::Timeout);
}

#[tokio::test]
async fn a_proxy_that_connects_to_something_else_than_tls_is_not_to_blame() {
    let answer = format!("HTTP/1.1 200 OK\r\n\r\n{CANARY}");
    assert_eq!(
        fail_behind(&proxy(answer), PATIENT).await,
        Unreachable::Connect
    );
}

#[tokio::test]
async fn a_proxy_of_a_plain_endpoint_that_wants_a_password_is_told_apart_too() {
    let sitecore = sitecore_with(raw(407, None, CANARY));
    let expected = TokenError::Unreachable(Unreachable::ProxyRefused);
    assert_eq!(ask(&sitecore).await.unwrap_err(), expected);
}

#[test]
fn a_proxy_that_cannot_be_used_stops_the_start_and_is_named_without_its_value() {
    let started = |proxy| {
        let ended = Command::new(env!("CARGO_BIN_EXE_edge-credential-operator"))
            .arg("run")
            .env_clear()
            .env("HTTPS_PROXY", proxy)
            .env("KUBECONFIG", "/nowhere")
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(1));
        String::from_utf8(ended.stderr).unwrap()
    };
    let refusal = "edge-credential-operator: HTTPS_PROXY is not the URL of a proxy: it must be http://host:port or \
                   https://host:port, without white space\n";
    assert_eq!(
        started("http://user:CANARY@proxy.example.com:3128\n"),
        refusal
    );
    // Without a cluster it ends too, for another reason.
    assert!(!started("http://proxy.example.com:3128").contains("PROXY"));
}
