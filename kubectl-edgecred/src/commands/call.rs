//! `call`: an API called with the stored token, which is never printed.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    path::PathBuf,
    time::Instant,
};

use anstream::eprintln;
use clap::{Args, builder::ValueHint};
use clap_complete::ArgValueCandidates;
use edge_credential_operator::http::origin::Origin;
use reqwest::{
    Method, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use secrecy::ExposeSecret;

use super::completion::object_names;
use crate::{
    cluster::access::Cluster,
    error::Error,
    exit::Exit,
    http::{client, no_answer},
    output::progress::during,
    stored::valid_token,
};

/// Where the Admin API and the Token API are.
const API: &str = "https://edge.sitecorecloud.io";

/// The command line.
#[derive(Args, Debug)]
pub struct CallArgs {
    /// The EdgeCredential whose token is used.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(object_names))]
    pub name: String,

    /// The HTTP method.
    #[arg(value_parser = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], ignore_case = true)]
    pub method: String,

    /// The path at the API, such as /api/admin/v1/settings.
    #[arg(value_name = "PATH")]
    pub path: String,

    /// Call this origin. Whoever is there gets the token, so name none but an API that the token is for.
    #[arg(long, value_name = "ORIGIN", default_value = API)]
    pub api: Origin,

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

/// Calls the API.
pub async fn run(cluster: &Cluster, args: &CallArgs) -> Result<Exit, Error> {
    let method = args.method.to_ascii_uppercase();
    let url = address(&args.api, &args.path)?;
    let (object, proven) = valid_token(cluster, &args.name).await?;
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
    let body = args.data.as_ref().map(read).transpose()?;
    let token = proven.token.access_token.expose_secret();
    let mut authorization =
        HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Error::HttpClient)?;
    authorization.set_sensitive(true);
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Error::HttpClient)?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let mut request = client()?
        .request(method, url)
        .header(AUTHORIZATION, authorization)
        .header(ACCEPT, "application/json");
    if let Some(body) = body {
        request = request.header(CONTENT_TYPE, &args.content_type).body(body);
    }
    let start = Instant::now();
    let answer = during(&format!("waiting for {host}"), request.send()).await;
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
    // An API that sends the token back does not get it onto the screen.
    let text = text.replace(token, "…");
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        writeln!(out, "{}", presentable(&text))?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    if status.as_u16() == 401 {
        eprintln!(
            "The API does not take the token: see `kubectl edgecred inspect {} --verify`.",
            args.name
        );
    }
    Ok(if status.is_client_error() || status.is_server_error() {
        Exit::Failed
    } else {
        Exit::Well
    })
}

/// The URL of a path at an origin, and nowhere else.
fn address(origin: &Origin, path: &str) -> Result<Url, Error> {
    let url = Url::parse(&format!("{origin}{path}")).ok();
    let stays = |url: &Url| path.starts_with('/') && Origin::of(url).as_ref() == Some(origin);
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
        let origin: Origin = API.parse().unwrap();
        let url = address(&origin, "/api/admin/v1/settings?x=1").unwrap();
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
            assert!(address(&origin, path).is_err(), "{path}");
        }
        // What looks like a host is a path here.
        assert_eq!(
            address(&origin, "//evil.example/").unwrap().host_str(),
            Some("edge.sitecorecloud.io")
        );
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
