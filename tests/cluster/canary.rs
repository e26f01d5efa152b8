//! Nothing leaks: marked secrets, tokens and server texts appear in nothing that the operator puts out.

use std::time::Duration;

use edge_credential_operator::api::ConditionType;
use k8s_openapi::api::events::v1::Event;
use kit::canary::assert_absent;
use kit::control_plane::shared;
use kit::sitecore::{
    ApiFailure, CLAIMS_PREFIX, Certificate, Member, RetryAfter, Scenario, Sitecore, TlsFront,
    TokenShape, Wire, gzip,
};
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use kit::harness::{CREDENTIALS, Namespace, PATIENCE, Scene, Setup, condition, credentials, text};

const ID: &str = "canary-client-id";
const SECRET: &str = "canary-client-secret";
const SERVER_TEXT: &str = "canary-server-text";

/// The text, and what would move a cursor or end a log line.
const CONTROL: &str = "canary-server-text\r\ncanary-server-text\u{1b}[2J\u{0}";

/// The host in a certificate: a server's text as well.
const SERVER_NAME: &str = "canary-server-text.example";

/// Answers of every kind, most of them with [`SERVER_TEXT`] in them.
fn answers() -> Vec<(&'static str, Scenario)> {
    let raw = |status, content_type: &str, body: String| Scenario::Raw {
        status,
        headers: vec![("content-type".to_owned(), content_type.to_owned())],
        body: body.into(),
    };
    vec![
        ("usual", Scenario::Normal),
        ("denied", Scenario::access_denied()),
        ("grant", Scenario::grant_not_allowed()),
        ("invalid", Scenario::invalid_request()),
        ("broken", Scenario::server_error()),
        ("html", Scenario::Html { status: 500 }),
        ("page", Scenario::Html { status: 200 }),
        (
            "unknown-error",
            Scenario::oauth_error(400, SERVER_TEXT, SERVER_TEXT),
        ),
        (
            "not-json",
            raw(200, "application/json", format!("{{\"{SERVER_TEXT}\"")),
        ),
        (
            "wrong-type",
            raw(200, SERVER_TEXT, format!("{{\"{SERVER_TEXT}\":1}}")),
        ),
        (
            "number",
            raw(
                200,
                "application/json",
                format!(r#"{{"access_token":7,"token_type":"{SERVER_TEXT}"}}"#),
            ),
        ),
        (
            "redirect",
            Scenario::Redirect {
                status: 302,
                location: format!("http://{SERVER_TEXT}.example/"),
            },
        ),
        ("token-type", Scenario::token_type(SERVER_TEXT)),
        ("opaque", Scenario::access_token(SERVER_TEXT)),
        (
            "newline",
            Scenario::access_token(&format!("{SERVER_TEXT}\n{SERVER_TEXT}")),
        ),
        ("audience", Scenario::claim("aud", SERVER_TEXT.into())),
        (
            "lifetime",
            Scenario::expires_in(&format!("\"{SERVER_TEXT}\"")),
        ),
        (
            "claims",
            Scenario::claim(
                "https://auth.sitecorecloud.io/claims/org_id",
                format!("{SERVER_TEXT} with a space").into(),
            ),
        ),
    ]
}

/// Answers of servers that mean harm.
fn hostile_answers() -> Vec<(&'static str, Scenario)> {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let line = format!("x-canary: {SERVER_TEXT}\r\n");
    let pause = Duration::from_millis(500);
    let body = format!(r#"{{"error":"{SERVER_TEXT}","error_description":"{SERVER_TEXT}"}}"#);
    let chunked = format!("{OK}transfer-encoding: chunked\r\n\r\n");
    let usual = TokenShape::default;
    let control = || Member::text(CONTROL);
    let wires = [
        ("slow-headers", Wire::drip(format!("{OK}{line}"), pause)),
        (
            "slow-body",
            Wire::endless(format!("{OK}content-length: 99\r\n\r\n{SERVER_TEXT}"), "x").every(pause),
        ),
        (
            "hints",
            Wire::endless("", format!("HTTP/1.1 103 {SERVER_TEXT}\r\n{line}\r\n"))
                .every(pause / 100),
        ),
        ("endless-headers", Wire::endless(OK, line.repeat(100))),
        (
            "endless-body",
            Wire::endless(
                chunked.clone(),
                format!("12\r\n{SERVER_TEXT}\r\n").repeat(100),
            ),
        ),
        (
            "many-headers",
            Wire::bytes(format!("{OK}{}\r\n{body}", line.repeat(5000))),
        ),
        (
            "longer",
            Wire::bytes(format!("{OK}content-length: 9999\r\n\r\n{body}")),
        ),
        (
            "shorter",
            Wire::bytes(format!("{OK}content-length: 9\r\n\r\n{body}")),
        ),
        (
            "no-chunks",
            Wire::bytes(format!("{chunked}{SERVER_TEXT}\r\n")),
        ),
        ("no-http", Wire::bytes(format!("{SERVER_TEXT}\r\n{body}"))),
        (
            "bad-status",
            Wire::bytes(format!("HTTP/1.1 {SERVER_TEXT} OK\r\n\r\n")),
        ),
        (
            "bad-header",
            Wire::bytes(format!("{OK}x: {SERVER_TEXT}\0\r\n\r\n")),
        ),
        (
            "bad-length",
            Wire::bytes(format!("{OK}content-length: {SERVER_TEXT}\r\n\r\n")),
        ),
        (
            "switch",
            Wire::bytes(format!("HTTP/1.1 101 x\r\nupgrade: {SERVER_TEXT}\r\n\r\n")),
        ),
    ]
    .map(|(name, wire)| (name, Scenario::from(wire)));
    let shapes = [
        (
            "token-control",
            TokenShape {
                access_token: control(),
                ..usual()
            },
        ),
        (
            "type-control",
            TokenShape {
                token_type: control(),
                ..usual()
            },
        ),
        (
            "lifetime-control",
            TokenShape {
                expires_in: control(),
                ..usual()
            },
        ),
        (
            "everything-control",
            TokenShape {
                scope: control(),
                more: vec![(SERVER_TEXT.to_owned(), Value::from(CONTROL).to_string())],
                claims: ["tenant_id", "org_id", "tenant_name"]
                    .map(|claim| (format!("{CLAIMS_PREFIX}{claim}"), CONTROL.into()))
                    .into(),
                ..usual()
            },
        ),
    ]
    .map(|(name, shape)| (name, Scenario::from(shape)));
    let refused = |status, headers: &[(&str, &str)]| Scenario::Raw {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.clone().into(),
    };
    let quota = "b=canary-server-text;q=10;r=0;t=canary-server-text";
    let others = [
        ("endless", Scenario::EndlessBody),
        ("bomb", Scenario::compressed_bomb()),
        ("gzip", Scenario::compressed("gzip", gzip(body.as_bytes()))),
        (
            "encoding",
            Scenario::compressed(SERVER_TEXT, body.clone().into()),
        ),
        ("control", Scenario::oauth_error(401, CONTROL, CONTROL)),
        (
            "wait",
            Scenario::too_many_requests(RetryAfter::Raw(SERVER_TEXT.to_owned())),
        ),
        (
            "quota",
            refused(
                429,
                &[("auth0-client-quota-limit", quota), ("date", SERVER_TEXT)],
            ),
        ),
        (
            "challenge",
            refused(
                401,
                &[("www-authenticate", "Basic realm=canary-server-text\u{e9}")],
            ),
        ),
        (
            "cookie",
            refused(
                200,
                &[
                    ("content-type", "application/json"),
                    ("set-cookie", SERVER_TEXT),
                ],
            ),
        ),
    ];
    wires.into_iter().chain(shapes).chain(others).collect()
}

/// A stand-in that does nothing but answer so: others would be kept from it by what the operator thinks of its origin.
fn stand_in(name: &str, answer: Scenario) -> Sitecore {
    let sitecore = Sitecore::start().unwrap();
    sitecore.set_error_text(SERVER_TEXT);
    let id = client_id(name);
    sitecore.add_client(&id, SECRET);
    // The tenant id is meant to be seen, and by default holds the client id.
    sitecore.configure(&id, |client| client.tenant_id = Some("tenant".to_owned()));
    sitecore.set_scenario(&id, answer);
    sitecore
}

fn client_id(name: &str) -> String {
    format!("{ID}-{name}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marked_secrets_tokens_and_server_texts_appear_in_nothing_that_is_put_out() {
    let stand_ins: Vec<_> = answers()
        .into_iter()
        .chain(hostile_answers())
        .map(|(name, answer)| (name, stand_in(name, answer)))
        .collect();
    // The authority is trusted, so that the certificate is refused for the name in it.
    let behind = stand_in("tls", Scenario::Normal);
    let tls = TlsFront::start(&behind, Certificate::WrongName(SERVER_NAME)).unwrap();
    let authority = shared().await.unwrap().folder().join("canary-ca.pem");
    std::fs::write(&authority, tls.authority()).unwrap();
    let origins = stand_ins
        .iter()
        .map(|(_, sitecore)| sitecore.url().to_owned());
    let setup = Setup {
        values: vec![
            ("log.filter", "trace".to_owned()),
            ("log.format", "json".to_owned()),
            (
                "extraEnv[0].name",
                "EDGE_CREDENTIAL_TOKEN_CA_FILE".to_owned(),
            ),
            (
                "extraEnv[0].value",
                authority.to_string_lossy().into_owned(),
            ),
        ],
        origins: origins.chain([tls.url()]).collect(),
        ..Setup::default()
    };
    let mut scene = setup.scene("canary").await;
    let namespace = &scene.namespaces[0];
    for (name, sitecore) in &stand_ins {
        create(namespace, name, SECRET, &sitecore.token_url()).await;
    }
    create(namespace, "tls", SECRET, &tls.token_url()).await;
    // The classic: a newline at the end, which the operator has to tell about.
    let padded = format!("{SECRET}\n");
    create(namespace, "padded", &padded, &scene.sitecore.token_url()).await;

    let names = stand_ins.iter().map(|(name, _)| *name);
    for name in names.chain(["tls", "padded"]) {
        namespace
            .object_that(name, "was visited", |object| {
                !condition(object, ConditionType::Ready).reason.is_empty()
            })
            .await;
    }
    for (name, sitecore) in &stand_ins {
        assert!(sitecore.requests(&client_id(name)) > 0, "{name} was asked");
    }
    assert_eq!(behind.total_requests(), 0);
    let usual = namespace.ready("usual").await;
    assert!(usual.status.unwrap().token.is_some());
    let token = text(&namespace.secret("usual").await, "access_token");
    let signature = token.rsplit('.').next().unwrap().to_owned();

    let outputs = outputs(&mut scene, "token written").await;
    assert_absent(&[ID, SECRET, SERVER_TEXT, &token, &signature], &outputs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_texts_of_the_apis_for_keys_appear_in_nothing_that_is_put_out() {
    let setup = Setup {
        values: vec![
            ("log.filter", "trace".to_owned()),
            ("log.format", "json".to_owned()),
        ],
        ..Setup::default()
    };
    let mut scene = setup.scene("canary-key").await;
    let namespace = &scene.namespaces[0];
    scene.sitecore.add_client(ID, SECRET);
    // The tenant id is meant to be seen, and by default holds the client id.
    scene
        .sitecore
        .configure(ID, |client| client.tenant_id = Some("tenant".to_owned()));
    let secret = credentials(ID, SECRET);
    namespace.create_secret(CREDENTIALS, &secret).await;
    let usual = namespace.edge_token("usual");
    namespace.create_edge_token(&usual).await;
    namespace.edge_token_ready("usual").await;
    let target = namespace.secret("usual").await;
    let key = text(&target, "SITECORE_API_KEY");

    for (name, route, status) in [
        ("list", "GET /api/apikey/v1", 403),
        ("probe", "POST /api/graphql/v1", 500),
        ("create", "POST /api/apikey/v1", 200),
    ] {
        let failure = ApiFailure::Raw {
            status,
            headers: vec![("x-canary".to_owned(), SERVER_TEXT.to_owned())],
            body: CONTROL.into(),
        };
        scene.sitecore.fail_route(route, 1, failure);
        let object = namespace.edge_token(name);
        namespace.create_edge_token(&object).await;
        namespace
            .edge_token_that(name, "has failed", |object| {
                object.status.as_ref().unwrap().conditions.len() > 1
            })
            .await;
    }
    let outputs = outputs(&mut scene, "key written").await;
    assert_absent(&[ID, SECRET, SERVER_TEXT, &key], &outputs);
}

/// All that the operator puts out but Secrets, in the first namespace. It ends for that, and has logged `line`.
async fn outputs(scene: &mut Scene, line: &str) -> Vec<(&'static str, String)> {
    let namespace = &scene.namespaces[0];
    let all = ListParams::default();
    let mut outputs = vec![("metrics", scene.operator.get("/metrics").await.unwrap().1)];
    for object in namespace.objects.list(&all).await.unwrap() {
        let status = serde_json::to_string(&object.status).unwrap();
        outputs.push(("a status", status));
    }
    for object in namespace.edge_tokens.list(&all).await.unwrap() {
        let status = serde_json::to_string(&object.status).unwrap();
        outputs.push(("a status", status));
    }
    let events = Api::<Event>::namespaced(scene.client.clone(), &namespace.name);
    namespace
        .until(PATIENCE, "an Event", async || {
            let events = events.list(&all).await.ok()?;
            (!events.items.is_empty()).then_some(())
        })
        .await;
    for event in events.list(&all).await.unwrap() {
        outputs.push(("an Event", serde_json::to_string(&event).unwrap()));
    }
    assert_eq!(scene.operator.terminate().await.0, 0);
    let log = scene.operator.log();
    assert!(log.contains(line), "the log was read");
    assert!(!log.contains("panicked"));
    outputs.push(("the log", log));
    outputs
}

/// Creates a client's credentials and an EdgeCredential for it.
async fn create(namespace: &Namespace, name: &str, secret: &str, token_url: &str) {
    let credentials_name = format!("{name}-client");
    namespace
        .create_secret(&credentials_name, &credentials(&client_id(name), secret))
        .await;
    let mut object = namespace.edge_credential(name);
    object.spec.credentials_secret_ref.name = credentials_name;
    object.spec.token_request.url = token_url.to_owned();
    namespace.create_object(&object).await;
}
