//! The life of one EdgeCredential.
//!
//! ```text
//!   EdgeCredential ─┐
//!   credentials ────┼─ observe ─▶ judge ─▶ decide ─▶ request a token ─▶ render ─▶ write the target ─▶ report
//!   target ─────────┘  (reads)    (pure)   (pure)    (or reuse one)     (pure)    (fenced by uid)     (status)
//! ```
//!
//! [`reconcile`] is the flow. Where the status says all that there is to say ([`settled`](rules::settled)) and no Secret changed, it
//! ends there. Else it reads the two Secrets with [`observe`], has [`judge`](rules::judge) say what they mean and
//! [`decide`](rules::decide) what is to be done, does it, and writes the status with [`report`] if that says anything new. A token
//! that is needed and was there before is had from where it is or was by [`retrieve`].
//! Every path ends with the time of the next reconciliation. What can go wrong is listed in [`error`](rules::error).

pub mod context;
pub mod memory;
pub mod observe;
pub mod reconcile;
pub mod repairs;
pub mod report;
pub mod retrieve;
pub mod rules;
#[cfg(test)]
pub(crate) mod testing;

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, core::DeserializeGuard};
use tokio::sync::mpsc::UnboundedReceiver;

use self::context::Context;
use crate::{
    api::EdgeCredential,
    cluster::{
        object_key::ObjectKey, reconciler::Reconciler, report::Report, transition::Transition,
    },
    rules::error::Error,
    traffic::waiting::rest_in_line,
};

impl Reconciler for Context {
    type Object = EdgeCredential;
    type Error = Error;

    fn secrets_of(object: &EdgeCredential) -> BTreeSet<String> {
        BTreeSet::from([
            object.spec.credentials_secret_ref.name.clone(),
            object.target_name().to_owned(),
        ])
    }

    async fn read(
        &self,
        object: &ObjectKey,
    ) -> Result<Option<DeserializeGuard<EdgeCredential>>, Error> {
        let client = self.calls.client();
        let objects: Api<DeserializeGuard<EdgeCredential>> =
            Api::namespaced(client, &object.namespace);
        let read = self.calls.read(objects.get_opt(&object.name)).await;
        read.map_err(|source| Error::ReadObject { source })
    }

    fn rests(&self, object: &ObjectKey) -> Option<Duration> {
        rest_in_line(object, &self.tokens, &self.calls)
    }

    async fn reconcile(&self, object: &EdgeCredential) -> Result<Report, Error> {
        reconcile::reconcile(object, self).await
    }

    async fn report_panic(&self, object: &EdgeCredential) -> Result<Report, Error> {
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
        self.failed_credentials.forget(object);
        self.versions.forget(object);
        self.looked_for.forget(object);
        Vec::new()
    }

    fn forget_versions(&self) {
        self.statuses.clear();
        self.versions.clear();
    }
}
