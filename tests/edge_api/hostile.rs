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
use futures::future::join_all;
use kit::sitecore::{
    ApiFailure, Wire, gzip,
    hostile::{CONTROL, HEADERS, LITTLE, bodies, cut_off, flood, heads, no_http, slow, unasked},
};
use secrecy::ExposeSecret;
use serde_json::json;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::{
    CANARY, CREATE, LIST, OBTAIN, PREFIX, PROBE, REVOKE, ROUTES, SHORT, World, assert_harmless, raw,
};

/// A success, for who takes it for a key.
const KEY: &str = "CANARYkey";

/// Has each call answered in each of these ways, and expects this cause: at once, at the cost of one call and of little memory.
async fn fails(rows: Vec<(&str, Wire)>, cause: Cause) {
    let world = World::new().await;
    for (row, wire) in rows {
        for route in ROUTES {
            let written = world.sitecore.wire_bytes();
            let calls = world.calls(route);
            let failure = ApiFailure::Wire(wire.clone());
            world.sitecore.fail_route(route, 1, failure);
            let error = world.call(route).await.result.expect_err(row);
            assert_eq!(error.cause, cause, "{row}: {route}");
            assert_harmless(&format!("{error} {error:?}"));
            assert!(!error.is_not_created(), "{row}: {route}");
            assert_eq!(world.calls(route), calls + 1, "{row}: {route}");
            let written = world.sitecore.wire_bytes() - written;
            assert!(written < LITTLE, "{row}: {route}: {written} bytes");
        }
    }
}

/// Has each call answered in each of these ways, all at the same time, and expects the deadline to end it.
async fn time_out(rows: Vec<(&str, Wire)>) {
    let worlds = rows.into_iter().map(async |(row, wire)| {
        let world = World::with(SHORT).await;
        for route in ROUTES {
            let failure = ApiFailure::Wire(wire.clone());
            world.sitecore.fail_route(route, 1, failure);
        }
        (row, world)
    });
    // Made before the first deadline begins: it takes longer than a call.
    let worlds = join_all(worlds).await;
    let calls = worlds.iter().flat_map(|(row, world)| {
        ROUTES.map(move |route| async move {
            let error = world.call(route).await.result.expect_err(row);
            let cause = Cause::Unreachable(Unreachable::Timeout);
            assert_eq!(error.cause, cause, "{row}: {route}");
            assert!(!error.is_not_created(), "{row}: {route}");
            assert_eq!(world.calls(route), 1, "{row}: {route}");
        })
    });
    join_all(calls).await;
}

#[tokio::test]
async fn slowness_ends_with_the_deadline_wherever_it_is() {
    time_out(slow(KEY)).await;
}

#[tokio::test]
async fn a_flood_of_interim_answers_ends_with_the_deadline() {
    time_out(vec![("a flood", flood())]).await;
}

#[tokio::test]
async fn a_refusal_is_told_at_once_though_its_body_does_not_come() {
    let refusal = "HTTP/1.1 403 CANARY\r\ncontent-length: 100\r\n\r\n";
    let refusal = Wire::bytes(refusal).then_silence();
    for route in [CREATE, LIST, REVOKE, OBTAIN] {
        let world = World::failing(route, ApiFailure::Wire(refusal.clone())).await;
        let error = world.call(route).await.result.unwrap_err();
        assert_eq!(error.cause, Cause::Refused { status: 403 }, "{route}");
    }
}

#[tokio::test]
async fn what_breaks_off_or_is_not_http_or_has_a_head_without_end_leaves_open_what_was_done() {
    let rows = [heads(), no_http(KEY), cut_off(KEY)].concat();
    fails(rows, Cause::Unreachable(Unreachable::Broken)).await;
}

#[tokio::test]
async fn a_body_without_end_is_read_up_to_64_kib() {
    fails(bodies(), Cause::TooLarge).await;
}

#[tokio::test]
async fn what_follows_an_answer_is_not_taken_for_the_next_one() {
    let world = World::failing(CREATE, ApiFailure::Wire(unasked(KEY))).await;
    let refused = world.create(PREFIX).await.result.unwrap_err();
    assert_eq!(refused.cause, Cause::Refused { status: 503 });
    let key = world.create(PREFIX).await.result.unwrap();
    assert_ne!(key.expose_secret(), KEY);
    assert_eq!(world.probe(&key).await, Ok(Verdict::Accepted));
    assert_eq!(world.calls(CREATE), 2);
}

#[tokio::test]
async fn a_refusal_with_control_bytes_in_every_string_is_told_by_its_status() {
    let body = json!({"title": CONTROL, "detail": CONTROL, CONTROL: CONTROL}).to_string();
    let world = World::new().await;
    for status in [400, 401, 403, 429, 500, 503] {
        for route in [CREATE, LIST, REVOKE, OBTAIN] {
            let failure = ApiFailure::Raw {
                status,
                headers: HEADERS
                    .map(|(name, value)| (name.into(), value.into()))
                    .into(),
                body: body.clone().into_bytes(),
            };
            world.sitecore.fail_route(route, 1, failure);
            let reply = world.call(route).await;
            assert_harmless(&format!("{reply:?}"));
            assert_eq!((reply.limits.hold, reply.date), (None, None), "{status}");
            let cause = match status {
                429 => Cause::RateLimited { quota: None },
                _ => Cause::Refused { status },
            };
            assert_eq!(reply.result.unwrap_err().cause, cause, "{route}");
        }
    }
}

#[tokio::test]
async fn a_key_that_is_listed_with_control_bytes_in_every_string_shows_none_of_them() {
    let key = json!({
        "label": format!("{PREFIX}{CONTROL}"),
        "hash": "0a1b",
        "isRevoked": false,
        "tenantId": CONTROL,
        CONTROL: CONTROL,
    });
    let page = json!({"currentPage": 1, "hasNext": false, "keys": [key]});
    let world = World::failing(LIST, raw(200, page.to_string())).await;
    let keys = world.list().await.unwrap();
    assert_eq!((&*keys[0].hash, &keys[0].tenant_id), ("0a1b", &None));
    assert_harmless(&format!("{keys:?}"));
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
