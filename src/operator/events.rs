//! Events on transitions. They are published on a best-effort basis, and no reconciliation waits for them.

pub mod queue;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::{Instant, sleep, timeout},
};

use self::queue::{Due, EventQueue, Next, Outcome};
use super::metrics::{EventOutcome, Metrics};
use crate::{
    clock::Clock,
    cluster::{
        errors::{is_conflict, is_namespace_gone},
        leadership::Leadership,
        transition::Transition,
        write::FIELD_MANAGER,
    },
};

/// How many Events may wait, which is 6 MiB at the very most. Further ones are dropped: the conditions say the same.
const WAITING: usize = 4096;

/// How many Events may be on their way to the API server, each in a namespace of its own.
const IN_FLIGHT: usize = 16;

/// How long the API server may take for one.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest note that the API takes is 1024 bytes.
const NOTE_MAX_LENGTH: usize = 1000;

/// The longest name of a reporting instance that the API takes, which must have one.
const INSTANCE_MAX_LENGTH: usize = 128;

/// Takes transitions in, and has them published in the background.
#[derive(Clone, Debug)]
pub struct Events {
    state: Arc<State>,
    /// Wakes the publisher, and tells it that there is still somebody who may push.
    news: Sender<()>,
}

#[derive(Debug)]
struct State {
    queue: Mutex<EventQueue>,
    clock: Clock,
    started: Instant,
    metrics: Metrics,
}

impl Events {
    /// A queue, and the work of emptying it, which ends when every queue handle is gone.
    pub fn new(
        client: Client,
        leadership: Leadership,
        clock: Clock,
        metrics: Metrics,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let state = Arc::new(State {
            queue: Mutex::new(EventQueue::new(WAITING)),
            clock,
            started: Instant::now(),
            metrics,
        });
        let (news, awaited) = mpsc::channel(1);
        let publisher = publish_all(state.clone(), client, leadership, awaited);
        (Self { state, news }, publisher)
    }

    /// Has an Event published about an object. Never waits.
    pub fn publish(&self, regarding: ObjectReference, transition: Transition) {
        let State { queue, clock, .. } = &*self.state;
        let now = self.state.started.elapsed();
        if queue.lock().push(regarding, transition, clock.now(), now) {
            self.state.metrics.event_ended(EventOutcome::Displaced);
        }
        // A full channel wakes the publisher too.
        let _ = self.news.try_send(());
    }
}

async fn publish_all(
    state: Arc<State>,
    client: Client,
    leadership: Leadership,
    mut awaited: Receiver<()>,
) {
    let State {
        queue,
        started,
        metrics,
        ..
    } = &*state;
    let mut in_flight = FuturesUnordered::new();
    let mut is_open = true;
    loop {
        let next = if in_flight.len() < IN_FLIGHT {
            queue.lock().next(started.elapsed())
        } else {
            Next::Nothing
        };
        let pause = match next {
            Next::Publish(due) => {
                in_flight.push(publish(&client, &leadership, due));
                continue;
            }
            Next::Expired => {
                metrics.event_ended(EventOutcome::Expired);
                continue;
            }
            Next::Wait(pause) => Some(pause),
            Next::Nothing => None,
        };
        if pause.is_none() && in_flight.is_empty() && !is_open {
            return;
        }
        tokio::select! {
            Some((due, outcome)) = in_flight.next() => {
                queue.lock().finish(&due, outcome, started.elapsed());
                metrics.event_ended(match outcome {
                    Outcome::Published => EventOutcome::Published,
                    Outcome::Failed | Outcome::NamespaceGone => EventOutcome::Failed,
                });
            }
            news = awaited.recv(), if is_open => is_open = news.is_some(),
            () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }
}

async fn publish(client: &Client, leadership: &Leadership, due: Box<Due>) -> (Box<Due>, Outcome) {
    if !leadership.may_act() {
        return (due, Outcome::Failed);
    }
    let namespace = due.regarding.namespace.as_deref().unwrap_or_default();
    let events = Api::namespaced(client.clone(), namespace);
    let outcome = match timeout(TIMEOUT, write(&events, &due)).await {
        Ok(Ok(())) => Outcome::Published,
        Ok(Err(error)) if is_namespace_gone(&error) => Outcome::NamespaceGone,
        Ok(Err(_)) | Err(_) => {
            tracing::debug!(
                reason = due.transition.reason,
                "an event could not be published"
            );
            Outcome::Failed
        }
    };
    (due, outcome)
}

/// Counts a repeat on the Event that is there, or creates an Event.
async fn write(events: &Api<Event>, due: &Due) -> Result<(), kube::Error> {
    if due.is_repeat {
        let count = Patch::Merge(json!({ "series": series(due) }));
        match events
            .patch(&due.name, &PatchParams::default(), &count)
            .await
        {
            // Events do not live long, and people delete them.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            result => return result.map(drop),
        }
    }
    match events.create(&PostParams::default(), &event(due)).await {
        // It is there: an earlier call had no answer.
        Err(error) if is_conflict(&error) => Ok(()),
        result => result.map(drop),
    }
}

fn series(due: &Due) -> EventSeries {
    EventSeries {
        count: due.count,
        last_observed_time: MicroTime(due.last_seen),
    }
}

fn event(due: &Due) -> Event {
    let mut note = due.transition.message.clone();
    note.truncate(note.floor_char_boundary(NOTE_MAX_LENGTH));
    let type_ = if due.transition.warning {
        "Warning"
    } else {
        "Normal"
    };
    Event {
        metadata: ObjectMeta {
            namespace: due.regarding.namespace.clone(),
            name: Some(due.name.clone()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(due.first_seen)),
        type_: Some(type_.into()),
        reason: Some(due.transition.reason.clone()),
        action: Some("Reconcile".into()),
        note: Some(note),
        regarding: Some(due.regarding.clone()),
        reporting_controller: Some(FIELD_MANAGER.into()),
        reporting_instance: Some(reporting_instance(std::env::var("HOSTNAME").ok())),
        series: (due.count > 1).then(|| series(due)),
        ..Event::default()
    }
}

/// The host, which for a pod is its name or as much of it as fits; or where there is none, the operator.
fn reporting_instance(host: Option<String>) -> String {
    let mut instance = host
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| FIELD_MANAGER.into());
    instance.truncate(instance.floor_char_boundary(INSTANCE_MAX_LENGTH));
    instance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_never_empty_and_never_longer_than_the_api_takes() {
        for (host, expected) in [
            (Some("edge-0".to_owned()), "edge-0"),
            (Some(String::new()), "edge-credential-operator"),
            (None, "edge-credential-operator"),
            (Some("a".repeat(200)), &"a".repeat(128)),
        ] {
            assert_eq!(reporting_instance(host), expected);
        }
    }
}
