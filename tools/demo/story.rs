//! What happens in the demo, in order, and what must be true all along.

use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    time::{Duration, Instant},
};

use kit::{
    operator::Operator,
    sitecore::Api,
    time_line::{Mark, TimeLine},
};
use kube::api::{DeleteParams, PostParams};
use tokio::{
    sync::{Mutex, watch},
    time::{sleep, timeout},
};

use crate::{
    Result, Stop, chain,
    key::KeyStory,
    scene::{LIFETIME, NAME, NAMESPACE, Scene},
    volume::{Seen, TOKEN_KEY, Volume},
    workload::{APIS, Workload, seconds_left},
};

/// How long anything may take that takes milliseconds, or one lifetime of a token: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to look whether a token is requested that should not be. A renewal that is due must not fall into it, so it
/// is used right after one.
const LOOK: Duration = Duration::from_secs(3);

/// How often to look whether the operator still runs.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long the operator stays dead.
const DEAD: Duration = Duration::from_secs(3);

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that must hold held.
    Good,
    /// Something did not.
    Bad,
    /// It was stopped before its end.
    Interrupted,
}

/// The story as it goes.
pub struct Story<'a> {
    line: &'a TimeLine,
    scene: &'a Scene,
    volume: Volume,
    workload: Workload,
    key: KeyStory<'a>,
    operator: Mutex<Operator>,
    problems: RefCell<Vec<String>>,
    verdict: Cell<Verdict>,
}

impl<'a> Story<'a> {
    /// Everything is at hand, nothing has happened.
    pub fn new(line: &'a TimeLine, scene: &'a Scene) -> Story<'a> {
        let folder = scene.control_plane.folder();
        let volume = Volume::new(folder.join("pod/edge-token"));
        let origin = scene.sitecore.url();
        let workload = Workload::new(scene.http.clone(), origin, volume.folder());
        let operator = Operator::new(
            scene.program.clone(),
            scene.operator_kubeconfig.clone(),
            origin,
            folder.join("logs/operator.log"),
            scene.http.clone(),
        )
        .arg(format!("--allowed-api-origin={origin}"));
        Story {
            line,
            scene,
            volume,
            workload,
            key: KeyStory::new(line, scene),
            operator: Mutex::new(operator),
            problems: RefCell::default(),
            verdict: Cell::new(Verdict::Interrupted),
        }
    }

    /// Tells it, and then stays up until `stop` unless `once`.
    pub async fn run(self, once: bool, stop: Stop) -> Verdict {
        // All in one task: when it's dropped, nothing is still writing into the folder that is being removed.
        tokio::select! {
            () = self.tell(once) => {}
            error = self.volume.run(self.scene.secrets(), NAME) => {
                self.problem(format!("cannot write the volume: {error}"));
                self.verdict.set(Verdict::Bad);
                self.summarise();
            }
            never = self.workload.run() => match never {},
            never = self.key.read() => match never {},
            () = stop => {
                if self.verdict.get() == Verdict::Interrupted {
                    self.line.say(Mark::Bad, "Interrupted", "before the end");
                }
                self.summarise();
            }
        }
        self.verdict.get()
    }

    async fn tell(&self, once: bool) {
        if let Err(error) = self.acts().await {
            self.problem(chain(error.as_ref()));
        }
        self.check_numbers().await;
        let good = self.problems.borrow().is_empty();
        self.verdict
            .set(if good { Verdict::Good } else { Verdict::Bad });
        self.summarise();
        if !good {
            let tail = self.operator.lock().await.log_tail();
            self.line
                .print(&format!("\nThe end of the operator's log:\n{tail}\n"));
        }
        if !once {
            self.invite();
            self.stay().await;
        }
    }

    async fn acts(&self) -> Result<()> {
        self.start_operator().await?;
        self.create().await?;
        self.key.create().await?;
        self.renewal("first").await?;
        self.delete_target().await?;
        self.renewal("second").await?;
        self.kill_operator().await?;
        self.renewal("third, by the restarted operator").await?;
        self.key.rotate().await?;
        // Long enough for some rounds with the last token.
        sleep(Duration::from_secs(2)).await;
        Ok(())
    }

    async fn start_operator(&self) -> Result<()> {
        let mut operator = self.operator.lock().await;
        let took = operator.start().await?;
        let text = format!(
            "runs as its ServiceAccount (process {}), ready after {} ms",
            operator.pid().unwrap_or_default(),
            took.as_millis()
        );
        self.line.say(Mark::Good, "Operator", &text);
        Ok(())
    }

    async fn create(&self) -> Result<()> {
        let mut seen = self.volume.follow();
        let start = Instant::now();
        let object = self.scene.edge_credential();
        let api = self.scene.edge_credentials();
        api.create(&PostParams::default(), &object).await?;
        let text = format!(
            "{NAME} created; the stand-in's tokens live {} s (Sitecore's 24 h)",
            LIFETIME.as_secs()
        );
        self.line.say(Mark::Deed, "EdgeCredential", &text);

        let first = self
            .wait(&mut seen, "the Secret", |seen| seen.tokens == 1)
            .await?;
        let text = format!(
            "{NAME} created by the operator after {} ms, with 1 token request",
            start.elapsed().as_millis()
        );
        self.line.say(Mark::Good, "Secret", &text);
        self.check_requests(1, "for the first token");

        let token = first.token.unwrap_or_default();
        let claims = self
            .scene
            .sitecore
            .verify(&token)
            .map_err(|error| format!("the token in the Secret is not valid: {error}"))?;
        let text = format!(
            "iss     {}\naud     {}\ntenant  {}\nexp     in {:.1} s",
            claims.iss,
            claims.aud.as_str().unwrap_or("?"),
            claims.tenant_id.as_deref().unwrap_or("?"),
            seconds_left(&token).unwrap_or_default(),
        );
        self.line.say(Mark::Good, "Claims decoded", &text);
        self.line.say(
            Mark::Plain,
            "Volume",
            "the Secret is mounted. Without a node there's no kubelet, so the demo stands in for it:\n\
             same files and links, but at once instead of within a minute and a half",
        );

        until("a call of each API", || {
            self.workload.tally().all_answered()
        })
        .await?;
        self.line.say(
            Mark::Good,
            "Workload",
            "Admin API called, Edge token created with the Token API, Delivery API queried with it: all answered",
        );
        self.check_ready().await?;
        self.show_edge_credentials().await
    }

    async fn show_edge_credentials(&self) -> Result<()> {
        let args = ["get", "edgecredentials", "--namespace", NAMESPACE];
        let table = self.scene.control_plane.kubectl(&args).await?;
        let text = format!("kubectl {}\n{}", args.join(" "), table.trim_end());
        self.line.say(Mark::Plain, "$", &text);
        Ok(())
    }

    /// Waits for the next token.
    async fn renewal(&self, which: &str) -> Result<()> {
        let mut seen = self.volume.follow();
        let before = seen.borrow_and_update().clone();
        let after = self
            .wait(&mut seen, "a renewal", |seen| seen.tokens > before.tokens)
            .await?;
        let text = format!("{which}: {}", renewed(&before, &after));
        self.line.say(Mark::Good, "Renewed", &text);
        self.check_requests(after.tokens, "after a renewal: one for each token");
        self.check_ready().await?;
        self.tell_calls();
        Ok(())
    }

    async fn delete_target(&self) -> Result<()> {
        let mut seen = self.volume.follow();
        let before = seen.borrow_and_update().clone();
        let requests = self.scene.requests();
        let start = Instant::now();
        self.line.say(
            Mark::Deed,
            "Secret deleted",
            &format!("kubectl delete secret {NAME}"),
        );
        let secrets = self.scene.secrets();
        secrets.delete(NAME, &DeleteParams::default()).await?;
        let after = self
            .wait(&mut seen, "the deleted Secret's return", |seen| {
                seen.uid.is_some() && seen.uid != before.uid
            })
            .await?;
        let same = after.token == before.token;
        self.check(
            same,
            "the deleted Secret did not come back with the same token",
        );
        let text = format!(
            "after {} ms, with {} token",
            start.elapsed().as_millis(),
            if same { "the same" } else { "another" }
        );
        self.line.say(mark(same), "Secret back", &text);
        sleep(LOOK).await;
        self.check_no_request(requests, "after the Secret was deleted");
        Ok(())
    }

    async fn kill_operator(&self) -> Result<()> {
        // For the reader: the renewal's lines are still fresh.
        sleep(Duration::from_secs(1)).await;
        let requests = self.scene.requests();
        let before = self.volume.follow().borrow().token.clone();
        let pid = self.operator.lock().await.kill()?;
        let text = format!(
            "kill -KILL {pid}; it stays dead for {} s, the workload goes on",
            DEAD.as_secs()
        );
        self.line.say(Mark::Deed, "Operator killed", &text);
        sleep(DEAD).await;
        self.start_operator().await?;
        sleep(LOOK).await;
        self.check_no_request(requests, "after the operator was restarted");
        self.check(
            self.volume.follow().borrow().token == before,
            "the restarted operator replaced the token",
        );
        self.check_ready().await
    }

    /// The EdgeCredential must be ready.
    async fn check_ready(&self) -> Result<()> {
        let api = self.scene.edge_credentials();
        // The Secret is written before the status.
        let start = Instant::now();
        loop {
            let object = api.get(NAME).await?;
            let conditions = object.data["status"]["conditions"].as_array();
            let ready = conditions
                .into_iter()
                .flatten()
                .find(|condition| condition["type"] == "Ready")
                .and_then(|condition| condition["status"].as_str());
            if ready == Some("True") {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(5) {
                let ready = ready.unwrap_or("Unknown");
                self.problem(format!("the EdgeCredential is Ready={ready}"));
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn check_no_request(&self, before: u64, since: &str) {
        let more = self.scene.requests() - before;
        self.line.say(
            mark(more == 0),
            "Token requests",
            &format!("{more} {since}"),
        );
        self.check(more == 0, format!("{more} token requests {since}"));
    }

    /// Waits until what is seen is as wanted, or the operator has ended.
    async fn wait(
        &self,
        seen: &mut watch::Receiver<Seen>,
        what: &str,
        wanted: impl Fn(&Seen) -> bool,
    ) -> Result<Seen> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Ok(seen) = timeout(LOOK_AGAIN, seen.wait_for(&wanted)).await {
                return Ok(seen?.clone());
            }
            if let Some(code) = self.operator.lock().await.ended() {
                return Err(format!("the operator ended with exit code {code}").into());
            }
        }
        Err(too_late(what))
    }

    fn check_requests(&self, expected: u64, when: &str) {
        let requests = self.scene.requests();
        self.check(
            requests == expected,
            format!("{requests} token requests instead of {expected} {when}"),
        );
    }

    /// What must be true at the end.
    async fn check_numbers(&self) {
        let tally = self.workload.tally();
        let tokens = self.volume.follow().borrow().tokens;
        self.check_requests(tokens, "at the end: one for each token");
        let refused = tally.refused() + self.refused_by_stand_in();
        self.check(refused == 0, "calls were answered 401");
        let expired = tally.expired;
        self.check(expired == 0, "an expired token was in the file");
        if tally.failed() > 0 || tally.last_failure.is_some() {
            let failure = tally.last_failure.unwrap_or_default();
            self.check(false, format!("calls failed, the last one: {failure}"));
        }
        let failed = self.key.queries().failed;
        self.check(failed == 0, "queries with the EdgeToken's key failed");
        let ended = self.operator.lock().await.ended();
        if let Some(code) = ended {
            self.check(false, format!("the operator ended with exit code {code}"));
        }
    }

    /// As the stand-in counts, so that nobody is judge in their own case.
    fn refused_by_stand_in(&self) -> u64 {
        let calls = self.scene.sitecore.calls();
        APIS.into_iter().map(|api| calls.refused(api)).sum()
    }

    fn check(&self, good: bool, problem: impl Display) {
        if !good {
            self.problem(problem.to_string());
        }
    }

    fn problem(&self, problem: String) {
        if self.problems.borrow().contains(&problem) {
            return;
        }
        self.line.say(Mark::Bad, "Wrong", &problem);
        self.problems.borrow_mut().push(problem);
        if self.verdict.get() == Verdict::Good {
            self.verdict.set(Verdict::Bad);
        }
    }

    fn tell_calls(&self) {
        let tally = self.workload.tally();
        let refused = tally.refused();
        let text = format!("so far: {}, refused (401): {refused}", tally.calls());
        self.line.say(mark(refused == 0), "Calls", &text);
    }

    fn summarise(&self) {
        let tally = self.workload.tally();
        let tokens = self.volume.follow().borrow().tokens;
        let requests = self.scene.requests();
        let renewals = tokens.saturating_sub(1);
        let least = tally
            .least_left
            .map_or_else(|| "none read".to_owned(), |left| format!("{left:.1} s"));
        let queries = self.key.queries();
        let problems = self.problems.borrow();
        let result = match self.verdict.get() {
            Verdict::Good if tally.refused() + tally.expired > 0 => {
                "all went well until the first summary, but not since".to_owned()
            }
            Verdict::Good => "all went well".to_owned(),
            Verdict::Bad => format!("not all went well:\n  - {}", problems.join("\n  - ")),
            Verdict::Interrupted => "stopped before the end".to_owned(),
        };
        self.line.print(&format!(
            "
Summary
  renewals                    {renewals}
  token requests              {requests} (1 for the first token, 1 for each renewal)
  calls answered              Admin API {}, Token API {}, Delivery API {}
  calls answered 401          {} (the stand-in counted {})
  calls that failed otherwise {}
  queries with the Edge token {} answered, {} failed
  expired tokens in the file  {}
  least time left when read   {least} of {} s
  result                      {result}
",
            tally.of(Api::Admin).ok,
            tally.of(Api::Token).ok,
            tally.of(Api::Delivery).ok,
            tally.refused(),
            self.refused_by_stand_in(),
            tally.failed(),
            queries.answered,
            queries.failed,
            tally.expired,
            LIFETIME.as_secs(),
        ));
    }

    /// How to look around.
    fn invite(&self) {
        let control_plane = &self.scene.control_plane;
        let kubectl = &control_plane.binaries().kubectl;
        let folder = kubectl.parent().unwrap_or(kubectl);
        self.line.print(&format!(
            "It stays up, and the workload goes on, until Ctrl-C. In another terminal:

  export KUBECONFIG={kubeconfig}
  export KUBECACHEDIR={cache}
  export PATH={path}:$PATH

  kubectl get edgecredentials,edgetokens --all-namespaces
  kubectl describe edgecredential {NAME} --namespace {NAMESPACE}
  kubectl get secret {NAME} --namespace {NAMESPACE} -o jsonpath='{{.data.{TOKEN_KEY}}}' | base64 -d
  # Renewed at once, with one token request:
  kubectl annotate edgecredential {NAME} --namespace {NAMESPACE} --overwrite \\
    edgecredentials.io/renew-requested-at=\"$(date)\"
  # Back at once, without one:
  kubectl delete secret {NAME} --namespace {NAMESPACE}
  # What the operator says:
  tail -f {log}
",
            kubeconfig = control_plane.admin_kubeconfig().display(),
            cache = control_plane.folder().join("kubectl-cache").display(),
            path = folder.display(),
            log = control_plane.folder().join("logs/operator.log").display(),
        ));
    }

    /// Tells what goes on, for good.
    async fn stay(&self) {
        let mut seen = self.volume.follow();
        let mut before = seen.borrow_and_update().clone();
        loop {
            let _ = timeout(LOOK_AGAIN, seen.changed()).await;
            let after = seen.borrow_and_update().clone();
            if after.tokens > before.tokens {
                let text = format!(
                    "{}; so far: renewals {}, token requests {}, calls {}, refused (401) {}",
                    renewed(&before, &after),
                    after.tokens - 1,
                    self.scene.requests(),
                    self.workload.tally().calls(),
                    self.workload.tally().refused(),
                );
                self.line.say(Mark::Good, "Renewed", &text);
            }
            match (&before.uid, &after.uid) {
                (Some(_), None) => self.line.say(Mark::Deed, "Secret", "is gone"),
                (before, Some(after)) if before.as_ref() != Some(after) => {
                    self.line.say(Mark::Good, "Secret", "is back");
                }
                _ => {}
            }
            before = after;
            let ended = self.operator.lock().await.ended();
            if let Some(code) = ended {
                self.problem(format!("the operator ended with exit code {code}"));
                return futures::future::pending().await;
            }
        }
    }
}

fn mark(good: bool) -> Mark {
    if good { Mark::Good } else { Mark::Bad }
}

fn renewed(before: &Seen, after: &Seen) -> String {
    let left = |seen: &Seen| seen.token.as_deref().and_then(seconds_left);
    format!(
        "{:.1} s before the old token expires; the new one is good for {:.1} s",
        left(before).unwrap_or_default(),
        left(after).unwrap_or_default()
    )
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) -> Result<()> {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > PATIENCE {
            return Err(too_late(what));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn too_late(what: &str) -> Box<dyn std::error::Error> {
    format!("{what} did not come within {} s", PATIENCE.as_secs()).into()
}
