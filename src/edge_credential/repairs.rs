//! How often a target is set right that somebody else changes again and again.

use std::{collections::HashMap, time::Duration};

use k8s_openapi::{
    api::core::v1::Secret,
    jiff::{SignedDuration, Timestamp},
};
use parking_lot::Mutex;

use crate::cluster::{object_key::ObjectKey, transition::Transition, write::FIELD_MANAGER};

/// How many repairs within [`WINDOW`] are made at once.
const AT_ONCE: usize = 3;

/// Over how long repairs are counted.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// How long each further one waits for the one before it.
const GAP: SignedDuration = SignedDuration::from_secs(10);

/// The longest name of a field manager that is shown. Kubernetes allows twice as many characters.
const MANAGER_MAX_LENGTH: usize = 64;

/// The repairs of the last minute, by object. Two controllers that each set right what the other one writes would otherwise do so
/// many times a second (datawire/ambassador-operator#48).
#[derive(Debug, Default)]
pub struct Repairs(Mutex<HashMap<ObjectKey, Vec<Timestamp>>>);

/// A repair that has to wait.
#[derive(Debug, PartialEq, Eq)]
pub struct Contested {
    pub wait: Duration,
    /// Whether this is the first one of a series, and so worth an Event.
    pub is_new: bool,
}

impl Repairs {
    /// Counts a repair, or says how long it has to wait.
    pub fn begin(&self, object: &ObjectKey, now: Timestamp) -> Result<(), Contested> {
        let mut repairs = self.0.lock();
        // Everybody's, so that nobody's are kept for longer.
        repairs.retain(|_, times| {
            times
                .retain(|time| (SignedDuration::ZERO..WINDOW).contains(&now.duration_since(*time)));
            !times.is_empty()
        });
        let times = repairs.entry(object.clone()).or_default();
        let since_last = times.last().map(|last| now.duration_since(*last));
        match since_last.filter(|since| times.len() >= AT_ONCE && *since < GAP) {
            Some(since_last) => Err(Contested {
                wait: (GAP - since_last).unsigned_abs(),
                is_new: times.len() == AT_ONCE,
            }),
            None => {
                times.push(now);
                Ok(())
            }
        }
    }
}

/// Tells that a target is changed or deleted by somebody else again and again, and by whom, if a field manager says so whose name can be
/// shown.
pub fn tell_contested(name: &str, target: Option<&Secret>) -> Transition {
    let managed = target.and_then(|target| target.metadata.managed_fields.as_ref());
    let others = managed.into_iter().flatten();
    let others = others.filter(|entry| entry.manager.as_deref() != Some(FIELD_MANAGER));
    let latest = others.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    let manager = latest.and_then(|entry| entry.manager.as_deref());
    let by = manager.filter(|manager| is_shown(manager)).map_or_else(
        || "somebody else".to_owned(),
        |manager| format!("the field manager \"{manager}\""),
    );
    Transition {
        warning: true,
        reason: "TargetContested".into(),
        message: format!(
            "The Secret \"{name}\" is changed or deleted by {by} again and again: it is set right every {} seconds from now on.",
            GAP.as_secs()
        ),
        part: None,
    }
}

fn is_shown(manager: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    !manager.is_empty() && manager.len() <= MANAGER_MAX_LENGTH && manager.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::EdgeCredential;
    use crate::edge_credential::testing::at;

    #[test]
    fn three_repairs_a_minute_are_made_at_once_and_then_one_in_ten_seconds() {
        let repairs = Repairs::default();
        let object = ObjectKey::new::<EdgeCredential>("shop", "edge");
        let begin = |second| repairs.begin(&object, at(second));
        let wait = |seconds, is_new| {
            let wait = Duration::from_secs(seconds);
            Err(Contested { wait, is_new })
        };
        for second in [0, 1, 2] {
            assert_eq!(begin(second), Ok(()));
        }
        assert_eq!(begin(2), wait(10, true));
        assert_eq!(begin(11), wait(1, true));
        assert_eq!(begin(12), Ok(()));
        assert_eq!(begin(13), wait(9, false));
        assert_eq!(begin(22), Ok(()));
        // After a quiet minute all is as before, and another target is another matter.
        assert_eq!(begin(90), Ok(()));
        assert_eq!(begin(90), Ok(()));
        assert_eq!(
            repairs.begin(&ObjectKey::new::<EdgeCredential>("shop", "other"), at(90)),
            Ok(())
        );
        assert_eq!(repairs.0.lock().len(), 2);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_repair_wait() {
        let repairs = Repairs::default();
        let object = ObjectKey::new::<EdgeCredential>("shop", "edge");
        for _ in 0..3 {
            repairs.begin(&object, at(1000)).unwrap();
        }
        assert_eq!(repairs.begin(&object, at(0)), Ok(()));
    }

    #[test]
    fn the_other_field_manager_is_named_if_its_name_can_be_shown() {
        let long = "x".repeat(65);
        for (manager, shown) in [
            ("helm", "the field manager \"helm\""),
            (
                "kubectl-client-side-apply",
                "the field manager \"kubectl-client-side-apply\"",
            ),
            ("CANARY CANARY", "by somebody else"),
            (long.as_str(), "by somebody else"),
            (FIELD_MANAGER, "by somebody else"),
        ] {
            let target: Secret = serde_json::from_value(json!({"metadata": {
                "name": "edge",
                "managedFields": [
                    {"manager": FIELD_MANAGER, "time": "2026-01-01T00:00:02Z"},
                    {"manager": manager, "time": "2026-01-01T00:00:01Z"},
                ],
            }}))
            .unwrap();
            let told = tell_contested("edge", Some(&target)).message;
            assert!(told.contains(shown) && !told.contains("CANARY"), "{told}");
        }
    }
}
