//! A week of tokens that live for a day, as a Prometheus scrapes it: what the picture of the dashboard is drawn from.

use std::{fmt::Write, fs, time::Duration};

use edge_credential_operator::{
    api::EdgeCredential,
    http::rate_limits::{Limits, Quota},
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kit::workspace;
use serde_json::json;

use crate::{
    trouble::WRONG_SECRET,
    world::{Behaviour, World, hours, pass, seconds},
};

/// Namespaces, and how many sites each has.
const NAMESPACES: [(&str, usize); 5] = [
    ("storefront", 12),
    ("search", 9),
    ("checkout", 8),
    ("content", 7),
    ("preview", 4),
];

const MARKETS: [&str; 12] = [
    "at", "au", "ca", "de", "es", "fr", "it", "jp", "nl", "pl", "uk", "us",
];

/// EdgeTokens: namespace, name, and after how long their keys are replaced.
const KEYS: [(&str, &str, &str); 4] = [
    ("storefront", "site-content", "36h"),
    ("search", "search-index", "48h"),
    ("content", "export", "72h"),
    ("preview", "preview", "2160h"),
];

const WEEK: u64 = 7 * 24;

/// When a new pod takes over, in hours from the first scrape.
const NEW_POD: u64 = 38;

/// When the token endpoint begins to let requests hang, and when it answers again.
const OUTAGE: (u64, u64) = (81, 87);

/// When the client of one EdgeCredential is deleted.
const CLIENT_DELETED: u64 = 158;

#[tokio::test(start_paused = true)]
async fn an_outage_of_six_hours_in_a_week_costs_no_token() {
    let mut world = World::new();
    world.api.keep_requests(false);
    world.endpoint.set_limits(Limits {
        hold: None,
        quota: Some(Quota {
            limit: 100,
            remaining: 96,
        }),
        quota_reset: Some(SignedDuration::from_hours(24)),
    });
    world.start_operator();
    add_sites(&world).await;
    add_keys(&world);
    pass(hours(24)).await;

    let mut pod = "edge-credential-operator-7d9f6c5b8-x4k2p";
    let mut scrapes = String::new();
    for hour in 0..WEEK {
        let latency = Duration::from_millis(90 + hour * 67 % 230);
        world.endpoint.set_latency(latency);
        for minute in (0..60).step_by(4) {
            let now = world.clock.now();
            writeln!(scrapes, "# scraped from {pod} at {}", now.as_second()).unwrap();
            let metrics = world.metrics();
            let ours = metrics.lines().filter(|line| line.starts_with("edge"));
            for line in ours {
                writeln!(scrapes, "{line}").unwrap();
            }
            let expires_at = tokens(&world).map(|(_, _, expires_at)| expires_at);
            assert!(expires_at.min() > Some(now), "a token expired by {now}");
            match (hour, minute) {
                (NEW_POD, 0) => {
                    world.restart_operator().await;
                    pod = "edge-credential-operator-7d9f6c5b8-m9tqz";
                }
                (hour, 0) if hour == OUTAGE.0 => {
                    world.endpoint.behave(|_, _| Some(Behaviour::hang()));
                }
                (hour, 0) if hour == OUTAGE.1 => world.endpoint.behave(|_, _| None),
                (CLIENT_DELETED, 0) => {
                    let later = now + SignedDuration::from_hours(3);
                    let due = tokens(&world).filter(|(_, renew_at, _)| *renew_at > later);
                    let (client, ..) = due.min_by_key(|(_, renew_at, _)| *renew_at).unwrap();
                    world.endpoint.fail_client(&client, WRONG_SECRET);
                }
                _ => {}
            }
            pass(seconds(240)).await;
        }
    }
    let folder = workspace().join("target/dashboard");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("week.txt"), scrapes).unwrap();
}

/// Adds all sites within a day, each with a client of its own, and one that is suspended.
async fn add_sites(world: &World) {
    for (namespace, sites) in NAMESPACES {
        for market in &MARKETS[..sites] {
            let name = format!("edge-{market}");
            world.add_tenants(namespace, &name, &client(namespace, &name), json!({}));
            pass(seconds(36 * 60)).await;
        }
    }
    let suspended = json!({"suspend": true});
    world.add_tenants("preview", "edge-old", "preview-edge-old", suspended);
}

/// Adds the EdgeTokens, each with a client of its own.
fn add_keys(world: &World) {
    for (namespace, name, every) in KEYS {
        let rotation = json!({"rotation": {"every": every, "overlap": "12h"}});
        world.add_key(namespace, name, &client(namespace, name), rotation);
    }
}

fn client(namespace: &str, name: &str) -> String {
    format!("{namespace}-{name}")
}

/// The client of each token, when it is renewed and when it expires.
fn tokens(world: &World) -> impl Iterator<Item = (String, Timestamp, Timestamp)> {
    let objects = world.api.list_as::<EdgeCredential>();
    objects.into_iter().filter_map(|object| {
        let token = object.status?.token?;
        let client = client(&object.metadata.namespace?, &object.metadata.name?);
        Some((client, token.renew_at.0, token.expires_at.0))
    })
}
