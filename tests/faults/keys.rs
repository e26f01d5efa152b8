//! Whichever call fails on the way of an EdgeToken's key: each [scene](scene::Scene) runs once undisturbed, and then again for each
//! of its calls, those of Sitecore's services too, and each way to fail. Each run is held against the [oracle](run).
//!
//! There may be more runs than there is time for, so each run of the test takes others: see [`seed`].

mod run;
mod scene;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use kit::proxy::Call;

use crate::batch::{Batch, TURN, Trial, seed, shuffle, tell, time};
use crate::injection::{Fate, Injection};
use crate::stage::Lab;
use scene::{SCENES, Scene};

/// For how long runs are begun.
const SECONDS: u64 = 40;

/// How many calls did not come that were to fail.
static MISSED: AtomicUsize = AtomicUsize::new(0);

/// A run with an EdgeToken, before it is made.
struct KeyTrial {
    scene: &'static Scene,
    injection: Injection,
}

impl fmt::Display for KeyTrial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.scene, self.injection)
    }
}

impl Trial for KeyTrial {
    async fn run(&self, lab: &'static Lab) {
        let record = run::run(lab, self.scene, Some(&self.injection)).await;
        if !record.is_struck {
            MISSED.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn scenario(&self) -> String {
        self.scene.to_string()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_fails_no_key_in_use_is_revoked_and_none_is_left_that_nobody_knows_of() {
    let turn = TURN.lock().await;
    let seed = seed();
    let lab = Lab::new("key-faults").await;
    let undisturbed = SCENES.iter().map(|scene| undisturbed(lab, scene));
    let undisturbed = join_all(undisturbed).await;

    let scenes = SCENES.iter().zip(undisturbed);
    let mut trials: Vec<_> = scenes
        .flat_map(|(scene, calls)| {
            let all = calls.into_iter().flat_map(|call| {
                let fates = Fate::of(&call).into_iter();
                fates.map(move |fate| Injection {
                    call: call.clone(),
                    fate,
                })
            });
            all.map(move |injection| KeyTrial { scene, injection })
        })
        .collect();
    let all = trials.len();
    shuffle(&mut trials, seed);

    let batch = Batch::run(lab, turn, trials, time(SECONDS)).await;
    let (held, seconds) = (batch.held(), batch.took.as_secs());
    let tried = held + batch.failures.len();
    let missed = MISSED.load(Ordering::Relaxed);
    let summary = format!(
        "{held} of {tried} injections at calls for keys, out of {all}, came to a good end, in {seconds} s, {missed} without their call: {:?}; FAULTS_SEED={seed}",
        batch.held
    );
    tell(&summary);
    let failures = batch.failures.join("\n\n");
    assert!(batch.failures.is_empty(), "{failures}\n\n{summary}");
    assert!(missed * 10 <= tried, "{summary}");
}

/// Runs a scene without a fault, and returns its calls. They must have in them what is known to be needed, or nothing would be
/// injected.
async fn undisturbed(lab: &'static Lab, scene: &Scene) -> Vec<Call> {
    let calls = run::run(lab, scene, None).await.calls;
    for what in scene.calls {
        let made = calls.iter().any(|call| call.what == *what);
        assert!(made, "{scene} without {what}: {calls:?}");
    }
    calls
}
