//! What can happen to a call.

/// What happens to a call instead of being passed on and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It's not passed on, and not answered before the client gives up.
    Silence,
    /// It's passed on, and the answer is withheld until the client gives up.
    SilenceAfter,
    /// It's not passed on, and answered with this status.
    Answer(u16),
    /// It's not passed on, and answered with 429, and so many seconds in `Retry-After`.
    AskToWait(u16),
    /// It's passed on, and the connection is closed in the middle of the answer's body.
    CutOff,
    /// It's not passed on, and the connection is reset.
    Reset,
    /// It's passed on, and the connection is reset instead of the answer.
    ResetAfter,
}
