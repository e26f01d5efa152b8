//! The token endpoint over real HTTP and in real time: what is sent, what is made of each answer, how often is asked.

mod answers;
mod failures;
mod hostile;
mod limits;
mod proxy;
mod requests;
mod route;
mod sharing;
mod tls;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use edge_credential_operator::{
    api::{
        EdgeCredential,
        token_request::{ClientAuthentication, RequestFormat, TokenFormat},
    },
    clock::Clock,
    cluster::object_key::ObjectKey,
    http::{
        origin::{AllowedOrigins, Origin},
        route::{Deadlines, HttpClient, Route},
    },
    oauth::{
        ClientCredentials, RequestParameters, Token, TokenError, TokenRequest, TokenSource,
        client::HttpTokenSource,
    },
    traffic::{
        Caller, Endpoint, Urgency,
        requests::{Answer, Failure, Purpose, TokenRequests},
    },
};
use kit::sitecore::{
    AUDIENCE, Scenario, Sitecore,
    hostile::{CANARY, SHORT},
};

const ID: &str = "client-1";

/// With the [canary](CANARY) in it.
const SECRET: &str = "s3cret-CANARY";

/// Asks for a token as an object with a name and a namespace of its own, and waits for its turn and the answer.
async fn take(
    requests: &TokenRequests,
    request: TokenRequest,
    acceptable: impl Fn(&Token) -> bool,
) -> Result<Token, Failure> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let caller = Caller {
        object: ObjectKey::new::<EdgeCredential>(format!("shop-{number}"), "edge"),
        endpoint: Endpoint::of(&request.parameters.token_url).unwrap(),
        then: None,
        urgency: Urgency::NoToken,
    };
    let purpose = Purpose {
        is_checked: true,
        ..Purpose::default()
    };
    let mut wakeups = requests.wakeups();
    loop {
        match requests.request(&request, &caller, purpose, &acceptable) {
            Answer::Known(token) => return Ok(token),
            Answer::Ended(result) => return result,
            Answer::Sent(wait) | Answer::Soon(wait) => wait.await.unwrap(),
            Answer::Turn => unreachable!("all is checked"),
            Answer::WaitFor(_) => unreachable!("nothing is replaced"),
            Answer::Wait { .. } => while wakeups.recv().await.unwrap() != caller.object {},
        }
    }
}

/// A stand-in with one client whose answers have the canary in them.
fn sitecore() -> Sitecore {
    let sitecore = Sitecore::start().unwrap();
    sitecore.add_client(ID, SECRET);
    sitecore.set_error_text(CANARY);
    sitecore
}

/// A stand-in that answers so.
fn sitecore_with(scenario: impl Into<Scenario>) -> Sitecore {
    let sitecore = sitecore();
    sitecore.set_scenario(ID, scenario.into());
    sitecore
}

/// Sends to these origins only.
fn source(origins: &[&str], deadlines: Deadlines) -> HttpTokenSource {
    let allowed: AllowedOrigins = origins
        .iter()
        .map(|origin| origin.parse::<Origin>().unwrap())
        .collect();
    let client = HttpClient::new(&Route::default(), deadlines).unwrap();
    HttpTokenSource::new(allowed, client, Clock::system())
}

/// The request that an EdgeCredential makes where nothing but the endpoint is set.
fn request_to(token_url: &str) -> TokenRequest {
    TokenRequest {
        parameters: RequestParameters {
            token_url: token_url.parse().unwrap(),
            audience: AUDIENCE.into(),
            scopes: Vec::new(),
            extra_parameters: BTreeMap::new(),
            format: RequestFormat::Form,
            client_authentication: ClientAuthentication::ClientSecretPost,
            token_format: TokenFormat::Jwt,
        },
        credentials: ClientCredentials {
            client_id: ID.into(),
            client_secret: SECRET.into(),
        },
    }
}

/// Asks as usual.
async fn ask(sitecore: &Sitecore) -> Result<Token, TokenError> {
    ask_for(sitecore, |_| {}).await
}

/// Asks for something else than usual.
async fn ask_for(
    sitecore: &Sitecore,
    change: impl FnOnce(&mut TokenRequest),
) -> Result<Token, TokenError> {
    let mut request = request_to(&sitecore.token_url());
    change(&mut request);
    source(&[sitecore.url()], Deadlines::default())
        .request(&request)
        .await
        .result
}

/// Asks for a token of any form.
async fn ask_for_any(sitecore: &Sitecore) -> Result<Token, TokenError> {
    ask_for(sitecore, |request| {
        request.parameters.token_format = TokenFormat::Any;
    })
    .await
}

/// An answer with this status, content type and body.
fn raw(status: u16, content_type: Option<&str>, body: impl Into<Vec<u8>>) -> Scenario {
    Scenario::Raw {
        status,
        headers: content_type
            .map(|content_type| ("content-type".into(), content_type.into()))
            .into_iter()
            .collect(),
        body: body.into(),
    }
}
