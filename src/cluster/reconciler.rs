//! What a controller needs to know of a kind.

use std::{collections::BTreeSet, error::Error, fmt::Debug, time::Duration};

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Resource, core::DeserializeGuard};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{back_off::Class, object_key::ObjectKey, report::Report, transition::Transition};
use crate::api::Reason;

/// Keeps all objects of one kind as their specs want them.
pub trait Reconciler: Send + Sync + 'static {
    /// The kind.
    type Object: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// Why a reconciliation failed whose outcome could not be written to the object's status either.
    type Error: Failure;

    /// The names of the Secrets that an object reads or writes, all of them in its own namespace.
    fn secrets_of(object: &Self::Object) -> BTreeSet<String>;

    /// Reads an object that is too large to be held, if it is there.
    fn read(
        &self,
        object: &ObjectKey,
    ) -> impl Future<Output = Result<Option<DeserializeGuard<Self::Object>>, Self::Error>> + Send;

    /// How long nothing is to be done about an object that is as it was when it was reconciled last. `None` where that is not known
    /// without reading it.
    fn rests(&self, object: &ObjectKey) -> Option<Duration>;

    /// Brings an object to where it should be.
    fn reconcile(
        &self,
        object: &Self::Object,
    ) -> impl Future<Output = Result<Report, Self::Error>> + Send;

    /// Writes to an object's status that the program panicked when it reconciled the object.
    fn report_panic(
        &self,
        object: &Self::Object,
    ) -> impl Future<Output = Result<Report, Self::Error>> + Send;

    /// Writes to an object's status that the object does not fit its type, and returns what changed in its conditions, and
    /// after what time the same has to be done again, if it has to.
    fn report_malformed(
        &self,
        metadata: &ObjectMeta,
    ) -> impl Future<Output = Result<(Vec<Transition>, Option<Duration>), Self::Error>> + Send;

    /// The objects that are to be reconciled now though neither they nor their Secrets changed.
    fn wakeups(&self) -> UnboundedReceiver<ObjectKey>;

    /// Has an object of another kind reconciled, one of whose Secrets changed.
    fn wake(&self, object: ObjectKey);

    /// Drops everything that is remembered of an object, because it is gone, and returns what there is to say of that.
    fn forget(&self, object: &ObjectKey) -> Vec<Transition>;

    /// Drops everything that is remembered by versions: the store of the API server was put back to an earlier state.
    fn forget_versions(&self);
}

/// A failed reconciliation. Its text has nothing that a server or a Secret said.
pub trait Failure: Error + Send + 'static {
    /// That the program panicked.
    fn panicked() -> Self;

    /// The reason that logs and metrics show.
    fn reason(&self) -> Reason;

    /// What it means for the next attempt.
    fn class(&self) -> Class;
}
