//! Measures the operator on a real control plane, with a release build and as a process: how fast it is, how many calls it
//! makes, what it takes. It judges nothing.
//!
//! - `BENCH=quick` takes some minutes, and `full` (the default) some hours.
//! - `CASES=memory,restart` runs these cases only, `OBJECTS=300` sets how many objects there are where there are many.
//! - `SUBJECT=FILE` measures another operator, which the file describes: see [`subject`]. `BENCH_OPERATOR=PROGRAM` measures
//!   another build of this one.
//!
//! Progress goes to standard error. After each case `target/bench` has all figures so far, in `bench.json` and `bench.md`,
//! and the pictures. `bench docs FILE` writes `docs/benchmarks.md` and its pictures from such a `bench.json`.
//!
//! | Part | File |
//! |---|---|
//! | what the environment says | `settings.rs` |
//! | the operator, from a description of it | `subject.rs`, `template.rs`, `ready.rs` |
//! | what a case has to itself | `scene.rs`, `endpoint.rs` |
//! | what is counted | `calls.rs`, `vitals.rs`, `statistics.rs` |
//! | what is measured, a file for each case | `cases/` |
//! | what is told of it | `report.rs`, `markdown.rs`, `plots.rs` |

mod calls;
mod cases;
mod endpoint;
mod markdown;
mod plots;
mod ready;
mod report;
mod scene;
mod settings;
mod statistics;
mod subject;
mod template;
mod vitals;

use std::{
    error::Error,
    fs,
    path::Path,
    pin::pin,
    process::{Command, ExitCode},
    time::Instant,
};

use edge_credential_operator::operator::error_chain::chain;
use k8s_openapi::jiff::{Timestamp, tz::TimeZone};
use kit::{
    programs::Binaries,
    signals::{self, INTERRUPTED},
};

use self::{
    cases::{CASES, Case},
    report::{Measured, Report},
    settings::Settings,
    subject::Subject,
};

/// What went wrong. It's only ever shown to a person.
type Problem = Box<dyn Error + Send + Sync>;

/// The result of anything here.
type Result<T, E = Problem> = std::result::Result<T, E>;

/// What all cases have in common.
struct Bench {
    settings: Settings,
    subject: Subject,
    start: Instant,
}

impl Bench {
    /// Tells how far it is.
    fn say(&self, text: impl AsRef<str>) {
        let seconds = self.start.elapsed().as_secs();
        eprintln!("[{:3}:{:02}] {}", seconds / 60, seconds % 60, text.as_ref());
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match *arguments {
        [] => measure(),
        ["docs", file] => write_docs(Path::new(file)),
        _ => Err("it takes no arguments, or `docs FILE`".into()),
    };
    done.unwrap_or_else(|error| {
        eprintln!("bench: {}", chain(error.as_ref()));
        ExitCode::FAILURE
    })
}

fn measure() -> Result<ExitCode> {
    let settings = Settings::from_env()?;
    let bench = Bench {
        subject: Subject::load(&settings)?,
        settings,
        start: Instant::now(),
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let code = runtime.block_on(async {
        let mut stop = pin!(signals::stop()?);
        tokio::select! {
            code = run(&bench) => code,
            () = &mut stop => Ok(ExitCode::from(INTERRUPTED)),
        }
    });
    // Does not wait for a build of the control plane that was interrupted.
    runtime.shutdown_background();
    code
}

/// Runs the cases that are asked for, one after the other, and writes what there is after each.
async fn run(bench: &Bench) -> Result<ExitCode> {
    let settings = &bench.settings;
    let mut report = Report {
        date: Timestamp::now()
            .to_zoned(TimeZone::UTC)
            .strftime("%Y-%m-%d %H:%M UTC")
            .to_string(),
        subject: bench.subject.name().to_owned(),
        run: settings.pick("full", "quick").to_owned(),
        objects: settings.objects,
        machine: report::machine(),
        versions: versions(bench).await?,
        cases: Vec::new(),
    };
    let chosen = CASES
        .iter()
        .filter(|case| settings.cases.iter().any(|name| name == case.name));
    for case in chosen {
        if case.own_only && !bench.subject.is_own() {
            bench.say(format!("{}: only for this project's operator", case.name));
            continue;
        }
        report.cases.push(measured(bench, case).await);
        report.write(&settings.folder)?;
    }
    bench.say(format!("written to {}", settings.folder.display()));
    print!("{}", markdown::render(&report, &[], ""));
    let whole = report
        .cases
        .iter()
        .all(|measured| measured.problem.is_none());
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measured(bench: &Bench, case: &Case) -> Measured {
    bench.say(format!("{}: {}", case.name, case.about));
    let start = Instant::now();
    let mut measured = Measured {
        case: case.name.to_owned(),
        about: case.about.to_owned(),
        ..Measured::default()
    };
    if let Err(error) = (case.run)(bench, &mut measured).await {
        let problem = chain(error.as_ref()).to_string();
        bench.say(format!("{}: {problem}", case.name));
        measured.problem = Some(problem);
    }
    measured.seconds = start.elapsed().as_secs_f64();
    measured
}

async fn versions(bench: &Bench) -> Result<std::collections::BTreeMap<String, String>> {
    let binaries = tokio::task::spawn_blocking(Binaries::locate).await??;
    let first_line = |command: &mut Command| {
        let output = command.output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let text = text.unwrap_or_default();
        text.lines().next().unwrap_or_default().to_owned()
    };
    let workspace = kit::workspace();
    let revision = ["rev-parse", "--short=12", "HEAD"];
    let mut git = Command::new("git");
    git.args(revision).current_dir(&workspace);
    Ok([
        (
            "operator",
            first_line(Command::new(bench.subject.program()).arg("--version")),
        ),
        ("revision", first_line(&mut git)),
        (
            "kube-apiserver",
            first_line(Command::new(&binaries.kube_apiserver).arg("--version")),
        ),
        (
            "etcd",
            first_line(Command::new(&binaries.etcd).arg("--version")),
        ),
    ]
    .map(|(name, version)| (name.to_owned(), version))
    .into())
}

/// Writes the page of the documentation, and its pictures.
fn write_docs(file: &Path) -> Result<ExitCode> {
    let report = Report::read(file)?;
    let docs = kit::workspace().join("docs");
    let pictures = docs.join("benchmarks");
    fs::create_dir_all(&pictures)?;
    plots::draw(&report, &pictures)?;
    let titles = plots::titles(&report);
    fs::write(
        docs.join("benchmarks.md"),
        markdown::render(&report, &titles, "benchmarks/"),
    )?;
    Ok(ExitCode::SUCCESS)
}
