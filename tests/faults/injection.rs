//! The ways in which a call can fail.

use std::fmt;

use kit::proxy::{Call, Fault};

use crate::run::TOKEN_REQUEST;
use crate::scenario::Scenario;

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

impl Injection {
    /// A fault of the token endpoint at the first request for a token.
    pub fn at_first_request(fate: Fate) -> Self {
        let what = TOKEN_REQUEST.to_owned();
        let call = Call { what, ordinal: 1 };
        Self { call, fate }
    }

    /// Whether a token is lost by it, or the answer that has one: that costs another request. Other tokens are in the target,
    /// or in the memory of an operator that isn't killed.
    pub fn loses_token(&self, scenario: Scenario) -> bool {
        let is_write = ["POST secrets", "PUT secrets/edge"].contains(&&*self.call.what);
        let is_lost = match scenario {
            // It's in the memory alone.
            Scenario::DeleteTarget => self.fate.crashes(),
            // A list that still shows the object shows one that never had a token.
            Scenario::Delete => self.fate == Fate::StaleList,
            _ => false,
        };
        is_lost || self.call.what == TOKEN_REQUEST || (is_write && self.fate == Fate::CrashBefore)
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
    /// 401.
    Unauthorized,
    /// 429, with a time to wait.
    Limited,
    /// The connection is closed in the middle of the answer.
    CutOff,
}

impl Fate {
    /// What can happen to any call.
    pub const OF_ANY: [Self; 8] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::StaleList,
        Self::Conflict,
        Self::ServerError,
        Self::TimeOut,
        Self::Reset,
        Self::LostAnswer,
    ];

    /// The ways in which a token endpoint fails.
    pub const OF_ENDPOINT: [Self; 5] = [
        Self::ServerError,
        Self::TimeOut,
        Self::Unauthorized,
        Self::Limited,
        Self::CutOff,
    ];

    /// What can happen to this call and makes a difference. Where it changes nothing, it is all one whether the server had done it; a
    /// conflict is the API server's answer to a change; and only Sitecore's services refuse a token, limit the rate, and answer by way
    /// of networks that cut an answer off.
    pub fn of(call: &Call) -> Vec<Self> {
        let is_service = call.is_of_service();
        let is_change = !call.is_read();
        let mut fates = vec![
            Self::CrashBefore,
            Self::StaleList,
            Self::ServerError,
            Self::TimeOut,
            Self::Reset,
        ];
        if is_change {
            fates.extend([Self::CrashAfter, Self::LostAnswer]);
        }
        if is_change && !is_service {
            fates.push(Self::Conflict);
        }
        if is_service {
            fates.extend([Self::Unauthorized, Self::Limited, Self::CutOff]);
        }
        fates
    }

    /// What the proxy does to the call.
    pub fn fault(self) -> Fault {
        match self {
            Self::CrashBefore | Self::TimeOut => Fault::Silence,
            Self::CrashAfter | Self::StaleList => Fault::SilenceAfter,
            Self::Conflict => Fault::Answer(409),
            Self::ServerError => Fault::Answer(500),
            Self::Reset => Fault::Reset,
            Self::LostAnswer => Fault::ResetAfter,
            Self::Unauthorized => Fault::Answer(401),
            // Longer than other failures are waited for.
            Self::Limited => Fault::AskToWait(4),
            Self::CutOff => Fault::CutOff,
        }
    }

    /// Whether the operator is killed meanwhile, and started again.
    pub fn crashes(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter | Self::StaleList)
    }
}
