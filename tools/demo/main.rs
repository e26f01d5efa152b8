//! Shows the operator at work on this machine: a real Kubernetes control plane, a stand-in for Sitecore's services, and a
//! workload that calls the APIs with the token that the operator keeps valid, and a reader of content whose key is rotated.
//!
//! It tells a time line, ends it with a summary, and stays up until Ctrl-C. With `DEMO=once` it ends by itself, with exit
//! code 0 only if all went well. However it ends, no process and no file of it is left.

mod key;
mod scene;
mod story;
mod volume;
mod workload;

use std::{env, error::Error, process::ExitCode};

use edge_credential_operator::operator::error_chain::chain;
use futures::{FutureExt, future::BoxFuture, future::Shared};
use kit::{
    signals::{self, INTERRUPTED},
    time_line::{Mark, TimeLine},
};

use self::{
    scene::Scene,
    story::{Story, Verdict},
};

/// The result of anything here. What went wrong is only ever shown to a person.
type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Completes at Ctrl-C or SIGTERM.
type Stop = Shared<BoxFuture<'static, ()>>;

fn main() -> ExitCode {
    let once = match env::var("DEMO").unwrap_or_default().as_str() {
        "" => false,
        "once" => true,
        other => {
            eprintln!("demo: DEMO={other} means nothing; only DEMO=once does");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("demo: {}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    let line = TimeLine::start();
    let code = match runtime.block_on(demo(&line, once)) {
        Ok(code) => code,
        Err(error) => {
            line.say(Mark::Bad, "Failed", &chain(error.as_ref()));
            ExitCode::FAILURE
        }
    };
    // Does not wait for a build of the control plane that was interrupted.
    runtime.shutdown_background();
    code
}

/// Everything that it starts ends with it.
async fn demo(line: &TimeLine, once: bool) -> Result<ExitCode> {
    let stop: Stop = signals::stop()?.boxed().shared();
    let scene = tokio::select! {
        scene = Scene::set_up(line) => scene?,
        () = stop.clone() => {
            line.say(Mark::Plain, "Stopped", "before it began");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    let verdict = Story::new(line, &scene).run(once, stop).await;
    drop(scene);
    line.say(
        Mark::Plain,
        "Stopped",
        "no process and no file of this demo is left",
    );
    Ok(match verdict {
        Verdict::Good => ExitCode::SUCCESS,
        Verdict::Bad => ExitCode::FAILURE,
        Verdict::Interrupted => ExitCode::from(INTERRUPTED),
    })
}
