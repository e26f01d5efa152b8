//! The key in the target of an EdgeToken.

use edge_credential_operator::{
    api::EdgeToken,
    clock::Clock,
    edge_api::{Cause, EdgeApi, Verdict, client::HttpEdgeApi},
    edge_token::rules::{
        decide::Record,
        judge::Judged,
        ledger::{End, Retired},
    },
    http::{
        origin::Origin,
        route::{Deadlines, HttpClient, Route},
    },
};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::report::{Described, Inspection, UNKNOWN};
use crate::{
    check::Check,
    cluster::{access::Cluster, errors::CallError},
    error::Error,
    kind::Kind,
    name::ObjectName,
    output::{
        progress::during,
        times::{short, since, to_the_minute, until},
    },
    stored::judge_key,
};

/// What is known of a key, as far as it may be shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Key {
    /// What its label at Sitecore begins with.
    mark: String,
    created_at: Timestamp,
    written_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotates_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// By which the Token API names it. It opens nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    size: usize,
}

impl Described for Key {
    fn lines(&self, now: Timestamp) -> Vec<(&'static str, String)> {
        let past = |time| format!("{}, {} ago", to_the_minute(time), since(time, now));
        let rotates = self.rotates_at.map(|time| {
            let left = until(time, now, "due for");
            format!("{}, {left}", to_the_minute(time))
        });
        let unknown = || UNKNOWN.to_owned();
        vec![
            ("mark", self.mark.clone()),
            ("made", past(self.created_at)),
            ("written", past(self.written_at)),
            ("rotates", rotates.unwrap_or_else(|| "on request".into())),
            ("verified", self.verified_at.map_or_else(unknown, past)),
            ("tenant", self.tenant.clone().unwrap_or_else(unknown)),
            ("size", format!("{} bytes", self.size)),
        ]
    }
}

/// Looks into the target, and checks what is there. The key is tried where `origins` say that it may be sent there.
pub(super) async fn inspect(
    cluster: &Cluster,
    name: &str,
    origins: Option<&[Origin]>,
) -> Result<Inspection<Key>, Error> {
    let object: EdgeToken = cluster.get(name).await?;
    let target = cluster
        .secret(&cluster.namespace, object.target_name())
        .await?;
    let reference = &object.spec.credentials_secret_ref;
    let credentials = cluster.secret(&cluster.namespace, &reference.name).await;
    let (credentials, unread) = match credentials {
        Ok(secret) => (secret, None),
        Err(error) => (None, Some(error)),
    };
    let judged = judge_key(&object, credentials.as_ref(), target);
    let mut checks = check(&judged, unread, Timestamp::now());
    let stored = stored(&judged);
    if let (Some((value, _)), Some(origins)) = (stored, origins) {
        checks.push(verify(&object, value, origins).await?);
    }
    let key = stored.map(|(value, record)| describe(&judged, value, record));
    Ok(Inspection::new(&object, key, checks))
}

/// The key that the target proves to hold, current or not.
fn stored<'a>(judged: &'a Judged<'_>) -> Option<(&'a SecretString, &'a Record)> {
    let target = judged.target.as_ref().ok()?.as_ref()?;
    let (key, record) = target.proven.as_ref()?;
    Some((&key.value, record))
}

fn describe(judged: &Judged<'_>, value: &SecretString, record: &Record) -> Key {
    let mark = record.mark.to_string();
    let status = judged.object.status.as_ref();
    let known = status.and_then(|status| status.token.as_ref());
    let known = known.filter(|known| known.mark == mark);
    Key {
        mark,
        created_at: record.created_at,
        written_at: record.written_at,
        rotates_at: known.and_then(|_| judged.rotate_at()),
        verified_at: known.and_then(|known| Some(known.verified_at.as_ref()?.0)),
        tenant: known.and_then(|known| known.tenant_id.clone()),
        hash: known.and_then(|known| known.hash.clone()),
        size: value.expose_secret().len(),
    }
}

/// What the two Secrets and the record of keys show, by the rules of the operator.
fn check(judged: &Judged<'_>, unread: Option<CallError>, now: Timestamp) -> Vec<Check> {
    let entered = ObjectName::new(Kind::EdgeToken, &judged.object.name_any());
    let see = format!("See why with `kubectl edgecred status {entered}`.");
    if let Err(problem) = &judged.plan {
        return vec![Check::bad(problem.to_string(), see)];
    }
    match &judged.target {
        Err(problem) => {
            return vec![Check::bad(
                format!("the Secret is not this EdgeToken's: {problem}"),
                "The operator leaves it alone until then.",
            )];
        }
        Ok(None) => {
            let target = judged.object.target_name();
            return vec![Check::bad(
                format!("the Secret \"{target}\" is not there"),
                see,
            )];
        }
        Ok(Some(_)) => {}
    }
    let mut checks = vec![Check::good("the Secret belongs to this EdgeToken")];
    let Some((_, record)) = stored(judged) else {
        checks.push(Check::bad(
            "no value in it proves to be a key for the spec as it is",
            "It was edited, or the spec was changed. The operator replaces it: see `kubectl edgecred status`.",
        ));
        return checks;
    };
    checks.push(Check::good(
        "the proof is good: neither the key nor its times were edited",
    ));
    checks.push(if judged.proven().is_some() {
        Check::good("it is the current key")
    } else if judged.usable(now).is_some() {
        Check::warning("it is a former key, which still works", &*see)
    } else {
        Check::bad("it is a former key, which is to be revoked", &*see)
    });
    if let Some(late) = judged.rotate_at().filter(|at| *at <= now) {
        let late = until(late, now, "due for");
        checks.push(Check::warning(format!("its rotation is {late}"), &*see));
    }
    if let Some(pending) = &judged.ledger.pending {
        let age = since(pending.since, now);
        checks.push(Check::warning(
            format!("another key was asked for {age} ago, and is not handed out yet"),
            &*see,
        ));
    }
    let former = judged.ledger.retired.iter();
    checks.extend(former.filter_map(|former| check_former(former, &entered, now)));
    let is_current = |known: &str| known == record.mark.to_string();
    let status = judged.object.status.as_ref();
    let known = status.and_then(|status| status.token.as_ref());
    let is_listed = known.is_some_and(|known| is_current(&known.mark) && known.hash.is_some());
    let lists = judged.plan.as_ref().is_ok_and(|plan| plan.source.lists());
    checks.push(match (lists, is_listed) {
        (false, _) => Check::unseen("whether it is revoked: the Deploy API lists no keys"),
        (true, true) => Check::good("the Token API lists it"),
        (true, false) => Check::unseen("whether the Token API lists it"),
    });
    checks.push(match (&judged.credentials.credentials, unread) {
        (_, Some(error)) => Check::unseen(format!("the credentials: cannot {}", error.action)),
        (Ok(_), None) => Check::good("the credentials are complete"),
        (Err(problem), None) => {
            let secret = &judged.object.spec.credentials_secret_ref.name;
            Check::bad(
                format!("credentials Secret \"{secret}\": {problem}"),
                "The key works on, and cannot be rotated or revoked.",
            )
        }
    });
    checks
}

/// What is to be said of a former key that somebody may still have.
fn check_former(former: &Retired, entered: &ObjectName, now: Timestamp) -> Option<Check> {
    match former.end {
        End::Discarded => None,
        End::Overlap(until) if now < until => Some(Check::warning(
            format!(
                "a former key works for {}",
                short(until.duration_since(now))
            ),
            format!(
                "Restart what read it from its environment by then. After a leak: `kubectl edgecred end-overlap {entered}`."
            ),
        )),
        End::Overlap(at) | End::Ended(at) => Some(Check::warning(
            format!("a former key is to be revoked, for {} now", since(at, now)),
            format!("See what is in the way with `kubectl edgecred status {entered}`."),
        )),
    }
}

/// Tries a key as the operator does.
async fn verify(
    object: &EdgeToken,
    value: &SecretString,
    origins: &[Origin],
) -> Result<Check, Error> {
    let delivery = &object.spec.delivery_url;
    let Ok(url) = Url::parse(delivery) else {
        return Ok(Check::unseen(
            "the Delivery API: spec.deliveryURL is no URL",
        ));
    };
    let client =
        HttpClient::new(&Route::default(), Deadlines::default()).map_err(|_| Error::HttpClient)?;
    let api = HttpEdgeApi::new(origins.iter().cloned().collect(), client, Clock::system());
    let reply = during("asking the Delivery API", api.probe_key(&url, value)).await;
    Ok(match reply.result {
        Ok(Verdict::Accepted) => Check::good("the Delivery API takes it"),
        Ok(Verdict::Refused) => Check::bad(
            "the Delivery API refuses it",
            "It may have been revoked by others: have it replaced with `kubectl edgecred rotate`.",
        ),
        Ok(Verdict::Unknown) => Check::unseen("the Delivery API does not say whether it takes it"),
        Err(error) if error.cause == Cause::OriginNotAllowed => Check::unseen(format!(
            "the key was not sent to {delivery}, which is none of Sitecore's: allow it with --allowed-api-origin"
        )),
        Err(error) => Check::unseen(error.to_string()),
    })
}
