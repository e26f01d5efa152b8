//! What the tree has to be told by each kind.

use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use serde_json::{Map, Value};

use crate::kind::Object;

/// A kind that can be drawn.
pub(super) trait Drawn: Object {
    /// What happens to its token in time, such as `renews`.
    const RENEWED: &'static str;

    /// What belongs to this kind alone: a word and a line for each.
    fn draw(&self, now: Timestamp) -> Vec<(&'static str, String)>;

    /// Whether the target, which is its own, proves to hold what it should.
    fn is_proven(&self, target: &Secret, now: Timestamp) -> bool;

    /// What it means for a workload whether it sees what is written later.
    fn judge_use(sees_renewals: bool) -> String;

    /// The same as [`draw`](Self::draw) for programs, as far as it is not in the [`View`](crate::view::View).
    fn details(&self) -> Map<String, Value> {
        Map::new()
    }
}
