//! Who wants to send a request, and how urgent it is.

use k8s_openapi::jiff::Timestamp;

use super::endpoint::Endpoint;
use crate::cluster::object_key::ObjectKey;

/// An object that wants to send a request.
#[derive(Clone, Debug)]
pub struct Caller {
    pub object: ObjectKey,
    pub endpoint: Endpoint,
    /// Where it goes with the token that it asks for. It is not asked for before there is room in the line there.
    pub then: Option<Endpoint>,
    pub urgency: Urgency,
}

/// How urgent a request is, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The token expires then, and less than a third of the time between its renewal and its expiry is left.
    Endangered(Timestamp),
    /// There is nothing yet, and one of the requests that it takes is made: those who come to it one by one are done one by one.
    Begun,
    /// There is no valid token.
    NoToken,
    /// The token expires then.
    Renewal(Timestamp),
    /// The token is good, and somebody wants another one.
    Forced,
}

/// The place of an object in the line of its namespace: by urgency, and then in the order in which they came.
pub type Rank = (Urgency, u64);

impl Urgency {
    /// How urgent the renewal is of a token that was to be renewed at `renew_at`.
    pub fn of_renewal(renew_at: Timestamp, expires_at: Timestamp, now: Timestamp) -> Self {
        let margin = expires_at.duration_since(renew_at);
        let left = expires_at.duration_since(now);
        if !left.is_positive() {
            Self::NoToken
        } else if left * 3 < margin {
            Self::Endangered(expires_at)
        } else if now < renew_at {
            Self::Forced
        } else {
            Self::Renewal(expires_at)
        }
    }

    /// When the token expires that there is, if there is one and it matters.
    pub fn expires_at(self) -> Option<Timestamp> {
        match self {
            Self::Endangered(expires_at) | Self::Renewal(expires_at) => Some(expires_at),
            Self::Begun | Self::NoToken | Self::Forced => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_renewal_is_endangered_once_two_thirds_of_its_margin_are_gone() {
        let urgency = |now| Urgency::of_renewal(at(600), at(900), at(now));
        assert_eq!(urgency(599), Urgency::Forced);
        assert_eq!(urgency(600), Urgency::Renewal(at(900)));
        assert_eq!(urgency(800), Urgency::Renewal(at(900)));
        assert_eq!(urgency(801), Urgency::Endangered(at(900)));
        assert_eq!(urgency(900), Urgency::NoToken);
    }

    #[test]
    fn who_loses_most_by_waiting_comes_first() {
        let order = [
            Urgency::Endangered(at(5)),
            Urgency::Endangered(at(6)),
            Urgency::Begun,
            Urgency::NoToken,
            Urgency::Renewal(at(1)),
            Urgency::Renewal(at(2)),
            Urgency::Forced,
        ];
        assert!(order.is_sorted());
    }
}
