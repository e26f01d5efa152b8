//! What happens, in order, and what must be true all along.

use std::{
    fmt::Display,
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use aws_lc_rs::digest;
use k8s_openapi::api::core::v1::{Pod, Service};
use kit::{
    harness::CHART,
    sitecore::Api as SitecoreApi,
    time_line::{Mark, TimeLine},
};
use kube::{Api, api::ListParams};
use tokio::time::sleep;

use crate::{
    Result, chain,
    node::network::Network,
    operator::{Memory, Process, addresses, is_ready, restarts, seconds_between},
    policy::{self, Policy},
    scene::{AUTHORITY, KEY, LIFETIME, NAME, NAMESPACE, OPERATOR, REPOSITORY, Scene},
    workload::{self, Call, READER, WATCHER, Workload},
};

/// An EdgeCredential that is created while the operator doesn't run.
const LATE: &str = "edge-late";

/// How many renewals to watch.
fn renewals(network: Network) -> u64 {
    match network {
        Network::DualStack => 3,
        Network::Ipv6 => 1,
    }
}

/// How long anything may take that takes seconds, or one lifetime of a token.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long the operator has nothing to do before its memory is measured.
const IDLE: Duration = Duration::from_secs(10);

/// How often to look.
const POLL: Duration = Duration::from_millis(20);

/// How long a start of the operator took, in seconds.
#[derive(Clone, Copy, Debug)]
struct StartUp {
    /// From the pod's creation to the process: what Kubernetes does.
    to_process: f64,
    /// From the process to its first answer that it's ready: what the operator does.
    to_ready: f64,
    /// From the pod's creation until Kubernetes says that it's ready: with the probes.
    in_all: f64,
}

/// What is told at the end.
#[derive(Debug, Default)]
struct Figures {
    start: Option<StartUp>,
    restart: Option<StartUp>,
    first_request: Option<f64>,
    first_secret: Option<f64>,
    idle: Option<Memory>,
    at_the_end: Option<Memory>,
    delays: Vec<f64>,
    calls: usize,
    queries: usize,
}

/// The story as it goes.
pub struct Story<'a> {
    line: &'a TimeLine,
    scene: &'a mut Scene,
    http: reqwest::Client,
    workloads: Vec<&'static Workload>,
    figures: Figures,
    problems: Vec<String>,
}

impl<'a> Story<'a> {
    /// Everything is at hand, nothing has happened.
    pub fn new(line: &'a TimeLine, scene: &'a mut Scene) -> Story<'a> {
        Story {
            line,
            scene,
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(1))
                .build()
                .expect("a client without TLS settings"),
            workloads: Vec::new(),
            figures: Figures::default(),
            problems: Vec::new(),
        }
    }

    /// Tells it. Whether all went well.
    pub async fn run(mut self) -> bool {
        if let Err(error) = self.acts().await {
            self.problem(chain(error.as_ref()));
        }
        if let Err(error) = self.scene.node.check() {
            self.problem(error.to_string());
        }
        self.summarise();
        if !self.problems.is_empty() {
            self.show_trouble().await;
        }
        self.problems.is_empty()
    }

    async fn acts(&mut self) -> Result<()> {
        self.install().await?;
        self.measure_idle().await?;
        self.create().await?;
        policy::start_scraper(self.scene).await?;
        self.try_policy(Policy::Default).await?;
        for number in 1..=renewals(self.scene.network) {
            self.renewal(number).await?;
        }
        self.rotate_key().await?;
        self.narrow_policy().await?;
        self.restart().await?;
        self.try_policy(Policy::Narrow).await?;
        self.helm_test().await?;
        self.check_workload().await?;
        self.figures.at_the_end = Some(self.process()?.memory()?);
        Ok(())
    }

    async fn install(&mut self) -> Result<()> {
        let origin = format!("allowedTokenOrigins[0]={}", self.scene.token_endpoint.url());
        let apis = format!("allowedAPIOrigins[0]={}", self.scene.apis());
        let authority = format!("tokenCA.configMap={AUTHORITY}");
        let image = format!("image.repository={REPOSITORY}");
        let args = [
            "install",
            OPERATOR,
            CHART,
            "--namespace",
            OPERATOR,
            "--set",
            "image.pullPolicy=Never",
            "--set",
            &image,
            "--set",
            &origin,
            "--set",
            &apis,
            "--set",
            &authority,
            "--wait",
            "--timeout",
            "2m",
        ];
        self.line.say(
            Mark::Deed,
            "helm install",
            &format!("{OPERATOR} with its image, which is never pulled; otherwise as the chart's defaults are"),
        );
        let mut helm = self.scene.node.control_plane.helm_command();
        helm.args(args);
        let (output, start_up) = tokio::join!(helm.output(), self.start_up());
        let output = output?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("helm install failed: {}", said.trim()).into());
        }
        let start_up = start_up?;
        self.tell_start_up("Installed", &start_up);
        self.figures.start = Some(start_up);
        Ok(())
    }

    /// Watches one pod of the operator from its creation until it's ready.
    async fn start_up(&self) -> Result<StartUp> {
        let created = self.operator_pod(|_| true).await?;
        let created_at = SystemTime::now();
        let name = created.metadata.name.as_deref().unwrap_or_default();
        let addressed = self.operator_pod(|pod| {
            pod.metadata.name.as_deref() == Some(name) && !addresses(pod).is_empty()
        });
        let mut process = None;
        let mut addressed = std::pin::pin!(addressed);
        // The address is made known only some time after the process was started.
        let pod = loop {
            tokio::select! {
                pod = &mut addressed => break pod?,
                () = sleep(POLL) => process = process.or_else(Process::find),
            }
        };
        let address = addresses(&pod).first().copied();
        let address = SocketAddr::new(
            address.ok_or("the pod has no address")?,
            policy::OPERATOR_PORT,
        );
        let url = format!("http://{address}/readyz");
        let start = Instant::now();
        let ready_at = loop {
            let answer = self.http.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                break SystemTime::now();
            }
            if start.elapsed() > PATIENCE {
                return Err(too_late("the operator's readiness"));
            }
            sleep(Duration::from_millis(5)).await;
        };
        let process = process
            .or_else(Process::find)
            .ok_or("the operator's process is not to be seen")?;
        self.operator_pod(|pod| pod.metadata.name.as_deref() == Some(name) && is_ready(pod))
            .await?;
        let all_at = SystemTime::now();
        let started_at = process.started()?;
        Ok(StartUp {
            to_process: seconds_between(created_at, started_at),
            to_ready: seconds_between(started_at, ready_at),
            in_all: seconds_between(created_at, all_at),
        })
    }

    fn tell_start_up(&self, subject: &str, start_up: &StartUp) {
        let text = format!(
            "the pod's process ran {:.2} s after the pod was created, /readyz answered {:.2} s later,\n\
             and Kubernetes called the pod ready {:.2} s after it was created",
            start_up.to_process, start_up.to_ready, start_up.in_all
        );
        self.line.say(Mark::Good, subject, &text);
    }

    /// Waits for a pod of the operator that is as wanted and not about to go.
    async fn operator_pod(&self, wanted: impl Fn(&Pod) -> bool) -> Result<Pod> {
        let pods = self.scene.pods(OPERATOR);
        let selector = format!("app.kubernetes.io/name={OPERATOR}");
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let list = pods.list(&ListParams::default().labels(&selector)).await?;
            let found = list
                .into_iter()
                .find(|pod| pod.metadata.deletion_timestamp.is_none() && wanted(pod));
            if let Some(pod) = found {
                return Ok(pod);
            }
            sleep(POLL).await;
        }
        Err(too_late("the operator's pod"))
    }

    fn process(&self) -> Result<Process> {
        Ok(Process::find().ok_or("the operator does not run")?)
    }

    async fn measure_idle(&mut self) -> Result<()> {
        sleep(IDLE).await;
        let memory = self.process()?.memory()?;
        self.line.say(Mark::Good, "Memory, idle", &describe(memory));
        self.figures.idle = Some(memory);
        Ok(())
    }

    async fn create(&mut self) -> Result<()> {
        self.scene.create_edge_credential(NAME).await?;
        let text = format!(
            "{NAME} created; the stand-in's tokens live {} s (Sitecore's 24 h)",
            LIFETIME.as_secs()
        );
        self.line.say(Mark::Deed, "EdgeCredential", &text);
        self.wait_until_ready(&format!("edgecredential/{NAME}"))
            .await?;
        let lookups = self.scene.names.answered();
        let handshakes = self.scene.token_endpoint.handshakes();
        self.check(lookups > 0, "the name server was not asked");
        self.check(handshakes > 0, "no TLS handshake was made");
        let text = format!(
            "is true: from inside its image the operator found the token endpoint by its name (addresses given\n\
             by the name server: {lookups}) and took its certificate, of an authority in a ConfigMap (TLS handshakes: {handshakes})"
        );
        self.line.say(Mark::Good, "Ready", &text);

        let mark = self.start_workload(&WATCHER).await?;
        let text = format!(
            "{} runs with the Secret mounted, and calls the Admin API with token {mark} (a hash of it)",
            WATCHER.name
        );
        self.line.say(Mark::Good, "Workload", &text);
        Ok(())
    }

    async fn wait_until_ready(&self, object: &str) -> Result<()> {
        let condition = [
            "wait",
            "--for=condition=Ready",
            "--timeout=60s",
            "--namespace",
            NAMESPACE,
            object,
        ];
        self.scene.node.control_plane.kubectl(&condition).await?;
        Ok(())
    }

    /// Starts a workload, and returns the hash of what its first call was made with.
    async fn start_workload(&mut self, workload: &'static Workload) -> Result<String> {
        workload::start(self.scene, workload).await?;
        self.workloads.push(workload);
        let mark = self.mark(workload).await?;
        self.seen(&mark, workload).await?;
        Ok(mark)
    }

    /// Has a key made, used, rotated, and the former one revoked once the pod uses the present one.
    async fn rotate_key(&mut self) -> Result<()> {
        self.scene.create_edge_token().await?;
        self.line
            .say(Mark::Deed, "EdgeToken", &format!("{KEY} created"));
        self.wait_until_ready(&format!("edgetoken/{KEY}")).await?;
        let former = self.start_workload(&READER).await?;
        let text = format!(
            "{} runs with the Secret mounted, and queries the Delivery API with key {former} (a hash of it)",
            READER.name
        );
        self.line.say(Mark::Good, "Workload", &text);

        self.ask("rotate-requested-at").await?;
        let present = self.next(&READER, &former).await?;
        self.seen(&present, &READER).await?;
        self.ask("end-overlap-requested-at").await?;
        let live = || {
            let keys = self.scene.sitecore.keys();
            keys.iter().filter(|key| !key.is_revoked).count()
        };
        let start = Instant::now();
        while live() != 1 {
            if start.elapsed() > PATIENCE {
                return Err(too_late("the end of the former key"));
            }
            sleep(POLL).await;
        }
        self.check_workload().await?;
        let text = format!(
            "key {present} was used in the pod before the former one was revoked; queries so far: {}, refused: {}",
            self.figures.queries,
            self.refused()
        );
        self.line.say(Mark::Good, "Rotated", &text);
        let made = self.scene.sitecore.keys().len();
        self.check(made == 2, format!("{made} keys were made, and not two"));
        Ok(())
    }

    /// Asks for something by an annotation of the EdgeToken.
    async fn ask(&self, annotation: &str) -> Result<()> {
        let token = format!("edgetoken/{KEY}");
        let annotation = format!("edgecredentials.io/{annotation}=now");
        let args = ["annotate", &token, "--namespace", NAMESPACE, &annotation];
        self.scene.node.control_plane.kubectl(&args).await?;
        let text = format!("kubectl annotate {token} {annotation}");
        self.line.say(Mark::Deed, "Asked", &text);
        Ok(())
    }

    /// Waits for the next token to be issued, and then to be used in the pod.
    async fn renewal(&mut self, number: u64) -> Result<()> {
        let before = self.mark(&WATCHER).await?;
        let after = self.next(&WATCHER, &before).await?;
        let written = SystemTime::now();
        let call = self.seen(&after, &WATCHER).await?;
        let used = SystemTime::from(call.at);
        let delay = seconds_between(written, used);
        self.figures.delays.push(delay);
        let left = LIFETIME.as_secs_f64() - seconds_between(written, used);
        self.check_workload().await?;
        let text = format!(
            "number {number}: token {after} was used in the pod {delay:.1} s after it was in the Secret, with {left:.0} s left;\n\
             calls so far: {}, refused: {}",
            self.figures.calls,
            self.refused()
        );
        self.line.say(Mark::Good, "Renewed", &text);
        let tokens = number + 1;
        let requests = self.scene.sitecore.requests(NAME);
        self.check(
            requests == tokens,
            format!("{requests} token requests for {tokens} tokens"),
        );
        Ok(())
    }

    /// The hash of what is in the Secret of a workload.
    async fn mark(&self, workload: &Workload) -> Result<String> {
        let secret = self.scene.secrets().get(workload.secret).await?;
        let data = secret.data.unwrap_or_default();
        let value = data.get(workload.key).ok_or("the Secret has no value")?;
        let hash = digest::digest(&digest::SHA256, &value.0);
        let hex = hash.as_ref().iter().take(4);
        Ok(hex.map(|byte| format!("{byte:02x}")).collect())
    }

    /// Waits for another value in the Secret of a workload than this one, and returns its hash.
    async fn next(&self, workload: &Workload, before: &str) -> Result<String> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let mark = self.mark(workload).await?;
            if mark != before {
                return Ok(mark);
            }
            sleep(POLL).await;
        }
        Err(too_late(&format!("another value in {}", workload.secret)))
    }

    /// Waits for the first call with a token or a key.
    async fn seen(&self, mark: &str, workload: &Workload) -> Result<Call> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let calls = workload::calls(self.scene, workload).await?;
            if let Some(call) = calls.into_iter().find(|call| call.mark == mark) {
                return Ok(call);
            }
            if self.restarts_of(workload).await? > 0 {
                return Err("a call of the workload failed, which ended it".into());
            }
            sleep(Duration::from_millis(500)).await;
        }
        Err(too_late("a call with what is new in the Secret"))
    }

    /// Tries each way that a policy allows or refuses.
    async fn try_policy(&mut self, policy: Policy) -> Result<()> {
        let operator = self.operator_pod(is_ready).await?;
        let process = self.process()?;
        let (mut open, mut closed) = (0, Vec::new());
        for attempt in policy::attempts(self.scene, &operator) {
            let passed = policy::passes(self.scene, process, &attempt).await?;
            match (attempt.is_allowed(policy), passed) {
                (true, true) => open += 1,
                (false, false) => closed.push(format!("- {attempt}")),
                (false, true) => self.problem(format!("the network policy let through {attempt}")),
                (true, false) => self.problem(format!("the network policy refused {attempt}")),
            }
        }
        let text = format!(
            "{open} ways were open, and closed was:\n{}",
            closed.join("\n")
        );
        self.line.say(Mark::Plain, "Network policy", &text);
        Ok(())
    }

    /// Has the chart's policy name who may reach what. The operator that is started next makes all its connections under it.
    async fn narrow_policy(&mut self) -> Result<()> {
        let control_plane = &self.scene.node.control_plane;
        let file = control_plane.folder().join("narrow-policy.json");
        fs::write(&file, policy::narrow(self.scene).to_string())?;
        let mut helm = control_plane.helm_command();
        helm.args(["upgrade", OPERATOR, CHART, "--namespace", OPERATOR])
            .args(["--reset-then-reuse-values", "--wait", "--timeout", "2m"])
            .arg("--values")
            .arg(&file);
        let output = helm.output().await?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("helm upgrade failed: {}", said.trim()).into());
        }
        let text = "the network policy names the API server, the token endpoint, and the one namespace that may read metrics";
        self.line.say(Mark::Deed, "helm upgrade", text);
        Ok(())
    }

    /// Ends the operator, lets something become due, and starts it again.
    async fn restart(&mut self) -> Result<()> {
        // One that is renewed now is not due soon.
        let token = self.mark(&WATCHER).await?;
        self.next(&WATCHER, &token).await?;
        let before = self.scene.sitecore.requests(NAME);
        self.scale(0).await?;
        let start = Instant::now();
        while Process::find().is_some() {
            if start.elapsed() > PATIENCE {
                return Err(too_late("the operator's end"));
            }
            sleep(POLL).await;
        }
        let text = format!(
            "the process was gone after {:.1} s; {LATE} is created meanwhile",
            start.elapsed().as_secs_f64()
        );
        self.line.say(Mark::Deed, "Scaled to 0", &text);
        self.scene.create_edge_credential(LATE).await?;
        self.scale(1).await?;
        let (start_up, secret_at) = tokio::join!(self.start_up(), self.first_secret());
        let (start_up, secret_at) = (start_up?, secret_at?);
        let requests = self.scene.sitecore.recorded(LATE);
        let request_at = requests.first().ok_or("no token was requested")?.at;
        let started_at = self.process()?.started()?;
        self.tell_start_up("Scaled to 1", &start_up);
        self.figures.restart = Some(start_up);
        let first_request = seconds_between(started_at, request_at);
        let first_secret = seconds_between(started_at, secret_at);
        self.figures.first_request = Some(first_request);
        self.figures.first_secret = Some(first_secret);
        let text = format!(
            "the token of {LATE} was requested {first_request:.2} s after the process was started, and was in its Secret \
             after {first_secret:.2} s"
        );
        self.line.say(Mark::Good, "First reconcile", &text);
        let more = self.scene.sitecore.requests(NAME) - before;
        self.check(
            more == 0,
            format!("the restart cost {more} token requests of {NAME}"),
        );
        Ok(())
    }

    async fn scale(&self, replicas: u32) -> Result<()> {
        let replicas = format!("--replicas={replicas}");
        let deployment = format!("deployment/{OPERATOR}");
        let args = ["scale", &deployment, "--namespace", OPERATOR, &replicas];
        self.scene.node.control_plane.kubectl(&args).await?;
        Ok(())
    }

    async fn first_secret(&self) -> Result<SystemTime> {
        let secrets = self.scene.secrets();
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if secrets.get_opt(LATE).await?.is_some() {
                return Ok(SystemTime::now());
            }
            sleep(POLL).await;
        }
        Err(too_late("the Secret"))
    }

    /// Runs the chart's own tests, if it has any.
    async fn helm_test(&mut self) -> Result<()> {
        if !has_tests(Path::new(CHART)) {
            return Ok(());
        }
        self.name_service().await?;
        let mut helm = self.scene.node.control_plane.helm_command();
        helm.args(["test", OPERATOR, "--namespace", OPERATOR, "--timeout", "2m"]);
        let output = helm.output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        self.check(
            output.status.success(),
            format!("helm test failed: {}", said.trim()),
        );
        if output.status.success() {
            let text = "the chart's own tests succeeded, by way of the Service";
            self.line.say(Mark::Good, "helm test", text);
        }
        Ok(())
    }

    /// Makes the operator's Service known by its name, as the cluster's DNS would.
    async fn name_service(&self) -> Result<()> {
        let services = Api::<Service>::namespaced(self.scene.client.clone(), OPERATOR);
        let service = services.get(OPERATOR).await?;
        let address = service.spec.and_then(|spec| spec.cluster_ip);
        let address = address.ok_or("the Service has no address")?.parse()?;
        let name = format!("{OPERATOR}.{OPERATOR}.svc.cluster.local");
        self.scene.names.add(&name, vec![address]);
        Ok(())
    }

    /// No workload must ever have been refused, or started again.
    async fn check_workload(&mut self) -> Result<()> {
        for workload in self.workloads.clone() {
            let calls = workload::calls(self.scene, workload).await?.len();
            match workload.api {
                SitecoreApi::Delivery => self.figures.queries = calls,
                _ => self.figures.calls = calls,
            }
            let again = self.restarts_of(workload).await?;
            self.check(again == 0, format!("{} was started again", workload.name));
        }
        let refused = self.refused();
        self.check(refused == 0, "calls of a workload were refused");
        Ok(())
    }

    /// How often a workload was started again. There must be one pod of it all the time, so the count can't be lost.
    async fn restarts_of(&self, workload: &Workload) -> Result<i32> {
        let name = workload.name;
        let selector = format!("app.kubernetes.io/name={name}");
        let pods = self.scene.pods(NAMESPACE);
        let pods = pods.list(&ListParams::default().labels(&selector)).await?;
        match &pods.items[..] {
            [pod] => Ok(restarts(pod)),
            pods => Err(format!("there are {} pods of {name}", pods.len()).into()),
        }
    }

    /// As the stand-in counts.
    fn refused(&self) -> u64 {
        let calls = self.scene.sitecore.calls();
        calls
            .iter()
            .filter(|(route, status, _)| {
                let is_theirs = |workload: &&Workload| route.contains(workload.api.path());
                self.workloads.iter().any(is_theirs) && !(200..300).contains(status)
            })
            .map(|(_, _, count)| count)
            .sum()
    }

    fn check(&mut self, good: bool, problem: impl Display) {
        if !good {
            self.problem(problem.to_string());
        }
    }

    fn problem(&mut self, problem: String) {
        if !self.problems.contains(&problem) {
            self.line.say(Mark::Bad, "Wrong", &problem);
            self.problems.push(problem);
        }
    }

    fn summarise(&self) {
        let figures = &self.figures;
        let start_up = |start: Option<StartUp>| {
            start.map_or_else(
                || "not measured".to_owned(),
                |start| {
                    format!(
                        "process after {:.2} s, ready {:.2} s later; ready for Kubernetes after {:.2} s",
                        start.to_process, start.to_ready, start.in_all
                    )
                },
            )
        };
        let memory =
            |memory: Option<Memory>| memory.map_or_else(|| "not measured".to_owned(), describe);
        let seconds = |value: Option<f64>| {
            value.map_or_else(
                || "not measured".to_owned(),
                |value| format!("{value:.2} s"),
            )
        };
        let delays: Vec<String> = figures
            .delays
            .iter()
            .map(|delay| format!("{delay:.1} s"))
            .collect();
        let keys = self.scene.sitecore.keys();
        let size = Path::new(crate::IMAGE)
            .metadata()
            .map_or(0.0, |file| file.len() as f64 / 1e6);
        let result = if self.problems.is_empty() {
            "all went well".to_owned()
        } else {
            format!("not all went well:\n  - {}", self.problems.join("\n  - "))
        };
        self.line.print(&format!(
            "
Summary
  image                         {size:.1} MB, compressed
  start after helm install      {}
  start after scaling from 0    {}
  process to first request      {}
  process to first Secret       {}
  memory, idle                  {}
  memory, at the end            {}
  renewals seen in the pod      {} of {}
  Secret to use in the pod      {} (the kubelet looks every 5 s; by default every minute)
  calls of the workload         {}
  queries with the key          {}; keys made {}, revoked {}
  refused                       {}
  token requests                {} for {NAME}, {} for {LATE}
  result                        {result}
",
            start_up(figures.start),
            start_up(figures.restart),
            seconds(figures.first_request),
            seconds(figures.first_secret),
            memory(figures.idle),
            memory(figures.at_the_end),
            figures.delays.len(),
            renewals(self.scene.network),
            delays.join(", "),
            figures.calls,
            figures.queries,
            keys.len(),
            keys.iter().filter(|key| key.is_revoked).count(),
            self.refused(),
            self.scene.sitecore.requests(NAME),
            self.scene.sitecore.requests(LATE),
        ));
    }

    /// What helps to find out why.
    async fn show_trouble(&self) {
        let control_plane = &self.scene.node.control_plane;
        let deployment = format!("deployment/{OPERATOR}");
        let [watcher, reader] =
            [&WATCHER, &READER].map(|workload| format!("deployment/{}", workload.name));
        for args in [
            &["get", "pods,edgecredentials,edgetokens", "--all-namespaces"][..],
            &[
                "get",
                "events",
                "--all-namespaces",
                "--sort-by=.metadata.creationTimestamp",
            ],
            &["logs", &deployment, "--namespace", OPERATOR, "--tail=30"],
            &["logs", &watcher, "--namespace", NAMESPACE, "--tail=10"],
            &["logs", &reader, "--namespace", NAMESPACE, "--tail=10"],
        ] {
            let text = match control_plane.kubectl(args).await {
                Ok(text) => text,
                Err(error) => error.to_string(),
            };
            self.line
                .print(&format!("$ kubectl {}\n{text}", args.join(" ")));
        }
    }
}

fn describe(memory: Memory) -> String {
    format!(
        "{:.1} MiB resident, {:.1} MiB of it its own; its control group is charged {:.1} MiB",
        memory.resident, memory.anonymous, memory.charged
    )
}

/// Whether a template of the chart is a test.
fn has_tests(chart: &Path) -> bool {
    let mut folders = vec![chart.join("templates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(path).is_ok_and(|text| {
                text.lines()
                    .any(|line| line.contains("helm.sh/hook") && line.contains("test"))
            }) {
                return true;
            }
        }
    }
    false
}

fn too_late(what: &str) -> Box<dyn std::error::Error + Send + Sync> {
    format!("{what} did not come within {} s", PATIENCE.as_secs()).into()
}
