//! How often one object may have a token replaced that is good, whatever its owner does to it.

use std::{collections::HashMap, time::Duration};

use super::keys::SinceStart;
use crate::cluster::object_key::ObjectKey;

/// How many requests an object may send in a row.
const BURST: u32 = 5;

/// After how long it may send one more.
const REFILL: Duration = Duration::from_secs(60);

/// How many objects are remembered until those are looked for that have been quiet.
const SWEEP_AT: usize = 64;

/// A bucket of requests for each object, also while it is deleted and made again.
#[derive(Debug, Default)]
pub struct Floors {
    /// When each bucket would be full again.
    full_at: HashMap<ObjectKey, SinceStart>,
}

impl Floors {
    /// Takes a request from the bucket of an object, or says how long to wait for it.
    pub fn take(&mut self, object: &ObjectKey, now: SinceStart) -> Result<(), Duration> {
        if self.full_at.len() >= SWEEP_AT {
            self.full_at.retain(|_, full_at| now < *full_at);
        }
        let full_at = self
            .full_at
            .get(object)
            .copied()
            .unwrap_or_default()
            .max(now);
        let full_with_this_one = full_at + REFILL;
        let empty_at = now + REFILL * BURST;
        if full_with_this_one > empty_at {
            return Err(full_with_this_one - empty_at);
        }
        self.full_at.insert(object.clone(), full_with_this_one);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EdgeCredential;

    #[test]
    fn five_may_come_at_once_and_then_one_a_minute() {
        let mut floors = Floors::default();
        let object = ObjectKey::new::<EdgeCredential>("shop", "edge");
        let second = Duration::from_secs;
        for _ in 0..5 {
            floors.take(&object, second(100)).unwrap();
        }
        assert_eq!(floors.take(&object, second(100)), Err(second(60)));
        assert_eq!(floors.take(&object, second(159)), Err(second(1)));
        floors.take(&object, second(160)).unwrap();
        assert_eq!(floors.take(&object, second(160)), Err(second(60)));
        // Another one has a bucket of its own.
        floors
            .take(
                &ObjectKey::new::<EdgeCredential>("shop", "other"),
                second(160),
            )
            .unwrap();
    }

    #[test]
    fn nobody_is_forgotten_before_that() {
        let mut floors = Floors::default();
        let second = Duration::from_secs;
        let object = ObjectKey::new::<EdgeCredential>("shop", "edge");
        for _ in 0..5 {
            floors.take(&object, second(0)).unwrap();
        }
        for number in 0..2 * SWEEP_AT {
            let other = ObjectKey::new::<EdgeCredential>("shop", number.to_string());
            floors.take(&other, second(1)).unwrap();
        }
        assert!(floors.take(&object, second(2)).is_err());
        // Those that are full again make room: of the first, one request ago, nothing is left.
        floors
            .take(
                &ObjectKey::new::<EdgeCredential>("shop", "late"),
                second(61),
            )
            .unwrap();
        assert_eq!(floors.full_at.len(), 2);
    }

    #[test]
    fn who_was_quiet_for_five_minutes_is_forgotten() {
        let mut floors = Floors::default();
        let second = Duration::from_secs;
        for number in 0..1000 {
            let object = ObjectKey::new::<EdgeCredential>("shop", number.to_string());
            floors.take(&object, second(number * 10)).unwrap();
        }
        assert!(floors.full_at.len() <= SWEEP_AT, "{}", floors.full_at.len());
    }
}
