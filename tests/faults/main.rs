//! Whichever call of the operator fails, in whichever way: fault injection after Sieve (Sun et al., "Automatic
//! Reliability Testing for Cluster Management Controllers", OSDI 2022).
//!
//! A proxy stands before the API server and the token endpoint. Each [scenario](scenario::Scenario) runs once
//! undisturbed, and the calls it consists of are recorded. Then it runs again on fresh objects, once for each of these
//! calls and each [injection], and each run is held against the [oracle](run).
//!
//! A run has a namespace, a stand-in for Sitecore's services, a proxy and an operator of its own, so that many of them go
//! on at the same time: most of a run is waiting for deadlines.

mod injection;
mod run;
mod scenario;

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures::future::join_all;
use futures::{FutureExt, StreamExt, stream};
use kit::proxy::Call;

use injection::{Fate, Injection};
use run::{Lab, Undisturbed};
use scenario::Scenario;

/// How many runs go on at a time. Most of a run is waiting, but many more would make the starts of the processes slow.
const CONCURRENCY: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_fails_it_converges_with_at_most_one_token_request_more() {
    let start = Instant::now();
    let lab = Lab::new().await;
    let undisturbed = join_all(Scenario::ALL.map(|scenario| undisturbed(lab, scenario))).await;

    let mut injections: Vec<_> = Scenario::ALL
        .into_iter()
        .zip(&undisturbed)
        .flat_map(|(scenario, record)| {
            let injections = record.calls.iter().flat_map(injections_at);
            injections.map(move |injection| (scenario, record.token_requests, injection))
        })
        .collect();
    let expected = injections.len();
    // The longest first: what is left at the end is short.
    injections.sort_by_key(|(_, _, injection)| injection.fate != Fate::TimeOut);

    let runs = stream::iter(injections).map(async |(scenario, requests, injection)| {
        let title = format!("{scenario}: {injection}");
        let run = lab.run(scenario, Some(injection), requests + 1);
        let failure = AssertUnwindSafe(run).catch_unwind().await.err();
        (scenario, title, failure.map(message))
    });
    let runs: Vec<_> = runs.buffer_unordered(CONCURRENCY).collect().await;

    // Written past the harness, which shows what is printed only where a test fails.
    let mut out = io::stdout();
    let mut held = BTreeMap::new();
    let mut failures = Vec::new();
    for (scenario, title, failure) in &runs {
        match failure {
            None => *held.entry(scenario.to_string()).or_insert(0) += 1,
            Some(message) => failures.push(format!("{title}: {message}")),
        }
    }
    for (scenario, record) in Scenario::ALL.iter().zip(&undisturbed) {
        let held = held.get(&scenario.to_string()).unwrap_or(&0);
        let calls: Vec<_> = record.calls.iter().map(Call::to_string).collect();
        writeln!(out, "{scenario}: {held} injections at {}", calls.join(", ")).unwrap();
    }
    let held: usize = held.values().sum();
    let seconds = start.elapsed().as_secs();
    writeln!(
        out,
        "{held} of {expected} injections came to a good end, in {seconds} s"
    )
    .unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert_eq!(held, expected);
}

/// Runs a scenario without a fault. Its record must show what is known to be needed, or nothing would be injected.
async fn undisturbed(lab: &'static Lab, scenario: Scenario) -> Undisturbed {
    let requests = scenario.token_requests();
    let record = lab.run(scenario, None, requests).await;
    assert_eq!(record.token_requests, requests, "{scenario}");
    for what in scenario.calls() {
        let made = record.calls.iter().any(|call| call.what == *what);
        assert!(made, "{scenario} without {what}: {:?}", record.calls);
    }
    record
}

fn injections_at(call: &Call) -> impl Iterator<Item = Injection> + '_ {
    Fate::ALL.into_iter().map(|fate| Injection {
        call: call.clone(),
        fate,
    })
}

/// What a run panicked with.
fn message(panic: Box<dyn Any + Send>) -> String {
    panic
        .downcast::<String>()
        .map_or_else(|_| "panicked".to_owned(), |text| *text)
}
