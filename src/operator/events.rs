//! Events on transitions. They are published slowly and on a best-effort basis, and no reconciliation waits for them.

use std::{collections::HashSet, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::cluster::{
    errors::is_namespace_gone, leadership::Leadership, transition::Transition, write::FIELD_MANAGER,
};

/// The least time between two Events. In another operator, an Event for each failed attempt took an API server down.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many Events may wait. Further ones are dropped: the condition says the same.
const WAITING: usize = 512;

/// How long the API server may take for one.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest note that the API takes is 1024 bytes.
const NOTE_MAX_LENGTH: usize = 1000;

/// Takes transitions in, and has them published in the background.
#[derive(Clone, Debug)]
pub struct Events(Sender<(ObjectReference, Transition)>);

impl Events {
    /// A queue, and the work of emptying it, which ends when every queue handle is gone.
    pub fn new(client: Client, leadership: Leadership) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), publish_all(client, leadership, receiver))
    }

    /// Has an Event published about an object. Never waits.
    pub fn publish(&self, regarding: ObjectReference, transition: Transition) {
        if self.0.try_send((regarding, transition)).is_err() {
            tracing::debug!("too many events are waiting: one is dropped");
        }
    }
}

async fn publish_all(
    client: Client,
    leadership: Leadership,
    mut transitions: Receiver<(ObjectReference, Transition)>,
) {
    let reporter = Reporter {
        controller: FIELD_MANAGER.into(),
        instance: std::env::var("HOSTNAME").ok(),
    };
    let recorder = Recorder::new(client, reporter);
    let mut pace = interval(INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Namespaces that are being deleted. The API server would refuse each further Event in them.
    let mut ending = HashSet::new();
    while let Some((regarding, transition)) = transitions.recv().await {
        if !ending.is_empty() && ending.contains(&regarding.namespace) {
            continue;
        }
        pace.tick().await;
        if !leadership.may_act() {
            continue;
        }
        let event = event(transition);
        match timeout(TIMEOUT, recorder.publish(&event, &regarding)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if is_namespace_gone(&error) => {
                ending.insert(regarding.namespace);
            }
            Ok(Err(_)) | Err(_) => {
                tracing::debug!(reason = event.reason, "an event could not be published")
            }
        }
        if transitions.is_empty() {
            // A namespace of the same name may be created again.
            ending.clear();
        }
    }
}

fn event(transition: Transition) -> Event {
    let mut note = transition.message;
    note.truncate(note.floor_char_boundary(NOTE_MAX_LENGTH));
    Event {
        type_: if transition.warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: transition.reason,
        note: Some(note),
        action: "Reconcile".into(),
        secondary: None,
    }
}
