//! What the Token API lists of an object's keys.

use k8s_openapi::jiff::Timestamp;

use super::{ledger::Ledger, mark::Mark};
use crate::edge_api::ListedKey;

/// All keys whose labels have the object's uid, as they were listed in one visit.
#[derive(Clone, Debug)]
pub struct Survey {
    /// When the first page was asked for.
    pub begun_at: Timestamp,
    /// The time by the server's clock, if it told it.
    pub server_time: Option<Timestamp>,
    pub keys: Vec<ListedKey>,
}

/// What became of an attempt's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    Live,
    Revoked,
    /// It is not listed.
    Absent,
}

impl Survey {
    /// What became of an attempt's key.
    pub fn state(&self, mark: &Mark) -> KeyState {
        let mut state = KeyState::Absent;
        for key in self.keys.iter().filter(|key| mark.is_of(&key.label)) {
            if !key.is_revoked {
                return KeyState::Live;
            }
            state = KeyState::Revoked;
        }
        state
    }

    /// The live keys of an attempt.
    pub fn live_keys(&self, mark: &Mark) -> impl Iterator<Item = &ListedKey> {
        let is_live = |key: &&ListedKey| !key.is_revoked && mark.is_of(&key.label);
        self.keys.iter().filter(is_live)
    }

    /// The live keys of the object that no record explains: a copy of this cluster may have made them, or the status was lost.
    pub fn unrecorded<'a>(
        &'a self,
        ledger: &'a Ledger,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a ListedKey> {
        let is_recorded = |key: &ListedKey| ledger.marks().any(|mark| mark.is_of(&key.label));
        self.keys.iter().filter(move |key| {
            !key.is_revoked && key.label.starts_with(prefix) && !is_recorded(key)
        })
    }

    /// How many live keys of the object are a person's to revoke: those that no record explains, and second ones of the current
    /// attempt.
    pub fn count_unknown(&self, ledger: &Ledger, prefix: &str) -> usize {
        let current = ledger.current.as_ref();
        let of_current = current.map_or(0, |mark| self.live_keys(mark).count());
        self.unrecorded(ledger, prefix).count() + of_current.saturating_sub(1)
    }

    /// Whether a time has come by both clocks: by ours, and by the server's if it told its time.
    pub fn has_come(&self, time: Timestamp, now: Timestamp) -> bool {
        time <= now && self.server_time.is_none_or(|server| time <= server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge_token::rules::mark::prefix;

    fn mark(number: u64) -> Mark {
        Mark::new("uid", number)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn key(mark: &Mark, hash: &str, is_revoked: bool) -> ListedKey {
        ListedKey {
            label: mark.label("shop", "edge"),
            hash: hash.into(),
            is_revoked,
            tenant_id: None,
        }
    }

    fn survey(keys: Vec<ListedKey>) -> Survey {
        Survey {
            begun_at: at(0),
            server_time: None,
            keys,
        }
    }

    #[test]
    fn an_attempt_is_live_as_long_as_any_key_of_it_is() {
        let found = survey(vec![
            key(&mark(1), "a", true),
            key(&mark(1), "b", false),
            key(&mark(2), "c", true),
        ]);
        assert_eq!(found.state(&mark(1)), KeyState::Live);
        assert_eq!(found.state(&mark(2)), KeyState::Revoked);
        assert_eq!(found.state(&mark(3)), KeyState::Absent);
        let mark = mark(1);
        let live = found.live_keys(&mark).map(|key| &*key.hash);
        assert_eq!(live.collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_live_key_of_ours_that_no_record_explains_is_unknown_and_no_other_is() {
        let mut ledger = Ledger::default();
        ledger.intend(mark(1), at(0));
        ledger.discard(at(0));
        ledger.current = Some(mark(2));
        let foreign = Mark::new("another-uid", 3);
        let mut keys = vec![
            key(&mark(1), "a", false),
            key(&mark(2), "b", false),
            key(&mark(3), "c", true),
            key(&foreign, "d", false),
        ];
        let count =
            |keys: &[ListedKey]| survey(keys.to_vec()).count_unknown(&ledger, &prefix("uid"));
        assert_eq!(count(&keys), 0);
        keys.push(key(&mark(3), "e", false));
        assert_eq!(count(&keys), 1);
        keys.push(key(&mark(2), "f", false));
        assert_eq!(count(&keys), 2, "a second one of the current attempt");
    }

    #[test]
    fn a_time_has_come_when_both_clocks_say_so() {
        let mut found = survey(Vec::new());
        assert!(found.has_come(at(10), at(10)) && !found.has_come(at(11), at(10)));
        found.server_time = Some(at(5));
        assert!(found.has_come(at(5), at(10)) && !found.has_come(at(6), at(10)));
    }
}
