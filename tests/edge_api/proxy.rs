//! Proxies that do not connect: told apart from an API that does not answer, and no key is made by them.

use std::net::{Ipv4Addr, TcpListener};

use edge_credential_operator::{
    edge_api::Cause,
    http::{
        Unreachable,
        route::{Deadlines, Route},
    },
};
use futures::future::join_all;
use kit::sitecore::hostile::{nowhere, proxy};

use super::{PATIENT, ROUTES, SHORT, World, assert_harmless};

/// Makes each call of an API that is far away, by a proxy of its own, and expects this cause.
async fn fails(proxy: impl Fn() -> String, deadlines: Deadlines, cause: Unreachable) {
    let calls = ROUTES.map(async |call| {
        let route = Route {
            authorities: None,
            proxy: Some(proxy().into_bytes().into()),
        };
        let world = World::new().await;
        let world = world.reached("https://edge.example", &route, deadlines);
        let error = world.call(call).await.result.unwrap_err();
        assert_eq!(error.cause, Cause::Unreachable(cause), "{call}");
        assert!(error.is_outage(), "{call}");
        // A proxy that is late may have connected.
        let is_late = cause == Unreachable::Timeout;
        assert_eq!(error.is_not_created(), !is_late, "{call}");
        assert_harmless(&format!("{error} {error:?}"));
    });
    join_all(calls).await;
}

#[tokio::test]
async fn a_proxy_that_refuses_to_connect_has_no_key_made() {
    let refusal = "HTTP/1.1 407 CANARY\r\nproxy-authenticate: Basic\r\n\r\n";
    fails(|| proxy(refusal), PATIENT, Unreachable::ProxyRefused).await;
}

#[tokio::test]
async fn a_proxy_that_cannot_be_connected_to_has_no_key_made() {
    fails(nowhere, PATIENT, Unreachable::ProxyUnreachable).await;
}

#[tokio::test]
async fn a_proxy_that_says_nothing_leaves_open_whether_a_key_was_made() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let silent = || format!("http://{}", listener.local_addr().unwrap());
    fails(silent, SHORT, Unreachable::Timeout).await;
}
