//! Equal requests cost one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use edge_credential_operator::{
    api::token_request::{ClientAuthentication, RequestFormat, TokenFormat},
    clock::Clock,
    http::route::Deadlines,
    oauth::{Reply, Token, TokenError, TokenRequest, TokenSource},
    traffic::requests::TokenRequests,
};
use futures::{
    FutureExt,
    future::{BoxFuture, join, join_all},
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kit::sitecore::{Scenario, Sitecore};
use secrecy::ExposeSecret;
use tokio::time::{sleep, timeout};

use super::{ID, SECRET, request_to, sitecore, sitecore_with, source, take};

const PER_ORIGIN: usize = 4;

fn shared(sitecores: &[&Sitecore]) -> TokenRequests {
    let origins: Vec<_> = sitecores.iter().map(|sitecore| sitecore.url()).collect();
    let source = source(&origins, Deadlines::default());
    TokenRequests::new(source, Clock::system(), PER_ORIGIN)
}

fn usual(sitecore: &Sitecore) -> TokenRequest {
    request_to(&sitecore.token_url())
}

/// A request that is equal to no other one with another number.
fn numbered(sitecore: &Sitecore, number: usize) -> TokenRequest {
    let mut request = usual(sitecore);
    let parameters = &mut request.parameters.extra_parameters;
    parameters.insert("number".into(), number.to_string());
    request
}

fn late() -> Scenario {
    Scenario::Delay(Duration::from_millis(150))
}

/// Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let came_about = async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = timeout(PATIENCE, came_about).await;
    in_time.unwrap_or_else(|_| panic!("never came about: {what}"));
}

#[tokio::test]
async fn equal_requests_at_one_time_are_one_request() {
    let sitecore = sitecore_with(late());
    let shared = shared(&[&sitecore]);
    let asked = (0..100).map(|_| take(&shared, usual(&sitecore), |_| true));
    let answers = join_all(asked).await;
    let first = answers[0].as_ref().unwrap().access_token.expose_secret();
    for answer in &answers {
        assert_eq!(answer.as_ref().unwrap().access_token.expose_secret(), first);
    }
    assert_eq!(sitecore.requests(ID), 1);
}

#[tokio::test]
async fn whatever_may_change_the_token_makes_another_request() {
    let sitecore = sitecore();
    sitecore.add_client("client-2", SECRET);
    sitecore.rotate_secret(ID, "another secret", Duration::from_secs(3600));
    sitecore.allow_audience(ID, "https://other.example");
    let shared = shared(&[&sitecore]);
    let changes: [fn(&mut TokenRequest); 10] = [
        |_| {},
        |request| request.credentials.client_id = "client-2".into(),
        |request| request.credentials.client_secret = "another secret".into(),
        |request| request.parameters.audience = "https://other.example".into(),
        |request| request.parameters.scopes = vec!["edge.admin:manage".into()],
        |request| request.parameters.scopes = vec!["edge.token:manage".into()],
        |request| request.parameters.extra_parameters = [("a".into(), "b".into())].into(),
        |request| request.parameters.extra_parameters = [("a".into(), "c".into())].into(),
        |request| request.parameters.token_url.set_query(Some("tenant=1")),
        // What one EdgeCredential accepts as a token may be refused by another one.
        |request| request.parameters.token_format = TokenFormat::Any,
    ];
    for (earlier, change) in changes.iter().enumerate() {
        let mut request = usual(&sitecore);
        change(&mut request);
        for _ in 0..2 {
            take(&shared, request.clone(), |_| true).await.unwrap();
        }
        assert_eq!(
            sitecore.total_requests(),
            earlier as u64 + 1,
            "change {earlier}"
        );
    }
}

#[tokio::test]
async fn how_a_request_is_written_down_makes_no_other_token() {
    let sitecore = sitecore();
    let shared = shared(&[&sitecore]);
    let scopes = |first: &str, second: &str| vec![first.into(), second.into()];
    let mut request = usual(&sitecore);
    request.parameters.scopes = scopes("edge.admin:manage", "edge.token:manage");
    take(&shared, request.clone(), |_| true).await.unwrap();
    request.parameters.scopes = scopes("edge.token:manage", "edge.admin:manage");
    take(&shared, request.clone(), |_| true).await.unwrap();
    request.parameters.format = RequestFormat::Json;
    request.parameters.client_authentication = ClientAuthentication::ClientSecretBasic;
    take(&shared, request, |_| true).await.unwrap();
    assert_eq!(sitecore.requests(ID), 1);
}

#[tokio::test]
async fn an_opaque_token_that_one_accepts_is_not_given_to_another_that_wants_a_jwt() {
    let sitecore = sitecore_with(Scenario::opaque_token());
    let shared = shared(&[&sitecore]);
    let mut any = usual(&sitecore);
    any.parameters.token_format = TokenFormat::Any;
    take(&shared, any, |_| true).await.unwrap();
    assert!(
        shared
            .known(&usual(&sitecore), None, Timestamp::now())
            .is_none()
    );
    take(&shared, usual(&sitecore), |_| true).await.unwrap_err();
}

#[tokio::test]
async fn an_error_is_shared_by_those_who_wait_and_refused_credentials_are_not_sent_again_at_once() {
    let sitecore = sitecore_with(late());
    let shared = shared(&[&sitecore]);
    let mut request = usual(&sitecore);
    request.credentials.client_secret = "wrong".into();
    let asked = (0..20).map(|_| take(&shared, request.clone(), |_| true));
    for answer in join_all(asked).await {
        assert_eq!(
            answer.unwrap_err().error,
            TokenError::Refused {
                status: 401,
                error: Some("access_denied")
            }
        );
    }
    assert_eq!(sitecore.requests(ID), 1);
    assert!(shared.known(&request, None, Timestamp::now()).is_none());

    // Not for other inputs either.
    request.parameters.scopes = vec!["edge.admin:manage".into()];
    let held = take(&shared, request, |_| true).await.unwrap_err();
    assert!(!held.was_sent);
    assert_eq!(sitecore.requests(ID), 1);
    // The right ones are sent.
    take(&shared, usual(&sitecore), |_| true).await.unwrap();
    assert_eq!(sitecore.requests(ID), 2);
}

#[tokio::test]
async fn a_token_that_is_held_is_used_again_only_where_it_is_acceptable() {
    let sitecore = sitecore();
    let shared = shared(&[&sitecore]);
    let first = take(&shared, usual(&sitecore), |_| true).await.unwrap();
    let again = take(&shared, usual(&sitecore), |_| true).await.unwrap();
    let text = |token: &Token| token.access_token.expose_secret().to_owned();
    assert_eq!(text(&first), text(&again));
    assert_eq!(sitecore.requests(ID), 1);

    let other = take(&shared, usual(&sitecore), |_| false).await.unwrap();
    assert_ne!(text(&first), text(&other));
    assert_eq!(sitecore.requests(ID), 2);
    let held = shared
        .known(&usual(&sitecore), None, Timestamp::now())
        .unwrap();
    assert_eq!(text(&held.0), text(&other));
}

#[tokio::test]
async fn a_token_that_one_has_is_kept_for_that_one_alone() {
    let sitecore = sitecore();
    let token = take(&shared(&[&sitecore]), usual(&sitecore), |_| true)
        .await
        .unwrap();
    // As after a restart.
    let shared = shared(&[&sitecore]);
    let request = usual(&sitecore);
    shared.keep_for(&request, "owner", &token);
    let now = Timestamp::now();
    assert!(shared.kept_for(&request, "owner", now).is_some());
    assert!(shared.kept_for(&request, "other", now).is_none());
    assert!(shared.known(&request, None, now).is_none());
    let mut other_scope = request.clone();
    other_scope.parameters.scopes.push("other".to_owned());
    assert!(shared.kept_for(&other_scope, "owner", now).is_none());
    assert!(
        shared
            .kept_for(&request, "owner", token.expires_at)
            .is_none()
    );

    // What the endpoint gave is for all.
    take(&shared, usual(&sitecore), |_| true).await.unwrap();
    assert!(shared.known(&request, None, now).is_some());
    assert_eq!(sitecore.requests(ID), 2);
}

#[tokio::test]
async fn a_token_is_held_until_it_expires() {
    let sitecore = sitecore();
    let shared = shared(&[&sitecore]);
    let token = take(&shared, usual(&sitecore), |_| true).await.unwrap();
    let second = SignedDuration::from_secs(1);
    assert!(
        shared
            .known(&usual(&sitecore), None, token.expires_at - second)
            .is_some()
    );
    assert!(
        shared
            .known(&usual(&sitecore), None, token.expires_at)
            .is_none()
    );
}

#[tokio::test]
async fn what_is_swept_out_of_many_tokens_are_those_that_expired() {
    let sitecore = sitecore_with(Scenario::expires_in("60"));
    let later = Arc::new(AtomicI64::new(0));
    let offset = later.clone();
    let clock = Clock::from_fn(move || {
        Timestamp::now() + SignedDuration::from_secs(offset.load(Ordering::Relaxed))
    });
    let source = source(&[sitecore.url()], Deadlines::default());
    let shared = TokenRequests::new(source, clock, PER_ORIGIN);
    for number in 0..200 {
        if number == 100 {
            later.store(120, Ordering::Relaxed);
            sitecore.back_to_normal();
        }
        let request = numbered(&sitecore, number);
        take(&shared, request, |_| true).await.unwrap();
    }
    let now = Timestamp::now() + SignedDuration::from_secs(120);
    let held = |number: &usize| {
        shared
            .known(&numbered(&sitecore, *number), None, now)
            .is_some()
    };
    assert_eq!((0..200).filter(held).count(), 100);
    assert!((100..200).all(|number| held(&number)));
}

#[tokio::test]
async fn a_request_goes_on_when_nobody_waits_for_it_and_its_token_is_held() {
    let sitecore = sitecore();
    let shared = shared(&[&sitecore]);
    let impatient = take(&shared, usual(&sitecore), |_| true);
    assert!(impatient.now_or_never().is_none(), "it takes longer");
    eventually("the token is held", || {
        shared
            .known(&usual(&sitecore), None, Timestamp::now())
            .is_some()
    })
    .await;
    take(&shared, usual(&sitecore), |_| true).await.unwrap();
    assert_eq!(sitecore.requests(ID), 1);
}

#[tokio::test]
async fn no_more_requests_than_allowed_are_in_flight_to_one_origin() {
    let sitecore = sitecore();
    let withheld = sitecore.withhold(ID, PER_ORIGIN as u64);
    let shared = shared(&[&sitecore]);
    let asked = (0..12).map(|number| take(&shared, numbered(&sitecore, number), |_| true));
    let release = async {
        eventually("the slots are taken", || {
            sitecore.requests(ID) == PER_ORIGIN as u64
        })
        .await;
        withheld.release();
    };
    let (answers, ()) = join(join_all(asked), release).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(sitecore.requests(ID), 12);
    assert_eq!(sitecore.in_flight_peak(ID), PER_ORIGIN as u64);
}

#[tokio::test]
async fn an_origin_that_hangs_does_not_delay_another() {
    let (hanging, healthy) = (sitecore_with(Scenario::Hang), sitecore());
    let shared = shared(&[&hanging, &healthy]);
    for number in 0..20 {
        let (shared, request) = (shared.clone(), numbered(&hanging, number));
        tokio::spawn(async move { take(&shared, request, |_| true).await });
    }
    eventually("the slots are taken", || {
        hanging.requests(ID) == PER_ORIGIN as u64
    })
    .await;
    // Those that hang give up after 10 s.
    timeout(
        Duration::from_secs(8),
        take(&shared, usual(&healthy), |_| true),
    )
    .await
    .expect("at once")
    .unwrap();
    assert_eq!(hanging.requests(ID), PER_ORIGIN as u64);
}

/// Panics at first, and then has a token.
struct PanicsOnce(AtomicBool);

impl TokenSource for PanicsOnce {
    fn request<'a>(&'a self, _: &'a TokenRequest) -> BoxFuture<'a, Reply> {
        async {
            assert!(self.0.swap(true, Ordering::Relaxed), "the first request");
            Ok(Token {
                access_token: "token".into(),
                scope: None,
                tenant_id: None,
                organization_id: None,
                issued_at: Timestamp::UNIX_EPOCH,
                expires_at: Timestamp::MAX,
            })
            .into()
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_panic_is_an_error_for_those_who_wait_and_blocks_nobody_later() {
    let source = PanicsOnce(AtomicBool::new(false));
    let shared = TokenRequests::new(source, Clock::system(), 1);
    let request = || request_to("http://endpoint.example/oauth/token");
    assert_eq!(
        take(&shared, request(), |_| true).await.unwrap_err().error,
        TokenError::Panicked
    );
    take(&shared, request(), |_| true).await.unwrap();
}
