//! What is otherwise on a terminal: colours, questions, and a table that is drawn anew.

use std::{
    io::Read,
    process::Command,
    time::{Duration, Instant},
};

use expectrl::{ControlCode, Eof, Expect, Session};
use kit::{
    canary::assert_absent,
    harness::{CLIENT, SECRET},
};

use super::stage::Stage;

/// What begins a colour.
const ESCAPE: &str = "\u{1b}[";

/// How long a test waits for what a command shows.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command on a terminal as people have it: one that shows what is typed. The library's does not,
/// and so could not tell whether a secret is kept from it.
fn open(stage: &Stage, args: &[&str], env: &[(&str, &str)]) -> expectrl::session::OsSession {
    let command = stage.command(args);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"stty echo && exec "$0" "$@""#])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("TERM", "xterm-256color")
        .envs(env.iter().copied());
    let mut session = Session::spawn(shell).unwrap();
    session.set_expect_timeout(Some(PATIENCE));
    session
}

/// All that a command puts on a terminal until it ends.
fn read(mut session: expectrl::session::OsSession) -> String {
    let found = session.expect(Eof).unwrap();
    let mut text = String::from_utf8_lossy(found.as_bytes()).into_owned();
    let mut rest = Vec::new();
    let _ = session.read_to_end(&mut rest);
    text += &String::from_utf8_lossy(&rest);
    text
}

/// Answers a question for something secret. The terminal drops what was typed before it stopped
/// showing it (`TCSAFLUSH` in termios(3)), so the answer waits for that.
fn answer(session: &mut expectrl::session::OsSession, question: &str, answer: &str) {
    session.expect(question).unwrap();
    let since = Instant::now();
    while session.get_process().get_echo().unwrap() {
        assert!(since.elapsed() < PATIENCE, "{question}: still shown");
        std::thread::sleep(Duration::from_millis(10));
    }
    session.send_line(answer).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_has_colours_and_a_pipe_has_none() {
    let stage = Stage::new("colors").await;
    let shown = read(open(&stage, &["status"], &[]));
    assert!(
        shown.contains(ESCAPE) && shown.contains("Stalled"),
        "{shown:?}"
    );
    let plain = read(open(&stage, &["status"], &[("NO_COLOR", "1")]));
    assert!(
        !plain.contains(ESCAPE) && plain.contains("Stalled"),
        "{plain:?}"
    );
    let piped = stage.enter(&["status"]).await;
    assert!(
        !piped.stdout.contains(ESCAPE) && !piped.stderr.contains(ESCAPE),
        "{piped:?}"
    );
}

/// `make plugin-picture` draws docs/kubectl.svg from it, which has the file named by PICTURE written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_shows_how_things_stand_what_belongs_together_and_a_rotation() {
    let mut stage = Stage::new("picture").await;
    stage.restart_operator().await;
    let mut shown = String::new();
    for line in [
        "status",
        "tree edge-admin",
        "rotate storefront-content --wait",
        "status edgetoken/storefront-content",
    ] {
        let args: Vec<_> = line.split_whitespace().collect();
        let printed = read(open(&stage, &args, &[]));
        shown += &format!("$ kubectl edgecred {line}\n{printed}\n");
    }
    assert!(shown.contains("the former key works for"), "{shown}");
    assert_absent(
        &[CLIENT, SECRET, &stage.key().await],
        &[("it", shown.clone())],
    );
    if let Some(path) = std::env::var_os("PICTURE") {
        let shown = shown
            .replace(&stage.shop().name, "storefront")
            .replace(stage.sitecore().url(), "https://auth.sitecorecloud.io");
        std::fs::write(path, shown).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_table_is_drawn_anew_until_it_is_interrupted() {
    let stage = Stage::new("watch").await;
    let mut session = open(&stage, &["status", "--watch"], &[]);
    session.expect("edge-preview").unwrap();
    session.expect("First expiry in").unwrap();
    stage
        .enter(&["suspend", "edge-admin", "--reason=seen"])
        .await;
    session.expect("seen").unwrap();
    session.send(ControlCode::EndOfText).unwrap();
    session.expect(Eof).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_are_asked_for_and_not_shown() {
    let stage = Stage::new("asked").await;
    let url = format!("--token-url={}", stage.sitecore().token_url());
    let mut session = open(
        &stage,
        &["init", "edge-new", "--credentials=new-client", &url],
        &[],
    );
    answer(&mut session, "Client id", CLIENT);
    answer(&mut session, "Client secret", SECRET);
    let shown = read(session);
    assert!(shown.contains("mountPath"), "{shown:?}");
    assert!(
        !shown.contains(CLIENT) && !shown.contains(SECRET),
        "{shown:?}"
    );
    stage.shop().ready("edge-new").await;

    let shown = read(open(&stage, &["token", "edge-new"], &[]));
    assert!(shown.contains("would stay on the screen"), "{shown:?}");
    let shown = read(open(&stage, &["token", "edge-new", "--show-token"], &[]));
    assert!(shown.trim().starts_with("ey"), "{shown:?}");
}
