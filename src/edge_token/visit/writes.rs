//! What a visit writes to the cluster: the record of attempts, the target and the finalizer.

use k8s_openapi::jiff::Timestamp;
use kube::Api;

use super::{Facts, Next, Visit, lists};
use crate::{
    api::{EdgeToken, EdgeTokenStatus},
    cluster::{
        errors::{is_conflict, is_outdated},
        rights::Verb,
        secrets::Secrets,
        write::replace_finalizers,
    },
    edge_token::{
        context::Context,
        report::write_status,
        rules::{
            decide::{Made, Step},
            judge::{FINALIZER, end_request_of},
            ledger::Ledger,
            outcome::Problem,
            status::record,
        },
    },
    rules::error::Error,
};

impl Visit<'_> {
    /// Records these attempts, unless the object was changed since it was read: then it is read anew. Returns whether they were
    /// recorded.
    pub(super) async fn record(
        &mut self,
        facts: &Facts,
        ledger: &Ledger,
        promoted: Option<&Made>,
    ) -> Result<bool, Error> {
        let earlier = self.object.status.clone().unwrap_or_default();
        let created_at = match promoted {
            Some(made) => Some(made.created_at),
            None => self.judge().created_at(),
        };
        let mut status = record(&earlier, ledger, created_at);
        if let Some(made) = promoted.filter(|made| made.rotate_request.is_some()) {
            status
                .last_handled_rotate_request
                .clone_from(&made.rotate_request);
        }
        // Where the status was lost, nobody knows what the person saw who asked to end an overlap.
        if facts.step == Step::EndOverlaps || facts.was_lost {
            let request = end_request_of(&self.object);
            status.last_handled_end_overlap_request =
                facts.end_request.clone().or(request.map(Into::into));
        }
        self.write_status(&status).await
    }

    async fn write_status(&mut self, status: &EdgeTokenStatus) -> Result<bool, Error> {
        match write_status(&self.object, status, self.context).await {
            Ok(written) => {
                self.object = written;
                self.read_at = Some(self.moment());
                Ok(true)
            }
            Err(Error::WriteStatus { source }) if is_conflict(&source) => {
                self.refresh().await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn promote(
        &mut self,
        facts: &Facts,
        mut ledger: Ledger,
        now: Timestamp,
    ) -> Result<(), Error> {
        let made = self.memories.remembered.made.clone();
        let (Some(key), Some(plan)) = (made, &facts.plan) else {
            return Ok(());
        };
        if lists(facts) {
            ledger.promote(now, plan.overlap);
        } else {
            ledger.replace();
        }
        self.record(facts, &ledger, Some(&key.made)).await?;
        Ok(())
    }

    /// Writes the current key to the target. Where that fails, the key stays in memory, and what was there before still works.
    pub(super) async fn write(&mut self, facts: &Facts) -> Result<Next, Error> {
        let Some(secret) = &facts.rendered else {
            return Ok(Next::Go);
        };
        let Context {
            calls,
            rights,
            secrets,
            ..
        } = self.context;
        let secrets = Secrets::beside(&self.object, calls, secrets).ok_or(Error::Unidentified)?;
        let verb = Verb::to_replace(self.target.as_ref());
        match secrets.write(secret, verb, rights).await? {
            Ok(written) => {
                tracing::info!(
                    namespace = self.key.namespace,
                    name = self.key.name,
                    secret = self.object.target_name(),
                    "key written"
                );
                self.target = Some(written);
                self.memories.remembered.key = facts.current.clone();
                self.memories.remembered.made = None;
                Ok(Next::Go)
            }
            Err(source) if is_outdated(&source) => {
                self.refresh().await?;
                Ok(Next::Go)
            }
            Err(source) => {
                let secret = self.object.target_name().into();
                Ok(self.failed(Error::WriteTarget { secret, source }, facts))
            }
        }
    }

    pub(super) async fn set_finalizer(&mut self, facts: &Facts) -> Result<Next, Error> {
        let wants = facts.plan.as_ref().is_some_and(|plan| plan.revokes);
        let mut finalizers = self.object.metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|name| name != FINALIZER);
        if wants {
            finalizers.push(FINALIZER.into());
        }
        match self.write_finalizers(&finalizers).await {
            Ok(_) => Ok(Next::Go),
            Err(error @ Error::WriteFinalizer { .. }) => Ok(Next::End(Problem::Found(error))),
            Err(error) => Err(error),
        }
    }

    /// Lets an object go that is being deleted, unless it was changed since it was read: then it is read anew. Returns whether it
    /// was let go.
    pub(super) async fn remove_finalizer(&mut self) -> Result<bool, Error> {
        let mut finalizers = self.object.metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|name| name != FINALIZER);
        self.write_finalizers(&finalizers).await
    }

    async fn write_finalizers(&mut self, finalizers: &[String]) -> Result<bool, Error> {
        let objects: Api<EdgeToken> =
            Api::namespaced(self.context.calls.client(), &self.key.namespace);
        let metadata = &self.object.metadata;
        let written = replace_finalizers(&objects, metadata, finalizers, &self.context.calls);
        match written.await? {
            Ok(written) => {
                self.object = written;
                self.read_at = Some(self.moment());
                Ok(true)
            }
            Err(source) if is_outdated(&source) => {
                self.refresh().await?;
                Ok(false)
            }
            Err(source) => Err(Error::WriteFinalizer { source }),
        }
    }
}
