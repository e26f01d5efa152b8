//! Panics, which no input should cause. Only their place in the program is logged, and they end only the work that they
//! happen in.

use std::{
    panic::{AssertUnwindSafe, Location, set_hook},
    thread,
};

use futures::{FutureExt, TryFutureExt};

/// Logs the place of every panic of this process. The usual hook prints the panic's message too, which can hold anything
/// that the program works with: a token, an answer of a server.
pub fn log_places() {
    set_hook(Box::new(|panic| {
        let place = panic.location().map(Location::to_string);
        let thread = thread::current();
        tracing::error!(
            place = place.as_deref().unwrap_or("unknown"),
            thread = thread.name().unwrap_or("unnamed"),
            "the program panicked: this is a fault in it, please report this line"
        );
    }));
}

/// That something panicked.
#[derive(Debug, PartialEq, Eq)]
pub struct Panicked;

/// The result of `work`, or that it panicked. State that `work` shares must be consistent between any two statements.
///
/// No `async fn`, which would have room for `work` twice: as what it is given, and as what it waits for.
pub fn caught<T>(work: impl Future<Output = T>) -> impl Future<Output = Result<T, Panicked>> {
    let result = AssertUnwindSafe(work).catch_unwind();
    result.map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::operator::{flags::LogFormat, telemetry};

    const CANARY: &str = "CANARY";

    #[tokio::test]
    async fn a_panic_is_caught_and_other_results_are_passed_on() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        assert_eq!(
            caught(async { panic!("on purpose") }).await,
            Err::<(), _>(Panicked)
        );
    }

    /// Hooks belong to a process: this test runs itself in one of its own.
    #[test]
    fn a_panic_is_told_by_its_place_and_not_by_what_it_says() {
        const IN_CHILD: &str = "TEST_PANIC_HOOK";
        if std::env::var_os(IN_CHILD).is_some() {
            telemetry::start(LogFormat::Text);
            let panicked = std::panic::catch_unwind(|| panic!("{CANARY}"));
            assert!(panicked.is_err());
            return;
        }
        let name = "operator::panics::tests::a_panic_is_told_by_its_place_and_not_by_what_it_says";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(IN_CHILD, "1")
            .env("RUST_LOG", "trace")
            .output()
            .unwrap();
        let printed =
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{printed}");
        assert!(printed.contains("src/operator/panics.rs:"), "{printed}");
        assert!(!printed.contains(CANARY), "{printed}");
    }
}
