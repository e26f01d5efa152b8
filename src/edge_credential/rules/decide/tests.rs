//! What is decided in each situation, and what must hold in all of them.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::SignedDuration};
use proptest::{option, prelude::*};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::*;
use crate::{
    rules::{
        credentials::CredentialsProblem,
        error::Error,
        target::{Ownership, TargetProblem, check_ownership},
    },
    {
        api::{
            ConditionStatus, ConditionType, EdgeCredential, EdgeCredentialStatus, Reason,
            conditions, edge_credential::TokenStatus, target::TargetStatus,
        },
        edge_credential::{
            rules::{
                failures::count_failure,
                judge::{Observed, ObservedTarget, Remembered, judge},
                outcome::Outcome,
                spec::check_spec,
                status::describe_status,
                target::find_token,
            },
            testing::{
                CANARY, NOW, allowed, answer, ask_to_renew, at, client, credentials,
                credentials_secret, endpoint_down, failures, object, object_with, proven, rejected,
                rotated_credentials, sound_plan, stored, target_with, token, version,
            },
        },
    },
};

/// The world around one EdgeCredential, and what was made of it.
struct World {
    object: EdgeCredential,
    credentials: Result<Credentials, CredentialsProblem>,
    target: Option<Secret>,
    cached: Option<Token>,
    answered: bool,
    may_ask: bool,
}

impl World {
    /// Nothing was done yet.
    fn new() -> Self {
        Self::with(json!({}))
    }

    /// Nothing was done yet for an EdgeCredential with these fields of the spec.
    fn with(spec: Value) -> Self {
        Self {
            object: object_with(spec),
            credentials: Ok(credentials()),
            target: None,
            cached: None,
            answered: false,
            may_ask: false,
        }
    }

    /// The target holds this token.
    fn holding(mut self, token: Token) -> Self {
        self.target = Some(target_with(&self.object, token));
        self
    }

    fn observe(&self, now: Timestamp) -> Observed<'_> {
        let credentials = self.credentials.as_ref().ok();
        let credentials = credentials.map(|credentials| credentials_secret(&credentials.client));
        let target = self.target.clone();
        let mut observed = judge(&self.object, &allowed(), credentials.as_ref(), target);
        observed.credentials = self.credentials.clone();
        observed.memory = Remembered {
            token: self.cached.clone().filter(|token| token.is_valid(now)),
            answers_renew_request: self.answered,
            may_ask: self.may_ask,
        };
        observed
    }

    fn decide(&self, now: Timestamp) -> Decision {
        decide(&self.observe(now), now)
    }

    /// Tells in the status what became of it.
    fn tell(
        &mut self,
        token: Option<ProvenToken>,
        problem: Problem,
        requested: bool,
        now: Timestamp,
    ) {
        let problem = match problem {
            Problem::Failed(error, failures) => {
                let reason = error.reason();
                Problem::Failed(error, Failures { reason, ..failures })
            }
            problem => problem,
        };
        let mut outcome = Outcome::untouched(token, problem);
        outcome.requested = requested;
        outcome.versions = Some(self.observe(now).versions());
        self.object.status = Some(describe_status(&self.object, &outcome, now));
    }

    /// The token that the target holds, if it is valid.
    fn stored(&self, now: Timestamp) -> Option<ProvenToken> {
        self.observe(now).valid(now).cloned()
    }

    /// As `reconcile` does it where everything succeeds: the token that is issued lives so many seconds.
    fn carry_out(&mut self, decision: Decision, lifetime: i64, now: Timestamp) {
        let object = &self.object;
        let (proven, requested) = match decision.action {
            Action::Leave(token) => return self.tell(token, decision.problem, false, now),
            Action::Write(secret, proven) => {
                self.target = Some(stored(*secret));
                (proven, false)
            }
            Action::Request { request, .. } => {
                let issued = now.as_second() - NOW;
                let token = token(issued, issued + lifetime);
                self.cached = Some(token.clone());
                let plan = sound_plan(object);
                let proven = ProvenToken::new(token, &request.credentials, object, &plan);
                let secret = render(object, &plan, &proven, self.target.as_ref());
                self.target = Some(stored(secret));
                (proven, true)
            }
        };
        self.tell(Some(proven), decision.problem, requested, now);
    }

    /// As `reconcile` does it where the request, or the write, fails.
    fn fail(&mut self, error: Error, now: Timestamp) {
        let observed = self.observe(now);
        let stored = observed.valid(now).cloned();
        let failures = count_failure(
            observed.failures(now),
            &error,
            &self.object,
            stored.as_ref().map(|stored| &stored.token),
            None,
            now,
        );
        self.tell(stored, Problem::Failed(error, failures), true, now);
    }

    /// The last attempts failed for this error, and the next one is so many seconds after `NOW`.
    fn failed_before(mut self, error: Error, failures: Failures) -> Self {
        let token = self.stored(at(0));
        self.tell(token, Problem::Failed(error, failures), true, at(0));
        self
    }
}

fn write_refused() -> Error {
    Error::WriteTarget {
        secret: "edge".into(),
        source: answer(403, None),
    }
}

/// A decision in a word.
fn word(decision: &Decision) -> &'static str {
    match (&decision.action, &decision.problem) {
        (Action::Leave(None), Problem::Found(_)) => "blocked",
        (Action::Leave(Some(_)), Problem::Found(_)) => "blocked, token valid",
        (Action::Leave(None), Problem::Suspended) => "suspended",
        (Action::Leave(Some(_)), Problem::Suspended) => "suspended, token valid",
        (Action::Leave(None), Problem::BackingOff(_)) => "wait",
        (Action::Leave(Some(_)), Problem::BackingOff(_)) => "wait, token valid",
        (Action::Leave(Some(_)), Problem::None) => "leave",
        (Action::Write(..), Problem::None) => "write",
        (Action::Write(..), Problem::BackingOff(_)) => "write, wait",
        (Action::Write(..), Problem::Found(_)) => "write, blocked",
        (Action::Request { forced: false, .. }, Problem::None) => "request",
        (Action::Request { forced: true, .. }, Problem::None) => "request by force",
        _ => "nonsense",
    }
}

fn requested(decision: &Decision) -> bool {
    matches!(decision.action, Action::Request { .. })
}

#[track_caller]
fn check(rows: impl IntoIterator<Item = (&'static str, World, &'static str)>) {
    for (row, world, expected) in rows {
        assert_eq!(word(&world.decide(at(0))), expected, "{row}");
    }
}

/// A token in the middle of its first two thirds.
fn fresh() -> Token {
    token(-1000, 9000)
}

/// A token in its last third.
fn due() -> Token {
    token(-9000, 1000)
}

fn expired() -> Token {
    token(-9000, 0)
}

fn change(mut world: World, change: impl FnOnce(&mut World)) -> World {
    change(&mut world);
    world
}

fn make_foreign(secret: &mut Secret) {
    secret.metadata.owner_references = None;
    secret.metadata.annotations = None;
}

fn edit_target(secret: &mut Option<Secret>) -> &mut Secret {
    secret.as_mut().unwrap()
}

#[test]
fn a_token_that_is_good_for_other_parameters_is_replaced_and_one_that_is_not_there_is_not() {
    let replaces = |target: Option<Secret>| {
        let object = object();
        let credentials = credentials_secret(&client("s3cret-CANARY"));
        let observed = judge(&object, &allowed(), Some(&credentials), target);
        match decide(&observed, at(0)).action {
            Action::Request { replaces, .. } => replaces,
            other => panic!("{other:?}"),
        }
    };
    let other = object_with(json!({"tokenRequest": {"audience": "another"}}));
    assert!(replaces(Some(target_with(&other, token(0, 3600)))));
    assert!(!replaces(None));
}

#[test]
fn an_immutable_target_is_left_alone_and_its_token_counts_until_it_expires() {
    for (issued, valid) in [(0, true), (-1000, true), (-4000, false)] {
        let mut world = World::new().holding(token(issued, issued + 3600));
        // Even where another token is at hand, and where the target lacks a key.
        world.cached = Some(token(0, 3600));
        let secret = world.target.as_mut().unwrap();
        secret.immutable = Some(true);
        secret.data.as_mut().unwrap().remove("scope");
        let Decision { action, problem } = world.decide(at(0));
        let Problem::Found(error) = problem else {
            panic!("{problem:?}");
        };
        assert_eq!(error.reason(), Reason::TargetImmutable);
        let Action::Leave(left) = action else {
            panic!("{action:?}");
        };
        assert_eq!(left.is_some(), valid, "issued at {issued}");
    }
    let mut mutable = World::new().holding(token(0, 3600));
    mutable.target.as_mut().unwrap().immutable = Some(false);
    assert!(matches!(mutable.decide(at(0)).problem, Problem::None));
}

#[test]
fn a_token_is_requested_where_there_is_none_or_where_it_is_due() {
    check([
        ("nothing there", World::new(), "request"),
        ("valid and not due", World::new().holding(fresh()), "leave"),
        ("due", World::new().holding(due()), "request"),
        ("expired", World::new().holding(expired()), "request"),
        (
            "the credentials are other ones",
            change(World::new().holding(fresh()), |world| {
                world.credentials = Ok(rotated_credentials());
            }),
            "request",
        ),
        (
            "another version of the same credentials",
            change(World::new().holding(fresh()), |world| {
                world.credentials.as_mut().unwrap().version = Some(version("99"));
            }),
            "leave",
        ),
        (
            "other parameters",
            change(World::new().holding(fresh()), |world| {
                world.object.spec.token_request.scopes = vec!["other".into()];
            }),
            "request",
        ),
        (
            "the token in the target was edited",
            change(World::new().holding(fresh()), |world| {
                let data = edit_target(&mut world.target).data.as_mut().unwrap();
                data.get_mut("access_token").unwrap().0[3] ^= 1;
            }),
            "request",
        ),
    ]);
}

#[test]
fn a_token_is_due_from_its_renewal_time_on() {
    let world = World::new().holding(token(0, 86_400));
    let renewal = proven(token(0, 86_400)).renewal.at;
    let second = SignedDuration::from_secs(1);
    assert_eq!(word(&world.decide(renewal - second)), "leave");
    assert_eq!(word(&world.decide(renewal)), "request");

    // The same for one that is only in memory.
    let mut world = World::new();
    world.cached = Some(token(0, 86_400));
    assert_eq!(word(&world.decide(renewal - second)), "write");
    assert_eq!(word(&world.decide(renewal)), "request");
}

#[test]
fn a_token_from_a_clock_that_was_ahead_is_due_and_serves_nobody_else() {
    let within = token(30, 9000);
    let ahead = token(31, 9000);
    let cached = |token: &Token| change(World::new(), |world| world.cached = Some(token.clone()));
    check([
        ("by a little", World::new().holding(within.clone()), "leave"),
        ("by more", World::new().holding(ahead.clone()), "request"),
        ("by a little, in memory", cached(&within), "write"),
        ("by more, in memory", cached(&ahead), "request"),
    ]);
}

#[test]
fn what_is_damaged_around_a_valid_token_is_repaired_without_a_request() {
    check([
        (
            "a key is gone",
            change(World::new().holding(fresh()), |world| {
                let data = edit_target(&mut world.target).data.as_mut().unwrap();
                data.remove("expires_at");
            }),
            "write",
        ),
        (
            "a label is gone",
            change(World::new().holding(fresh()), |world| {
                edit_target(&mut world.target).metadata.labels = None;
            }),
            "write",
        ),
        (
            "the spec maps other keys",
            change(World::new().holding(fresh()), |world| {
                let target = &mut world.object.spec.target;
                target.data = target.entries().into_owned();
                target.data[0].key = "token".into();
            }),
            "write",
        ),
        (
            "others put a label there",
            change(World::new().holding(fresh()), |world| {
                let metadata = &mut edit_target(&mut world.target).metadata;
                let labels = metadata.labels.as_mut().unwrap();
                labels.insert("foreign".into(), "x".into());
            }),
            "leave",
        ),
    ]);
}

#[test]
fn a_token_in_memory_is_written_instead_of_a_request() {
    let held = |token: Token| change(World::new(), |world| world.cached = Some(token));
    check([
        ("no target", held(fresh()), "write"),
        (
            "the target's token is due",
            change(held(fresh()), |world| {
                world.target = Some(target_with(&world.object, due()));
            }),
            "write",
        ),
        ("due itself", held(due()), "request"),
        ("expired", held(expired()), "request"),
        (
            "a new one is asked for",
            change(held(fresh()), |world| {
                ask_to_renew(&mut world.object, "now");
            }),
            "request by force",
        ),
    ]);
    let Action::Write(_, proven) = held(fresh()).decide(at(0)).action else {
        panic!("a write");
    };
    assert!(proven.is_of(&credentials().client));
}

#[test]
fn a_renew_request_is_acted_on_once() {
    let asked = || {
        change(World::new().holding(fresh()), |world| {
            ask_to_renew(&mut world.object, "now");
        })
    };
    check([
        ("asked", asked(), "request by force"),
        (
            "handled by the status",
            change(asked(), |world| {
                let stored = world.stored(at(0));
                world.tell(stored, Problem::None, true, at(0));
            }),
            "leave",
        ),
        (
            "handled, and asked anew",
            change(asked(), |world| {
                let stored = world.stored(at(0));
                world.tell(stored, Problem::None, true, at(0));
                ask_to_renew(&mut world.object, "now!");
            }),
            "request by force",
        ),
        (
            "killed before the status was written",
            change(asked(), |world| {
                let decision = world.decide(at(0));
                world.carry_out(decision, 3600, at(0));
                world.object.status = None;
            }),
            "leave",
        ),
        (
            "an empty value",
            change(World::new().holding(fresh()), |world| {
                ask_to_renew(&mut world.object, "");
            }),
            "leave",
        ),
        (
            "longer than status can hold",
            change(World::new().holding(fresh()), |world| {
                ask_to_renew(&mut world.object, &"x".repeat(65));
            }),
            "leave",
        ),
    ]);
}

#[test]
fn after_a_failure_nothing_is_requested_before_its_time() {
    let waiting = |world: World| world.failed_before(endpoint_down(), failures(1, 60));
    check([
        ("no token", waiting(World::new()), "wait"),
        (
            "a valid token",
            waiting(World::new().holding(due())),
            "wait, token valid",
        ),
        (
            "its time has come",
            World::new().failed_before(endpoint_down(), failures(1, 0)),
            "request",
        ),
        (
            "its time has come though the token is not due: the request was forced",
            World::new()
                .holding(fresh())
                .failed_before(endpoint_down(), failures(1, 0)),
            "request by force",
        ),
        (
            "another generation",
            change(waiting(World::new()), |world| {
                world.object.metadata.generation = Some(2);
            }),
            "request",
        ),
        (
            "other credentials",
            change(waiting(World::new()), |world| {
                world.credentials = Ok(rotated_credentials());
            }),
            "request",
        ),
        (
            "a renew request",
            change(waiting(World::new()), |world| {
                ask_to_renew(&mut world.object, "now");
            }),
            "request by force",
        ),
        (
            "a token in memory, from an equal request of another one",
            change(waiting(World::new()), |world| world.cached = Some(fresh())),
            "write",
        ),
        (
            "a token in memory that is due but better than none",
            change(waiting(World::new()), |world| world.cached = Some(due())),
            "write, wait",
        ),
        (
            "the target is damaged meanwhile",
            change(waiting(World::new().holding(due())), |world| {
                edit_target(&mut world.target).metadata.labels = None;
            }),
            "write, wait",
        ),
    ]);
}

#[test]
fn a_renew_request_that_failed_is_tried_again_and_not_answered_with_the_token_at_hand() {
    let mut world = World::new().holding(fresh());
    world.cached = Some(fresh());
    ask_to_renew(&mut world.object, "now");
    assert_eq!(word(&world.decide(at(0))), "request by force");
    world.fail(rejected(), at(0));
    assert_eq!(word(&world.decide(at(0))), "wait, token valid");
    assert_eq!(word(&world.decide(at(5))), "request by force");
    assert_eq!(world.observe(at(5)).failures(at(5)).unwrap().count, 1);

    // An equal request of another EdgeCredential brought a new one in between.
    world.cached = Some(token(0, 9000));
    assert_eq!(word(&world.decide(at(0))), "write");
}

/// The operator was killed after it had written the target, and before the status that would have said so.
#[test]
fn a_failure_that_is_older_than_the_stored_token_counts_for_nothing() {
    for error in [endpoint_down, rejected, write_refused] {
        let mut world = World::new().failed_before(error(), failures(3, 0));
        let decision = world.decide(at(1));
        world.target = Some(target_with(&world.object, token(1, 9001)));
        assert!(requested(&decision));
        assert_eq!(word(&world.decide(at(2))), "leave", "{}", error());
    }
}

/// Times in the status are whole seconds.
#[test]
fn a_renewal_that_fails_in_the_second_in_which_the_token_was_issued_is_tried_again() {
    let mut world = World::new().holding(token(0, 9000));
    ask_to_renew(&mut world.object, "now");
    world.fail(rejected(), at(0));
    assert_eq!(word(&world.decide(at(1))), "wait, token valid");
    assert_eq!(word(&world.decide(at(5))), "request by force");
}

#[test]
fn after_a_write_that_failed_only_the_write_is_tried_again() {
    let refused = |next| {
        let world = World::new().failed_before(write_refused(), failures(1, next));
        change(world, |world| world.cached = Some(fresh()))
    };
    check([
        ("not yet", refused(60), "wait"),
        ("its time has come", refused(0), "write"),
        (
            "the operator was restarted meanwhile",
            change(refused(0), |world| world.cached = None),
            "request",
        ),
    ]);
}

#[test]
fn a_repair_that_failed_costs_no_request_later() {
    let damaged = |next| {
        change(World::new().holding(fresh()), |world| {
            edit_target(&mut world.target).metadata.labels = None;
            let token = world.stored(at(0));
            let failures = failures(1, next);
            world.tell(
                token,
                Problem::Failed(write_refused(), failures),
                false,
                at(0),
            );
        })
    };
    check([
        ("not yet", damaged(60), "wait, token valid"),
        ("its time has come", damaged(0), "write"),
        (
            "the token is due meanwhile",
            change(World::new().holding(due()), |world| {
                edit_target(&mut world.target).metadata.labels = None;
                let token = world.stored(at(0));
                let trouble = Problem::Failed(write_refused(), failures(1, 0));
                world.tell(token, trouble, false, at(0));
            }),
            "request",
        ),
        (
            "a renewal whose write failed is not forgotten",
            World::new()
                .holding(fresh())
                .failed_before(write_refused(), failures(1, 0)),
            "request",
        ),
    ]);
}

#[test]
fn nothing_is_done_while_suspended() {
    let suspended = |world: World| change(world, |world| world.object.spec.suspend = true);
    let foreign = || {
        change(suspended(World::new().holding(fresh())), |world| {
            make_foreign(edit_target(&mut world.target));
        })
    };
    check([
        ("no token", suspended(World::new()), "suspended"),
        (
            "a valid token",
            suspended(World::new().holding(due())),
            "suspended, token valid",
        ),
        (
            "an expired token",
            suspended(World::new().holding(expired())),
            "suspended",
        ),
        (
            "a token in memory",
            change(suspended(World::new()), |world| {
                world.cached = Some(fresh())
            }),
            "suspended",
        ),
        ("a foreign target", foreign(), "suspended"),
        (
            "a renew request",
            change(suspended(World::new()), |world| {
                ask_to_renew(&mut world.object, "now");
            }),
            "suspended",
        ),
    ]);
}

#[test]
fn nothing_is_requested_for_what_could_not_be_used() {
    let no_credentials = |world: World| {
        change(world, |world| {
            world.credentials = Err(CredentialsProblem::NotFound);
        })
    };
    check([
        (
            "a foreign target",
            change(World::new().holding(fresh()), |world| {
                make_foreign(edit_target(&mut world.target));
                world.cached = Some(fresh());
            }),
            "blocked",
        ),
        (
            "an immutable target",
            change(World::new().holding(due()), |world| {
                edit_target(&mut world.target).immutable = Some(true);
            }),
            "blocked, token valid",
        ),
        (
            "an invalid spec",
            World::with(json!({"renewBefore": "soon"})),
            "blocked",
        ),
        (
            "an origin that is not allowed",
            World::with(json!({"tokenRequest": {"url": "https://evil.example/"}})),
            "blocked",
        ),
        ("no credentials", no_credentials(World::new()), "blocked"),
        (
            "no credentials, but a token",
            no_credentials(World::new().holding(due())),
            "blocked, token valid",
        ),
        (
            "no credentials, and a damaged target",
            change(no_credentials(World::new().holding(due())), |world| {
                edit_target(&mut world.target).metadata.labels = None;
            }),
            "write, blocked",
        ),
    ]);
}

#[test]
fn whose_turn_it_is_asks_whatever_its_own_back_off_says() {
    let word_of = |error, may_ask| {
        let mut world = World::new().failed_before(error, failures(1, 60));
        world.may_ask = may_ask;
        word(&world.decide(at(0)))
    };
    for error in [endpoint_down, rejected] {
        assert_eq!(word_of(error(), true), "request");
        assert_eq!(word_of(error(), false), "wait");
    }
    // A turn at the token endpoint says nothing of a write.
    assert_eq!(word_of(write_refused(), true), "wait");
    assert_eq!(word_of(write_refused(), false), "wait");
}

#[test]
fn a_request_that_fails_for_ever_is_made_ever_more_rarely() {
    type Failing = fn() -> Error;
    for (failing, first_hour, next_day) in [
        (endpoint_down as Failing, 70..400, 1300..6000),
        (rejected, 5..6, 47..49),
    ] {
        let mut world = World::new();
        let (mut requests, mut now) = (Vec::new(), 0);
        while now < 25 * 3600 {
            assert_eq!(word(&world.decide(at(now))), "request");
            requests.push(now);
            world.fail(failing(), at(now));
            let failures = world.object.status.as_ref().unwrap().failures.as_ref();
            let next = failures.unwrap().next_attempt_at.0.as_second() - NOW;
            // Our own status patch brings the object back at once.
            for moment in [now, next - 1] {
                assert_eq!(word(&world.decide(at(moment))), "wait");
            }
            now = next;
        }
        let early = requests.iter().filter(|at| **at < 3600).count();
        assert!(first_hour.contains(&early), "{early}");
        let late = requests.len() - early;
        assert!(next_day.contains(&late), "{late}");
    }
}

/// Any world that can be come across, with what was done and failed before.
fn any_world() -> BoxedStrategy<World> {
    let some_token = || {
        let times = (-20_000..=0_i64, -100..20_000_i64);
        times.prop_map(|(issued, expires)| token(issued, expires.max(issued + 1)))
    };
    let past = (
        option::weighted(0.3, (0..6_usize, 1..6, -100..2000_i64)),
        option::weighted(0.2, 0..2_usize),
    );
    let now = (
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        0..3_usize,
    );
    let tokens = (
        option::weighted(0.7, some_token()),
        option::weighted(0.4, some_token()),
    );
    (past, now, tokens)
        .prop_map(|((failed_before, asked), now, (target, held))| {
            let (suspend, foreign, invalid, damaged, new_generation, whose) = now;
            let mut world = World::new();
            world.target = target.map(|token| target_with(&world.object, token));
            world.cached = held;
            if let Some((error, count, next)) = failed_before {
                let error = match error {
                    0 | 1 => endpoint_down(),
                    2 | 3 => rejected(),
                    _ => write_refused(),
                };
                world = world.failed_before(error, failures(count, next));
            }
            world.object.spec.suspend = suspend;
            if invalid {
                world.object.spec.renew_before = Some("soon".into());
            }
            if new_generation {
                world.object.metadata.generation = Some(2);
            }
            if let Some(asked) = asked {
                ask_to_renew(&mut world.object, &format!("ask-{asked}"));
            }
            world.credentials = match whose {
                0 => Ok(rotated_credentials()),
                1 if damaged => Err(CredentialsProblem::NotFound),
                _ => Ok(credentials()),
            };
            if let Some(secret) = &mut world.target {
                if damaged {
                    secret.metadata.labels = None;
                }
                if foreign {
                    make_foreign(secret);
                }
            }
            world
        })
        .boxed()
}

/// Any status: of an earlier version, of another object, from a wrong clock, or forged.
fn any_status() -> impl Strategy<Value = EdgeCredentialStatus> {
    let time = || {
        let times = prop_oneof![-100_000..100_000_i64, -NOW..200_000_000_000_i64];
        times.prop_map(|seconds| Time(at(seconds)))
    };
    let reason = || prop::sample::select(Reason::ALL);
    let failures = (1..=i32::MAX, reason(), time(), time()).prop_map(
        |(count, reason, last_attempt_at, next_attempt_at)| Failures {
            count,
            reason,
            last_attempt_at,
            next_attempt_at,
        },
    );
    let token =
        (time(), time(), time()).prop_map(|(issued_at, expires_at, renew_at)| TokenStatus {
            issued_at,
            expires_at,
            renew_at,
            audience: "forged".into(),
            scope: None,
            tenant_id: None,
            organization_id: None,
        });
    let versions = prop::sample::select(vec!["7", "8", "100", "999"]);
    (
        option::of(-1..3_i64),
        (option::of(failures), option::of(token)),
        (option::of(versions.clone()), option::of(versions)),
        option::of(0..2_usize),
        prop::collection::vec((reason(), any::<bool>()), 0..3),
    )
        .prop_map(
            |(observed_generation, (failures, token), (credentials, target), asked, told)| {
                let types = [
                    ConditionType::Ready,
                    ConditionType::Reconciling,
                    ConditionType::Stalled,
                ];
                let current =
                    types
                        .into_iter()
                        .zip(told)
                        .map(|(type_, (reason, holds))| ConditionStatus {
                            type_,
                            holds,
                            reason,
                            message: "forged".into(),
                        });
                EdgeCredentialStatus {
                    observed_generation,
                    conditions: conditions::merge(&[], current, observed_generation, at(0)),
                    token,
                    credentials: credentials.map(version),
                    target: target.map(|target| TargetStatus::new("forged", Some(version(target)))),
                    failures,
                    last_handled_renew_request: asked.map(|asked| format!("ask-{asked}")),
                }
            },
        )
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("object", &self.object)
            .field("credentials", &self.credentials)
            .field(
                "target",
                &self.target.as_ref().map(|secret| &secret.metadata),
            )
            .field("cached", &self.cached)
            .finish()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_decision_makes_sense_only_to_a_machine(world in any_world()) {
        let decision = world.decide(at(0));
        prop_assert_ne!(word(&decision), "nonsense", "{:?}", decision);
        let shown = format!("{decision:?}");
        prop_assert!(!shown.contains(CANARY), "{}", shown);
    }

    #[test]
    fn nothing_is_requested_while_suspended_or_for_a_foreign_target_or_an_invalid_spec(
        world in any_world(),
    ) {
        let object = &world.object;
        let foreign = world.observe(at(0)).target.is_err();
        let invalid = check_spec(object, &allowed()).is_err();
        if object.spec.suspend || foreign || invalid || world.credentials.is_err() {
            let decision = world.decide(at(0));
            prop_assert!(!requested(&decision));
            if object.spec.suspend || foreign || invalid {
                prop_assert!(matches!(decision.action, Action::Leave(_)));
            }
        }
    }

    #[test]
    fn nothing_is_left_to_do_after_what_was_decided_was_done(
        mut world in any_world(),
        lifetime in 2..100_000_i64,
    ) {
        let first = world.decide(at(0));
        let trouble = matches!(first.problem, Problem::None);
        world.carry_out(first, lifetime, at(0));
        let second = world.decide(at(0));
        prop_assert!(matches!(second.action, Action::Leave(_)), "{:?}", second);
        prop_assert_eq!(trouble, matches!(second.problem, Problem::None), "{:?}", second);
        let before = world.object.status.clone();
        world.carry_out(second, lifetime, at(0));
        prop_assert_eq!(&world.object.status, &before);
    }

    #[test]
    fn nothing_is_requested_twice_in_a_row_when_it_fails(
        mut world in any_world(),
        error in 0..3_usize,
    ) {
        if requested(&world.decide(at(0))) {
            let error = [endpoint_down, rejected, write_refused][error]();
            world.fail(error, at(0));
            let second = world.decide(at(0));
            prop_assert!(!requested(&second), "{:?}", second);
        }
    }

    #[test]
    fn a_token_that_is_left_or_written_is_valid(world in any_world()) {
        match world.decide(at(0)).action {
            Action::Leave(Some(proven)) => prop_assert!(proven.token.is_valid(at(0))),
            Action::Write(secret, proven) => {
                prop_assert!(proven.token.is_valid(at(0)));
                let found = find_token(&secret, &world.object);
                let found = found.unwrap().token.access_token;
                let meant = &proven.token.access_token;
                prop_assert_eq!(found.expose_secret(), meant.expose_secret());
                prop_assert_eq!(check_ownership(&secret, &world.object), Ok(Ownership::Ours));
            }
            Action::Leave(None) | Action::Request { .. } => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever a status says: a good token stays where it is and counts as such, it costs one request at most, and no
    /// wait is longer than the rules could have set it.
    #[test]
    fn a_forged_status_harms_nobody(mut world in any_world(), status in any_status()) {
        world.object.status = Some(status);
        let good = world.observe(at(0)).valid(at(0)).cloned().filter(|stored| {
            stored.is_of(&credentials().client) && at(0) < stored.renewal.at
        });
        let first = world.decide(at(0));
        prop_assert_ne!(word(&first), "nonsense", "{:?}", first);
        if let Problem::BackingOff(failures) = &first.problem {
            let wait = failures.next_attempt_at.0.duration_since(at(0));
            prop_assert!(wait <= SignedDuration::from_hours(24) + SignedDuration::from_secs(90));
        }
        let blocked = matches!(first.problem, Problem::Found(_));
        world.carry_out(first, 3600, at(0));
        if good.is_some() && !blocked {
            let told = &world.object.status.as_ref().unwrap().conditions;
            prop_assert!(conditions::holds(told, ConditionType::Ready));
            prop_assert!(world.stored(at(0)).is_some());
        }
        prop_assert!(!requested(&world.decide(at(0))), "a second request");
    }
}

#[test]
fn a_foreign_target_is_told_as_such() {
    let world = change(World::new().holding(fresh()), |world| {
        make_foreign(edit_target(&mut world.target));
    });
    let trouble = world.decide(at(0)).problem;
    assert!(matches!(
        trouble,
        Problem::Found(Error::Target {
            problem: TargetProblem::NotOwned,
            ..
        })
    ));
    // Kept out of what a person may print.
    let target = ObservedTarget {
        secret: target_with(&object(), fresh()),
        stored: Some(proven(fresh())),
    };
    let shown = format!("{target:?}");
    assert!(!shown.contains(fresh().access_token.expose_secret()));
}
