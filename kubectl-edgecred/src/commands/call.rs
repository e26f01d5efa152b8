//! `call`: an API called with the stored token or key, which is never printed.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    path::PathBuf,
    time::Instant,
};

use anstream::eprintln;
use clap::{Args, builder::ValueHint};
use clap_complete::ArgValueCandidates;
use edge_credential_operator::{
    edge_api::delivery_api::{self, KEY_HEADER, Verdict, judge_success},
    http::origin::{Origin, SITECORE_API_ORIGINS},
};
use reqwest::{
    Method, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use secrecy::ExposeSecret;
use serde_json::json;

use super::completion::object_names;
use crate::{
    cluster::access::Cluster,
    error::Error,
    exit::Exit,
    http::{client, no_answer},
    kind::Kind,
    name::Entered,
    output::progress::during,
    stored::{usable_key, valid_token},
};

/// Where the Admin API and the Token API are.
const API: &str = "https://edge.sitecorecloud.io";

/// The command line.
#[derive(Args, Debug)]
pub struct CallArgs {
    /// NAME for the token of an EdgeCredential; edgetoken/NAME for the key of an EdgeToken, with which the Delivery API is queried.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(object_names))]
    pub name: Entered,

    /// The HTTP method. Not for an EdgeToken.
    #[arg(value_parser = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], ignore_case = true, requires = "path")]
    pub method: Option<String>,

    /// The path at the API, such as /api/admin/v1/settings. Not for an EdgeToken.
    #[arg(value_name = "PATH")]
    pub path: Option<String>,

    /// Call this origin. Whoever is there gets the token, so name none but an API that the token is for. By default Sitecore's; for an
    /// EdgeToken that of spec.deliveryURL, which has to be named where it is none of Sitecore's.
    #[arg(long, value_name = "ORIGIN")]
    pub api: Option<Origin>,

    /// Ask the Delivery API this, in GraphQL. For an EdgeToken; by default the smallest query there is, which reads no content.
    #[arg(long, value_name = "GRAPHQL", conflicts_with_all = ["data", "method"])]
    pub query: Option<String>,

    /// Send what is in this file; - for standard input.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub data: Option<PathBuf>,

    /// What kind of content that is.
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    pub content_type: String,

    /// Do what cannot be undone, in this tenant.
    #[arg(long, value_name = "TENANT")]
    pub confirm_tenant: Option<String>,
}

/// A request, but for the secret that opens the API.
struct Request {
    method: Method,
    url: Url,
    body: Option<Vec<u8>>,
}

/// An answer, without the secret.
struct Answer {
    status: StatusCode,
    text: String,
}

/// Calls the API.
pub async fn run(cluster: &Cluster, args: &CallArgs) -> Result<Exit, Error> {
    let object = args.name.of_any_kind();
    match object.kind {
        Kind::EdgeCredential => call_with_token(cluster, &object.name, args).await,
        Kind::EdgeToken => query_with_key(cluster, &object.name, args).await,
    }
}

async fn call_with_token(cluster: &Cluster, name: &str, args: &CallArgs) -> Result<Exit, Error> {
    let (Some(method), Some(path)) = (&args.method, &args.path) else {
        return Err(Error::usage(
            "METHOD and PATH are missing",
            format!(
                "Write them behind the name: kubectl edgecred call {name} GET /api/admin/v1/settings"
            ),
        ));
    };
    let method = method.to_ascii_uppercase();
    let url = match &args.api {
        Some(api) => address(api.as_str(), path)?,
        None => address(API, path)?,
    };
    let (object, proven) = valid_token(cluster, name).await?;
    let tenant = proven
        .token
        .tenant_id
        .clone()
        .unwrap_or_else(|| object.metadata.name.clone().unwrap_or_default());
    if let Some(harm) = harm(&method, url.path())
        && args.confirm_tenant.as_ref() != Some(&tenant)
    {
        return Err(Error::refused(
            format!("refused: this {harm} of tenant {tenant}, and cannot be undone"),
            format!("If that is what you want, repeat it with --confirm-tenant={tenant}"),
        ));
    }
    let request = Request {
        method: Method::from_bytes(method.as_bytes()).map_err(|_| Error::HttpClient)?,
        url,
        body: args.data.as_ref().map(read).transpose()?,
    };
    let token = proven.token.access_token.expose_secret();
    let answer = send(request, &args.content_type, AUTHORIZATION, "Bearer ", token).await?;
    print(&answer.text)?;
    if answer.status == StatusCode::UNAUTHORIZED {
        eprintln!(
            "The API does not take the token: see `kubectl edgecred inspect {name} --verify`."
        );
    }
    Ok(if is_error(answer.status) {
        Exit::Failed
    } else {
        Exit::Well
    })
}

async fn query_with_key(cluster: &Cluster, name: &str, args: &CallArgs) -> Result<Exit, Error> {
    if args.method.is_some() {
        return Err(Error::usage(
            format!("edgetoken/{name} opens the Delivery API alone, which has one address"),
            "Leave METHOD and PATH out. --query or --data says what to ask.",
        ));
    }
    let body = match (&args.query, &args.data) {
        (Some(query), _) => json!({"query": query}).to_string().into_bytes(),
        (None, Some(path)) => read(path)?,
        (None, None) => delivery_api::QUERY.into(),
    };
    let (object, key) = usable_key(cluster, name).await?;
    let request = Request {
        method: Method::POST,
        url: delivery_address(&object.spec.delivery_url, args.api.as_ref())?,
        body: Some(body),
    };
    let header = HeaderName::from_static(KEY_HEADER);
    let key = key.expose_secret();
    let answer = send(request, &args.content_type, header, "", key).await?;
    print(&answer.text)?;
    let status = answer.status;
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        eprintln!(
            "The Delivery API does not take the key: see `kubectl edgecred inspect edgetoken/{name}`."
        );
    }
    match judge_success(status.as_u16(), answer.text.as_bytes()) {
        Verdict::Accepted => Ok(Exit::Well),
        Verdict::Refused | Verdict::Unknown => Ok(Exit::Failed),
    }
}

/// Sends a request with a secret in a header, and says what was answered and how soon.
async fn send(
    request: Request,
    content_type: &str,
    header: HeaderName,
    scheme: &str,
    secret: &str,
) -> Result<Answer, Error> {
    let mut value =
        HeaderValue::from_str(&format!("{scheme}{secret}")).map_err(|_| Error::HttpClient)?;
    value.set_sensitive(true);
    let host = request.url.host_str().unwrap_or_default().to_owned();
    let mut prepared = client()?
        .request(request.method, request.url)
        .header(header, value)
        .header(ACCEPT, "application/json");
    if let Some(body) = request.body {
        prepared = prepared.header(CONTENT_TYPE, content_type).body(body);
    }
    let start = Instant::now();
    let answer = during(&format!("waiting for {host}"), prepared.send()).await;
    let answer = answer.map_err(|error| no_answer(&host, &error))?;
    let status = answer.status();
    let text = answer
        .text()
        .await
        .map_err(|error| no_answer(&host, &error))?;
    eprintln!(
        "HTTP {}  {} ms",
        status.as_u16(),
        start.elapsed().as_millis()
    );
    // An API that sends the secret back does not get it onto the screen.
    let text = text.replace(secret, "…");
    Ok(Answer { status, text })
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        writeln!(out, "{}", presentable(text))
    } else {
        out.write_all(text.as_bytes())
    }
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Where the Delivery API is, as the spec says: one of Sitecore's origins, or the one that the command line names. Whoever may write
/// the spec must not get the key by it.
fn delivery_address(url: &str, api: Option<&Origin>) -> Result<Url, Error> {
    let url = Url::parse(url).ok();
    let Some((origin, url)) = url.and_then(|url| Some((Origin::of(&url)?, url))) else {
        return Err(Error::refused(
            "spec.deliveryURL is no URL",
            "Correct it: see `kubectl edgecred status`.",
        ));
    };
    let is_sitecores = SITECORE_API_ORIGINS.contains(&origin.as_str());
    match api {
        None if is_sitecores => Ok(url),
        Some(api) if *api == origin => Ok(url),
        Some(_) => Err(Error::refused(
            format!("spec.deliveryURL is at {origin}, and not where --api says"),
            "The key is sent nowhere else: leave --api out, or name that origin.",
        )),
        None => Err(Error::refused(
            format!("the key would go to {origin}, which is none of Sitecore's"),
            format!("If the Delivery API is there, repeat it with --api={origin}"),
        )),
    }
}

/// The URL of a path at an origin, and nowhere else.
fn address(origin: &str, path: &str) -> Result<Url, Error> {
    let url = Url::parse(&format!("{origin}{path}")).ok();
    let stays = |url: &Url| {
        let of = Origin::of(url);
        path.starts_with('/') && of.is_some_and(|of| of.as_str() == origin)
    };
    url.filter(stays).ok_or_else(|| {
        Error::refused(
            "PATH is not a path",
            format!("Write it with a slash in front, such as /api/admin/v1/settings. It is called at {origin}; --api names another API."),
        )
    })
}

/// What cannot be undone of a call, if anything.
fn harm(method: &str, path: &str) -> Option<&'static str> {
    let path = path.trim_end_matches('/').to_ascii_lowercase();
    match method {
        "DELETE" if path.ends_with("/admin/v1/content") => Some("deletes all published content"),
        "DELETE" if path.contains("/admin/v1/cache") => Some("clears the cache"),
        "DELETE" => Some("deletes something"),
        "PUT" | "POST" if path.contains("/revokeby") => Some("revokes an API key"),
        _ => None,
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let result = if path.as_os_str() == "-" {
        io::stdin().read_to_end(&mut bytes).map(|_| ())
    } else {
        fs::read(path).map(|read| bytes = read)
    };
    result.map(|()| bytes).map_err(|source| Error::File {
        path: path.clone(),
        action: "read",
        source,
    })
}

/// A server's text without what moves a cursor or changes colours.
fn presentable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && !matches!(c, '\n' | '\t') {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_goes_to_its_origin_and_nowhere_else() {
        let url = address(API, "/api/admin/v1/settings?x=1").unwrap();
        assert_eq!(
            url.as_str(),
            "https://edge.sitecorecloud.io/api/admin/v1/settings?x=1"
        );
        for path in [
            "api",
            ".evil.example/",
            "@evil.example/",
            ":8443/",
            "https://evil.example/",
            "",
        ] {
            assert!(address(API, path).is_err(), "{path}");
        }
        // What looks like a host is a path here.
        assert_eq!(
            address(API, "//evil.example/").unwrap().host_str(),
            Some("edge.sitecorecloud.io")
        );
    }

    #[test]
    fn a_key_goes_to_sitecore_or_where_the_command_line_says() {
        let elsewhere = "https://delivery.example/api/graphql/v1";
        let origin = |text: &str| text.parse::<Origin>().unwrap();
        let named = origin("https://delivery.example");
        for (url, api, is_sent) in [
            ("https://edge.sitecorecloud.io/api/graphql/v1", None, true),
            (elsewhere, None, false),
            (elsewhere, Some(&named), true),
            (
                "https://edge.sitecorecloud.io/api/graphql/v1",
                Some(&named),
                false,
            ),
            ("https://edge.sitecorecloud.io.evil.example/", None, false),
            ("not a URL", Some(&named), false),
        ] {
            let address = delivery_address(url, api);
            assert_eq!(address.is_ok(), is_sent, "{url}");
            assert!(address.is_err() || address.unwrap().as_str() == url);
        }
    }

    #[test]
    fn what_cannot_be_undone_is_known() {
        for (method, path, is_harmful) in [
            ("GET", "/api/admin/v1/content", false),
            ("DELETE", "/api/admin/v1/content", true),
            ("DELETE", "/api/admin/v1/content/", true),
            ("DELETE", "/api/admin/v1/cache", true),
            ("DELETE", "/api/admin/v1/webhooks/1", true),
            ("PUT", "/api/apikey/v1/revokebyhash/abc", true),
            ("PUT", "/api/apikey/v1/RevokeByToken", true),
            ("PUT", "/api/admin/v1/settings", false),
            ("POST", "/api/apikey/v1", false),
        ] {
            assert_eq!(harm(method, path).is_some(), is_harmful, "{method} {path}");
        }
        assert_eq!(
            harm("DELETE", "/api/admin/v1/content"),
            Some("deletes all published content")
        );
    }

    #[test]
    fn an_answer_moves_no_cursor() {
        assert_eq!(presentable("a\n\u{1b}[2Jb\r"), "a\n\u{fffd}[2Jb\u{fffd}");
    }
}
