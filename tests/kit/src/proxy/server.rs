//! The servers: what arrives is passed on, or struck by the fault that waits for it.

use std::{future::pending, io, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
        header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING},
        response::Parts,
    },
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::{net::TcpListener, task::yield_now};

use super::{
    Fault,
    call::{kind, kind_of_service},
    record::{Record, Strike},
};
use crate::connection::{Accept, Connection};

/// The largest body that is passed on, in bytes. The API server takes no more than 3 MiB.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// What the proxy stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    ApiServer,
    Sitecore,
}

/// One of the two servers of a proxy.
#[derive(Debug)]
pub(super) struct Gate {
    pub side: Side,
    pub client: reqwest::Client,
    pub upstream: String,
    pub error_text: String,
    pub record: Arc<Record>,
}

/// Serves until the task is aborted.
pub(super) async fn serve(listener: TcpListener, gate: Gate) {
    let router = Router::new()
        .fallback(handle)
        .with_state(Arc::new(gate))
        .into_make_service_with_connect_info::<Connection>();
    // Never ends by itself.
    let _ = axum::serve(Accept(listener), router).await;
}

async fn handle(
    State(gate): State<Arc<Gate>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    mut request: Request,
) -> Response {
    let (method, uri) = (request.method(), request.uri());
    let kind = match gate.side {
        Side::ApiServer => kind(method, uri),
        Side::Sitecore => Some(kind_of_service(method, uri)),
    };
    let answer = match kind {
        // A list that is streamed has no version of its own choice: the one that is read in its place has.
        None if streamed_list(request.uri()).is_some_and(|list| gate.record.awaits_stale(list)) => {
            Ok(gate.refusal(422))
        }
        None => gate.forward(request).await,
        Some(what) => {
            let _in_flight = gate.record.in_flight();
            let is_refused = is_of_the_past(request.uri()) && gate.record.refuses_history();
            if let Some(version) = gate.record.stale(&what) {
                as_of(request.uri_mut(), &version);
            }
            match gate.record.enter(what) {
                None if is_refused => Ok(gate.refusal(410)),
                None => gate.forward(request).await,
                Some(strike) => gate.strike(&strike, request).await,
            }
        }
    };
    answer.unwrap_or_else(|_: NoAnswer| {
        connection.reset();
        ().into_response()
    })
}

/// The client is to learn nothing: its connection is reset.
struct NoAnswer;

impl Gate {
    async fn strike(&self, strike: &Strike, request: Request) -> Result<Response, NoAnswer> {
        match strike.fault {
            Fault::Silence => {
                strike.begin();
                pending().await
            }
            Fault::SilenceAfter => {
                self.forward_and_read(request).await?;
                strike.begin();
                pending().await
            }
            Fault::Reset => Err(NoAnswer),
            Fault::ResetAfter => {
                self.forward_and_read(request).await?;
                Err(NoAnswer)
            }
            Fault::CutOff => Ok(half(self.forward_and_read(request).await?)),
            Fault::Answer(status) => Ok(self.refusal(status)),
            Fault::AskToWait(seconds) => {
                let retry_after = [(RETRY_AFTER, HeaderValue::from(seconds))];
                Ok((retry_after, self.refusal(429)).into_response())
            }
        }
    }

    /// Passes a call on, and reads the answer to its end: then the server has done all that it does.
    async fn forward_and_read(&self, request: Request) -> Result<(Parts, Bytes), NoAnswer> {
        let (parts, body) = self.forward(request).await?.into_parts();
        let body = axum::body::to_bytes(body, MAX_BODY).await;
        Ok((parts, body.map_err(|_| NoAnswer)?))
    }

    /// Passes a call on, and its answer back. An answer that is not had is none to the client either.
    async fn forward(&self, request: Request) -> Result<Response, NoAnswer> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, MAX_BODY);
        let body = body.await.map_err(|_| NoAnswer)?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let url = format!("{}{path}", self.upstream);
        let answer = self
            .client
            .request(parts.method, url)
            .headers(end_to_end(parts.headers, &[HOST, CONTENT_LENGTH]))
            .body(body)
            .send()
            .await
            .map_err(|_| NoAnswer)?;
        let (mut parts, body) = axum::http::Response::from(answer).into_parts();
        parts.headers = end_to_end(parts.headers, &[]);
        Ok(Response::from_parts(parts, Body::new(body)))
    }

    /// An error as this server writes it.
    fn refusal(&self, status: u16) -> Response {
        let text = &self.error_text;
        let body = match self.side {
            Side::ApiServer => json!({
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": text,
                "reason": if status == 409 { "Conflict" } else { "InternalError" },
                "code": status,
            }),
            Side::Sitecore => json!({"error": text, "error_description": text}),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = [(CONTENT_TYPE, "application/json")];
        (status, headers, body.to_string()).into_response()
    }
}

/// An answer that breaks off in the middle of its body.
fn half((parts, body): (Parts, Bytes)) -> Response {
    let half = stream::iter([Ok(body.slice(..body.len() / 2))]);
    let end = stream::once(async {
        // Without a pause the server would drop what it has not sent yet.
        yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    });
    Response::from_parts(parts, Body::from_stream(half.chain(end)))
}

/// The headers that are not about the connection alone.
fn end_to_end(mut headers: HeaderMap, without: &[HeaderName]) -> HeaderMap {
    for name in [CONNECTION, TRANSFER_ENCODING].iter().chain(without) {
        headers.remove(name);
    }
    headers
}

/// The resource of a list that is streamed.
fn streamed_list(uri: &Uri) -> Option<&str> {
    let is_streamed = uri.query()?.contains("sendInitialEvents=true");
    is_streamed.then(|| uri.path().rsplit('/').next())?
}

/// What a list of one very resource version has in its query.
const EXACT: &str = "resourceVersionMatch=Exact";

fn is_of_the_past(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.contains(EXACT))
}

/// Turns a list into one of this very resource version.
fn as_of(uri: &mut Uri, version: &str) {
    let query = uri.query().unwrap_or_default().trim_start_matches('&');
    let path = uri.path();
    let stale = format!("{path}?{query}&resourceVersion={version}&{EXACT}");
    *uri = stale.parse().expect("a valid URI with more in its query");
}
