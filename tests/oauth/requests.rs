//! The request as it stands on the wire.

use edge_credential_operator::{
    api::token_request::{ClientAuthentication, RequestFormat},
    http::route::Deadlines,
    oauth::{TokenError, TokenSource},
};
use kit::sitecore::{
    AUDIENCE, BodyFormat, ClientAuthentication as Recorded, RecordedRequest, Sitecore,
};
use secrecy::ExposeSecret;

use super::{ID, ask, ask_for, request_to, sitecore, source};

fn only_request(sitecore: &Sitecore) -> RecordedRequest {
    let mut recorded = sitecore.recorded(ID);
    assert_eq!(recorded.len(), 1);
    recorded.remove(0)
}

#[tokio::test]
async fn an_empty_audience_is_not_sent() {
    let sitecore = sitecore();
    // The stand-in, like Sitecore's endpoint, grants nothing without one.
    ask_for(&sitecore, |request| request.parameters.audience.clear())
        .await
        .unwrap_err();
    assert_eq!(only_request(&sitecore).audience, None);
}

#[tokio::test]
async fn by_default_everything_is_sent_as_a_form_and_nothing_that_was_not_asked_for() {
    let sitecore = sitecore();
    let token = ask(&sitecore).await.unwrap();
    sitecore.verify(token.access_token.expose_secret()).unwrap();

    let request = only_request(&sitecore);
    assert_eq!(request.format, BodyFormat::Form);
    assert_eq!(request.authentication, Recorded::Post);
    assert_eq!(request.grant_type.as_deref(), Some("client_credentials"));
    assert_eq!(request.audience.as_deref(), Some(AUDIENCE));
    assert_eq!(request.scope, None);
    assert!(request.extra.is_empty(), "{:?}", request.extra);
    assert_eq!(
        request.content_type.as_deref(),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(request.accept.as_deref(), Some("application/json"));
    assert_eq!(
        request.user_agent.as_deref(),
        Some(concat!(
            "edge-credential-operator/",
            env!("CARGO_PKG_VERSION")
        ))
    );
}

#[tokio::test]
async fn format_and_client_authentication_combine_and_the_secret_is_sent_one_way_only() {
    for (format, on_the_wire) in [
        (RequestFormat::Form, BodyFormat::Form),
        (RequestFormat::Json, BodyFormat::Json),
    ] {
        for (authentication, recorded) in [
            (ClientAuthentication::ClientSecretPost, Recorded::Post),
            (ClientAuthentication::ClientSecretBasic, Recorded::Basic),
        ] {
            let sitecore = sitecore();
            ask_for(&sitecore, |request| {
                request.parameters.format = format;
                request.parameters.client_authentication = authentication;
            })
            .await
            .unwrap();
            let request = only_request(&sitecore);
            assert_eq!(
                (request.format, request.authentication),
                (on_the_wire, recorded)
            );
            assert_eq!(request.grant_type.as_deref(), Some("client_credentials"));
            assert_eq!(request.audience.as_deref(), Some(AUDIENCE));
        }
    }
}

#[tokio::test]
async fn any_character_of_id_and_secret_arrives_as_it_is() {
    let (id, secret) = ("id:with/all+of it", "s:e/c+r e%t&=\"\\é€");
    for authentication in [
        ClientAuthentication::ClientSecretPost,
        ClientAuthentication::ClientSecretBasic,
    ] {
        for format in [RequestFormat::Form, RequestFormat::Json] {
            let sitecore = sitecore();
            sitecore.add_client(id, secret);
            ask_for(&sitecore, |request| {
                request.parameters.client_authentication = authentication;
                request.parameters.format = format;
                request.credentials.client_id = id.into();
                request.credentials.client_secret = secret.into();
            })
            .await
            .unwrap();
            assert_eq!(sitecore.issued(id), 1, "{authentication:?} {format:?}");
        }
    }
}

#[tokio::test]
async fn audience_scopes_and_extra_parameters_are_sent_as_the_spec_has_them() {
    for format in [RequestFormat::Form, RequestFormat::Json] {
        let sitecore = sitecore();
        sitecore.allow_audience(ID, "https://delivery.example/a b&c");
        let token = ask_for(&sitecore, |request| {
            let parameters = &mut request.parameters;
            parameters.format = format;
            parameters.audience = "https://delivery.example/a b&c".into();
            parameters.scopes = vec!["edge.token:manage".into(), "not.granted".into()];
            parameters.extra_parameters = [
                ("organization".into(), "org & co".into()),
                ("empty".into(), String::new()),
            ]
            .into();
        })
        .await
        .unwrap();
        assert_eq!(token.scope.as_deref(), Some("edge.token:manage"));

        let request = only_request(&sitecore);
        assert_eq!(
            request.audience.as_deref(),
            Some("https://delivery.example/a b&c")
        );
        assert_eq!(
            request.scope.as_deref(),
            Some("edge.token:manage not.granted")
        );
        assert_eq!(
            request.extra,
            [
                ("organization".into(), "org & co".into()),
                ("empty".into(), String::new())
            ]
            .into()
        );
    }
}

#[tokio::test]
async fn nothing_is_sent_to_an_origin_that_is_not_allowed() {
    let (sitecore, allowed) = (sitecore(), sitecore());
    let answer = source(&[allowed.url()], Deadlines::default())
        .request(&request_to(&sitecore.token_url()))
        .await;
    assert_eq!(answer.result.unwrap_err(), TokenError::OriginNotAllowed);
    assert_eq!(sitecore.total_requests() + allowed.total_requests(), 0);
    assert_eq!(sitecore.calls().iter().count(), 0);
}
