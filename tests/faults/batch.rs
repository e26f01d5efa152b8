//! Many runs at a time.

use std::any::Any;
use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::{FutureExt, StreamExt, stream};
use tokio::sync::{Mutex, MutexGuard};

use crate::injection::Injection;
use crate::scenario::Scenario;
use crate::stage::Lab;

/// How many runs go on at a time. Most of a run is waiting, but many more would make the starts of the processes slow.
const CONCURRENCY: usize = 32;

/// Held by the test whose runs are begun. Once its last one is begun, the next test begins: what is left is waiting.
pub static TURN: Mutex<()> = Mutex::const_new(());

/// A run, before it is made. Its text says what happens in it.
pub trait Trial: fmt::Display {
    /// Makes it. It panics where something does not hold.
    async fn run(&self, lab: &'static Lab);

    /// What it is counted under.
    fn scenario(&self) -> String;
}

/// A run with an EdgeCredential, before it is made.
#[derive(Clone, Debug)]
pub struct Case {
    pub scenario: Scenario,
    /// What fails in it, one after the other.
    pub injections: Vec<Injection>,
    /// How many token requests it may cost.
    pub most_requests: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let injections: Vec<_> = self.injections.iter().map(Injection::to_string).collect();
        write!(f, "{}: {}", self.scenario, injections.join("; then "))
    }
}

impl Trial for Case {
    async fn run(&self, lab: &'static Lab) {
        lab.run(self).await;
    }

    fn scenario(&self) -> String {
        self.scenario.to_string()
    }
}

/// How a batch went.
#[derive(Debug, Default)]
pub struct Batch {
    /// How many runs came to a good end, by scenario.
    pub held: BTreeMap<String, usize>,
    /// What was wrong with the others.
    pub failures: Vec<String>,
    pub took: Duration,
}

impl Batch {
    /// Makes the runs, in this order. None is begun after that time.
    pub async fn run(
        lab: &'static Lab,
        turn: MutexGuard<'static, ()>,
        trials: Vec<impl Trial>,
        time: Duration,
    ) -> Self {
        let start = Instant::now();
        let in_time = stream::iter(trials).take_while(|_| {
            let is_in_time = start.elapsed() < time;
            async move { is_in_time }
        });
        let end_of_turn = stream::once(async move { drop(turn) });
        let in_turn = in_time.chain(end_of_turn.filter_map(async |()| None));
        let runs = in_turn.map(async |trial| {
            let run = AssertUnwindSafe(trial.run(lab)).catch_unwind().await;
            (trial, run.err().map(message))
        });
        let runs = runs.buffer_unordered(CONCURRENCY);
        let mut batch = runs
            .fold(Self::default(), async |mut batch, (trial, failure)| {
                match failure {
                    None => *batch.held.entry(trial.scenario()).or_default() += 1,
                    Some(message) => batch.failures.push(format!("{trial}: {message}")),
                }
                batch
            })
            .await;
        batch.took = start.elapsed();
        batch
    }

    pub fn held(&self) -> usize {
        self.held.values().sum()
    }
}

/// Writes a line past the harness, which shows what is printed only where a test fails.
pub fn tell(line: &str) {
    let mut out = io::stdout();
    writeln!(out, "{line}").unwrap();
}

/// What gives the order of runs of which there are more than there is time for. `FAULTS_SEED` gives the same one again.
pub fn seed() -> u64 {
    variable("FAULTS_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs()
    })
}

/// For how long such runs are begun: `FAULTS_SECONDS`, or else so many.
pub fn time(seconds: u64) -> Duration {
    Duration::from_secs(variable("FAULTS_SECONDS").unwrap_or(seconds))
}

/// Brings runs into the order that a seed gives.
pub fn shuffle(trials: &mut [impl Trial], seed: u64) {
    trials.sort_by_cached_key(|trial| {
        let mut hasher = DefaultHasher::new();
        (seed, trial.to_string()).hash(&mut hasher);
        hasher.finish()
    });
}

/// A number from the environment.
fn variable<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

/// What a run panicked with.
fn message(panic: Box<dyn Any + Send>) -> String {
    panic
        .downcast::<String>()
        .map_or_else(|_| "panicked".to_owned(), |text| *text)
}
