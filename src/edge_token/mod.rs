//! The life of one EdgeToken.
//!
//! ```text
//!   EdgeToken ───┐                      ┌─▶ patch the status ─┐
//!   credentials ─┼─▶ judge ─▶ decide ─▶ ┼─▶ call an API ──────┼─▶ … again, until nothing is left to do ─▶ report
//!   target ──────┘  (pure)    (pure)    └─▶ write the target ─┘                                          (status)
//! ```
//!
//! [`reconcile`] is the flow: where the status says all that there is to say, it ends at once. Else a [`visit`] goes on from one
//! [`step`](rules::decide::Step) to the next. What leads to a call takes its place at the API first, see
//! [`traffic::flight`](crate::traffic::flight), and keeps it until the visit ends.

pub mod context;
pub mod memory;
pub mod reconcile;
pub mod report;
pub mod rules;
pub mod visit;

#[cfg(test)]
mod testing;

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, core::DeserializeGuard};
use tokio::sync::mpsc::UnboundedReceiver;

use self::{context::Context, memory::Memories};
use crate::{
    api::EdgeToken,
    cluster::{
        object_key::ObjectKey, reconciler::Reconciler, report::Report, transition::Transition,
    },
    rules::error::Error,
    traffic::waiting::rest_in_line,
};

impl Reconciler for Context {
    type Object = EdgeToken;
    type Error = Error;

    fn secrets_of(object: &EdgeToken) -> BTreeSet<String> {
        BTreeSet::from([
            object.spec.credentials_secret_ref.name.clone(),
            object.target_name().to_owned(),
        ])
    }

    async fn read(&self, object: &ObjectKey) -> Result<Option<DeserializeGuard<EdgeToken>>, Error> {
        let objects: Api<DeserializeGuard<EdgeToken>> =
            Api::namespaced(self.calls.client(), &object.namespace);
        let read = self.calls.read(objects.get_opt(&object.name)).await;
        read.map_err(|source| Error::ReadObject { source })
    }

    fn rests(&self, object: &ObjectKey) -> Option<Duration> {
        rest_in_line(object, &self.tokens, &self.calls)
    }

    async fn reconcile(&self, object: &EdgeToken) -> Result<Report, Error> {
        reconcile::reconcile(object, self).await
    }

    async fn report_panic(&self, object: &EdgeToken) -> Result<Report, Error> {
        report::report_panic(object, self).await
    }

    async fn report_malformed(
        &self,
        metadata: &ObjectMeta,
    ) -> Result<(Vec<Transition>, Option<Duration>), Error> {
        report::report_malformed(metadata, self).await
    }

    fn wakeups(&self) -> UnboundedReceiver<ObjectKey> {
        self.tokens.wakeups()
    }

    fn wake(&self, object: ObjectKey) {
        self.tokens.wake(object);
    }

    fn forget(&self, object: &ObjectKey) -> Vec<Transition> {
        self.tokens.forget(object);
        self.statuses.forget(object);
        let memories = self.memory.forget(object);
        memories.map(Memories::into_left).unwrap_or_default()
    }

    fn forget_versions(&self) {
        self.statuses.clear();
    }
}
