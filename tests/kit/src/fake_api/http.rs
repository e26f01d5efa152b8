//! HTTP requests to operations of the store, and their results to answers.

use std::{
    collections::BTreeMap, io, ops::Bound, sync::Arc, sync::atomic::Ordering, time::Duration,
};

use axum::body::Body;
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{Method, header};
use serde_json::{Value, json};

use super::{
    Shared,
    error::ApiError,
    fault::Fault,
    metadata::text,
    path::{self, ObjectName, Target},
    record::{Request, Verb},
    selector::Selector,
    store::{Patch, Preconditions, Store, Written},
    view::View,
    watch::{self, WatchOptions},
};

enum Answer {
    Json(u16, Value),
    Watch(WatchOptions),
}

/// A request as far as the store is concerned.
struct Call {
    target: Target,
    verb: Verb,
    query: BTreeMap<String, String>,
    view: View,
    content_type: String,
    body: Vec<u8>,
}

/// Answers one request. An error is a broken connection.
pub(super) async fn serve(
    shared: Arc<Shared>,
    request: http::Request<kube::client::Body>,
) -> io::Result<http::Response<Body>> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect_bytes()
        .await
        .map_err(io::Error::other)?
        .to_vec();
    let Some(target) = path::parse(parts.uri.path()) else {
        return refuse(&ApiError::no_such_path());
    };
    let header = |name| {
        let value = parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let query: BTreeMap<String, String> =
        form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let watching = query.get("watch").is_some_and(|v| v == "true" || v == "1");
    let Some(verb) = verb(&parts.method, &target, watching) else {
        return refuse(&ApiError::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method",
        ));
    };
    let call = Call {
        verb,
        query,
        view: View::accepted(&header(header::ACCEPT)),
        content_type: header(header::CONTENT_TYPE),
        body,
        target,
    };

    let mut request = shared.arrival(verb, &call.target);
    let fault = shared.fault(&request);
    let answer = match &fault {
        Fault::DropConnection => None,
        Fault::Status(code, reason) => {
            Some(Err(ApiError::new(*code, reason, "injected by the test")))
        }
        Fault::Delay(delay) => {
            tokio::time::sleep(*delay).await;
            Some(shared.answer(&request, &call, None))
        }
        Fault::None => Some(shared.answer(&request, &call, None)),
        Fault::Stale(revision) => Some(shared.answer(&request, &call, Some(*revision))),
        Fault::CrashedAfter => {
            let _lost = shared.answer(&request, &call, None);
            None
        }
    };
    request.code = match &answer {
        None => 0,
        Some(Ok(Answer::Json(code, _))) => *code,
        Some(Ok(Answer::Watch(_))) => 200,
        Some(Err(error)) => error.code,
    };
    shared.answered(request);
    match answer {
        None => Err(io::Error::new(
            io::ErrorKind::ConnectionReset,
            "injected by the test",
        )),
        Some(Ok(Answer::Json(code, value))) => respond(code, Body::from(value.to_string())),
        Some(Ok(Answer::Watch(options))) => {
            respond(200, Body::from_stream(watch::start(shared, options)))
        }
        Some(Err(error)) => refuse(&error),
    }
}

fn refuse(error: &ApiError) -> io::Result<http::Response<Body>> {
    respond(error.code, Body::from(error.body().to_string()))
}

fn respond(code: u16, body: Body) -> io::Result<http::Response<Body>> {
    http::Response::builder()
        .status(code)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(io::Error::other)
}

fn verb(method: &Method, target: &Target, watching: bool) -> Option<Verb> {
    match (method.as_str(), &target.name) {
        ("GET", Some(_)) => Some(Verb::Get),
        ("GET", None) if watching => Some(Verb::Watch),
        ("GET", None) => Some(Verb::List),
        ("POST", None) => Some(Verb::Create),
        ("PUT", Some(_)) => Some(Verb::Update),
        ("PATCH", Some(_)) => Some(Verb::Patch),
        ("DELETE", Some(_)) => Some(Verb::Delete),
        ("DELETE", None) => Some(Verb::DeleteCollection),
        _ => None,
    }
}

impl Shared {
    fn answer(
        self: &Arc<Self>,
        request: &Request,
        call: &Call,
        stale: Option<u64>,
    ) -> Result<Answer, ApiError> {
        if self.denies(request) {
            let why = format!(
                "User \"test\" cannot {} resource \"{}\" in API group \"{}\" in the namespace \"{}\"",
                request.verb, request.resource, request.group, request.namespace
            );
            return Err(ApiError::forbidden(
                &call.target.resource,
                &request.name,
                &why,
            ));
        }
        if call.verb.writes() && call.query.contains_key("dryRun") {
            return Err(ApiError::bad_request("a dry run is not simulated"));
        }
        match call.verb {
            Verb::Get => self.get(call, stale),
            Verb::List => self.list(call, stale),
            Verb::Watch => {
                let options = call.watch_options()?;
                if options.mark_initial_end && !self.streams_lists.load(Ordering::Relaxed) {
                    let why = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
                    let field = "sendInitialEvents";
                    return Err(ApiError::invalid(&options.resource, "", field, why));
                }
                Ok(Answer::Watch(options))
            }
            Verb::Create => self.create(call),
            Verb::Update => {
                let object = call.json()?;
                let now = self.now();
                self.write(|store| store.replace(&call.target, object, &now))
                    .map(|w| call.written(&w))
            }
            Verb::Patch => {
                let patch = call.patch()?;
                let now = self.now();
                self.write(|store| store.patch(&call.target, &patch, &now))
                    .map(|w| call.written(&w))
            }
            Verb::Delete => self.delete(call),
            Verb::DeleteCollection => self.delete_collection(call),
        }
    }

    fn get(&self, call: &Call, stale: Option<u64>) -> Result<Answer, ApiError> {
        let Target {
            resource,
            namespace,
            ..
        } = &call.target;
        let store = self.store();
        let name = Store::object_name(&call.target)?;
        let past = stale.and_then(|revision| store.list_at(resource, namespace, revision));
        let object = match past {
            Some(mut objects) => objects.remove(&name),
            None => store.get(resource, &name),
        };
        let object = object.ok_or_else(|| ApiError::not_found(resource, &name.name))?;
        Ok(Answer::Json(200, call.view.of(&object)))
    }

    fn list(&self, call: &Call, stale: Option<u64>) -> Result<Answer, ApiError> {
        let Target {
            resource,
            namespace,
            ..
        } = &call.target;
        let selector = call.selector()?;
        let token = call.query.get("continue").filter(|t| !t.is_empty());
        let token = token.map(|token| Continue::decode(token)).transpose()?;
        let limit: usize = call
            .number("limit")?
            .filter(|limit| *limit > 0)
            .unwrap_or(usize::MAX);
        let exact = call
            .query
            .get("resourceVersionMatch")
            .is_some_and(|m| m == "Exact");
        let asked: Option<u64> = if exact {
            call.number("resourceVersion")?
        } else {
            None
        };

        let store = self.store();
        let stale =
            stale.filter(|revision| store.list_at(resource, namespace, *revision).is_some());
        // All pages show the state that the first one showed.
        let revision = token.as_ref().map(|t| t.revision).or(asked).or(stale);
        let revision = revision.unwrap_or_else(|| store.revision());
        let objects = store.list_at(resource, namespace, revision).ok_or_else(|| {
            ApiError::expired("The provided continue parameter is too old to display a consistent list result.")
        })?;
        let start = token.map_or(Bound::Unbounded, |token| Bound::Excluded(token.after));
        let mut rest = objects
            .range((start, Bound::Unbounded))
            .filter(|(_, object)| selector.matches(object))
            .peekable();
        let mut items = Vec::new();
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        let mut kind = "List".to_owned();
        while let Some((name, object)) = rest.next() {
            kind = format!("{}List", object["kind"].as_str().unwrap_or_default());
            items.push(call.view.of(object));
            if items.len() >= limit && rest.peek().is_some() {
                let after = name.clone();
                metadata["continue"] = json!(Continue { revision, after }.encode());
                if selector.is_everything() {
                    metadata["remainingItemCount"] = json!(rest.count());
                }
                break;
            }
        }
        let (api_version, kind) = match call.view {
            View::Whole => (call.target.api_version(), kind),
            View::Metadata => (
                "meta.k8s.io/v1".to_owned(),
                "PartialObjectMetadataList".to_owned(),
            ),
        };
        let list =
            json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "items": items});
        Ok(Answer::Json(200, list))
    }

    fn create(&self, call: &Call) -> Result<Answer, ApiError> {
        let object = call.json()?;
        if call
            .target
            .resource
            .is("authorization.k8s.io", "selfsubjectaccessreviews")
        {
            return Ok(Answer::Json(201, self.review(object)));
        }
        let now = self.now();
        self.write(|store| store.create(&call.target, object, &now))
            .map(|w| call.written(&w))
    }

    /// Answers a SelfSubjectAccessReview by the denials that the test set.
    fn review(&self, mut review: Value) -> Value {
        let asked = &review["spec"]["resourceAttributes"];
        let field = |name: &str| asked[name].as_str().unwrap_or_default();
        let resource = match field("subresource") {
            "" => field("resource").to_owned(),
            subresource => format!("{}/{subresource}", field("resource")),
        };
        let allowed = !self.forbids(field("verb"), &resource, field("namespace"), field("name"));
        review["status"] = json!({"allowed": allowed});
        review
    }

    fn delete(&self, call: &Call) -> Result<Answer, ApiError> {
        let preconditions = call.preconditions()?;
        let resource = &call.target.resource;
        let now = self.now();
        let object = self.write(|store| {
            let name = Store::object_name(&call.target)?;
            store.delete(resource, &name, &preconditions, &now)
        })?;
        if text(&object, "deletionTimestamp").is_some() {
            return Ok(Answer::Json(200, call.view.of(&object)));
        }
        let name = text(&object, "name");
        let details = json!({"name": name, "group": resource.group, "kind": resource.plural, "uid": text(&object, "uid")});
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
        Ok(Answer::Json(200, status))
    }

    fn delete_collection(&self, call: &Call) -> Result<Answer, ApiError> {
        let Target {
            resource,
            namespace,
            ..
        } = &call.target;
        let selector = call.selector()?;
        call.preconditions()?;
        let now = self.now();
        self.write(|store| {
            let mut chosen: Vec<ObjectName> = store
                .list(resource, namespace)
                .into_iter()
                .filter(|(_, object)| selector.matches(object))
                .map(|(name, _)| name)
                .collect();
            // An earlier deletion may have taken a later object with it.
            chosen.retain(|name| {
                store
                    .delete(resource, name, &Preconditions::default(), &now)
                    .is_ok()
            });
            Ok(())
        })?;
        Ok(Answer::Json(
            200,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}),
        ))
    }
}

impl Call {
    fn json(&self) -> Result<Value, ApiError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")))
    }

    fn number<T: std::str::FromStr>(&self, parameter: &str) -> Result<Option<T>, ApiError> {
        let text = self.query.get(parameter).filter(|text| !text.is_empty());
        text.map(|text| {
            text.parse()
                .map_err(|_| ApiError::bad_request(format!("{parameter}: not a number: {text}")))
        })
        .transpose()
    }

    fn flag(&self, parameter: &str) -> bool {
        self.query
            .get(parameter)
            .is_some_and(|value| value == "true" || value == "1")
    }

    fn selector(&self) -> Result<Selector, ApiError> {
        let text = |parameter: &str| {
            self.query
                .get(parameter)
                .map(String::as_str)
                .unwrap_or_default()
        };
        Selector::parse(
            &self.target.resource,
            text("labelSelector"),
            text("fieldSelector"),
        )
    }

    fn watch_options(&self) -> Result<WatchOptions, ApiError> {
        Ok(WatchOptions {
            resource: self.target.resource.clone(),
            api_version: self.target.api_version(),
            namespace: self.target.namespace.clone(),
            selector: self.selector()?,
            view: self.view,
            from: self.number("resourceVersion")?,
            timeout: self.number("timeoutSeconds")?.map(Duration::from_secs),
            bookmarks: self.flag("allowWatchBookmarks"),
            mark_initial_end: self.flag("sendInitialEvents"),
        })
    }

    fn patch(&self) -> Result<Patch, ApiError> {
        let broken = |error| ApiError::bad_request(format!("error decoding patch: {error}"));
        match self.content_type.as_str() {
            "application/merge-patch+json" => Ok(Patch::Merge(self.json()?)),
            "application/json-patch+json" => serde_json::from_slice(&self.body)
                .map(Patch::Json)
                .map_err(broken),
            other => Err(ApiError::new(
                415,
                "UnsupportedMediaType",
                format!(
                    "the body of the request was in an unknown or not simulated format: {other}"
                ),
            )),
        }
    }

    fn preconditions(&self) -> Result<Preconditions, ApiError> {
        let options = if self.body.is_empty() {
            json!({})
        } else {
            self.json()?
        };
        if !matches!(
            options["propagationPolicy"].as_str(),
            None | Some("Background")
        ) {
            return Err(ApiError::bad_request(
                "no deletion but in the background is simulated",
            ));
        }
        let field = |name: &str| options["preconditions"][name].as_str().map(str::to_owned);
        Ok(Preconditions {
            uid: field("uid"),
            resource_version: field("resourceVersion"),
        })
    }

    fn written(&self, written: &Written) -> Answer {
        let code = if written.created { 201 } else { 200 };
        Answer::Json(code, self.view.of(&written.object))
    }
}

/// Where the next page of a list starts.
struct Continue {
    revision: u64,
    after: ObjectName,
}

impl Continue {
    fn encode(&self) -> String {
        let Self { revision, after } = self;
        BASE64_STANDARD.encode(json!([revision, after.namespace, after.name]).to_string())
    }

    fn decode(token: &str) -> Result<Self, ApiError> {
        let read = || {
            let bytes = BASE64_STANDARD.decode(token).ok()?;
            let (revision, namespace, name): (u64, String, String) =
                serde_json::from_slice(&bytes).ok()?;
            let after = ObjectName { namespace, name };
            Some(Self { revision, after })
        };
        read().ok_or_else(|| ApiError::bad_request("continue key is not valid"))
    }
}
