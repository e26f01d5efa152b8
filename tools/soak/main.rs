//! Runs the operator for a long time while all goes wrong that can: it is killed, its API server is restarted, client
//! secrets are rotated and target Secrets damaged, at random moments. The token endpoint goes away for minutes, and other
//! tenants misbehave for half of the time. All the time a reader checks that every target of the others holds a valid token.
//! At the end every token request for them has to have its cause, and neither memory nor descriptors may have grown. Beside them
//! are EdgeTokens, whose keys workloads use without ever being refused.
//!
//! Two operators share the objects: one is killed again and again, the other one never, so that its memory tells of leaks.
//!
//! `SOAK=24h` sets how long (20 minutes by default), `SEED` repeats the choices of an earlier run (not its timing),
//! `SOAK_OBJECTS` sets the number of EdgeCredentials (200), `SOAK_OPERATOR` another program than that of the release
//! build. The exit code is 0 where all limits were kept, 1 where one was not, 130 after Ctrl-C.

mod causes;
mod disturbances;
mod history;
mod keys;
mod reader;
mod report;
mod scene;
mod settings;
mod trend;
mod vitals;

use std::{error::Error, pin::pin, process::ExitCode, time::Duration};

use edge_credential_operator::operator::error_chain::chain;
use kit::signals::{self, INTERRUPTED};
use tokio::time::{Instant, sleep, sleep_until};

use self::{scene::Scene, settings::Settings};

/// The result of anything here. What went wrong is only ever shown to a person.
type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// How long before the end nothing is disturbed any more, so that all that was asked for can be done.
const SETTLE: Duration = Duration::from_secs(30);

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(problem) => {
            eprintln!("soak: {problem}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("soak: {}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(run(&settings)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("soak: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    };
    // Does not wait for a build of the control plane that was interrupted.
    runtime.shutdown_background();
    code
}

async fn run(settings: &Settings) -> Result<ExitCode> {
    let mut stop = pin!(signals::stop()?);
    println!("{settings}");
    let scene = tokio::select! {
        scene = Scene::set_up(settings) => scene?,
        () = &mut stop => return Ok(ExitCode::from(INTERRUPTED)),
    };
    soak(settings, &scene, stop).await
}

/// Lets things go wrong until the time is over or somebody stops it, and reports.
async fn soak(
    settings: &Settings,
    scene: &Scene,
    stop: impl Future<Output = ()>,
) -> Result<ExitCode> {
    let start = Instant::now();
    println!(
        "All {} EdgeCredentials are ready. From now on things go wrong. Logs are in {}",
        scene.objects.len(),
        scene.control_plane.folder().display(),
    );
    let end = start + settings.duration;
    let progress = async {
        loop {
            sleep(PROGRESS).await;
            println!("{}", report::progress(scene, start.elapsed()));
        }
    };
    let interrupted = tokio::select! {
        result = disturbances::of_processes(scene, settings.seed, end - SETTLE) => match result? {},
        result = disturbances::of_objects(scene, settings.seed, end - SETTLE) => match result? {},
        result = disturbances::of_endpoint(scene, settings.seed, end - SETTLE) => match result? {},
        result = disturbances::of_tenants(scene, settings.seed, end - SETTLE) => match result? {},
        result = keys::disturb(scene, settings.seed, end - SETTLE) => match result? {},
        result = keys::use_all(scene) => match result? {},
        result = reader::read(scene) => match result? {},
        result = vitals::watch(scene) => match result? {},
        () = progress => false,
        () = sleep_until(end) => false,
        () = stop => true,
    };
    let keys = keys::count(scene).await?;
    let report = report::report(scene, settings, start.elapsed(), keys);
    println!("{report}");
    if interrupted {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if report.is_good() {
        return Ok(ExitCode::SUCCESS);
    }
    scene.control_plane.keep_folder();
    println!(
        "Logs are kept in {}",
        scene.control_plane.folder().display()
    );
    Ok(ExitCode::FAILURE)
}
