//! Nothing leaks: marked secrets, tokens and server texts appear in nothing that the operator puts out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edge_credential_operator::api::ConditionType;
use k8s_openapi::api::events::v1::Event;
use kit::sitecore::{Scenario, Sitecore};
use kube::Api;
use kube::api::ListParams;

use crate::harness::{Namespace, Setup, condition, credentials, text};

const ID: &str = "canary-client-id";
const SECRET: &str = "canary-client-secret";
const SERVER_TEXT: &str = "canary-server-text";

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marked_secrets_tokens_and_server_texts_appear_in_nothing_that_is_put_out() {
    let setup = Setup {
        values: vec![
            ("log.filter", "trace".to_owned()),
            ("log.format", "json".to_owned()),
        ],
        ..Setup::default()
    };
    let mut scene = setup.scene("canary").await;
    scene.sitecore.set_error_text(SERVER_TEXT);
    let answers = answers();
    for (name, answer) in &answers {
        add(&scene.namespaces[0], &scene.sitecore, name, answer.clone()).await;
    }
    // The classic: a newline at the end, which the operator has to tell about.
    let namespace = &scene.namespaces[0];
    let padded = format!("{SECRET}\n");
    namespace
        .create_secret("padded-client", &credentials(ID, &padded))
        .await;
    create(namespace, "padded").await;

    for (name, _) in &answers {
        namespace
            .object_that(name, "was visited", |object| {
                !condition(object, ConditionType::Ready).reason.is_empty()
            })
            .await;
    }
    let usual = namespace.ready("usual").await;
    assert!(usual.status.unwrap().token.is_some());
    let token = text(&namespace.secret("usual").await, "access_token");
    let signature = token.rsplit('.').next().unwrap().to_owned();

    let mut outputs = vec![("metrics", scene.operator.get("/metrics").await.unwrap().1)];
    let objects = namespace
        .objects
        .list(&ListParams::default())
        .await
        .unwrap();
    for object in objects {
        let status = serde_json::to_string(&object.status).unwrap();
        outputs.push(("a status", status));
    }
    let events = Api::<Event>::namespaced(scene.client.clone(), &namespace.name);
    namespace
        .until(crate::harness::PATIENCE, "an Event", async || {
            let events = events.list(&ListParams::default()).await.ok()?;
            (!events.items.is_empty()).then_some(())
        })
        .await;
    for event in events.list(&ListParams::default()).await.unwrap() {
        outputs.push(("an Event", serde_json::to_string(&event).unwrap()));
    }
    assert_eq!(scene.operator.terminate().await.0, 0);
    let log = scene.operator.log();
    assert!(log.contains("token written"), "the log was read");
    assert!(!log.contains("panicked"));
    outputs.push(("the log", log));

    let marks = [ID, SECRET, SERVER_TEXT, &token, &signature];
    let encoded = marks.map(|mark| STANDARD.encode(mark));
    let marks = marks.into_iter().chain(encoded.iter().map(String::as_str));
    for mark in marks {
        for (what, output) in &outputs {
            assert!(!output.contains(mark), "{what} shows {mark}: {output}");
        }
    }
}

/// Adds a client of its own that is answered so, and an EdgeCredential for it.
async fn add(namespace: &Namespace, sitecore: &Sitecore, name: &str, answer: Scenario) {
    let id = format!("{ID}-{name}");
    sitecore.add_client(&id, SECRET);
    // The tenant id is meant to be seen, and by default holds the client id.
    sitecore.configure(&id, |client| client.tenant_id = Some("tenant".to_owned()));
    sitecore.set_scenario(&id, answer);
    namespace
        .create_secret(&format!("{name}-client"), &credentials(&id, SECRET))
        .await;
    create(namespace, name).await;
}

async fn create(namespace: &Namespace, name: &str) {
    let mut object = namespace.edge_credential(name);
    object.spec.credentials_secret_ref.name = format!("{name}-client");
    namespace.create_object(&object).await;
}
