//! Reads every target every second, as a workload would, and asks the stand-in whether it takes the token.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use futures::future::join_all;
use jsonwebtoken::errors::ErrorKind;
use k8s_openapi::api::core::v1::Secret;
use kit::sitecore::Claims;
use kube::api::ListParams;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    Result,
    history::{ENDPOINT_RECOVERY, History, Moment, Span, Token, moment, now},
    scene::{Scene, namespaces},
};

/// How often to look.
const EVERY: Duration = Duration::from_secs(1);

/// How long the API server may take.
const CALL: Duration = Duration::from_secs(5);

/// How long an operator may take to set a damaged target right, the start of the operator or of the API server included.
const REPAIR: Duration = Duration::from_secs(60);

/// What was found in a target.
enum Found {
    /// A token that the stand-in takes.
    Valid(Box<Claims>),
    /// One that it took, until this moment.
    Expired(Moment),
    /// Nothing that ever was a token.
    Nothing,
}

/// Reads until the operators have ended, which they should not.
pub async fn read(scene: &Scene) -> Result<Infallible> {
    let mut broken_since = vec![None; scene.objects.len()];
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        look(scene, &mut broken_since).await;
        collect_tokens(scene);
        // While it's locked it is being killed or started.
        for operator in [&scene.killed, &scene.steady] {
            if let Ok(mut operator) = operator.try_lock()
                && let Some(code) = operator.ended()
            {
                let tail = operator.log_tail();
                return Err(format!("an operator ended with exit code {code}:\n{tail}").into());
            }
        }
    }
}

async fn look(scene: &Scene, broken_since: &mut [Option<Moment>]) {
    let lists = join_all(namespaces().map(async |namespace| {
        let secrets = scene.secrets(namespace);
        let list = timeout(CALL, secrets.list(&ListParams::default())).await;
        (namespace, list.ok().and_then(Result::ok))
    }))
    .await;
    let lists: BTreeMap<_, _> = lists.into_iter().collect();
    let at = now();
    let mut history = scene.history.lock();
    let last_outage = history.last_outage();
    history.looks += 1;
    history.unanswered += lists.values().filter(|list| list.is_none()).count() as u64;
    for (index, object) in scene.objects.iter().enumerate() {
        let Some(Some(list)) = lists.get(object.namespace) else {
            continue;
        };
        let target = list
            .items
            .iter()
            .find(|secret| secret.metadata.name.as_deref() == Some(&object.name));
        let found = target.map_or(Found::Nothing, |target| find(scene, target));
        let broken_since = &mut broken_since[index];
        judge(&mut history, index, found, at, last_outage, broken_since);
    }
}

fn find(scene: &Scene, target: &Secret) -> Found {
    let data = target.data.as_ref();
    let token = data.and_then(|data| data.get("access_token"));
    let Some(token) = token.and_then(|token| str::from_utf8(&token.0).ok()) else {
        return Found::Nothing;
    };
    match scene.sitecore.verify(token) {
        Ok(claims) => Found::Valid(Box::new(claims)),
        Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => {
            let expires_at = data
                .and_then(|data| data.get("expires_at"))
                .and_then(|time| str::from_utf8(&time.0).ok())
                .and_then(|time| time.parse::<k8s_openapi::jiff::Timestamp>().ok())
                .and_then(|time| u64::try_from(time.as_second()).ok());
            Found::Expired(Duration::from_secs(expires_at.unwrap_or_default()))
        }
        Err(_) => Found::Nothing,
    }
}

fn judge(
    history: &mut History,
    index: usize,
    found: Found,
    at: Moment,
    last_outage: Option<Span>,
    broken_since: &mut Option<Moment>,
) {
    let endpoint_away = history.endpoint_outages.last().copied();
    let endpoint_was_away = |since: Moment| {
        endpoint_away.is_some_and(|away| since <= away.end.saturating_add(ENDPOINT_RECOVERY))
    };
    let object = &mut history.objects[index];
    match found {
        Found::Valid(claims) => {
            object.stored.insert(claims.jti);
            if let Some(since) = broken_since.take()
                && !endpoint_was_away(since)
            {
                object.longest_repair = object.longest_repair.max(at.saturating_sub(since));
            }
        }
        Found::Expired(expiry) => {
            let excused = last_outage.is_some_and(|outage| {
                outage.start <= expiry && expiry <= outage.end && at <= outage.end
            });
            if excused {
                object.excused += 1;
                let away = endpoint_away.filter(|away| expiry <= away.end && away.end <= at);
                let recovery = away.map_or(Duration::ZERO, |away| at - away.end);
                history.longest_recovery = history.longest_recovery.max(recovery);
            } else {
                object.expired += 1;
            }
        }
        Found::Nothing => {
            broken_since.get_or_insert(at);
            let damaged = object.damages.last().is_some_and(|&damage| {
                // Where the operator that had the token was killed as well, it takes a new one to repair it.
                let excused = last_outage.is_some_and(|outage| {
                    outage.start <= damage + REPAIR && at <= outage.end && endpoint_was_away(damage)
                });
                at <= damage + REPAIR || excused
            });
            if !damaged {
                object.missing += 1;
            }
        }
    }
}

/// Keeps what the stand-in has issued since: it forgets all but the last thousand tokens of a client.
fn collect_tokens(scene: &Scene) {
    for (index, object) in scene.objects.iter().enumerate() {
        let known = scene.history.lock().objects[index].tokens.len();
        let issued = usize::try_from(scene.sitecore.issued(&object.name)).unwrap_or(usize::MAX);
        if issued == known {
            continue;
        }
        let tokens = scene.sitecore.tokens(&object.name);
        let new = tokens.len().saturating_sub(issued - known);
        let tokens = tokens[new..].iter().map(|token| Token {
            at: moment(token.at),
            id: token.id.clone(),
        });
        scene.history.lock().objects[index].tokens.extend(tokens);
    }
}
