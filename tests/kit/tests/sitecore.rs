//! The stand-in for Sitecore's services behaves as the services are said to, and counts exactly.

use std::error::Error as _;
use std::io::ErrorKind;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kit::sitecore::{
    AUDIENCE, Api, ApiFailure, BodyFormat, CLAIMS_PREFIX, ClientAuthentication, Deleted,
    DeliveryStyle, Environment, Member, NO_ANSWER, RateHeaders, Refusal, RetryAfter, Scenario,
    Sitecore, TokenApiStyle, TokenShape,
};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use serde_json::{Value, json};

const ID: &str = "client-1";
const SECRET: &str = "s3cret";

/// A stand-in with one client, and an HTTP client to ask it.
/// Waits for something that happens soon. Only a test that fails waits so long.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let happened = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), happened).await;
    in_time.unwrap_or_else(|_| panic!("never: {what}"));
}

struct Fixture {
    sitecore: Sitecore,
    http: Client,
}

impl Fixture {
    fn new() -> Self {
        let sitecore = Sitecore::start().unwrap();
        sitecore.add_client(ID, SECRET);
        let http = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self { sitecore, http }
    }

    fn with(scenario: Scenario) -> Self {
        let fixture = Self::new();
        fixture.sitecore.set_scenario(ID, scenario);
        fixture
    }

    /// A token request with these parameters, as a form.
    fn form(&self, parameters: &[(&str, &str)]) -> RequestBuilder {
        self.http.post(self.sitecore.token_url()).form(parameters)
    }

    async fn ask(&self) -> Response {
        self.form(&usual()).send().await.unwrap()
    }

    async fn ask_with(&self, change: &[(&str, &str)]) -> (u16, Value) {
        let mut parameters = usual();
        parameters.retain(|(name, _)| !change.iter().any(|(changed, _)| changed == name));
        parameters.extend(change.iter().filter(|(_, value)| !value.is_empty()));
        read(self.form(&parameters).send().await.unwrap()).await
    }

    async fn token(&self) -> String {
        let (status, answer) = read(self.ask().await).await;
        assert_eq!(status, 200, "{answer}");
        answer["access_token"].as_str().unwrap().into()
    }

    fn api(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.sitecore.url());
        self.http.request(method, url).bearer_auth(token)
    }

    async fn settings(&self, token: &str) -> Response {
        self.api(Method::GET, "/api/admin/v1/settings", token)
            .send()
            .await
            .unwrap()
    }

    async fn new_key(&self, token: &str, label: &str) -> String {
        let body = json!({
            "CreatedBy": "tests",
            "Label": label,
            "Scopes": ["audience-delivery", "content-#everything#"],
        });
        let response = self
            .api(Method::POST, "/api/apikey/v1", token)
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        response.text().await.unwrap()
    }

    async fn list(&self, token: &str, query: &str) -> Value {
        let path = format!("/api/apikey/v1?{query}");
        self.api(Method::GET, &path, token)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    async fn query(&self, header: &str, key: &str) -> Response {
        let url = format!("{}/api/graphql/v1", self.sitecore.url());
        let body = json!({"query": "{ __typename }"});
        self.http
            .post(url)
            .header(header, key)
            .json(&body)
            .send()
            .await
            .unwrap()
    }
}

fn usual() -> Vec<(&'static str, &'static str)> {
    vec![
        ("audience", AUDIENCE),
        ("grant_type", "client_credentials"),
        ("client_id", ID),
        ("client_secret", SECRET),
    ]
}

async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

fn io_error(error: &reqwest::Error) -> Option<ErrorKind> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .try_into()
        .unwrap()
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

// The token endpoint

#[tokio::test]
async fn the_documented_form_request_gets_a_token() {
    let fixture = Fixture::new();
    let response = fixture.ask().await;
    assert_eq!(header(&response, "cache-control"), "no-store");
    assert_eq!(header(&response, "content-type"), "application/json");
    assert!(!header(&response, "date").is_empty());
    let (status, answer) = read(response).await;
    assert_eq!(status, 200);
    assert_eq!(answer["expires_in"], 86400);
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["scope"], "edge.admin:manage edge.token:manage");
    let claims = fixture
        .sitecore
        .verify(answer["access_token"].as_str().unwrap())
        .unwrap();
    assert_eq!(claims.iss, format!("{}/", fixture.sitecore.url()));
    assert_eq!(claims.sub, format!("{ID}@clients"));
    assert_eq!(claims.aud, AUDIENCE);
    assert_eq!(claims.azp, ID);
    assert_eq!(claims.gty, "client-credentials");
    assert_eq!(claims.exp - claims.iat, 86400.0);
    assert!((now() as f64 - claims.iat).abs() <= 1.0);
    assert_eq!(claims.tenant_id.as_deref(), Some("tenant-client-1"));
    assert_eq!(claims.org_id, "org_stand_in");
}

#[tokio::test]
async fn the_documented_json_request_gets_a_token() {
    let fixture = Fixture::new();
    let body: serde_json::Map<_, _> = usual()
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let request = fixture
        .http
        .post(fixture.sitecore.token_url())
        .json(&Value::Object(body));
    let (status, answer) = read(request.send().await.unwrap()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(fixture.sitecore.recorded(ID)[0].format, BodyFormat::Json);
}

#[tokio::test]
async fn a_basic_header_is_form_decoded() {
    let fixture = Fixture::new();
    fixture.sitecore.add_client("an id:1", "a secret&%+é");
    let credentials = STANDARD.encode("an+id%3A1:a+secret%26%25%2B%C3%A9");
    let parameters = [("audience", AUDIENCE), ("grant_type", "client_credentials")];
    let request = fixture
        .form(&parameters)
        .header("authorization", format!("Basic {credentials}"));
    let (status, answer) = read(request.send().await.unwrap()).await;
    assert_eq!(status, 200, "{answer}");
    let recorded = fixture.sitecore.recorded("an id:1");
    assert_eq!(recorded[0].authentication, ClientAuthentication::Basic);
}

#[tokio::test]
async fn a_secret_in_the_header_and_in_the_body_is_refused() {
    let fixture = Fixture::new();
    let response = fixture
        .form(&usual())
        .basic_auth(ID, Some(SECRET))
        .send()
        .await
        .unwrap();
    let (status, answer) = read(response).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_request")));
    assert_eq!(
        fixture.sitecore.recorded(ID)[0].authentication,
        ClientAuthentication::Both
    );
    assert_eq!(fixture.sitecore.issued(ID), 0);
}

#[tokio::test]
async fn a_wrong_secret_in_a_basic_header_is_challenged() {
    let fixture = Fixture::new();
    let parameters = [("audience", AUDIENCE), ("grant_type", "client_credentials")];
    let response = fixture
        .form(&parameters)
        .basic_auth(ID, Some("wrong"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(header(&response, "www-authenticate").starts_with("Basic "));
}

#[tokio::test]
async fn wrong_requests_are_refused_as_auth0_does() {
    let fixture = Fixture::new();
    fixture.sitecore.add_client("other", "x");
    fixture
        .sitecore
        .allow_audience("other", "https://other.example");
    let no_grant = "Client is not authorized to access \"https://other.example\". You need to create a \
                    \"client-grant\" associated to this API.";
    let cases = [
        (
            ("client_secret", "wrong"),
            401,
            "access_denied",
            "Unauthorized",
        ),
        (
            ("client_id", "unknown"),
            401,
            "access_denied",
            "Unauthorized",
        ),
        (
            ("client_id", ""),
            401,
            "invalid_client",
            "Missing client_id",
        ),
        (("client_secret", ""), 401, "access_denied", "Unauthorized"),
        (
            ("grant_type", ""),
            400,
            "invalid_request",
            "Missing required parameter: grant_type",
        ),
        (
            ("grant_type", "password"),
            400,
            "unsupported_grant_type",
            "Unsupported grant type",
        ),
        (
            ("audience", "https://other.example"),
            403,
            "access_denied",
            no_grant,
        ),
        (
            ("audience", "https://nowhere.example"),
            403,
            "access_denied",
            "Service not found: https://nowhere.example",
        ),
        (
            ("audience", ""),
            403,
            "access_denied",
            "Non-global clients are not allowed access to APIv1",
        ),
    ];
    for (change, status, error, description) in cases {
        let answer = fixture.ask_with(&[change]).await;
        let expected = json!({"error": error, "error_description": description});
        assert_eq!(answer, (status, expected), "{change:?}");
    }
    assert_eq!(fixture.sitecore.issued(ID), 0);
    assert_eq!(fixture.sitecore.requests(ID), 7);
    assert_eq!(fixture.sitecore.requests("unknown"), 1);
    assert_eq!(fixture.sitecore.total_requests(), 9);
}

#[tokio::test]
async fn a_repeated_parameter_or_another_content_type_is_refused() {
    let fixture = Fixture::new();
    let mut parameters = usual();
    parameters.push(("audience", AUDIENCE));
    let (status, _) = read(fixture.form(&parameters).send().await.unwrap()).await;
    assert_eq!(status, 400);
    let request = fixture
        .http
        .post(fixture.sitecore.token_url())
        .body("grant_type=client_credentials");
    let (status, _) = read(request.send().await.unwrap()).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn the_granted_scope_is_the_asked_part_of_the_clients_scopes() {
    let fixture = Fixture::new();
    let (_, answer) = fixture
        .ask_with(&[("scope", "edge.token:manage something:else")])
        .await;
    assert_eq!(answer["scope"], "edge.token:manage");
    assert_eq!(
        claims(answer["access_token"].as_str().unwrap())["scope"],
        "edge.token:manage"
    );
}

#[tokio::test]
async fn an_organization_is_asked_for_where_it_is_required() {
    let fixture = Fixture::new();
    fixture.sitecore.configure(ID, |client| {
        client.required_organization = Some("org_1".into())
    });
    let (status, answer) = fixture.ask_with(&[]).await;
    let text = "parameter organization is required for this client";
    assert_eq!(
        (status, answer["error_description"].as_str()),
        (400, Some(text))
    );
    assert_eq!(fixture.ask_with(&[("organization", "org_2")]).await.0, 400);
    assert_eq!(fixture.ask_with(&[("organization", "org_1")]).await.0, 200);
}

#[tokio::test]
async fn both_secrets_work_for_a_while_after_a_rotation() {
    let fixture = Fixture::new();
    let status = async |secret| fixture.ask_with(&[("client_secret", secret)]).await.0;
    let hour = Duration::from_secs(3600);
    fixture.sitecore.rotate_secret(ID, "new", hour);
    assert_eq!((status(SECRET).await, status("new").await), (200, 200));
    let moment = Duration::from_millis(1);
    fixture.sitecore.rotate_secret(ID, "newer", moment);
    tokio::time::sleep(moment).await;
    assert_eq!((status(SECRET).await, status("new").await), (401, 401));
    assert_eq!(status("newer").await, 200);
}

#[tokio::test]
async fn a_removed_client_gets_no_token_but_the_one_it_has_stays_valid() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    fixture.sitecore.remove_client(ID);
    assert_eq!(fixture.ask().await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(fixture.settings(&token).await.status(), StatusCode::OK);
    assert_eq!(
        (fixture.sitecore.requests(ID), fixture.sitecore.issued(ID)),
        (2, 1)
    );
}

#[tokio::test]
async fn a_request_is_recorded_with_all_but_the_secret() {
    let fixture = Fixture::new();
    let mut parameters = usual();
    parameters.extend([("scope", "a b"), ("tenant_id", "t-1")]);
    let request = fixture
        .form(&parameters)
        .header("accept", "application/json")
        .header("user-agent", "tests/1");
    request.send().await.unwrap();
    let recorded = fixture.sitecore.recorded(ID);
    let [request] = recorded.as_slice() else {
        panic!("{recorded:?}")
    };
    assert_eq!(request.authentication, ClientAuthentication::Post);
    assert_eq!(request.format, BodyFormat::Form);
    assert_eq!(request.grant_type.as_deref(), Some("client_credentials"));
    assert_eq!(request.audience.as_deref(), Some(AUDIENCE));
    assert_eq!(request.scope.as_deref(), Some("a b"));
    assert_eq!(
        request.extra,
        [("tenant_id".to_owned(), "t-1".to_owned())].into()
    );
    assert_eq!(
        request.content_type.as_deref(),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(request.accept.as_deref(), Some("application/json"));
    assert_eq!(request.user_agent.as_deref(), Some("tests/1"));
    assert!(!format!("{recorded:?}").contains(SECRET));
}

#[tokio::test]
async fn many_requests_at_once_are_counted_exactly_and_get_different_tokens() {
    let fixture = Fixture::new();
    let withheld = fixture.sitecore.withhold(ID, 3);
    let release = async {
        eventually("three are in flight", || {
            fixture.sitecore.in_flight(ID) == 3
        })
        .await;
        withheld.release();
    };
    let tokens = tokio::join!(fixture.token(), fixture.token(), fixture.token(), release);
    assert_ne!(tokens.0, tokens.1);
    assert_ne!(tokens.1, tokens.2);
    assert_eq!(fixture.sitecore.in_flight_peak(ID), 3);
    for _ in 0..20 {
        fixture.token().await;
    }
    assert_eq!(
        (fixture.sitecore.requests(ID), fixture.sitecore.issued(ID)),
        (23, 23)
    );
    assert_eq!(fixture.sitecore.in_flight_peak(ID), 3);
    assert_eq!(fixture.sitecore.calls().route("POST /oauth/token", 200), 23);
}

// Scenarios of the token endpoint

#[tokio::test]
async fn members_of_the_answer_can_be_anything() {
    let cases = [
        (Scenario::expires_in("0"), "\"expires_in\":0,"),
        (Scenario::expires_in("-5"), "\"expires_in\":-5,"),
        (Scenario::expires_in("\"900\""), "\"expires_in\":\"900\","),
        (Scenario::expires_in("900.5"), "\"expires_in\":900.5,"),
        (Scenario::expires_in("1e400"), "\"expires_in\":1e400,"),
        (Scenario::token_type("bearer"), "\"token_type\":\"bearer\"}"),
        (
            Scenario::access_token("a\nb"),
            "\"access_token\":\"a\\nb\",",
        ),
        (Scenario::opaque_token(), "\"access_token\":\"b3Bh"),
        (
            Scenario::with_member("error", "\"access_denied\""),
            ",\"error\":\"access_denied\"}",
        ),
        (
            Scenario::with_member("expires_in", "1"),
            ",\"expires_in\":1}",
        ),
    ];
    let fixture = Fixture::new();
    for (scenario, expected) in cases {
        fixture.sitecore.set_scenario(ID, scenario);
        let response = fixture.ask().await;
        assert_eq!(response.status(), StatusCode::OK);
        let text = response.text().await.unwrap();
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert_eq!(fixture.sitecore.issued(ID), 10);
}

#[tokio::test]
async fn members_of_the_answer_can_be_absent() {
    let cases = [
        (Scenario::without_expires_in(), "expires_in"),
        (Scenario::without_scope(), "scope"),
        (Scenario::without_access_token(), "access_token"),
    ];
    let fixture = Fixture::new();
    for (scenario, absent) in cases {
        fixture.sitecore.set_scenario(ID, scenario);
        let answer: Value = fixture.ask().await.json().await.unwrap();
        assert_eq!(answer.get(absent), None);
        assert_eq!(answer.as_object().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn claims_can_differ_from_the_answer() {
    let fixture = Fixture::with(Scenario::jwt_lifetime(900));
    let issued = claims(&fixture.token().await);
    assert_eq!(
        issued["exp"].as_i64().unwrap() - issued["iat"].as_i64().unwrap(),
        900
    );

    fixture
        .sitecore
        .set_scenario(ID, Scenario::claim("aud", json!("https://other.example")));
    assert_eq!(
        claims(&fixture.token().await)["aud"],
        "https://other.example"
    );

    fixture
        .sitecore
        .set_scenario(ID, Scenario::claim("exp", Value::Null));
    assert_eq!(claims(&fixture.token().await).get("exp"), None);

    let shape = TokenShape {
        issued_at: -100,
        not_before: Some(50),
        scope: Member::text("other"),
        ..TokenShape::default()
    };
    fixture.sitecore.set_scenario(ID, shape.into());
    let issued = claims(&fixture.token().await);
    assert_eq!(
        issued["nbf"].as_i64().unwrap() - issued["iat"].as_i64().unwrap(),
        150
    );
}

#[tokio::test]
async fn errors_have_the_texts_of_auth0() {
    let cases = [
        (Scenario::access_denied(), 401, "access_denied"),
        (Scenario::grant_not_allowed(), 403, "unauthorized_client"),
        (
            Scenario::no_client_grant("https://a.example"),
            403,
            "access_denied",
        ),
        (Scenario::invalid_request(), 400, "invalid_request"),
        (Scenario::server_error(), 500, "server_error"),
        (
            Scenario::oauth_error(403, "invalid_scope", "no"),
            403,
            "invalid_scope",
        ),
    ];
    let fixture = Fixture::new();
    fixture.sitecore.set_error_text("CANARY");
    for (scenario, status, error) in cases {
        fixture.sitecore.set_scenario(ID, scenario);
        let answer = read(fixture.ask().await).await;
        assert_eq!((answer.0, &answer.1["error"]), (status, &json!(error)));
        assert!(
            answer.1["error_description"]
                .as_str()
                .unwrap()
                .ends_with(" CANARY")
        );
    }
    assert_eq!(
        (fixture.sitecore.requests(ID), fixture.sitecore.issued(ID)),
        (6, 0)
    );
}

#[tokio::test]
async fn too_many_requests_says_when_to_come_back() {
    let fixture = Fixture::with(Scenario::too_many_requests(RetryAfter::Seconds(17)));
    let response = fixture.ask().await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&response, "retry-after"), "17");
    assert_eq!(header(&response, "x-ratelimit-remaining"), "0");
    assert!(
        header(&response, "x-ratelimit-reset")
            .parse::<i64>()
            .unwrap()
            >= now()
    );

    fixture
        .sitecore
        .set_scenario(ID, Scenario::too_many_requests(RetryAfter::Date(-3600)));
    let response = fixture.ask().await;
    let date = header(&response, "retry-after");
    assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");

    let quota = Scenario::TooManyRequests {
        retry_after: RetryAfter::None,
        client_quota: Some("b=per_hour;q=10;r=0;t=3540".into()),
    };
    fixture.sitecore.set_scenario(ID, quota);
    let response = fixture.ask().await;
    assert_eq!(header(&response, "retry-after"), "");
    assert_eq!(
        header(&response, "auth0-client-quota-limit"),
        "b=per_hour;q=10;r=0;t=3540"
    );
    assert_eq!(read(response).await.1["error"], "too_many_requests");

    fixture
        .sitecore
        .set_scenario(ID, Scenario::Unavailable(RetryAfter::Raw("soon".into())));
    let response = fixture.ask().await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&response, "retry-after"), "soon");
}

#[tokio::test]
async fn answers_can_come_from_something_else_than_the_endpoint() {
    let fixture = Fixture::with(Scenario::Html { status: 200 });
    let response = fixture.ask().await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        header(&response, "content-type"),
        "text/html; charset=utf-8"
    );

    let location = "http://127.0.0.1:1/".to_owned();
    fixture.sitecore.set_scenario(
        ID,
        Scenario::Redirect {
            status: 307,
            location,
        },
    );
    let response = fixture.ask().await;
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(header(&response, "location"), "http://127.0.0.1:1/");

    let raw = Scenario::Raw {
        status: 418,
        headers: vec![("x-one".into(), "1".into())],
        body: b"\xff\x00".into(),
    };
    fixture.sitecore.set_scenario(ID, raw);
    let response = fixture.ask().await;
    assert_eq!(
        (response.status().as_u16(), header(&response, "x-one")),
        (418, "1")
    );
    assert_eq!(response.bytes().await.unwrap().as_ref(), b"\xff\x00");
}

#[tokio::test]
async fn a_huge_body_is_a_valid_answer_of_just_this_size() {
    let fixture = Fixture::with(Scenario::HugeBody(100_000));
    let body = fixture.ask().await.bytes().await.unwrap();
    assert_eq!(body.len(), 100_000);
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert!(
        fixture
            .sitecore
            .verify(answer["access_token"].as_str().unwrap())
            .is_ok()
    );
}

#[tokio::test]
async fn an_endless_body_goes_on_and_the_server_serves_others() {
    let fixture = Fixture::with(Scenario::EndlessBody);
    let mut response = fixture.ask().await;
    let mut read = 0;
    while read < 1_000_000 {
        read += response.chunk().await.unwrap().unwrap().len();
    }
    fixture.sitecore.back_to_normal();
    fixture.token().await;
}

#[tokio::test]
async fn a_hanging_endpoint_counts_the_request_and_serves_others() {
    let fixture = Fixture::new();
    fixture.sitecore.next(ID, 1, Scenario::Hang);
    let hanging = tokio::spawn(fixture.form(&usual()).send());
    eventually("it hangs", || fixture.sitecore.in_flight(ID) == 1).await;
    fixture.token().await;
    assert!(!hanging.is_finished());
    assert_eq!(
        (fixture.sitecore.requests(ID), fixture.sitecore.issued(ID)),
        (2, 1)
    );
    assert_eq!(fixture.sitecore.in_flight_peak(ID), 2);
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_is_no_longer_in_flight() {
    let fixture = Fixture::with(Scenario::Hang);
    let waiting = tokio::spawn(fixture.form(&usual()).send());
    eventually("it is in flight", || fixture.sitecore.in_flight(ID) == 1).await;
    waiting.abort();
    eventually("it no longer is", || fixture.sitecore.in_flight(ID) == 0).await;
    assert_eq!(fixture.sitecore.requests(ID), 1);
}

#[tokio::test]
async fn a_dripping_answer_takes_its_time() {
    let fixture = Fixture::with(Scenario::Drip(Duration::from_millis(50)));
    let begun = Instant::now();
    let mut response = fixture.ask().await;
    assert_eq!(response.chunk().await.unwrap().unwrap().as_ref(), b"{");
    assert_eq!(response.chunk().await.unwrap().unwrap().as_ref(), b"\"");
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_reset_loses_the_answer_and_maybe_a_token() {
    let fixture = Fixture::new();
    fixture.sitecore.next(ID, 1, Scenario::Reset);
    fixture.sitecore.next(ID, 1, Scenario::IssueThenReset);
    for issued in [0, 1] {
        let error = fixture.form(&usual()).send().await.unwrap_err();
        assert_eq!(
            io_error(&error),
            Some(ErrorKind::ConnectionReset),
            "{error:?}"
        );
        assert_eq!(fixture.sitecore.issued(ID), issued);
    }
    fixture.token().await;
    assert_eq!(fixture.sitecore.requests(ID), 3);
    assert_eq!(
        fixture
            .sitecore
            .calls()
            .route("POST /oauth/token", NO_ANSWER),
        2
    );
}

#[tokio::test]
async fn queued_scenarios_go_first_then_the_clients_own_then_that_of_all() {
    let fixture = Fixture::new();
    fixture
        .sitecore
        .set_scenario_for_all(Scenario::server_error());
    assert_eq!(fixture.ask().await.status().as_u16(), 500);
    fixture.sitecore.set_scenario(ID, Scenario::Normal);
    fixture.sitecore.next(ID, 2, Scenario::access_denied());
    fixture.sitecore.next(ID, 1, Scenario::grant_not_allowed());
    for status in [401, 401, 403, 200, 200] {
        assert_eq!(fixture.ask().await.status().as_u16(), status);
    }
}

#[tokio::test]
async fn while_down_connections_are_refused_and_nothing_is_forgotten() {
    let mut fixture = Fixture::new();
    let token = fixture.token().await;
    fixture.sitecore.go_down();
    // With the connection it has, the client would learn of the end only by using it.
    fixture.http = Client::builder().no_proxy().build().unwrap();
    let error = fixture.form(&usual()).send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    fixture.sitecore.come_back().unwrap();
    fixture.token().await;
    assert!(fixture.sitecore.verify(&token).is_ok());
    assert_eq!(
        (fixture.sitecore.requests(ID), fixture.sitecore.issued(ID)),
        (2, 2)
    );
}

#[tokio::test]
async fn the_clock_can_be_off() {
    let fixture = Fixture::new();
    let before = fixture.token().await;
    fixture.sitecore.set_clock_offset(2 * 86400);
    let response = fixture.ask().await;
    assert!(header(&response, "date").ends_with(" GMT"));
    let answer: Value = response.json().await.unwrap();
    let issued = claims(answer["access_token"].as_str().unwrap());
    assert!((issued["iat"].as_i64().unwrap() - now() - 2 * 86400).abs() <= 1);
    assert!(fixture.sitecore.verify(&before).is_err());
}

// Verification of tokens

#[tokio::test]
async fn a_token_verifies_with_the_published_key() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    let url = format!("{}/.well-known/jwks.json", fixture.sitecore.url());
    let keys: jsonwebtoken::jwk::JwkSet = fixture
        .http
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let id = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(keys.find(&id).unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_audience(&[AUDIENCE]);
    jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
}

#[tokio::test]
async fn an_api_refuses_a_token_that_is_not_its_own() {
    let fixture = Fixture::new();
    let other = Fixture::new();
    let token = fixture.token().await;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let payload = token.split('.').nth(1).unwrap();
    let cases = [
        (
            "another signature",
            format!("{signed}.{first}{}", &signature[1..]),
        ),
        ("no signature", format!("{unsigned}.{payload}.")),
        ("another issuer", other.token().await),
        ("not a JWT", "opaque".into()),
    ];
    for (why, token) in cases {
        let response = fixture.settings(&token).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{why}");
        assert_eq!(
            header(&response, "www-authenticate"),
            "Bearer error=\"invalid_token\"",
            "{why}"
        );
    }
    let url = format!("{}/api/admin/v1/settings", fixture.sitecore.url());
    let response = fixture.http.get(url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(header(&response, "www-authenticate"), "Bearer");
    assert_eq!(fixture.sitecore.calls().refused(Api::Admin), 5);
}

#[tokio::test]
async fn an_api_refuses_a_token_with_wrong_claims() {
    let fixture = Fixture::new();
    let cases = [
        (Scenario::claim("aud", json!("https://other.example")), 401),
        (Scenario::claim("aud", Value::Null), 401),
        (Scenario::claim("exp", Value::Null), 401),
        (Scenario::expired_on_arrival(), 401),
        (Scenario::not_valid_for(60), 401),
        (
            Scenario::claim(&format!("{CLAIMS_PREFIX}tenant_id"), Value::Null),
            403,
        ),
        (
            Scenario::claim("aud", json!([AUDIENCE, "https://other.example"])),
            200,
        ),
        (Scenario::Normal, 200),
    ];
    for (scenario, status) in cases {
        fixture.sitecore.set_scenario(ID, scenario.clone());
        let token = fixture.token().await;
        assert_eq!(
            fixture.settings(&token).await.status().as_u16(),
            status,
            "{scenario:?}"
        );
    }
    let calls = fixture.sitecore.calls();
    assert_eq!((calls.ok(Api::Admin), calls.refused(Api::Admin)), (2, 5));
}

#[tokio::test]
async fn a_token_is_refused_from_the_second_of_its_expiry_on() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    let expiry = claims(&token)["exp"].as_i64().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let left = expiry - i64::try_from(now.as_secs()).unwrap();
    // Not the last second, in which it may be too late when this is looked at.
    fixture.sitecore.set_clock_offset(left - 60);
    assert!(fixture.sitecore.verify(&token).is_ok());
    fixture.sitecore.set_clock_offset(left);
    let error = fixture.sitecore.verify(&token).unwrap_err();
    assert_eq!(
        error.kind(),
        &jsonwebtoken::errors::ErrorKind::ExpiredSignature
    );
}

// Token API and Delivery API

#[tokio::test]
async fn a_key_opens_the_delivery_api_until_it_is_revoked() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    let key = fixture.new_key(&token, "demo").await;
    assert_eq!(
        fixture.query("sc_apikey", &key).await.status(),
        StatusCode::OK
    );
    assert_eq!(
        fixture.query("X-GQL-Token", &key).await.status(),
        StatusCode::OK
    );
    assert_eq!(
        fixture.query("sc_apikey", "unknown").await.status(),
        StatusCode::UNAUTHORIZED
    );

    let hash = fixture.sitecore.keys()[0].hash.clone();
    let path = format!("/api/apikey/v1/revokebyhash/{hash}");
    let response = fixture
        .api(Method::PUT, &path, &token)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        fixture.query("sc_apikey", &key).await.status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(fixture.list(&token, "").await["keys"][0]["isRevoked"], true);
    let calls = fixture.sitecore.calls();
    assert_eq!(
        (calls.ok(Api::Delivery), calls.refused(Api::Delivery)),
        (2, 2)
    );
    assert_eq!(calls.ok(Api::Token), 3);
}

#[tokio::test]
async fn a_key_tells_its_tenant_and_its_hash() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    let key = fixture.new_key(&token, "demo").await;
    let decoded = String::from_utf8(STANDARD.decode(&key).unwrap()).unwrap();
    let (random, tenant) = decoded.split_once('|').unwrap();
    assert_eq!(STANDARD.decode(random).unwrap().len(), 32);
    assert_eq!(tenant, "tenant-client-1");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, random.as_bytes());
    let hash: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();

    let by_hash = fixture.api(Method::GET, &format!("/api/apikey/v1/{hash}"), &token);
    let by_hash: Value = by_hash.send().await.unwrap().json().await.unwrap();
    assert_eq!(by_hash["hash"], hash);
    assert_eq!(by_hash["tenantId"], "tenant-client-1");
    assert_eq!(by_hash["createdBy"], "tests");
    assert_eq!(
        by_hash["created"].as_str().unwrap().len(),
        "2026-01-02T03:04:05.1234567Z".len()
    );
    for name in ["sc_apikey", "X-GQL-Token"] {
        let by_token = fixture
            .api(Method::GET, "/api/apikey/v1/token", &token)
            .header(name, &key);
        let by_token: Value = by_token.send().await.unwrap().json().await.unwrap();
        assert_eq!(by_token, by_hash);
    }
}

#[tokio::test]
async fn keys_are_renamed_and_revoked_by_hash_and_by_token() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    let key = fixture.new_key(&token, "one").await;
    let hash = fixture.sitecore.keys()[0].hash.clone();
    let put = |path: &str| {
        let request = fixture.api(Method::PUT, &format!("/api/apikey/v1/{path}"), &token);
        request.header("X-GQL-Token", &key)
    };
    let renamed = put(&format!("renamebyhash/{hash}"))
        .json(&json!({"newName": "two"}))
        .send()
        .await
        .unwrap();
    assert_eq!(renamed.status(), StatusCode::NO_CONTENT);
    assert_eq!(fixture.sitecore.keys()[0].label, "two");

    fixture.sitecore.set_token_api_style(TokenApiStyle {
        answers_true: true,
        pascal_case: true,
        ..TokenApiStyle::default()
    });
    let renamed = put("renamebytoken")
        .json(&json!({"newName": "three"}))
        .send()
        .await
        .unwrap();
    assert_eq!(read(renamed).await, (200, json!(true)));
    let revoked = put("revokebytoken").send().await.unwrap();
    assert_eq!(read(revoked).await, (200, json!(true)));
    let listed = fixture.list(&token, "").await;
    assert_eq!(listed["TotalCount"], 1);
    assert_eq!(listed["Keys"][0]["Label"], "three");
    assert_eq!(listed["Keys"][0]["IsRevoked"], true);
    let unknown = put("revokebyhash/unknown").send().await.unwrap();
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_list_of_keys_is_filtered_and_paged() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    for number in 0..25 {
        fixture.new_key(&token, &format!("app/key-{number}")).await;
    }
    let first = fixture.list(&token, "").await;
    assert_eq!(first["keys"].as_array().unwrap().len(), 20);
    assert_eq!(
        (&first["totalCount"], &first["totalPages"]),
        (&json!(25), &json!(2))
    );
    assert_eq!(
        (&first["hasNext"], &first["hasPrevious"]),
        (&json!(true), &json!(false))
    );
    let second = fixture.list(&token, "pagenumber=2").await;
    assert_eq!(second["keys"].as_array().unwrap().len(), 5);
    assert_eq!(
        (&second["hasNext"], &second["hasPrevious"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(
        fixture.list(&token, "pagesize=100").await["keys"]
            .as_array()
            .unwrap()
            .len(),
        25
    );
    assert_eq!(fixture.list(&token, "label=key-2").await["totalCount"], 6);
    assert_eq!(
        fixture
            .list(&token, "scopes=audience-delivery&scopes=audience-preview")
            .await["totalCount"],
        0
    );
    assert_eq!(
        fixture.list(&token, "createdby=tests").await["totalCount"],
        25
    );
}

#[tokio::test]
async fn the_token_decides_whose_keys_are_seen() {
    let fixture = Fixture::new();
    fixture
        .sitecore
        .configure(ID, |client| client.tenant_id = Some("tenant-a".into()));
    let of_a = fixture.token().await;
    fixture
        .sitecore
        .configure(ID, |client| client.tenant_id = Some("tenant-b".into()));
    let of_b = fixture.token().await;
    fixture.new_key(&of_a, "a").await;
    assert_eq!(fixture.list(&of_a, "").await["totalCount"], 1);
    assert_eq!(fixture.list(&of_b, "").await["totalCount"], 0);
    let path = format!(
        "/api/apikey/v1/revokebyhash/{}",
        fixture.sitecore.keys()[0].hash
    );
    let response = fixture.api(Method::PUT, &path, &of_b).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_call_can_be_done_and_its_answer_lost() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    fixture
        .sitecore
        .fail_api(Api::Token, 1, ApiFailure::LoseAnswer);
    let body = json!({"Label": "orphan", "Scopes": ["audience-delivery"]});
    let request = fixture
        .api(Method::POST, "/api/apikey/v1/", &token)
        .json(&body);
    assert!(request.send().await.is_err());
    assert_eq!(fixture.sitecore.keys()[0].label, "orphan");
    assert_eq!(
        fixture
            .sitecore
            .calls()
            .route("POST /api/apikey/v1/", NO_ANSWER),
        1
    );
    fixture
        .sitecore
        .fail_api(Api::Token, 1, ApiFailure::Status(503));
    let status = |response: Response| response.status().as_u16();
    let list = || fixture.api(Method::GET, "/api/apikey/v1/", &token).send();
    assert_eq!(status(list().await.unwrap()), 503);
    assert_eq!(status(list().await.unwrap()), 200);
}

#[tokio::test]
async fn one_route_fails_while_the_others_of_its_api_work() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    let create = "POST /api/apikey/v1";
    let made = async |path: &str| {
        let body = json!({"Label": "label", "Scopes": ["audience-delivery"]});
        let request = fixture.api(Method::POST, path, &token).json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    let fail = |calls, failure| fixture.sitecore.fail_route(create, calls, failure);
    fail(2, ApiFailure::Status(503));
    // With a slash at its end it is the same route.
    assert_eq!(made("/api/apikey/v1/").await, 503);
    assert_eq!(fixture.list(&token, "").await["totalCount"], 0);
    assert_eq!(made("/api/apikey/v1").await, 503);
    assert_eq!(made("/api/apikey/v1").await, 201);
    fail(1, ApiFailure::ActThenStatus(500));
    assert_eq!(made("/api/apikey/v1").await, 500);
    assert_eq!(fixture.list(&token, "").await["totalCount"], 2);

    fixture
        .sitecore
        .fail_api(Api::Token, 1, ApiFailure::Status(502));
    fail(1, ApiFailure::Status(503));
    assert_eq!(made("/api/apikey/v1").await, 503, "the route goes first");
    assert_eq!(made("/api/apikey/v1").await, 502);
    assert_eq!(made("/api/apikey/v1").await, 201);
}

#[tokio::test]
async fn what_is_put_off_is_done_when_it_is_released_also_for_who_gave_up() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    let effect = fixture.sitecore.put_off("POST /api/apikey/v1", 1);
    let body = json!({"Label": "late", "Scopes": ["audience-delivery"]});
    let request = fixture.api(Method::POST, "/api/apikey/v1", &token);
    let request = request.json(&body).timeout(Duration::from_millis(200));
    assert!(request.send().await.unwrap_err().is_timeout());
    assert_eq!(fixture.list(&token, "").await["totalCount"], 0);
    effect.release();
    let is_made = || !fixture.sitecore.keys().is_empty();
    eventually("it is made", is_made).await;
}

#[tokio::test]
async fn a_rate_limit_is_told_in_each_spelling() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    let limited = async |headers| {
        let failure = ApiFailure::RateLimited(headers);
        fixture.sitecore.fail_api(Api::Token, 1, failure);
        let request = fixture.api(Method::GET, "/api/apikey/v1", &token);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        response
    };
    let response = limited(RateHeaders::RetryAfter(7)).await;
    assert_eq!(header(&response, "retry-after"), "7");
    let response = limited(RateHeaders::FromNow(7)).await;
    assert_eq!(header(&response, "x-rate-limit-reset"), "7");
    assert_eq!(header(&response, "x-rate-limit-remaining"), "0");
    let before = now();
    let response = limited(RateHeaders::Until(7)).await;
    let reset: i64 = header(&response, "x-ratelimit-reset").parse().unwrap();
    assert!((before + 7..=now() + 7).contains(&reset));
    assert_eq!(header(&response, "x-ratelimit-limit"), "80");
}

#[tokio::test]
async fn lists_can_be_late_and_unfiltered_and_in_small_pages_and_cut_labels() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    let style = TokenApiStyle {
        list_lag: Duration::from_secs(600),
        is_unfiltered: true,
        largest_page: Some(2),
        label_length: Some(5),
        quotes_key: true,
        ..TokenApiStyle::default()
    };
    fixture.sitecore.set_token_api_style(style);
    let quoted = fixture.new_key(&token, "mine/1").await;
    assert!(quoted.starts_with('"') && quoted.ends_with('"'), "{quoted}");
    let foreign = fixture.sitecore.make_key("tenant-client-1", "foreign");
    let elsewhere = fixture.sitecore.make_key("another-tenant", "mine/2");
    fixture.new_key(&token, "mine/3").await;
    let list = async || fixture.list(&token, "label=mine&pagesize=50").await;
    assert_eq!(list().await["totalCount"], 0, "they are not listed yet");
    fixture.sitecore.set_clock_offset(601);
    let page = list().await;
    assert_eq!(page["totalCount"], 3, "the foreign one, too");
    assert_eq!(
        (&page["pageSize"], &page["hasNext"]),
        (&json!(2), &json!(true))
    );
    assert_eq!(page["keys"][0]["label"], "mine/");
    for key in [foreign, elsewhere] {
        let used = fixture.query("sc_apikey", &key).await;
        assert_eq!(used.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_key_can_be_active_late_and_revoked_late_and_its_uses_are_counted() {
    let fixture = Fixture::new();
    let key = fixture.sitecore.make_key("tenant-client-1", "demo");
    fixture.sitecore.set_delivery_style(DeliveryStyle {
        active_after: Duration::from_secs(600),
        revoked_after: Duration::from_secs(600),
        refusal: Refusal::Forbidden,
    });
    let used = async || fixture.query("sc_apikey", &key).await.status().as_u16();
    let counts = || {
        let key = &fixture.sitecore.keys()[0];
        (key.uses, key.uses_after_revocation)
    };
    assert_eq!(used().await, 403);
    fixture.sitecore.set_clock_offset(601);
    assert_eq!(used().await, 200);
    assert_eq!(counts(), (1, 0));
    let hash = fixture.sitecore.keys()[0].hash.clone();
    fixture.sitecore.revoke_key(&hash);
    assert_eq!(used().await, 200);
    fixture.sitecore.set_clock_offset(1202);
    assert_eq!(used().await, 403);
    assert_eq!(counts(), (2, 2));

    fixture.sitecore.set_delivery_style(DeliveryStyle {
        refusal: Refusal::Errors,
        ..DeliveryStyle::default()
    });
    let (status, answer) = read(fixture.query("sc_apikey", &key).await).await;
    assert_eq!((status, answer["data"].is_null()), (200, true));
    assert_eq!(answer["errors"][0]["message"], "Unauthorized");
}

#[tokio::test]
async fn the_deploy_api_gives_an_environments_key() {
    let fixture = Fixture::new();
    // A client of the organization, whose token names no environment.
    fixture
        .sitecore
        .configure(ID, |client| client.tenant_id = None);
    let token = fixture.token().await;
    fixture.sitecore.add_environment("one", "tenant-one");
    let obtain = async |environment: &str, token: &str| {
        let path = format!("/api/environments/v1/{environment}/obtain-edge-token");
        let request = fixture.api(Method::GET, &path, token);
        read(request.send().await.unwrap()).await
    };
    let change = |change: fn(&mut Environment)| {
        fixture.sitecore.configure_environment("one", change);
    };
    let (status, first) = obtain("one", &token).await;
    assert_eq!(
        (status, &first["edgeUrl"]),
        (200, &json!(fixture.sitecore.url()))
    );
    let key = first["apiKey"].as_str().unwrap();
    assert_eq!(
        fixture.query("sc_apikey", key).await.status(),
        StatusCode::OK
    );
    assert_eq!(fixture.sitecore.keys()[0].tenant_id, "tenant-one");

    assert_eq!(obtain("one", &token).await.1["apiKey"], key, "the same");
    change(|environment| environment.mints_each_time = true);
    assert_ne!(obtain("one", &token).await.1["apiKey"], key);
    assert_eq!(fixture.sitecore.keys().len(), 2);
    change(|environment| {
        environment.has_no_key = true;
        environment.has_no_url = true;
    });
    let nothing = json!({"apiKey": null, "edgeUrl": null});
    assert_eq!(obtain("one", &token).await, (200, nothing));
    assert_eq!(obtain("two", &token).await.0, 404);
    assert_eq!(obtain("one", "garbage").await.0, 401);
    let calls = fixture.sitecore.calls();
    assert_eq!((calls.ok(Api::Deploy), calls.refused(Api::Deploy)), (4, 1));
}

#[tokio::test]
async fn the_delivery_api_can_be_limited() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    let key = fixture.new_key(&token, "demo").await;
    fixture.sitecore.limit_delivery(true);
    let response = fixture.query("sc_apikey", &key).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&response, "x-rate-limit-limit"), "80");
    assert_eq!(header(&response, "x-rate-limit-reset"), "1");
    fixture.sitecore.limit_delivery(false);
    assert_eq!(
        fixture.query("sc_apikey", &key).await.status(),
        StatusCode::OK
    );
}

// Admin API

#[tokio::test]
async fn settings_are_read_put_and_patched() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    let path = "/api/admin/v1/settings";
    let mut settings: Value = fixture.settings(&token).await.json().await.unwrap();
    assert_eq!(settings["contentCacheTtl"], "04:00:00");
    settings["mediaCacheTtl"] = json!("1.00:00:00");
    let put = fixture
        .api(Method::PUT, path, &token)
        .json(&settings)
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), StatusCode::ACCEPTED);

    let patch = json!([{"op": "replace", "path": "/contentcachettl", "value": "00:15:00"}]);
    let request = fixture
        .api(Method::PATCH, path, &token)
        .body(patch.to_string());
    let wrong_type = request.try_clone().unwrap().send().await.unwrap();
    assert_eq!(wrong_type.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let patched = request
        .header("content-type", "application/json-patch+json")
        .send()
        .await
        .unwrap();
    let (status, answer) = read(patched).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&answer["contentCacheTtl"], &answer["mediaCacheTtl"]),
        (&json!("00:15:00"), &json!("1.00:00:00"))
    );
    assert_eq!(read(fixture.settings(&token).await).await.1, answer);
}

#[tokio::test]
async fn deletions_are_recorded() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    for path in ["/api/admin/v1/cache", "/api/admin/v1/content"] {
        let response = fixture
            .api(Method::DELETE, path, &token)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
    }
    let tenant = "tenant-client-1".to_owned();
    assert_eq!(
        fixture.sitecore.deletions(),
        [(tenant.clone(), Deleted::Cache), (tenant, Deleted::Content)]
    );
}

#[tokio::test]
async fn webhooks_are_added_changed_and_deleted() {
    let fixture = Fixture::new();
    let token = fixture.token().await;
    let path = "/api/admin/v1/webhooks";
    let hook = json!({"label": "rebuild", "uri": "https://hooks.example/1", "method": "POST"});
    let added = fixture
        .api(Method::POST, path, &token)
        .json(&hook)
        .send()
        .await
        .unwrap();
    let (status, added) = read(added).await;
    assert_eq!(
        (status, &added["tenantId"]),
        (201, &json!("tenant-client-1"))
    );
    let one = format!("{path}/{}", added["id"].as_str().unwrap());

    let changed = json!({"label": "again", "uri": "https://hooks.example/2"});
    let put = fixture
        .api(Method::PUT, &one, &token)
        .json(&changed)
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), StatusCode::NO_CONTENT);
    let (_, shown) = read(fixture.api(Method::GET, &one, &token).send().await.unwrap()).await;
    assert_eq!(
        (&shown["label"], &shown["id"]),
        (&json!("again"), &added["id"])
    );
    let (_, listed) = read(fixture.api(Method::GET, path, &token).send().await.unwrap()).await;
    assert_eq!(listed, json!([shown]));

    let deleted = fixture
        .api(Method::DELETE, &one, &token)
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    let gone = fixture.api(Method::GET, &one, &token).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    let plain = json!({"label": "plain", "uri": "http://hooks.example/1"});
    let refused = fixture
        .api(Method::POST, path, &token)
        .json(&plain)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}
