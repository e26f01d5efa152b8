//! Single decisions, and [histories] of many.

mod histories;

use super::*;
use crate::{edge_api::ListedKey, edge_token::rules::mark::prefix};

const UID: &str = "0b6a2a4e-30c5-4a6a-9d8c-2f8e6b1c7d10";

const OVERLAP: i64 = 24 * 60 * 60;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// An object with one key in its target, for which nothing is to be done.
struct Case {
    ledger: Ledger,
    record: Option<Record>,
    made: Option<Made>,
    visit: Visit,
    change: fn(&mut Observed<'_>),
}

fn mark(number: u64) -> Mark {
    Mark::new(UID, number)
}

fn listed(number: u64, is_revoked: bool) -> ListedKey {
    ListedKey {
        label: mark(number).label("shop", "edge"),
        hash: number.to_string(),
        is_revoked,
        tenant_id: None,
    }
}

impl Default for Case {
    fn default() -> Self {
        let record = Record {
            mark: mark(1),
            created_at: at(0),
            written_at: at(0),
            rotate_request: None,
        };
        Self {
            ledger: Ledger {
                current: Some(mark(1)),
                ..Ledger::default()
            },
            record: Some(record),
            made: None,
            visit: Visit::default(),
            change: |_| {},
        }
    }
}

impl Case {
    fn but(change: fn(&mut Observed<'_>)) -> Self {
        Self {
            change,
            ..Self::default()
        }
    }

    /// With these keys listed.
    fn listing(mut self, keys: &[ListedKey]) -> Self {
        self.visit.listed_in_deletion = true;
        self.visit.survey = Some(Survey {
            begun_at: at(1000),
            server_time: None,
            keys: keys.to_vec(),
        });
        self
    }

    /// With a key that this process made and did not hand out yet, of which the Delivery API says so.
    fn made(mut self, verdict: Option<Verdict>) -> Self {
        self.ledger.intend(mark(2), at(900));
        self.made = Some(Made {
            mark: mark(2),
            created_at: at(900),
            rotate_request: None,
        });
        self.visit.verdict = verdict.map(|verdict| (mark(2), verdict));
        self
    }

    fn decide_at(&self, second: i64) -> Step {
        let mut observed = Observed {
            prefix: &prefix(UID),
            deleted_at: None,
            is_abandoned: false,
            has_finalizer: false,
            wants_finalizer: false,
            is_blocked: false,
            ledger: &self.ledger,
            lists: true,
            is_listed: true,
            proven: self.record.as_ref(),
            has_value: self.record.is_some(),
            is_rendered: self.record.is_some(),
            read_at: Some(at(second)),
            made: self.made.as_ref(),
            visit: &self.visit,
            overlap: SignedDuration::from_secs(OVERLAP),
            rotate_at: None,
            is_rotation_requested: false,
            is_end_requested: false,
            not_before: None,
            creates_from: None,
            last_survey: None,
            rests_until: None,
            probes_from: None,
        };
        (self.change)(&mut observed);
        decide(&observed, at(second))
    }

    fn decide(&self) -> Step {
        self.decide_at(1000)
    }
}

fn held(obstacle: Obstacle) -> Step {
    Step::Hold(Some(obstacle))
}

#[test]
fn a_key_that_works_costs_nothing_and_a_target_that_differs_is_written() {
    assert_eq!(Case::default().decide(), Step::Hold(None));
    let differs = Case::but(|observed| observed.is_rendered = false);
    assert_eq!(differs.decide(), Step::Write);
    let blocked = Case::but(|observed| {
        observed.is_rendered = false;
        observed.is_blocked = true;
    });
    assert_eq!(blocked.decide(), Step::Hold(None));
    let unsecured = Case::but(|observed| observed.wants_finalizer = true);
    assert_eq!(unsecured.decide(), Step::Secure);
}

#[test]
fn what_a_watch_has_shown_is_not_enough_to_call_sitecore_or_to_give_a_target_another_key() {
    let without_the_key = || {
        Case::but(|observed| {
            observed.proven = None;
            observed.is_rendered = false;
            observed.read_at = Some(at(990));
        })
    };
    assert_eq!(without_the_key().decide(), Step::Write);
    assert_eq!(without_the_key().decide_at(1001), Step::Read);
    let unread = Case::but(|observed| {
        observed.read_at = None;
        observed.is_rotation_requested = true;
    });
    assert_eq!(unread.decide(), Step::Read);
    let differs = Case::but(|observed| {
        observed.read_at = None;
        observed.is_rendered = false;
    });
    assert_eq!(differs.decide(), Step::Write, "it has the key");
}

#[test]
fn a_rotation_that_is_due_is_preceded_by_a_list_and_has_to_wait_after_a_failure() {
    let due = || Case::but(|observed| observed.rotate_at = Some(at(1000)));
    assert_eq!(due().decide_at(999), Step::Hold(None));
    assert_eq!(due().decide(), Step::Survey);
    assert_eq!(due().listing(&[listed(1, false)]).decide(), Step::Intend);
    let failed = Case::but(|observed| {
        observed.is_rotation_requested = true;
        observed.not_before = Some(at(1001));
    });
    assert_eq!(failed.decide(), Step::Hold(None));
    assert_eq!(failed.decide_at(1001), Step::Survey);
    let just_made = Case::but(|observed| {
        observed.is_rotation_requested = true;
        observed.creates_from = Some(at(1001));
    });
    assert_eq!(just_made.decide(), Step::Hold(None));
    assert_eq!(just_made.decide_at(1001), Step::Survey);
}

#[test]
fn the_more_attempts_came_to_an_unknown_end_the_longer_the_next_one_waits() {
    let intervals =
        [0, 1, 2, 3, 4, 5, 100, u32::MAX].map(|unknown| create_interval(unknown).as_secs());
    assert_eq!(intervals, [60, 60, 120, 240, 300, 300, 300, 300]);
}

#[test]
fn no_key_is_made_where_a_person_has_to_look_first() {
    let due = || Case::but(|observed| observed.rotate_at = Some(at(1000)));
    let unknown = due().listing(&[listed(1, false), listed(7, false)]);
    assert_eq!(unknown.decide(), held(Obstacle::UnrecordedKeys));
    let elsewhere = due().listing(&[]);
    assert_eq!(elsewhere.decide(), held(Obstacle::EnvironmentChanged));
    let confirmed = Case::but(|observed| observed.is_rotation_requested = true).listing(&[]);
    assert_eq!(confirmed.decide(), Step::Intend);
    let mut many = due().listing(&[listed(1, false)]);
    for number in 10..18 {
        many.ledger.retired.push(Retired {
            mark: mark(number),
            since: at(990),
            end: End::Overlap(at(100_000)),
        });
    }
    assert_eq!(many.decide(), held(Obstacle::TooManyKeys));
}

#[test]
fn a_key_that_others_revoked_is_replaced_once_that_is_seen() {
    let revoked = Case::default().listing(&[listed(1, true)]);
    assert_eq!(revoked.decide(), Step::Intend);
}

#[test]
fn a_new_key_is_handed_out_once_it_works_or_where_there_is_none_that_does() {
    assert_eq!(Case::default().made(None).decide(), Step::Probe(mark(2)));
    let says = |verdict| Case::default().made(Some(verdict));
    assert_eq!(says(Verdict::Accepted).decide(), Step::Promote);
    assert_eq!(
        says(Verdict::Refused).decide(),
        held(Obstacle::DeliveryRefused)
    );
    let unknown = says(Verdict::Unknown);
    assert_eq!(unknown.decide(), held(Obstacle::DeliveryUnavailable));
    let mut only = says(Verdict::Unknown);
    only.record = None;
    assert_eq!(only.decide_at(959), held(Obstacle::DeliveryUnavailable));
    assert_eq!(only.decide_at(960), Step::Promote);
}

#[test]
fn an_attempt_is_made_right_after_its_record_or_given_up() {
    let mut intended = Case::default();
    intended.ledger.intend(mark(2), at(990));
    intended.visit.intended = Some((mark(2), at(990)));
    assert_eq!(intended.decide(), Step::Create);
    assert_eq!(intended.decide_at(1001), Step::Discard);
    intended.visit.intended = None;
    assert_eq!(intended.decide(), Step::Discard, "by another visit");
}

#[test]
fn a_former_key_is_revoked_when_its_overlap_is_over_and_the_present_one_works() {
    let former = || {
        let mut case = Case::default().listing(&[listed(1, false), listed(2, false)]);
        case.ledger.retired.push(Retired {
            mark: mark(2),
            since: at(0),
            end: End::Overlap(at(OVERLAP)),
        });
        case.visit.verdict = Some((mark(1), Verdict::Accepted));
        case
    };
    assert_eq!(former().decide_at(OVERLAP - 1), Step::Hold(None));
    assert_eq!(former().decide_at(OVERLAP), Step::Revoke(vec![mark(2)]));
    let mut written_late = former();
    written_late.record.as_mut().unwrap().written_at = at(50);
    assert_eq!(written_late.decide_at(OVERLAP + 49), Step::Hold(None));
    let mut by_the_server = former();
    by_the_server.visit.survey.as_mut().unwrap().server_time = Some(at(OVERLAP - 1));
    assert_eq!(by_the_server.decide_at(OVERLAP), Step::Hold(None));
    let mut refused = former();
    refused.visit.verdict = Some((mark(1), Verdict::Refused));
    assert_eq!(refused.decide_at(OVERLAP), held(Obstacle::DeliveryRefused));
    let mut unlisted = former();
    unlisted.visit.survey.as_mut().unwrap().keys.remove(0);
    assert_eq!(unlisted.decide_at(OVERLAP), Step::Hold(None));
    let mut still_live = former();
    still_live.visit.revoked.push(mark(2));
    assert_eq!(still_live.decide_at(OVERLAP), held(Obstacle::KeyNotRevoked));
    let mut ended = former();
    ended.change = |observed| observed.is_end_requested = true;
    assert_eq!(ended.decide(), Step::EndOverlaps);
    ended.change = |_| {};
    ended.ledger.end_overlaps(at(1000));
    // Whatever the clock of the server says.
    ended.visit.survey.as_mut().unwrap().server_time = Some(at(0));
    assert_eq!(ended.decide(), Step::Revoke(vec![mark(2)]));
    ended.record = None;
    assert_eq!(
        ended.decide(),
        Step::Intend,
        "nothing works but the former one"
    );
}

#[test]
fn while_nothing_can_be_written_no_api_is_called() {
    let mut rests = Case::but(|observed| {
        observed.is_rotation_requested = true;
        observed.rests_until = Some(at(1001));
    });
    assert_eq!(rests.decide(), Step::Hold(None));
    assert_eq!(rests.decide_at(1001), Step::Survey);
    rests.change = |observed| {
        observed.is_rotation_requested = true;
        observed.is_rendered = false;
        observed.rests_until = Some(at(1001));
    };
    assert_eq!(rests.decide(), Step::Write, "that is no call of an API");
    rests.change = |observed| {
        observed.has_finalizer = true;
        observed.wants_finalizer = true;
        observed.deleted_at = Some(at(999));
        observed.rests_until = Some(at(1001));
    };
    assert_eq!(rests.decide(), Step::Hold(None));
    assert_eq!(rests.decide_at(1001), Step::Survey);
}

#[test]
fn a_delivery_api_that_asks_to_wait_is_not_asked_and_has_said_nothing() {
    let mut made = Case::default().made(None);
    made.change = |observed| observed.probes_from = Some(at(1001));
    assert_eq!(made.decide(), held(Obstacle::DeliveryUnavailable));
    assert_eq!(made.decide_at(1001), Step::Probe(mark(2)));
    made.record = None;
    assert_eq!(made.decide_at(959), held(Obstacle::DeliveryUnavailable));
    assert_eq!(made.decide_at(960), Step::Promote);
    let mut former = Case::default();
    former.ledger.retired.push(Retired {
        mark: mark(2),
        since: at(0),
        end: End::Ended(at(0)),
    });
    assert_eq!(former.decide(), Step::Survey);
    former.change = |observed| observed.probes_from = Some(at(1001));
    assert_eq!(former.decide(), held(Obstacle::DeliveryUnavailable));
}

#[test]
fn an_object_that_is_deleted_is_released_once_its_keys_are_revoked() {
    let deleted = || {
        Case::but(|observed| {
            observed.has_finalizer = true;
            observed.wants_finalizer = true;
            observed.deleted_at = Some(at(1000));
        })
    };
    assert_eq!(deleted().decide(), Step::Survey);
    let mut live = deleted().listing(&[listed(1, false)]);
    live.visit.listed_in_deletion = false;
    assert_eq!(
        live.decide(),
        Step::Survey,
        "what was listed before may be old"
    );
    live.visit.listed_in_deletion = true;
    assert_eq!(live.decide(), Step::Revoke(vec![mark(1)]));
    assert_eq!(live.decide_at(1600), Step::Release, "for whatever reason");
    let mut asked = deleted().listing(&[listed(1, false)]);
    asked.visit.revoked.push(mark(1));
    assert_eq!(asked.decide(), held(Obstacle::KeyNotRevoked));
    let revoked = deleted().listing(&[listed(1, true), listed(7, true)]);
    assert_eq!(revoked.decide(), Step::Release);
    let copied = deleted().listing(&[listed(1, false), listed(7, false)]);
    assert_eq!(
        copied.decide(),
        Step::Release,
        "a copy of the cluster has it"
    );
    let abandoned = Case::but(|observed| {
        observed.has_finalizer = true;
        observed.wants_finalizer = true;
        observed.deleted_at = Some(at(1000));
        observed.is_abandoned = true;
    });
    assert_eq!(abandoned.decide(), Step::Release);
    let kept = Case::but(|observed| observed.deleted_at = Some(at(1000)));
    assert_eq!(kept.decide_at(1600), Step::Hold(None));
}

#[test]
fn a_deletion_waits_for_an_attempt_that_may_be_under_way() {
    let deleted = |since: i64| {
        let mut case = Case::but(|observed| {
            observed.has_finalizer = true;
            observed.wants_finalizer = true;
            observed.deleted_at = Some(at(1000));
        });
        case.ledger.intend(mark(2), at(since));
        case.listing(&[listed(1, true)])
    };
    assert_eq!(deleted(971).decide(), Step::Hold(None));
    assert_eq!(deleted(970).decide(), Step::Release);
    let mut given_up = deleted(971);
    given_up.ledger.discard(at(971));
    assert_eq!(given_up.decide(), Step::Hold(None));
}

#[test]
fn an_object_that_is_deleted_after_its_policy_became_keep_keeps_its_keys() {
    let kept = Case::but(|observed| {
        observed.has_finalizer = true;
        observed.deleted_at = Some(at(1000));
    });
    assert_eq!(kept.decide(), Step::Release);
}

#[test]
fn what_may_work_on_is_what_is_not_known_to_be_revoked_or_never_to_have_been_made() {
    let mut ledger = Ledger {
        current: Some(mark(1)),
        ..Ledger::default()
    };
    ledger.intend(mark(2), at(900));
    ledger.discard(at(900));
    ledger.intend(mark(3), at(100));
    let survey = |begun_at, keys: &[ListedKey]| Survey {
        begun_at: at(begun_at),
        server_time: None,
        keys: keys.to_vec(),
    };
    let left = |survey: Option<&Survey>| -> Vec<Mark> { find_left(&ledger, survey, UID) };
    assert_eq!(left(None), [mark(1), mark(3), mark(2)]);
    let none_listed = survey(1000, &[]);
    // The first was handed out, so that it must be somewhere; the second may turn up.
    assert_eq!(left(Some(&none_listed)), [mark(1), mark(2)]);
    let late = survey(1800, &[listed(1, true)]);
    assert_eq!(left(Some(&late)), []);
    let live = survey(1800, &[listed(1, true), listed(2, false), listed(3, true)]);
    assert_eq!(left(Some(&live)), [mark(2)]);
    let copied = survey(1800, &[listed(1, true), listed(7, false)]);
    assert_eq!(left(Some(&copied)), [mark(7)]);
}
