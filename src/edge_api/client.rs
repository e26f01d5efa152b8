//! Calls the APIs over HTTP: with deadlines, at allowed origins only, following no redirect, reading no more than needed.

use std::fmt;

use futures::{FutureExt, future::BoxFuture};
use reqwest::{
    Client, RequestBuilder, Response, Url,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

use super::{
    Access, EdgeApi, Reply,
    delivery_api::{KEY_HEADER, QUERY, Verdict, judge_failure, judge_success},
    deploy_api::{obtain_url, read_obtained},
    error::{ApiError, Call, Cause},
    token_api::{Listing, NewKey, Pages, page_url, read_key, read_revocation, revoke_url},
};
use crate::{
    clock::Clock,
    http::{
        body::{BodyError, read_body},
        origin::AllowedOrigins,
        rate_limits::{read_date, read_limits},
        route::HttpClient,
        unreachable::Unreachable,
    },
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Calls the APIs over HTTP. All clones are one.
#[derive(Clone)]
pub struct HttpEdgeApi {
    client: HttpClient,
    allowed: AllowedOrigins,
    clock: Clock,
}

/// A success.
struct Answer {
    status: u16,
    body: Zeroizing<Vec<u8>>,
}

impl HttpEdgeApi {
    /// Calls at `allowed` origins only: a JSON Web Token or a key goes nowhere else.
    pub fn new(allowed: AllowedOrigins, client: HttpClient, clock: Clock) -> Self {
        Self {
            client,
            allowed,
            clock,
        }
    }

    /// Sends what `prepare` makes for this URL, and reads the answer. What is no success is an error.
    async fn send(
        &self,
        call: Call,
        url: Url,
        prepare: impl FnOnce(Client, Url) -> RequestBuilder,
    ) -> Reply<Answer> {
        let failed = |cause| ApiError { call, cause };
        if !self.allowed.contain(&url) {
            return Err(failed(Cause::OriginNotAllowed)).into();
        }
        let mut response = match prepare(self.client.current(), url).send().await {
            Ok(response) => response,
            Err(error) => return Err(failed(unreachable(&error))).into(),
        };
        let status = response.status().as_u16();
        let date = read_date(response.headers());
        let limits = read_limits(status, response.headers(), date, self.clock.now());
        let refusal = match status {
            200..=299 => None,
            429 => Some(Cause::RateLimited {
                quota: limits.quota,
            }),
            300..=399 => Some(Cause::Redirected { status }),
            _ => Some(Cause::Refused { status }),
        };
        let result = match refusal {
            // Its text is of no use to anybody.
            Some(cause) => Err(cause),
            None => read(&mut response).await,
        };
        Reply {
            result: result.map(|body| Answer { status, body }).map_err(failed),
            limits,
            date,
        }
    }

    async fn list(&self, access: Access<'_>, prefix: &str) -> Reply<Listing> {
        let call = Call::ListKeys;
        let begun_at = self.clock.now();
        let mut pages = Pages::default();
        let mut first_date = None;
        loop {
            let page = pages.next();
            let url = page_url(access.base, prefix, page);
            let reply = self.send(call, url, |client, url| {
                authorized(client.get(url), access.jwt).header(ACCEPT, JSON)
            });
            let reply = reply.await;
            if page == 1 {
                first_date = reply.date;
            }
            let mut reply = reply.and_then(|answer| {
                let added = pages.add(&answer.body, prefix);
                added.map_err(|cause| ApiError { call, cause })
            });
            reply.date = first_date;
            match reply.result {
                Ok(true) => {}
                _ => {
                    return reply.and_then(|_| {
                        let keys = pages.into_keys();
                        Ok(Listing { begun_at, keys })
                    });
                }
            }
        }
    }

    async fn probe(&self, delivery_url: &Url, key: &SecretString) -> Reply<Verdict> {
        // A key of base64 is always one.
        let mut header = HeaderValue::from_str(key.expose_secret())
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        header.set_sensitive(true);
        let reply = self.send(Call::ProbeKey, delivery_url.clone(), |client, url| {
            let request = client.post(url).header(KEY_HEADER, header);
            let request = request.header(CONTENT_TYPE, JSON).header(ACCEPT, JSON);
            request.body(QUERY)
        });
        let reply = reply.await;
        Reply {
            result: match reply.result {
                Ok(answer) => Ok(judge_success(answer.status, &answer.body)),
                Err(error) => judge_failure(&error.cause).ok_or(error),
            },
            limits: reply.limits,
            date: reply.date,
        }
    }
}

impl EdgeApi for HttpEdgeApi {
    fn create_key<'a>(
        &'a self,
        access: Access<'a>,
        key: &'a NewKey,
    ) -> BoxFuture<'a, Reply<SecretString>> {
        let call = Call::CreateKey;
        let sent = self.send(call, access.base.clone(), |client, url| {
            authorized(client.post(url), access.jwt).json(key)
        });
        sent.map(move |reply| judge(reply, call, read_key)).boxed()
    }

    fn list_keys<'a>(
        &'a self,
        access: Access<'a>,
        prefix: &'a str,
    ) -> BoxFuture<'a, Reply<Listing>> {
        self.list(access, prefix).boxed()
    }

    fn revoke_key<'a>(&'a self, access: Access<'a>, hash: &'a str) -> BoxFuture<'a, Reply<()>> {
        let call = Call::RevokeKey;
        let sent = self.send(call, revoke_url(access.base, hash), |client, url| {
            // Some servers refuse one that has none.
            authorized(client.put(url), access.jwt).header(CONTENT_LENGTH, 0)
        });
        sent.map(move |reply| judge(reply, call, read_revocation))
            .boxed()
    }

    fn obtain_key<'a>(
        &'a self,
        access: Access<'a>,
        environment_id: &'a str,
    ) -> BoxFuture<'a, Reply<SecretString>> {
        let call = Call::ObtainKey;
        let url = obtain_url(access.base, environment_id);
        let sent = self.send(call, url, |client, url| {
            authorized(client.get(url), access.jwt).header(ACCEPT, JSON)
        });
        sent.map(move |reply| judge(reply, call, read_obtained))
            .boxed()
    }

    fn probe_key<'a>(
        &'a self,
        delivery_url: &'a Url,
        key: &'a SecretString,
    ) -> BoxFuture<'a, Reply<Verdict>> {
        self.probe(delivery_url, key).boxed()
    }
}

impl fmt::Debug for HttpEdgeApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpEdgeApi")
    }
}

/// What the body of a success comes to.
fn judge<T>(
    reply: Reply<Answer>,
    call: Call,
    read: impl FnOnce(&[u8]) -> Result<T, Cause>,
) -> Reply<T> {
    reply.and_then(|answer| read(&answer.body).map_err(|cause| ApiError { call, cause }))
}

/// The request with its token, in a header that the HTTP library shows nowhere.
fn authorized(request: RequestBuilder, jwt: &SecretString) -> RequestBuilder {
    request.bearer_auth(jwt.expose_secret())
}

async fn read(response: &mut Response) -> Result<Zeroizing<Vec<u8>>, Cause> {
    read_body(response).await.map_err(|error| match error {
        BodyError::Unreachable(cause) => Cause::Unreachable(cause),
        BodyError::TooLarge => Cause::TooLarge,
    })
}

fn unreachable(error: &reqwest::Error) -> Cause {
    Cause::Unreachable(Unreachable::from(error))
}
