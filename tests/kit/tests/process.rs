//! A guarded process dies with whoever started it.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use kit::process::{Error, GuardedCommand, GuardedProcess};

fn sh(folder: &Path, script: &str) -> GuardedCommand {
    GuardedProcess::command("sh", "/bin/sh", folder.join("log")).args(["-c", script])
}

fn exists(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Waits for something that happens soon. Only a test that fails waits so long.
fn soon(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn the_exit_code_and_the_output_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"echo "out $GREETING"; echo err >&2; exit 7"#;
    let command = sh(folder.path(), script).env("GREETING", "hello");
    let mut process = command.spawn().unwrap();
    assert_eq!(process.wait().await.unwrap(), 7);
    assert!(!process.is_running());
    assert_eq!(process.log_tail(10), "out hello\nerr");
    assert_eq!(process.log_tail(1), "err");
}

#[tokio::test]
async fn a_program_that_does_not_exist_ends_with_127() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let command = GuardedProcess::command("none", "/no/such/program", log);
    let mut process = command.spawn().unwrap();
    assert_eq!(process.wait().await.unwrap(), 127);
    assert!(process.log_tail(1).contains("/no/such/program"));
}

#[tokio::test]
async fn a_signal_reaches_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.01; done";
    let mut process = sh(folder.path(), script).spawn().unwrap();
    soon("ready", || process.log_tail(1) == "ready");
    process.signal("TERM").unwrap();
    assert_eq!(process.wait().await.unwrap(), 3);
    assert_eq!(process.log_tail(1), "got it");
    let error = process.signal("TERM").unwrap_err();
    assert!(matches!(error, Error::Ended { code: 3, .. }), "{error}");
}

#[tokio::test]
async fn a_program_killed_by_a_signal_has_the_exit_code_of_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = sh(folder.path(), "exec sleep 60").spawn().unwrap();
    process.signal("KILL").unwrap();
    assert_eq!(process.wait().await.unwrap(), 137);
}

#[test]
fn a_dropped_process_is_dead_even_if_it_was_stopped_or_ignores_signals() {
    let folder = tempfile::tempdir().unwrap();
    let mut stopped = sh(folder.path(), "exec sleep 60").spawn().unwrap();
    stopped.signal("STOP").unwrap();
    assert!(stopped.is_running());
    let script = "trap '' TERM INT HUP; while :; do sleep 0.01; done";
    let stubborn = sh(folder.path(), script).spawn().unwrap();
    let pids = [stopped.pid(), stubborn.pid()];
    assert!(pids.into_iter().all(exists));
    drop(stopped);
    drop(stubborn);
    assert!(!pids.into_iter().any(exists));
}

/// Tells this test binary to start a child there and hang.
const HANG_IN: &str = "KIT_TEST_HANG_IN";

/// Not a test: what the next test starts in a process of its own, to kill that.
#[test]
fn start_a_child_and_hang() {
    let Some(folder) = std::env::var_os(HANG_IN) else {
        return;
    };
    let folder = Path::new(&folder);
    let child = sh(folder, "exec sleep 60").spawn().unwrap();
    fs::write(folder.join("pid.partial"), child.pid().to_string()).unwrap();
    fs::rename(folder.join("pid.partial"), folder.join("pid")).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_child_dies_when_its_parent_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "start_a_child_and_hang"])
        .env(HANG_IN, folder.path())
        .spawn()
        .unwrap();
    let file = folder.path().join("pid");
    soon("the child runs", || file.exists());
    let pid: u32 = fs::read_to_string(file).unwrap().parse().unwrap();
    assert!(exists(pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    soon("the child is dead", || !exists(pid));
}
