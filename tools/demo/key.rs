//! An EdgeToken, and a reader that takes its key from the Secret anew before each query.

use std::{
    cell::RefCell,
    convert::Infallible,
    time::{Duration, Instant},
};

use edge_credential_operator::api::{
    EdgeTokenStatus,
    edge_token::{END_OVERLAP_REQUESTED_AT, ROTATE_REQUESTED_AT},
};
use kit::{
    harness::text,
    sitecore::Api,
    time_line::{Mark, TimeLine},
};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    Result,
    scene::{KEY_NAME, NAMESPACE, Scene},
};

/// Between two queries.
const PAUSE: Duration = Duration::from_millis(100);

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the reader has done so far.
#[derive(Clone, Debug, Default)]
pub struct Queries {
    /// Answered with data.
    pub answered: u64,
    /// Not answered, or refused.
    pub failed: u64,
}

/// Creates the EdgeToken, rotates it, and reads with its key.
pub struct KeyStory<'a> {
    line: &'a TimeLine,
    scene: &'a Scene,
    queries: RefCell<Queries>,
}

impl<'a> KeyStory<'a> {
    /// Nothing has happened.
    pub fn new(line: &'a TimeLine, scene: &'a Scene) -> Self {
        Self {
            line,
            scene,
            queries: RefCell::default(),
        }
    }

    /// What the reader has done so far.
    pub fn queries(&self) -> Queries {
        self.queries.borrow().clone()
    }

    /// Queries the Delivery API with the key that is in the Secret, for good, once there is one.
    pub async fn read(&self) -> Infallible {
        loop {
            if let Some(key) = self.key().await {
                let answered = self.query(&key).await;
                let mut queries = self.queries.borrow_mut();
                if answered {
                    queries.answered += 1;
                } else {
                    queries.failed += 1;
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Creates the EdgeToken, and waits until its key was used.
    pub async fn create(&self) -> Result<()> {
        let start = Instant::now();
        let object = self.scene.edge_token()?;
        let api = self.scene.edge_tokens();
        api.create(&PostParams::default(), &object).await?;
        self.line
            .say(Mark::Deed, "EdgeToken", &format!("{KEY_NAME} created"));
        self.until("a query with the key", |_| self.queries().answered > 0)
            .await?;
        let text = format!(
            "{KEY_NAME} holds an Edge token after {} ms, and a reader queries the Delivery API with it",
            start.elapsed().as_millis()
        );
        self.line.say(Mark::Good, "Secret", &text);
        Ok(())
    }

    /// Has the key rotated, and the former one revoked.
    pub async fn rotate(&self) -> Result<()> {
        let former = self.key().await.ok_or("there is no key to rotate")?;
        self.annotate(ROTATE_REQUESTED_AT).await?;
        self.until("another key", |status| !status.retired.is_empty())
            .await?;
        let present = self.key().await.ok_or("the key is gone")?;
        if present == former || !self.query(&former).await {
            return Err("the former key does not work during its overlap".into());
        }
        let text =
            "the Secret holds another key; the former one works on, for those that still have it";
        self.line.say(Mark::Good, "Rotated", text);
        self.annotate(END_OVERLAP_REQUESTED_AT).await?;
        self.until("the end of the overlap", |status| status.retired.is_empty())
            .await?;
        let keys = self.scene.sitecore.keys().into_iter();
        // A query with it would count as one that was refused.
        let live = keys.filter(|key| key.label.ends_with(KEY_NAME) && !key.is_revoked);
        if live.count() != 1 || !self.query(&present).await {
            return Err("the former key was not revoked, or the present one was".into());
        }
        let Queries { answered, failed } = self.queries();
        let text = format!(
            "the former key is good for nothing now; queries of the reader so far: {answered}, failed: {failed}"
        );
        self.line.say(Mark::Good, "Revoked", &text);
        let args = ["get", "edgetokens", "--namespace", NAMESPACE];
        let table = self.scene.control_plane.kubectl(&args).await?;
        let text = format!("kubectl {}\n{}", args.join(" "), table.trim_end());
        self.line.say(Mark::Plain, "$", &text);
        Ok(())
    }

    async fn key(&self) -> Option<String> {
        let secret = self.scene.secrets().get_opt(KEY_NAME).await.ok()??;
        Some(text(&secret, "SITECORE_API_KEY"))
    }

    async fn query(&self, key: &str) -> bool {
        let url = self.scene.api_url(Api::Delivery);
        let query = self.scene.http.post(url).header("sc_apikey", key);
        let query = query.json(&json!({"query": "{ __typename }"}));
        let answer = query.send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    async fn annotate(&self, annotation: &str) -> Result<()> {
        let text = format!("kubectl annotate edgetoken {KEY_NAME} {annotation}=now");
        self.line.say(Mark::Deed, "Asked", &text);
        let patch = Patch::Merge(json!({"metadata": {"annotations": {annotation: "now"}}}));
        let api = self.scene.edge_tokens();
        api.patch(KEY_NAME, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    async fn until(&self, what: &str, holds: impl Fn(&EdgeTokenStatus) -> bool) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let object = self.scene.edge_tokens().get(KEY_NAME).await?;
            if object.status.is_some_and(|status| holds(&status)) {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        Err(format!("{what} did not come within {} s", PATIENCE.as_secs()).into())
    }
}
