//! Which Event is published next, and when. A burst, and then a steady pace in all; the namespaces take turns, so that
//! none delays another; repeats are merged; and a full queue takes room from the namespace that fills it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Bound,
    time::Duration,
};

use aws_lc_rs::digest;
use k8s_openapi::{api::core::v1::ObjectReference, jiff::Timestamp};

use crate::{api::names::MAX_LENGTH, cluster::transition::Transition};

/// How many Events may follow each other without a pause.
const BURST: u32 = 50;

/// The time between two Events after that: 20 a second. In another operator, an Event for each failed attempt took an API
/// server down.
const INTERVAL: Duration = Duration::from_millis(50);

/// How long an Event may wait: nobody looks for older news. For as long after it was published its repeats are counted on
/// it, and make no other one.
const MAX_AGE: Duration = Duration::from_mins(10);

/// How long a namespace is left alone that is being deleted. Each further Event would be refused there.
const CLOSED: Duration = Duration::from_mins(1);

/// The Events that wait, and the counts of those that were published lately. All times are since the queue was made.
#[derive(Debug)]
pub struct EventQueue {
    /// How many Events may wait.
    capacity: usize,
    /// How many do.
    waiting: usize,
    /// By namespace: what waits there, or is on its way.
    lines: BTreeMap<String, Line>,
    /// The namespace that had the last turn.
    served: String,
    /// When a whole burst may go again.
    rested_at: Duration,
    /// What was published lately. The pace bounds its size.
    published: HashMap<Subject, Published>,
    /// Until when namespaces are left alone.
    closed: HashMap<String, Duration>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// Only one at a time: a namespace where Events take long delays no other one, and a count follows its Event.
    is_in_flight: bool,
}

/// What Events have in common that are repeats of each other: a hash of the object and of what happened to it.
type Subject = u64;

#[derive(Debug)]
struct Waiting {
    subject: Subject,
    regarding: ObjectReference,
    /// As it was the last time.
    transition: Transition,
    first_seen: Timestamp,
    last_seen: Timestamp,
    count: i32,
    /// When it was pushed the last time.
    pushed_at: Duration,
}

#[derive(Debug)]
struct Published {
    first_seen: Timestamp,
    count: i32,
    at: Duration,
}

/// An Event to be published.
#[derive(Debug)]
pub struct Due {
    subject: Subject,
    /// The name of the Event.
    pub name: String,
    /// The object that it is about.
    pub regarding: ObjectReference,
    pub transition: Transition,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// How often it was seen, from the first time on.
    pub count: i32,
    /// Whether it was published before, so that only its count is new.
    pub is_repeat: bool,
}

/// What is to be done now.
#[derive(Debug)]
pub enum Next {
    /// To publish an Event, and to say with [`finish`](EventQueue::finish) what came of it.
    Publish(Box<Due>),
    /// Nothing more with an Event that waited for too long.
    Expired,
    /// To wait for so long.
    Wait(Duration),
    /// To wait until something is pushed or finished.
    Nothing,
}

/// What came of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Published,
    /// It was refused, or nobody knows.
    Failed,
    /// Its namespace is being deleted or is gone.
    NamespaceGone,
}

impl EventQueue {
    /// An empty queue in which so many Events may wait.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            waiting: 0,
            lines: BTreeMap::new(),
            served: String::new(),
            rested_at: Duration::ZERO,
            published: HashMap::new(),
            closed: HashMap::new(),
        }
    }

    /// Takes an Event in, or counts it on an equal one that waits. Returns whether another one was dropped for it: the
    /// oldest of the namespace that has the most in the queue.
    pub fn push(
        &mut self,
        regarding: ObjectReference,
        transition: Transition,
        seen: Timestamp,
        now: Duration,
    ) -> bool {
        let namespace = regarding.namespace.clone().unwrap_or_default();
        if self
            .closed
            .get(&namespace)
            .is_some_and(|until| now < *until)
        {
            return false;
        }
        let subject = subject(&regarding, &transition);
        let line = self.lines.entry(namespace.clone()).or_default();
        let equal = |waiting: &&mut Waiting| waiting.subject == subject;
        if let Some(waiting) = line.waiting.iter_mut().find(equal) {
            waiting.transition = transition;
            waiting.last_seen = seen;
            waiting.count = waiting.count.saturating_add(1);
            waiting.pushed_at = now;
            return false;
        }
        line.waiting.push_back(Waiting {
            subject,
            regarding,
            transition,
            first_seen: seen,
            last_seen: seen,
            count: 1,
            pushed_at: now,
        });
        self.waiting += 1;
        let is_full = self.waiting > self.capacity;
        if is_full {
            self.displace(&namespace);
        }
        is_full
    }

    /// Drops the oldest Event of the namespace that has the most. Of several such, it is the one that asks for room.
    fn displace(&mut self, asking: &str) {
        let longest = self
            .lines
            .iter()
            .max_by_key(|(namespace, line)| (line.waiting.len(), *namespace == asking))
            .map(|(namespace, _)| namespace.clone());
        if let Some(namespace) = longest {
            self.pop(&namespace);
        }
    }

    /// What is to be done at this time.
    pub fn next(&mut self, now: Duration) -> Next {
        let Some((namespace, pushed_at)) = self.find_turn() else {
            return Next::Nothing;
        };
        if now.saturating_sub(pushed_at) > MAX_AGE {
            self.pop(&namespace);
            return Next::Expired;
        }
        let rest = self.rested_at.saturating_sub(now);
        let wait = rest.saturating_sub(INTERVAL * (BURST - 1));
        if !wait.is_zero() {
            return Next::Wait(wait);
        }
        let Some(waiting) = self.pop(&namespace) else {
            return Next::Nothing;
        };
        self.rested_at = self.rested_at.max(now) + INTERVAL;
        self.lines
            .entry(namespace.clone())
            .or_default()
            .is_in_flight = true;
        self.served = namespace;
        Next::Publish(Box::new(self.due(waiting, now)))
    }

    /// The first namespace after the one served last whose Events may go, and since when its first one waits.
    fn find_turn(&self) -> Option<(String, Duration)> {
        let served = Bound::Excluded(self.served.as_str());
        let after = self.lines.range::<str, _>((served, Bound::Unbounded));
        after
            .chain(&self.lines)
            .filter(|(_, line)| !line.is_in_flight)
            .find_map(|(namespace, line)| {
                Some((namespace.clone(), line.waiting.front()?.pushed_at))
            })
    }

    fn pop(&mut self, namespace: &str) -> Option<Waiting> {
        let line = self.lines.get_mut(namespace)?;
        let waiting = line.waiting.pop_front()?;
        self.waiting -= 1;
        self.remove_if_idle(namespace);
        Some(waiting)
    }

    fn remove_if_idle(&mut self, namespace: &str) {
        let is_idle = |line: &Line| line.waiting.is_empty() && !line.is_in_flight;
        if self.lines.get(namespace).is_some_and(is_idle) {
            self.lines.remove(namespace);
        }
    }

    fn due(&self, waiting: Waiting, now: Duration) -> Due {
        let earlier = self.published.get(&waiting.subject);
        let earlier = earlier.filter(|earlier| now.saturating_sub(earlier.at) <= MAX_AGE);
        let first_seen = earlier.map_or(waiting.first_seen, |earlier| earlier.first_seen);
        let object = waiting.regarding.name.as_deref().unwrap_or_default();
        Due {
            subject: waiting.subject,
            name: event_name(object, waiting.subject, first_seen),
            first_seen,
            last_seen: waiting.last_seen,
            count: earlier
                .map_or(0, |earlier| earlier.count)
                .saturating_add(waiting.count),
            is_repeat: earlier.is_some(),
            regarding: waiting.regarding,
            transition: waiting.transition,
        }
    }

    /// Takes in what came of an Event that was to be published.
    pub fn finish(&mut self, due: &Due, outcome: Outcome, now: Duration) {
        let namespace = due.regarding.namespace.as_deref().unwrap_or_default();
        if let Some(line) = self.lines.get_mut(namespace) {
            line.is_in_flight = false;
        }
        self.published
            .retain(|_, published| now.saturating_sub(published.at) <= MAX_AGE);
        match outcome {
            Outcome::Published => {
                let published = Published {
                    first_seen: due.first_seen,
                    count: due.count,
                    at: now,
                };
                self.published.insert(due.subject, published);
            }
            // The next one is another Event.
            Outcome::Failed => {
                self.published.remove(&due.subject);
            }
            Outcome::NamespaceGone => self.close(namespace, now),
        }
        self.remove_if_idle(namespace);
    }

    /// Drops what waits in a namespace, and takes nothing more in there for a while.
    fn close(&mut self, namespace: &str, now: Duration) {
        if let Some(line) = self.lines.get_mut(namespace) {
            self.waiting -= line.waiting.len();
            line.waiting.clear();
        }
        self.closed.retain(|_, until| now < *until);
        self.closed.insert(namespace.to_owned(), now + CLOSED);
    }
}

fn subject(regarding: &ObjectReference, transition: &Transition) -> Subject {
    let kind = if transition.warning {
        "Warning"
    } else {
        "Normal"
    };
    let object = [
        &regarding.kind,
        &regarding.namespace,
        &regarding.name,
        &regarding.uid,
    ];
    let object = object.map(|part| part.as_deref().unwrap_or_default());
    let part = transition.part.as_deref().unwrap_or_default();
    let happened = [kind, &transition.reason, part];
    hash(&[object.join("\0"), happened.join("\0")].join("\0"))
}

/// The name of the Event that tells for the first time what happened to an object: the object's, or as much of it as fits,
/// and a hash that no other Event has.
fn event_name(object: &str, subject: Subject, first_seen: Timestamp) -> String {
    let unique = hash(&format!("{subject:016x}{}", first_seen.as_nanosecond()));
    let suffix = format!(".{unique:016x}");
    let kept = object.floor_char_boundary(MAX_LENGTH - suffix.len());
    let kept = object.get(..kept).unwrap_or_default();
    // Each part of a name ends with a letter or a digit.
    format!("{}{suffix}", kept.trim_end_matches(['-', '.']))
}

fn hash(text: &str) -> u64 {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let first = hash.as_ref().first_chunk().copied();
    first.map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests;
