//! Servers that mean harm: what they send costs a bounded time and little memory, is asked for once, and is not repeated.

use std::{
    io,
    sync::{Arc, Mutex},
};

use edge_credential_operator::{
    api::Reason,
    edge_api::{Cause, Verdict},
    http::Unreachable,
};
use kit::sitecore::{ApiFailure, Wire, gzip};
use secrecy::ExposeSecret;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::{
    CANARY, CREATE, LIST, OBTAIN, PREFIX, PROBE, REVOKE, ROUTES, SHORT, World, assert_harmless, raw,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

/// What a client may take before it gives up, and what the socket buffers of a loopback connection hold beside.
const LITTLE: u64 = 16 * 1024 * 1024;

/// Has each call answered so, and expects this cause.
async fn fails(row: &str, wire: Wire, cause: Cause) {
    let world = World::new().await;
    for route in ROUTES {
        let failure = ApiFailure::Wire(wire.clone());
        world.sitecore.fail_route(route, 1, failure);
        let error = world.call(route).await.result.expect_err(row);
        assert_eq!(error.cause, cause, "{row}: {route}");
        assert_harmless(&format!("{error} {error:?}"));
        assert!(!error.is_not_created(), "{row}: {route}");
        assert_eq!(world.calls(route), 1, "{row}: {route}");
    }
    assert!(world.sitecore.wire_bytes() < LITTLE, "{row}");
}

#[tokio::test]
async fn a_body_without_end_is_read_up_to_64_kib() {
    let wire = Wire::endless(format!("{OK}\r\n"), CANARY.repeat(1000));
    fails("until it closes", wire, Cause::TooLarge).await;
    let chunk = format!("1800\r\n{}\r\n", "x".repeat(0x1800));
    let wire = Wire::endless(format!("{OK}transfer-encoding: chunked\r\n\r\n"), chunk);
    fails("chunks", wire, Cause::TooLarge).await;
}

#[tokio::test]
async fn a_success_that_breaks_off_leaves_open_what_was_done() {
    let broken = Cause::Unreachable(Unreachable::Broken);
    let cut = Wire::bytes(format!("{OK}content-length: 100\r\n\r\n\"CANARY"));
    fails("cut off", cut, broken).await;
    let garbage = Wire::bytes("CANARY CANARY\r\n\r\n");
    fails("no HTTP", garbage, broken).await;
}

#[tokio::test]
async fn a_body_that_drips_ends_with_the_deadline() {
    let world = World::with(SHORT).await;
    for route in ROUTES {
        let head = format!("{OK}content-length: 1000\r\n\r\n");
        let slow = Wire::endless(head, "x").every(std::time::Duration::from_millis(20));
        world.sitecore.fail_route(route, 1, ApiFailure::Wire(slow));
    }
    let calls = ROUTES.map(|route| world.call(route));
    for reply in futures::future::join_all(calls).await {
        let error = reply.result.unwrap_err();
        assert_eq!(error.cause, Cause::Unreachable(Unreachable::Timeout));
    }
}

#[tokio::test]
async fn what_is_compressed_is_not_decompressed() {
    let bomb = ApiFailure::Raw {
        status: 200,
        headers: vec![("content-encoding".into(), "gzip".into())],
        body: gzip(&vec![b' '; 10 * 1024 * 1024]),
    };
    for route in [CREATE, LIST, OBTAIN] {
        let world = World::failing(route, bomb.clone()).await;
        let error = world.call(route).await.result.unwrap_err();
        assert_eq!(error.cause, Cause::Malformed, "{route}");
    }
    let world = World::failing(PROBE, bomb).await;
    assert_eq!(world.probe(&world.key).await, Ok(Verdict::Unknown));
}

#[tokio::test]
async fn json_that_is_nested_deeply_is_no_answer() {
    let deep = format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000));
    let page = format!(r#"{{"currentPage":1,"hasNext":false,"keys":{deep}}}"#);
    for (route, body) in [
        (CREATE, deep.clone()),
        (LIST, deep.clone()),
        (LIST, page),
        (OBTAIN, deep.clone()),
        (OBTAIN, format!(r#"{{"apiKey":{deep}}}"#)),
    ] {
        let world = World::failing(route, raw(200, body)).await;
        let error = world.call(route).await.result.unwrap_err();
        assert_eq!(error.cause, Cause::Malformed, "{route}");
    }
    let world = World::failing(PROBE, raw(200, format!(r#"{{"data":{deep}}}"#))).await;
    assert_eq!(world.probe(&world.key).await, Ok(Verdict::Unknown));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_key_and_no_token_and_no_text_of_a_server_is_logged_or_formatted() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(log.clone())
        .finish();
    let _in_force = tracing::subscriber::set_default(subscriber);
    tracing::info!("the log is seen");

    let world = World::new().await;
    let base = world.url("/api/apikey/v1");
    let mut shown = format!("{:?} {:?}", world.api, world.access(&base));
    let made = world.create(&format!("{PREFIX}1")).await;
    shown += &format!("{made:?}");
    let key = made.result.unwrap();
    world.probe(&key).await.unwrap();
    let obtained = world.obtain().await.unwrap();
    world
        .revoke(&world.list().await.unwrap()[0].hash)
        .await
        .unwrap();
    for route in ROUTES {
        for failure in [
            ApiFailure::Status(400),
            ApiFailure::Status(500),
            raw(200, format!(r#"{{"apiKey":"{CANARY} of a key"}}"#)),
            ApiFailure::LoseAnswer,
        ] {
            world.sitecore.fail_route(route, 1, failure);
            let reply = world.call(route).await;
            if let Err(error) = &reply.result {
                assert!(error.reason() != Reason::InternalError);
                shown += &format!("{error}");
            }
            shown += &format!("{reply:?}");
        }
    }
    assert_eq!(world.calls(REVOKE), 5);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("the log is seen"));
    for secret in [&world.jwt, &key, &obtained, &world.key, &CANARY.into()] {
        let secret = secret.expose_secret();
        assert!(!shown.contains(secret) && !log.contains(secret));
    }
}
