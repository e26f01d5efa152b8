//! What is decided in each situation, and what must hold in all of them.

use k8s_openapi::jiff::SignedDuration;
use proptest::{option, prelude::*};
use serde_json::{Value, json};

use super::*;
use crate::{
    edge_credential::{
        rules::{
            credentials::CredentialsProblem,
            failures::{back_off, failed},
            outcome::Outcome,
            renew_before::RenewBefore,
            schedule::cut_to,
            spec::check_spec,
            status::describe_status,
            target::{TargetProblem, check_ownership, find_token},
        },
        testing::{
            CANARY, NOW, allowed, answer, ask_to_renew, at, credentials, failures, object,
            object_with, proven, rotated_credentials, sound_parameters, stored, target_with, token,
        },
    },
    oauth::{Defect, TokenError, Unreachable},
};

/// The world around one EdgeCredential, and what was made of it.
struct World {
    object: EdgeCredential,
    credentials: Result<Credentials, CredentialsProblem>,
    target: Option<Secret>,
    held: Option<Token>,
    answered: bool,
    circuit_open: bool,
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
            held: None,
            answered: false,
            circuit_open: false,
        }
    }

    /// The target holds this token.
    fn holding(mut self, token: Token) -> Self {
        self.target = Some(target_with(&self.object, token));
        self
    }

    /// As `observe` does it.
    fn decide(&self, now: Timestamp) -> Decision {
        let object = &self.object;
        let parameters = check_spec(object, &allowed())
            .map(|plan| plan.parameters)
            .map_err(Error::Spec);
        let target = self.target.clone().map(|secret| {
            check_ownership(&secret, object).map_err(|problem| Error::Target {
                secret: object.target_name().into(),
                problem,
            })?;
            let parameters = parameters.as_ref().ok();
            let stored = parameters.and_then(|parameters| find_token(&secret, parameters));
            Ok(ObservedTarget { secret, stored })
        });
        let credentials = self
            .credentials
            .clone()
            .map_err(|problem| Error::Credentials {
                secret: "edge-client".into(),
                problem,
            });
        decide(
            Observed {
                object,
                parameters,
                credentials,
                target: target.transpose(),
                held: self.held.clone().filter(|held| held.is_valid(now)),
                answered: self.answered,
                circuit_open: self.circuit_open,
            },
            now,
        )
    }

    /// Tells in the status what became of it.
    fn tell(
        &mut self,
        token: Option<ProvenToken>,
        trouble: Problem,
        attempted: bool,
        now: Timestamp,
    ) {
        let trouble = match trouble {
            Problem::Failed(error, failures) => {
                let reason = error.reason();
                Problem::Failed(error, Failures { reason, ..failures })
            }
            trouble => trouble,
        };
        let outcome = Outcome {
            token,
            trouble,
            attempted,
        };
        self.object.status = Some(describe_status(&self.object, &outcome, now));
    }

    /// The token that the target holds, if it is valid.
    fn stored(&self, now: Timestamp) -> Option<ProvenToken> {
        let parameters = sound_parameters(&self.object);
        self.target
            .as_ref()
            .and_then(|secret| find_token(secret, &parameters))
            .filter(|stored| stored.token.is_valid(now))
    }

    /// As `reconcile` does it where everything succeeds: the token that is issued lives so many seconds.
    fn carry_out(&mut self, decision: Decision, lifetime: i64, now: Timestamp) {
        let object = &self.object;
        let (proven, attempted) = match decision.action {
            Action::Leave(token) => return self.tell(token, decision.trouble, false, now),
            Action::Write(rendered) => {
                self.target = Some(stored(rendered.secret));
                (rendered.proven, false)
            }
            Action::Request { request, .. } => {
                let issued = now.as_second() - NOW;
                let token = token(issued, issued + lifetime);
                self.held = Some(token.clone());
                let proven = ProvenToken::new(token, &request.credentials, object.renew_request());
                let secret = render(object, &request.parameters, &proven, self.target.as_ref());
                self.target = Some(stored(secret));
                (proven, true)
            }
        };
        self.tell(Some(proven), decision.trouble, attempted, now);
    }

    /// As `reconcile` does it where the request, or the write, fails.
    fn fail(&mut self, error: Error, now: Timestamp) {
        let credentials = self.credentials.as_ref().unwrap();
        let requested = renew_requested(&self.object, self.stored(now).as_ref());
        let earlier = counted_failures(&self.object, credentials, requested);
        let stored = self.stored(now);
        let failures = failed(
            earlier.as_ref(),
            &error,
            &self.object,
            Some(credentials),
            stored.as_ref().map(|stored| &stored.token),
            None,
            now,
        );
        self.tell(
            self.stored(now),
            Problem::Failed(error, failures),
            true,
            now,
        );
    }

    /// The last attempts failed for this error, and the next one is so many seconds after `NOW`.
    fn failed_before(mut self, error: Error, failures: Failures) -> Self {
        let token = self.stored(at(0));
        self.tell(token, Problem::Failed(error, failures), true, at(0));
        self
    }
}

fn endpoint_down() -> Error {
    Error::RequestToken(TokenError::Unreachable(Unreachable::Connect))
}

fn rejected() -> Error {
    Error::RequestToken(TokenError::Refused {
        status: 401,
        error: None,
    })
}

fn write_refused() -> Error {
    Error::WriteTarget {
        secret: "edge".into(),
        source: answer(403, None),
    }
}

/// A decision in a word.
fn word(decision: &Decision) -> &'static str {
    match (&decision.action, &decision.trouble) {
        (Action::Leave(None), Problem::Found(_)) => "blocked",
        (Action::Leave(Some(_)), Problem::Found(_)) => "blocked, token valid",
        (Action::Leave(None), Problem::Suspended) => "suspended",
        (Action::Leave(Some(_)), Problem::Suspended) => "suspended, token valid",
        (Action::Leave(None), Problem::BackingOff(_)) => "wait",
        (Action::Leave(Some(_)), Problem::BackingOff(_)) => "wait, token valid",
        (Action::Leave(Some(_)), Problem::None) => "leave",
        (Action::Write(_), Problem::None) => "write",
        (Action::Write(_), Problem::BackingOff(_)) => "write, wait",
        (Action::Write(_), Problem::Found(_)) => "write, blocked",
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

fn edit_target(secret: &mut Option<Secret>) -> &mut Secret {
    secret.as_mut().unwrap()
}

#[test]
fn an_immutable_target_is_left_alone_and_its_token_counts_until_it_expires() {
    for (issued, valid) in [(0, true), (-1000, true), (-4000, false)] {
        let mut world = World::new().holding(token(issued, issued + 3600));
        // Even where another token is at hand, and where the target lacks a key.
        world.held = Some(token(0, 3600));
        let secret = world.target.as_mut().unwrap();
        secret.immutable = Some(true);
        secret.data.as_mut().unwrap().remove("scope");
        let Decision { action, trouble } = world.decide(at(0));
        let Problem::Found(error) = trouble else {
            panic!("{trouble:?}");
        };
        assert_eq!(error.reason(), Reason::TargetImmutable);
        let Action::Leave(left) = action else {
            panic!("{action:?}");
        };
        assert_eq!(left.is_some(), valid, "issued at {issued}");
    }
    let mut mutable = World::new().holding(token(0, 3600));
    mutable.target.as_mut().unwrap().immutable = Some(false);
    assert!(matches!(mutable.decide(at(0)).trouble, Problem::None));
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
                world.credentials.as_mut().unwrap().resource_version = Some("99".into());
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
    let renewal = renew_at(&world.object, &token(0, 86_400));
    let second = SignedDuration::from_secs(1);
    assert_eq!(word(&world.decide(renewal - second)), "leave");
    assert_eq!(word(&world.decide(renewal)), "request");

    // The same for one that is only in memory.
    let mut world = World::new();
    world.held = Some(token(0, 86_400));
    assert_eq!(word(&world.decide(renewal - second)), "write");
    assert_eq!(word(&world.decide(renewal)), "request");
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
    let held = |token: Token| change(World::new(), |world| world.held = Some(token));
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
    let Action::Write(rendered) = held(fresh()).decide(at(0)).action else {
        panic!("a write");
    };
    assert!(rendered.proven.is_of(&credentials().client));
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
            change(waiting(World::new()), |world| world.held = Some(fresh())),
            "write",
        ),
        (
            "a token in memory that is due but better than none",
            change(waiting(World::new()), |world| world.held = Some(due())),
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
    world.held = Some(fresh());
    ask_to_renew(&mut world.object, "now");
    assert_eq!(word(&world.decide(at(0))), "request by force");
    world.fail(rejected(), at(0));
    assert_eq!(word(&world.decide(at(0))), "wait, token valid");
    let Action::Request {
        forced, failures, ..
    } = world.decide(at(5)).action
    else {
        panic!("the second attempt");
    };
    assert!(forced);
    assert_eq!(failures.unwrap().count, 1);

    // An equal request of another EdgeCredential brought a new one in between.
    world.held = Some(token(0, 9000));
    assert_eq!(word(&world.decide(at(0))), "write");
}

#[test]
fn after_a_write_that_failed_only_the_write_is_tried_again() {
    let refused = |next| {
        let world = World::new().failed_before(write_refused(), failures(1, next));
        change(world, |world| world.held = Some(fresh()))
    };
    check([
        ("not yet", refused(60), "wait"),
        ("its time has come", refused(0), "write"),
        (
            "the operator was restarted meanwhile",
            change(refused(0), |world| world.held = None),
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
            edit_target(&mut world.target).metadata.owner_references = None;
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
            change(suspended(World::new()), |world| world.held = Some(fresh())),
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
                edit_target(&mut world.target).metadata.owner_references = None;
                world.held = Some(fresh());
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
fn while_an_endpoint_fails_for_everybody_only_waits_for_other_reasons_count() {
    let word_of = |error, circuit_open| {
        let mut world = World::new().failed_before(error, failures(1, 60));
        world.circuit_open = circuit_open;
        word(&world.decide(at(0)))
    };
    // It's called when its turn has come, and that it is here says that it was.
    assert_eq!(word_of(endpoint_down(), true), "request");
    assert_eq!(word_of(endpoint_down(), false), "wait");
    for circuit_open in [true, false] {
        assert_eq!(word_of(rejected(), circuit_open), "wait");
        assert_eq!(word_of(write_refused(), circuit_open), "wait");
    }
}

#[test]
fn the_reason_of_a_failure_is_read_back_from_the_status() {
    for (error, count, reason) in [
        (endpoint_down(), 1, Reason::TokenEndpointUnavailable),
        (rejected(), 1, Reason::CredentialsRejected),
        (rejected(), 4, Reason::CredentialsRejected),
        (write_refused(), 1, Reason::TargetWriteForbidden),
        (
            Error::RequestToken(TokenError::Unusable(Defect::WrongAudience)),
            9,
            Reason::WrongAudience,
        ),
    ] {
        let world = World::new().failed_before(error, failures(count, 60));
        assert_eq!(standing_reason(&world.object), reason);
    }
    assert_eq!(standing_reason(&object()), Reason::TokenEndpointUnavailable);
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

#[test]
fn the_waits_after_failures_are_those_of_the_documents() {
    let waits = |class, jitter| {
        [1, 2, 3, 4, 7, 100, i32::MAX].map(|attempts| back_off(class, attempts, jitter).as_secs())
    };
    for class in [Class::Transient, Class::Waiting, Class::Blocked] {
        assert_eq!(waits(class, 0.0), [1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(waits(class, 1.0), [2, 3, 5, 9, 61, 61, 61]);
    }
    for jitter in [0.0, 0.5, 1.0] {
        assert_eq!(waits(Class::Write, jitter), [5, 10, 20, 40, 300, 300, 300]);
        assert_eq!(
            waits(Class::Terminal, jitter),
            [5, 30, 120, 1800, 1800, 1800, 1800]
        );
        assert_eq!(waits(Class::Final, jitter), [1800; 7]);
    }
}

#[test]
fn a_failure_is_counted_on_top_of_those_before() {
    let credentials = credentials();
    let mut object = object();
    let first = failed(
        None,
        &rejected(),
        &object,
        Some(&credentials),
        None,
        None,
        at(0),
    );
    assert_eq!((first.count, first.next_attempt_at.0), (1, at(5)));
    assert_eq!(first.last_attempt_at.0, at(0));
    assert_eq!(first.credentials_resource_version.as_deref(), Some("7"));

    stands(&mut object, rejected(), &first);
    let second = failed(Some(&first), &rejected(), &object, None, None, None, at(5));
    assert_eq!((second.count, second.next_attempt_at.0), (2, at(35)));
    assert_eq!(second.credentials_resource_version, None);
    let last = Failures {
        count: i32::MAX,
        ..first
    };
    let count = failed(Some(&last), &rejected(), &object, None, None, None, at(5)).count;
    assert_eq!(count, i32::MAX);
}

#[test]
fn a_failure_of_another_kind_is_the_first_of_its_kind() {
    let mut object = object();
    let hundred = failures(100, 0);
    stands(&mut object, endpoint_down(), &hundred);
    let refused = failed(
        Some(&hundred),
        &rejected(),
        &object,
        None,
        None,
        None,
        at(0),
    );
    assert_eq!((refused.count, refused.next_attempt_at.0), (1, at(5)));

    // The other way round it goes on, so that an endpoint that does both in turn is not tried each second.
    stands(&mut object, rejected(), &hundred);
    let unreachable = failed(
        Some(&hundred),
        &endpoint_down(),
        &object,
        None,
        None,
        None,
        at(0),
    );
    assert_eq!(unreachable.count, 101);
}

#[test]
fn who_was_asked_to_wait_comes_back_after_that_and_not_all_at_once() {
    // How long they were asked to wait, and over how long they are spread at most: 5 %, up to a minute.
    for (hold, spread) in [(100, 5), (600, 30), (3600, 60), (86_400, 60)] {
        let mut waits: Vec<_> = (0..100)
            .map(|number| {
                let mut object = object();
                object.metadata.uid = Some(format!("uid-{number}"));
                let limited = Error::RequestToken(TokenError::RateLimited { quota: None });
                let until = Some(at(hold));
                let failures = failed(None, &limited, &object, None, None, until, at(0));
                failures.next_attempt_at.0.duration_since(at(0)).as_secs()
            })
            .collect();
        waits.sort_unstable();
        assert!(waits[0] >= hold, "{hold} s: {} s", waits[0]);
        let last = waits[99] - hold;
        assert!(
            (spread / 2..=spread).contains(&last),
            "{hold} s: {last} s more"
        );
    }
}

#[test]
fn a_wait_leaves_half_of_the_time_that_the_token_has_left() {
    let redirected = || Error::RequestToken(TokenError::Redirected { status: 302 });
    let wait = |left| {
        let token = token(0, 3600);
        let now = token.expires_at - SignedDuration::from_secs(left);
        let failures = failed(
            None,
            &redirected(),
            &object(),
            None,
            Some(&token),
            None,
            now,
        );
        failures.next_attempt_at.0.duration_since(now).as_secs()
    };
    assert_eq!([3600, 1200, 120, 30].map(wait), [1800, 600, 60, 60]);
}

/// Has the status tell of failures as they stand.
fn stands(object: &mut EdgeCredential, error: Error, failures: &Failures) {
    let reason = error.reason();
    let outcome = Outcome {
        token: None,
        trouble: Problem::Failed(
            error,
            Failures {
                reason,
                ..failures.clone()
            },
        ),
        attempted: true,
    };
    object.status = Some(describe_status(object, &outcome, at(0)));
}

fn renewal(spec: Value, lifetime: i64) -> i64 {
    let renew_at = renew_at(&object_with(spec), &token(0, lifetime));
    renew_at.as_second() - NOW
}

#[test]
fn a_token_is_renewed_after_two_thirds_less_a_little() {
    let range = |latest: i64, lifetime: i64| latest - lifetime / 20..=latest;
    for (renew_before, lifetime, latest) in [
        (None, 86_400, 57_600),
        (Some("8h"), 86_400, 57_600),
        (Some("1h"), 86_400, 82_800),
        (Some("1ms"), 86_400, 86_280),
        (Some("0s"), 86_400, 86_280),
        // Not shorter than the lifetime.
        (Some("24h"), 86_400, 57_600),
        (Some("999999999h"), 86_400, 57_600),
        // An object older than the rule.
        (Some("soon"), 86_400, 57_600),
        (None, 900, 600),
        (Some("1s"), 900, 780),
        (None, 240, 160),
        (None, 60, 40),
        (None, 2, 1),
    ] {
        let spec = renew_before.map_or(json!({}), |before| json!({"renewBefore": before}));
        let renewal = renewal(spec, lifetime);
        assert!(
            range(latest, lifetime).contains(&renewal),
            "{renew_before:?} of {lifetime}: {renewal}"
        );
    }
}

#[test]
fn a_percentage_is_one_of_the_lifetime() {
    for (percentage, lifetime, latest) in [
        (1, 86_400, 85_536),
        (34, 86_400, 57_024),
        (50, 3600, 1800),
        // As long before its expiry as a kubelet needs.
        (1, 3600, 3480),
        // Older than the rule.
        (0, 3600, 2400),
        (100, 3600, 2400),
    ] {
        let renewal = renewal(json!({"renewBeforePercentage": percentage}), lifetime);
        let range = latest - lifetime / 20..=latest;
        assert!(range.contains(&renewal), "{percentage} % of {lifetime}");
    }
}

#[test]
fn a_renewal_comes_after_a_tenth_of_the_lifetime_at_the_earliest_and_that_can_be_told() {
    for (spec, lifetime, least, is_cut) in [
        (json!({"renewBefore": "59m"}), 3600, 360, true),
        (json!({"renewBefore": "54m1s"}), 3600, 360, true),
        (json!({"renewBefore": "54m"}), 3600, 360, false),
        (json!({"renewBeforePercentage": 95}), 3600, 360, true),
        (json!({"renewBefore": "23h59m59s"}), 86_400, 8640, true),
        // A minute is more than a tenth, and half of the lifetime less than a minute.
        (json!({"renewBefore": "299s"}), 300, 60, true),
        (json!({"renewBefore": "99s"}), 100, 50, true),
        (json!({}), 100, 50, false),
    ] {
        let mut renewals: Vec<_> = (0..100)
            .map(|number| {
                let mut object = object_with(spec.clone());
                object.metadata.uid = Some(format!("uid-{number}"));
                let token = token(0, lifetime);
                let cut = cut_to(&object, &token);
                assert_eq!(cut, is_cut.then(|| SignedDuration::from_secs(least)));
                renew_at(&object, &token).as_second() - NOW
            })
            .collect();
        renewals.sort_unstable();
        assert!(renewals[0] >= least, "{spec} of {lifetime}: {renewals:?}");
        if is_cut {
            let latest = least + lifetime / 20;
            assert!(renewals[99] <= latest, "{spec} of {lifetime}: {renewals:?}");
            assert!(renewals[0] < renewals[99], "not all at once");
        }
    }
}

#[test]
fn tokens_issued_together_are_not_renewed_together() {
    let mut seconds: Vec<_> = (0..1000)
        .map(|number| {
            let mut object = object();
            object.metadata.uid = Some(format!("uid-{number}"));
            renew_at(&object, &token(0, 86_400)).as_second() - NOW
        })
        .collect();
    seconds.sort_unstable();
    // 5 % of a day are 4320 s; spread evenly, each tenth of it has about 100 of them.
    for tenth in seconds.chunks(100) {
        let span = tenth[99] - tenth[0];
        assert!((300..600).contains(&span), "{span}");
    }
}

proptest! {
    #[test]
    fn a_renewal_is_always_within_the_lifetime_and_at_a_whole_second(
        lifetime in prop_oneof![1..600_i64, 1..10_000_000_i64, Just(200_000_000_000)],
        renew_before in option::of((0..200_000_u64, prop::sample::select(vec!["ms", "s", "m", "h", "%"]))),
        uid in "[a-z0-9-]{0,36}",
    ) {
        let spec = renew_before.map_or(json!({}), |(number, unit)| {
            match unit {
                "%" => json!({"renewBeforePercentage": number % 99 + 1}),
                unit => json!({"renewBefore": format!("{number}{unit}")}),
            }
        });
        let mut object = object_with(spec);
        object.metadata.uid = Some(uid);
        let token = token(0, lifetime);
        let renewal = renew_at(&object, &token);
        prop_assert!(token.issued_at <= renewal && renewal <= token.expires_at);
        prop_assert_eq!(renewal.subsec_nanosecond(), 0);
        prop_assert_eq!(renewal, renew_at(&object, &token), "it does not move");
        if lifetime > 240 {
            prop_assert!(renewal <= token.expires_at - SignedDuration::from_secs(120));
            prop_assert!(renewal >= token.issued_at + SignedDuration::from_secs(60));
        }
        let lifetime = token.lifetime();
        let least = (lifetime / 10).max(SignedDuration::from_secs(60).min(lifetime / 2));
        prop_assert!(renewal >= token.issued_at + least - SignedDuration::from_secs(1));
        let wanted = RenewBefore::of(&object.spec).unwrap().age(lifetime);
        prop_assert!(renewal <= token.issued_at + wanted.max(least + lifetime / 20));
        if cut_to(&object, &token).is_none() {
            let earliest = wanted.min(lifetime - SignedDuration::from_secs(120)) - lifetime / 20;
            prop_assert!(renewal >= token.issued_at + earliest - SignedDuration::from_secs(1));
        }
    }

    #[test]
    fn a_wait_is_within_its_bounds(attempts in any::<i32>(), jitter in 0.0..=1.0_f64) {
        for class in [
            Class::Transient, Class::Write, Class::Terminal, Class::Final, Class::Waiting, Class::Blocked,
        ] {
            let wait = back_off(class, attempts, jitter).as_secs();
            prop_assert!((1..=1800).contains(&wait));
            let more = back_off(class, attempts.saturating_add(1), jitter).as_secs();
            prop_assert!(more >= wait);
        }
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
            world.held = held;
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
                    secret.metadata.owner_references = None;
                }
            }
            world
        })
        .boxed()
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
            .field("held", &self.held)
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
        let foreign = world
            .target
            .as_ref()
            .is_some_and(|secret| check_ownership(secret, object) != Ok(()));
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
        let trouble = matches!(first.trouble, Problem::None);
        world.carry_out(first, lifetime, at(0));
        let second = world.decide(at(0));
        prop_assert!(matches!(second.action, Action::Leave(_)), "{:?}", second);
        prop_assert_eq!(trouble, matches!(second.trouble, Problem::None), "{:?}", second);
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
            Action::Write(rendered) => {
                prop_assert!(rendered.proven.token.is_valid(at(0)));
                let found = find_token(&rendered.secret, &sound_parameters(&world.object));
                let found = found.unwrap().token.access_token;
                let meant = &rendered.proven.token.access_token;
                prop_assert_eq!(found.expose_secret(), meant.expose_secret());
                prop_assert_eq!(check_ownership(&rendered.secret, &world.object), Ok(()));
            }
            Action::Leave(None) | Action::Request { .. } => {}
        }
    }
}

#[test]
fn a_foreign_target_is_told_as_such() {
    let world = change(World::new().holding(fresh()), |world| {
        edit_target(&mut world.target).metadata.owner_references = None;
    });
    let trouble = world.decide(at(0)).trouble;
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
