//! In what the API server treats one resource differently from another.

use super::path::ResourceName;

/// What holds for the resources of a group.
pub(super) struct Rules {
    /// Whether a PUT creates what is not there.
    pub created_by_put: bool,
    /// Whether a PUT may leave out the resource version.
    pub unconditional_updates: bool,
    /// Whether objects count the changes of their wishes.
    pub generation: bool,
    /// Whether objects have a status, which is a subresource.
    pub status: bool,
}

impl ResourceName {
    pub fn rules(&self) -> Rules {
        let [created_by_put, unconditional_updates, generation, status] = match &*self.group {
            "" => [false, true, false, false],
            "apps" | "batch" => [false, true, true, false],
            "coordination.k8s.io" => [true, false, false, false],
            "events.k8s.io" => [true, true, false, false],
            group if group.ends_with(".k8s.io") => [false, false, false, false],
            // Of custom resources, any number of kinds.
            _ => [false, false, true, true],
        };
        Rules {
            created_by_put,
            unconditional_updates,
            generation,
            status,
        }
    }
}
