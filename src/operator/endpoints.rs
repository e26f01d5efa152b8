//! How the objects of each token endpoint fare, as metrics. They come from the statuses, so a restart forgets nothing: an
//! endpoint whose tokens live long is asked rarely, and one client that fails meanwhile says little of it.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::runtime::reflector::Store;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};
use reqwest::Url;

use super::watched::{Summary, Watched};
use crate::{
    api::{ConditionType, EdgeCredential, EdgeCredentialStatus, Reason, conditions},
    http::origin::{AllowedOrigins, Origin},
};

/// The reasons that speak of the endpoint, or of what is between. All others are one client's own.
const OF_ENDPOINT: [Reason; 4] = [
    Reason::TokenEndpointUnavailable,
    Reason::InvalidResponse,
    Reason::ResponseTooLarge,
    Reason::RedirectRefused,
];

/// The series of each origin that may be asked.
pub struct EndpointCollector {
    pub edge_credentials: Vec<Store<Watched<EdgeCredential>>>,
    pub allowed: AllowedOrigins,
}

impl fmt::Debug for EndpointCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointCollector")
    }
}

/// What the statuses say of one origin.
#[derive(Debug, Default)]
struct Endpoint {
    /// How many objects get their tokens there.
    objects: usize,
    /// Since when each of those fails that does.
    failing_since: Vec<Timestamp>,
    /// When the last token came from there.
    last_token: Option<Timestamp>,
}

impl Endpoint {
    /// How many objects began to fail after the last token came from there.
    fn failing(&self) -> usize {
        let since = self.failing_since.iter();
        since
            .filter(|since| Some(**since) > self.last_token)
            .count()
    }
}

/// The origins that may be asked. Those of others would be as many as users make up.
fn endpoints(
    objects: impl Iterator<Item = Summary<EdgeCredentialStatus>>,
    allowed: &AllowedOrigins,
) -> BTreeMap<Origin, Endpoint> {
    let mut endpoints: BTreeMap<_, Endpoint> = BTreeMap::new();
    for object in objects {
        let url = Url::parse(&object.spec.token_request.url).ok();
        let url = url.filter(|url| allowed.contain(url));
        let Some(origin) = url.as_ref().and_then(Origin::of) else {
            continue;
        };
        let endpoint = endpoints.entry(origin).or_default();
        let status = object.status.as_ref();
        let token = status.and_then(|status| status.token.as_ref());
        let issued_at = token.map(|token| token.issued_at.0);
        endpoint.last_token = endpoint.last_token.max(issued_at);
        if !object.spec.suspend {
            endpoint.objects += 1;
            let conditions = status.map_or(&[][..], |status| &status.conditions);
            endpoint.failing_since.extend(failing_since(conditions));
        }
    }
    endpoints
}

fn failing_since(conditions: &[Condition]) -> Option<Timestamp> {
    [ConditionType::Reconciling, ConditionType::Stalled]
        .into_iter()
        .filter_map(|type_| conditions::find(conditions, type_))
        .find(|condition| {
            let mut reasons = OF_ENDPOINT.iter();
            condition.status == "True" && reasons.any(|reason| reason.as_str() == condition.reason)
        })
        .map(|condition| condition.last_transition_time.0)
}

impl Collector for EndpointCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let objects = self.edge_credentials.iter().flat_map(Store::state);
        let objects = objects.filter_map(|object| object.summary());
        let endpoints = endpoints(objects, &self.allowed);
        let mut family = |name, help, value: fn(&Endpoint) -> usize| -> Result<(), fmt::Error> {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (origin, endpoint) in &endpoints {
                let labels = [("origin", origin.as_str())];
                let gauge = ConstGauge::new(i64::try_from(value(endpoint)).unwrap_or(i64::MAX));
                gauge.encode(metric.encode_family(&labels)?)?;
            }
            Ok(())
        };
        family(
            "edgecredential_token_endpoint_edgecredentials",
            "How many EdgeCredentials have their tokens from this origin, suspended ones not counted.",
            |endpoint| endpoint.objects,
        )?;
        family(
            "edgecredential_token_endpoint_failing",
            "How many of these it has failed since the last token came from there: no answer, or none that a token endpoint gives.",
            Endpoint::failing,
        )
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::{
        api::{ConditionStatus, conditions::merge},
        edge_credential::testing::{at, object_with},
        http::origin::SITECORE_ORIGINS,
    };

    /// An object with a token that was issued at a second, and a condition that is true since another one.
    fn object(
        issued_at: Option<i64>,
        failing: Option<(ConditionType, Reason, i64)>,
    ) -> EdgeCredential {
        let mut object = object_with(json!({}));
        let current = failing.map(|(type_, reason, _)| ConditionStatus {
            type_,
            holds: true,
            reason,
            message: String::new(),
        });
        let since = failing.map_or(at(0), |(_, _, since)| at(since));
        object.status = Some(EdgeCredentialStatus {
            conditions: merge(&[], current, Some(1), since),
            token: issued_at.map(|second| {
                serde_json::from_value(json!({
                    "issuedAt": Time(at(second)),
                    "expiresAt": Time(at(second + 86_400)),
                    "renewAt": Time(at(second + 57_600)),
                }))
                .unwrap()
            }),
            ..EdgeCredentialStatus::default()
        });
        object
    }

    fn down(since: i64) -> Option<(ConditionType, Reason, i64)> {
        let reason = Reason::TokenEndpointUnavailable;
        Some((ConditionType::Reconciling, reason, since))
    }

    /// How many objects there are, and how many the endpoint fails.
    fn counts(objects: &[EdgeCredential]) -> Option<(usize, usize)> {
        let allowed = SITECORE_ORIGINS
            .iter()
            .map(|origin| origin.parse().unwrap());
        let summaries = objects.iter().map(|object| {
            let json = serde_json::to_value(object).unwrap();
            serde_json::from_value(json).unwrap()
        });
        let endpoints = endpoints(summaries, &allowed.collect());
        let only = endpoints.into_values().next();
        only.map(|endpoint| (endpoint.objects, endpoint.failing()))
    }

    #[test]
    fn who_began_to_fail_before_the_last_token_came_fails_for_its_own_reasons() {
        let well = object(Some(100), None);
        assert_eq!(
            counts(&[well.clone(), object(None, down(99))]),
            Some((2, 0))
        );
        assert_eq!(
            counts(&[well.clone(), object(None, down(100))]),
            Some((2, 0))
        );
        assert_eq!(
            counts(&[well.clone(), object(None, down(101))]),
            Some((2, 1))
        );
        let renewing = object(Some(50), down(200));
        assert_eq!(
            counts(&[well, object(None, down(101)), renewing]),
            Some((3, 2))
        );
        assert_eq!(counts(&[object(None, down(1))]), Some((1, 1)));
    }

    #[test]
    fn what_is_one_clients_own_is_not_the_endpoints() {
        for (type_, reason, failing) in [
            (
                ConditionType::Reconciling,
                Reason::TokenEndpointUnavailable,
                1,
            ),
            (ConditionType::Stalled, Reason::InvalidResponse, 1),
            (ConditionType::Stalled, Reason::RedirectRefused, 1),
            (ConditionType::Reconciling, Reason::ResponseTooLarge, 1),
            (ConditionType::Ready, Reason::TokenEndpointUnavailable, 0),
            (ConditionType::Stalled, Reason::CredentialsRejected, 0),
            (ConditionType::Reconciling, Reason::RateLimited, 0),
            (ConditionType::Stalled, Reason::CredentialsNotFound, 0),
        ] {
            let objects = [object(None, Some((type_, reason, 1)))];
            assert_eq!(counts(&objects), Some((1, failing)), "{reason}");
        }
    }

    #[test]
    fn a_suspended_object_is_not_counted_but_the_token_that_it_had_is_evidence() {
        let mut suspended = object(Some(100), down(200));
        suspended.spec.suspend = true;
        assert_eq!(counts(&[suspended.clone()]), Some((0, 0)));
        assert_eq!(counts(&[suspended, object(None, down(99))]), Some((1, 0)));
    }

    #[test]
    fn an_origin_that_may_not_be_asked_has_no_series() {
        let mut elsewhere = object(Some(100), None);
        for url in ["https://elsewhere.example/token", "no URL"] {
            elsewhere.spec.token_request.url = url.into();
            assert_eq!(counts(&[elsewhere.clone()]), None);
        }
    }
}
