//! A token endpoint that costs next to nothing, so that it's not what limits the operator: its tokens are JWTs of the usual
//! size whose signature is filler, as no operator can verify one.

use std::{
    collections::HashMap,
    future::pending,
    io,
    net::{Ipv4Addr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Form, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::json;
use tokio::{sync::oneshot, task::spawn_blocking, time::sleep};

/// How long a token is, in bytes.
const TOKEN_LENGTH: usize = 1_331;

/// How long a signature with RS256 and a key of 2048 bits is, in base64url.
const SIGNATURE_LENGTH: usize = 342;

/// How a client is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Behaviour {
    /// What it gets.
    pub answer: Answer,
    /// How long that takes.
    pub delay: Duration,
    /// How long its tokens live.
    pub lifetime: Duration,
}

/// What a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A token.
    Token,
    /// 503.
    Unavailable,
    /// Nothing, until it gives up.
    Nothing,
}

impl Default for Behaviour {
    /// A token of a day, after 5 ms.
    fn default() -> Self {
        Behaviour {
            answer: Answer::Token,
            delay: Duration::from_millis(5),
            lifetime: Duration::from_hours(24),
        }
    }
}

/// A running endpoint, in a thread of its own. It ends when dropped.
pub struct Endpoint {
    origin: String,
    state: Arc<Mutex<Requests>>,
    _stop: oneshot::Sender<()>,
}

#[derive(Default)]
struct Requests {
    everyone: Behaviour,
    of_client: HashMap<String, Behaviour>,
    times: HashMap<String, Vec<SystemTime>>,
    count: u64,
}

impl Endpoint {
    /// Starts one on a free port of 127.0.0.1.
    pub fn start() -> io::Result<Endpoint> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let origin = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(Requests::default()));
        let router = Router::new()
            .route("/oauth/token", post(answer))
            .with_state(state.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::select! {
                served = axum::serve(listener, router).into_future() => served,
                _ = stopped => Ok(()),
            }
        };
        thread::Builder::new()
            .name("endpoint".into())
            .spawn(move || runtime.block_on(serve))?;
        Ok(Endpoint {
            origin,
            state,
            _stop: stop,
        })
    }

    /// Its scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Where tokens are to be had.
    pub fn token_url(&self) -> String {
        format!("{}/oauth/token", self.origin)
    }

    /// How all clients are answered that have no behaviour of their own.
    pub fn set(&self, behaviour: Behaviour) {
        locked(&self.state).everyone = behaviour;
    }

    /// How one client is answered.
    pub fn set_for(&self, client: &str, behaviour: Behaviour) {
        let mut state = locked(&self.state);
        state.of_client.insert(client.to_owned(), behaviour);
    }

    /// How many requests there were so far, whatever they got.
    pub fn requests(&self) -> u64 {
        locked(&self.state).count
    }

    /// How many clients have asked more than once.
    pub fn renewed(&self) -> usize {
        let state = locked(&self.state);
        let times = state.times.values();
        times.filter(|times| times.len() > 1).count()
    }

    /// When a client's requests came.
    pub fn times(&self, client: &str) -> Vec<SystemTime> {
        let times = locked(&self.state).times.get(client).cloned();
        times.unwrap_or_default()
    }
}

fn locked(state: &Mutex<Requests>) -> MutexGuard<'_, Requests> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(
    State(state): State<Arc<Mutex<Requests>>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let client = form.get("client_id").cloned();
    let Some(client) = client.or_else(|| basic_user(&headers)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let (behaviour, number) = {
        let mut state = locked(&state);
        state.count += 1;
        let times = state.times.entry(client.clone()).or_default();
        times.push(SystemTime::now());
        let behaviour = state.of_client.get(&client).unwrap_or(&state.everyone);
        (*behaviour, state.count)
    };
    wait(behaviour.delay).await;
    match behaviour.answer {
        Answer::Nothing => pending().await,
        Answer::Unavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Answer::Token => {
            let audience = form.get("audience").map_or("", String::as_str);
            let body = json!({
                "access_token": token(&client, audience, number, behaviour.lifetime),
                "scope": SCOPE,
                "expires_in": behaviour.lifetime.as_secs(),
                "token_type": "Bearer",
            });
            (
                [(header::CONTENT_TYPE, "application/json")],
                body.to_string(),
            )
                .into_response()
        }
    }
}

/// Takes exactly so long. A timer of tokio's comes up to 2 ms late, which would be a third of the usual delay; a thread that
/// sleeps does not. Long delays need no such care, and no thread each.
async fn wait(delay: Duration) {
    if delay > Duration::from_secs(1) || spawn_blocking(move || thread::sleep(delay)).await.is_err()
    {
        sleep(delay).await;
    }
}

/// The user of HTTP's Basic authentication.
fn basic_user(headers: &HeaderMap) -> Option<String> {
    let header = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let joined = STANDARD.decode(header.strip_prefix("Basic ")?).ok()?;
    let (user, _) = std::str::from_utf8(&joined).ok()?.split_once(':')?;
    Some(user.to_owned())
}

const SCOPE: &str = "edge.admin:manage edge.token:manage";

/// A JWT with the claims of Sitecore's, padded to the usual length. The number makes each a different one.
fn token(client: &str, audience: &str, number: u64, lifetime: Duration) -> String {
    let header = r#"{"alg":"RS256","typ":"JWT","kid":"0123456789abcdef0123456789abcdef"}"#;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let claims = |padding: &str| {
        json!({
            "https://auth.sitecorecloud.io/claims/tenant_id": format!("tenant-{client}"),
            "https://auth.sitecorecloud.io/claims/org_id": "org_bench",
            "iss": "https://auth.sitecorecloud.io/",
            "sub": format!("{client}@clients"),
            "aud": audience,
            "iat": now,
            "exp": now + lifetime.as_secs(),
            "azp": client,
            "gty": "client-credentials",
            "scope": SCOPE,
            "jti": format!("{number:032x}"),
            "padding": padding,
        })
        .to_string()
    };
    let header = URL_SAFE_NO_PAD.encode(header);
    let room = TOKEN_LENGTH.saturating_sub(header.len() + SIGNATURE_LENGTH + 2) * 3 / 4;
    let padding = "x".repeat(room.saturating_sub(claims("").len()));
    let claims = URL_SAFE_NO_PAD.encode(claims(&padding));
    format!("{header}.{claims}.{}", "A".repeat(SIGNATURE_LENGTH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_the_usual_length_and_are_all_different() {
        let tokens = [1, 2].map(|number| {
            let audience = "https://api.sitecorecloud.io";
            token("client-17", audience, number, Duration::from_hours(1))
        });
        assert_ne!(tokens[0], tokens[1]);
        for token in &tokens {
            assert!(token.len().abs_diff(TOKEN_LENGTH) <= 2, "{}", token.len());
            assert_eq!(token.split('.').count(), 3);
        }
    }

    #[tokio::test]
    async fn requests_are_counted_by_client_and_answered_as_set() {
        let endpoint = Endpoint::start().unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let ask = async |client: &str| {
            let form = [("client_id", client), ("audience", "a")];
            let request = http.post(endpoint.token_url()).form(&form);
            request.send().await.unwrap().status()
        };
        assert_eq!(ask("one").await, 200);
        let unavailable = Behaviour {
            answer: Answer::Unavailable,
            ..Behaviour::default()
        };
        endpoint.set_for("two", unavailable);
        assert_eq!(ask("two").await, 503);
        assert_eq!(ask("one").await, 200);
        assert_eq!(endpoint.requests(), 3);
        assert_eq!(endpoint.times("one").len(), 2);
    }
}
