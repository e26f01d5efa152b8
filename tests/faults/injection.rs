//! The ways in which a call can fail.

use std::fmt;

use kit::proxy::{Call, Fault};

/// Something that happens to a call.
#[derive(Clone, Debug)]
pub struct Injection {
    /// Which one.
    pub call: Call,
    /// What.
    pub fate: Fate,
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:?}", self.call, self.fate)
    }
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The operator is killed before the call reaches the server.
    CrashBefore,
    /// The operator is killed before the answer reaches it.
    CrashAfter,
    /// As `CrashAfter`; and when it runs again, its first list of EdgeCredentials is one from before the change.
    StaleList,
    /// 409.
    Conflict,
    /// 500.
    ServerError,
    /// No answer until the operator gives up.
    TimeOut,
    /// The connection is reset before the call reaches the server.
    Reset,
    /// The connection is reset before the answer reaches the operator.
    LostAnswer,
}

impl Fate {
    pub const ALL: [Self; 8] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::StaleList,
        Self::Conflict,
        Self::ServerError,
        Self::TimeOut,
        Self::Reset,
        Self::LostAnswer,
    ];

    /// What the proxy does to the call.
    pub fn fault(self) -> Fault {
        match self {
            Self::CrashBefore | Self::TimeOut => Fault::Silence,
            Self::CrashAfter | Self::StaleList => Fault::SilenceAfter,
            Self::Conflict => Fault::Answer(409),
            Self::ServerError => Fault::Answer(500),
            Self::Reset => Fault::Reset,
            Self::LostAnswer => Fault::ResetAfter,
        }
    }

    /// Whether the operator is killed meanwhile, and started again.
    pub fn crashes(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter | Self::StaleList)
    }
}
