//! Many runs at a time.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt, stream};
use tokio::sync::Mutex;

use crate::injection::Injection;
use crate::run::Lab;
use crate::scenario::Scenario;

/// How many runs go on at a time. Most of a run is waiting, but many more would make the starts of the processes slow.
const CONCURRENCY: usize = 24;

/// Held by the test whose batch is on: more at a time would take no less time in all.
pub static TURN: Mutex<()> = Mutex::const_new(());

/// One run, before it is made.
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
    pub async fn run(lab: &'static Lab, cases: Vec<Case>, time: Duration) -> Self {
        let start = Instant::now();
        let in_time = stream::iter(cases).take_while(|_| {
            let is_in_time = start.elapsed() < time;
            async move { is_in_time }
        });
        let runs = in_time.map(async |case| {
            let run = AssertUnwindSafe(lab.run(&case)).catch_unwind().await;
            (case, run.err().map(message))
        });
        let runs = runs.buffer_unordered(CONCURRENCY);
        let mut batch = runs
            .fold(Self::default(), async |mut batch, (case, failure)| {
                match failure {
                    None => *batch.held.entry(case.scenario.to_string()).or_default() += 1,
                    Some(message) => batch.failures.push(format!("{case}: {message}")),
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

/// What a run panicked with.
fn message(panic: Box<dyn Any + Send>) -> String {
    panic
        .downcast::<String>()
        .map_or_else(|_| "panicked".to_owned(), |text| *text)
}
