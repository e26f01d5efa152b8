//! What happens to keys, for Events and the log.

use super::mark::Mark;
use crate::cluster::transition::{KEY_LEFT, Transition};

/// A key was made.
pub fn key_created(mark: &Mark) -> Transition {
    tell("KeyCreated", false, mark, "was made")
}

/// A key of the Deploy API was obtained, which says nothing of labels.
pub fn key_obtained(mark: &Mark) -> Transition {
    Transition {
        message: "The Deploy API gave a key.".into(),
        ..key_created(mark)
    }
}

/// A key was revoked.
pub fn key_revoked(mark: &Mark) -> Transition {
    tell("KeyRevoked", false, mark, "was revoked")
}

/// A key was to be revoked with its object, and may work on.
pub fn key_not_revoked(mark: &Mark) -> Transition {
    tell(KEY_LEFT, true, mark, "may work on: nobody revoked it")
}

/// A key was to be revoked after its overlap, and is not listed.
pub fn key_elsewhere(mark: &Mark) -> Transition {
    let what = "may work on: it is not listed, as one of another environment";
    tell(KEY_LEFT, true, mark, what)
}

/// A key is kept though its object is gone.
pub fn key_kept(mark: &Mark) -> Transition {
    let what = "works on: its EdgeToken is gone, or another operator's now";
    tell(KEY_LEFT, false, mark, what)
}

fn tell(reason: &str, warning: bool, mark: &Mark, what: &str) -> Transition {
    Transition {
        warning,
        reason: reason.into(),
        message: format!("The key with the label {mark} {what}."),
        part: Some(mark.to_string()),
    }
}
