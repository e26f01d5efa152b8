//! Whichever call of the operator fails, in whichever way: fault injection after Sieve (Sun et al., "Automatic
//! Reliability Testing for Cluster Management Controllers", OSDI 2022).
//!
//! A proxy stands before the API server and Sitecore's services. Each [scenario](scenario::Scenario) runs once
//! undisturbed, and the calls it consists of are recorded. Then it runs again on fresh objects, once for each of these
//! calls and each [injection], and each run is held against the [oracle](run). What it takes [two faults](pairs) to show
//! is looked for in the same way, and so is what a fault does to [the keys of an EdgeToken](keys).
//!
//! A run has a namespace, a stand-in for Sitecore's services, a proxy and an operator of its own, so that many of them go
//! on at the same time: most of a run is waiting for deadlines.

mod batch;
mod injection;
mod keys;
mod pairs;
mod run;
mod scenario;
mod stage;

use std::time::Duration;

use futures::future::join_all;
use kit::proxy::Call;

use batch::{Batch, Case, TURN, tell};
use injection::{Fate, Injection};
use run::Record;
use scenario::Scenario;
use stage::Lab;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_fails_it_converges_and_costs_a_token_request_only_where_a_token_was_lost() {
    let turn = TURN.lock().await;
    let lab = Lab::new("faults").await;
    let undisturbed = join_all(Scenario::ALL.map(|scenario| undisturbed(lab, scenario))).await;

    let mut cases: Vec<_> = Scenario::ALL
        .into_iter()
        .zip(&undisturbed)
        .flat_map(|(scenario, record)| {
            let injections = record.calls.iter().flat_map(injections_at);
            injections.map(move |injection| Case {
                scenario,
                most_requests: record.token_requests + usize::from(injection.loses_token(scenario)),
                injections: vec![injection],
            })
        })
        .collect();
    let expected = cases.len();
    // The longest first: what is left at the end is short.
    cases.sort_by_key(|case| case.injections[0].fate != Fate::TimeOut);

    let batch = Batch::run(lab, turn, cases, Duration::MAX).await;
    for (scenario, record) in Scenario::ALL.iter().zip(&undisturbed) {
        let held = batch.held.get(&scenario.to_string()).unwrap_or(&0);
        let calls: Vec<_> = record.calls.iter().map(Call::to_string).collect();
        tell(&format!(
            "{scenario}: {held} injections at {}",
            calls.join(", ")
        ));
    }
    let (held, seconds) = (batch.held(), batch.took.as_secs());
    tell(&format!(
        "{held} of {expected} injections came to a good end, in {seconds} s"
    ));
    assert!(batch.failures.is_empty(), "{}", batch.failures.join("\n\n"));
    assert_eq!(held, expected);
}

/// Runs a scenario without a fault. Its record must show what is known to be needed, or nothing would be injected.
async fn undisturbed(lab: &'static Lab, scenario: Scenario) -> Record {
    let requests = scenario.token_requests();
    let case = Case {
        scenario,
        injections: Vec::new(),
        most_requests: requests,
    };
    let record = lab.run(&case).await;
    assert_eq!(record.token_requests, requests, "{scenario}");
    for what in scenario.calls() {
        let made = record.calls.iter().any(|call| call.what == *what);
        assert!(made, "{scenario} without {what}: {:?}", record.calls);
    }
    record
}

fn injections_at(call: &Call) -> impl Iterator<Item = Injection> + '_ {
    Fate::OF_ANY.into_iter().map(|fate| Injection {
        call: call.clone(),
        fate,
    })
}
