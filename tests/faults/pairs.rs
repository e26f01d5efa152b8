//! Two faults in a run: the token endpoint fails, and then a call on the way out of that does.
//!
//! There are more pairs than there is time for, so each run of the test takes others, in an order that a seed gives. The
//! seed is printed. With `FAULTS_SEED` the same pairs come again in the same order, and with `FAULTS_SECONDS` there is more
//! or less time to begin them.

use futures::future::join_all;

use crate::batch::{Batch, Case, TURN, seed, shuffle, tell, time};
use crate::injection::{Fate, Injection};
use crate::run::TOKEN_REQUEST;
use crate::scenario::Scenario;
use crate::stage::Lab;

/// Those that request a token because somebody wants one.
const SCENARIOS: [Scenario; 3] = [Scenario::Create, Scenario::Renew, Scenario::Rotate];

/// For how long pairs are begun.
const SECONDS: u64 = 90;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_fails_after_the_endpoint_did_it_costs_a_token_request_only_where_a_token_was_lost()
 {
    let turn = TURN.lock().await;
    let seed = seed();
    let lab = Lab::new("fault-pairs").await;

    let firsts = SCENARIOS.into_iter().flat_map(|scenario| {
        let of_endpoint = Fate::OF_ENDPOINT.into_iter();
        of_endpoint.map(move |fate| (scenario, Injection::at_first_request(fate)))
    });
    let pairs = join_all(firsts.map(|(scenario, first)| pairs(lab, scenario, first))).await;
    let mut pairs = pairs.concat();
    let all = pairs.len();
    shuffle(&mut pairs, seed);

    let batch = Batch::run(lab, turn, pairs, time(SECONDS)).await;
    let (held, seconds) = (batch.held(), batch.took.as_secs());
    let tried = held + batch.failures.len();
    let summary = format!(
        "{held} of {tried} pairs of faults, out of {all}, came to a good end, in {seconds} s; FAULTS_SEED={seed}"
    );
    tell(&summary);
    let failures = batch.failures.join("\n\n");
    assert!(batch.failures.is_empty(), "{failures}\n\n{summary}");
}

/// Runs a scenario with a fault of the endpoint, and returns what else can fail after it.
async fn pairs(lab: &'static Lab, scenario: Scenario, first: Injection) -> Vec<Case> {
    let most_requests = scenario.token_requests() + 1;
    let alone = Case {
        scenario,
        injections: vec![first.clone()],
        most_requests,
    };
    let record = lab.run(&alone).await;
    // Where it was not struck there would be no more requests than otherwise.
    assert_eq!(record.token_requests, most_requests, "{alone}");
    let mut later = record.calls.iter().skip_while(|call| **call != first.call);
    let struck = later.next();
    assert_eq!(struck, Some(&first.call), "{alone}");
    let seconds = later.flat_map(|call| {
        // What the endpoint does a second time is the same back-off for longer.
        let fates = Fate::OF_ANY.into_iter();
        let fates = fates.filter(|fate| fate.crashes() || call.what != TOKEN_REQUEST);
        fates.map(|fate| Injection {
            call: call.clone(),
            fate,
        })
    });
    seconds
        .map(|second| Case {
            scenario,
            most_requests: most_requests + usize::from(second.loses_token(scenario)),
            injections: vec![first.clone(), second],
        })
        .collect()
}
