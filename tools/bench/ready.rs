//! When an object is ready, and when each became so.

use std::{
    collections::HashMap,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, future};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::Value;
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    Result,
    template::{Order, fill},
};

/// How often to look for what is waited for. When it came is noted by the watch.
const POLL: Duration = Duration::from_millis(2);

/// When an object is ready. The words are those of `kubectl wait --for`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// `secret=NAME`: this Secret is there. `{name}` is the object's.
    Secret(String),
    /// `condition=TYPE`: the condition is True.
    Condition(String),
    /// `jsonpath={.a.b}=VALUE`: the field has this value. Names and dots only.
    Field(Vec<String>, String),
}

impl FromStr for Ready {
    type Err = String;

    fn from_str(text: &str) -> Result<Ready, String> {
        let wrong = || format!("ready: {text} is not secret=, condition= or jsonpath={{.a.b}}=");
        match text.split_once('=').ok_or_else(wrong)? {
            ("secret", name) => Ok(Ready::Secret(name.to_owned())),
            ("condition", name) => Ok(Ready::Condition(name.to_owned())),
            ("jsonpath", rest) => {
                let path = rest
                    .strip_prefix("{.")
                    .and_then(|rest| rest.split_once("}="));
                let (path, value) = path.ok_or_else(wrong)?;
                let names = path.split('.').map(str::to_owned).collect();
                Ok(Ready::Field(names, value.to_owned()))
            }
            _ => Err(wrong()),
        }
    }
}

impl Ready {
    /// What an arrival for this object is noted under.
    pub fn key(&self, order: &Order) -> String {
        let name = self.secret(order).unwrap_or_else(|| order.name.clone());
        format!("{}/{name}", order.namespace)
    }

    /// The Secret of this object, where that is what is waited for.
    pub fn secret(&self, order: &Order) -> Option<String> {
        match self {
            Ready::Secret(name) => Some(fill(name, &[("name", &order.name)])),
            Ready::Condition(_) | Ready::Field(..) => None,
        }
    }

    fn holds(&self, object: &Value) -> bool {
        match self {
            Ready::Secret(_) => true,
            Ready::Condition(name) => {
                let conditions = object["status"]["conditions"].as_array();
                conditions
                    .into_iter()
                    .flatten()
                    .any(|condition| condition["type"] == **name && condition["status"] == "True")
            }
            Ready::Field(path, value) => {
                let found = path.iter().fold(object, |object, name| &object[name]);
                match found.as_str() {
                    Some(text) => text == value,
                    // A number or a boolean, as JSON writes it.
                    None => serde_json::from_str(value).is_ok_and(|value: Value| value == *found),
                }
            }
        }
    }
}

/// When something became ready, and which one of its name it was.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When it was seen.
    pub at: Instant,
    /// The uid: one that is deleted and made again has another one.
    pub uid: String,
}

type Seen = Arc<Mutex<HashMap<String, Arrival>>>;

/// Notes when each object becomes ready, in all namespaces.
pub struct Arrivals {
    seen: Seen,
    watch: JoinHandle<()>,
}

impl Arrivals {
    /// Watches from now on.
    pub fn watch(client: Client, ready: Ready, kind: &ApiResource) -> Arrivals {
        let seen = Seen::default();
        let watch = match ready {
            Ready::Secret(_) => {
                let secrets = Api::<PartialObjectMeta<Secret>>::all(client);
                let changes = watcher(secrets, watcher::Config::default());
                tokio::spawn(note(seen.clone(), changes.applied_objects()))
            }
            ready => {
                let objects = Api::<DynamicObject>::all_with(client, kind);
                let changes = watcher(objects, watcher::Config::default()).applied_objects();
                let changes = changes.filter(move |object| {
                    let object = object.as_ref().ok();
                    future::ready(object.is_some_and(|object| ready.holds(&object.data)))
                });
                tokio::spawn(note(seen.clone(), changes))
            }
        };
        Arrivals { seen, watch }
    }

    /// The arrival under this key, if there was one.
    pub fn get(&self, key: &str) -> Option<Arrival> {
        locked(&self.seen).get(key).cloned()
    }

    /// Waits for the arrivals under all these keys, and returns when they came, in the keys' order.
    pub async fn all(&self, keys: &[String], limit: Duration) -> Result<Vec<Instant>> {
        let start = Instant::now();
        let mut times = Vec::with_capacity(keys.len());
        for key in keys {
            times.push(self.next(key, None, start, limit).await?.at);
        }
        Ok(times)
    }

    /// Waits for an arrival under this key that has another uid.
    pub async fn other_than(&self, key: &str, uid: &str, limit: Duration) -> Result<Instant> {
        Ok(self.next(key, Some(uid), Instant::now(), limit).await?.at)
    }

    async fn next(
        &self,
        key: &str,
        other_than: Option<&str>,
        start: Instant,
        limit: Duration,
    ) -> Result<Arrival> {
        loop {
            if let Some(arrival) = self.get(key)
                && other_than != Some(&*arrival.uid)
            {
                return Ok(arrival);
            }
            if start.elapsed() > limit {
                return Err(format!("{key} is not ready after {limit:?}").into());
            }
            sleep(POLL).await;
        }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn locked(seen: &Seen) -> MutexGuard<'_, HashMap<String, Arrival>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes each object once, and again where it was made anew. What the watch fails with it recovers from by itself.
async fn note<K: ResourceExt>(seen: Seen, changes: impl Stream<Item = watcher::Result<K>>) {
    changes
        .for_each(|object| {
            if let Ok(object) = object {
                let key = format!(
                    "{}/{}",
                    object.namespace().unwrap_or_default(),
                    object.name_any()
                );
                let uid = object.uid().unwrap_or_default();
                let at = Instant::now();
                let mut seen = locked(&seen);
                let arrival = seen.entry(key).or_insert_with(|| Arrival {
                    at,
                    uid: uid.clone(),
                });
                if arrival.uid != uid {
                    *arrival = Arrival { at, uid };
                }
            }
            future::ready(())
        })
        .await;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn readiness_is_written_as_for_kubectl() {
        let object = json!({"status": {
            "phase": "Issued", "ready": true,
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Stalled", "status": "False"}],
        }});
        for (text, expected) in [
            ("condition=Ready", true),
            ("condition=Stalled", false),
            ("condition=Other", false),
            ("jsonpath={.status.phase}=Issued", true),
            ("jsonpath={.status.phase}=Other", false),
            ("jsonpath={.status.ready}=true", true),
            ("jsonpath={.status.none.at.all}=x", false),
        ] {
            assert_eq!(
                text.parse::<Ready>().unwrap().holds(&object),
                expected,
                "{text}"
            );
        }
        for wrong in ["Ready", "jsonpath=.status.phase=x", "phase=x"] {
            assert!(wrong.parse::<Ready>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_looked_for_under_its_own_name() {
        let order = Order {
            namespace: "tenant-1".into(),
            name: "edge-7".into(),
            client: String::new(),
            token_url: String::new(),
        };
        let key = |ready: &str| ready.parse::<Ready>().unwrap().key(&order);
        assert_eq!(key("secret={name}-token"), "tenant-1/edge-7-token");
        assert_eq!(key("condition=Ready"), "tenant-1/edge-7");
    }
}
