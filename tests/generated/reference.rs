//! The pages of `docs/reference`.

use std::{fs, time::Duration};

use clap::{Arg, Args, Command, CommandFactory};
use edge_credential_operator::{
    api::Reason,
    clock::Clock,
    edge_api::Call,
    http::origin::AllowedOrigins,
    oauth::{ClientCredentials, Reply, TokenError},
    operator::{
        endpoints::EndpointCollector,
        exposition::prometheus_text,
        flags::{Cli, Settings},
        key_metrics::KeyCollector,
        metrics::{EventOutcome, Metrics, ObjectCollector},
    },
    traffic::{measured::TokenRequestMetrics, measured_api::ApiMetrics},
};
use k8s_openapi::jiff::SignedDuration;
use prometheus_client::registry::Registry;

use super::{compare, definitions, fields, path, table, with_section};

/// The page of each kind.
const FIELDS: [&str; 2] = [
    "docs/reference/edgecredential.md",
    "docs/reference/edgetoken.md",
];
const FLAGS: &str = "docs/reference/flags.md";
const METRICS: &str = "docs/reference/metrics.md";
const REASONS: &str = "docs/reference/reasons.md";

#[test]
fn the_fields_in_the_reference_are_those_of_the_definitions() {
    for (page, (_, crd)) in FIELDS.into_iter().zip(definitions()) {
        let crd = serde_json::to_value(crd).unwrap();
        let version = &crd["spec"]["versions"][0];
        let schema = &version["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            let text = fields::describe(&schema["properties"][part]);
            compare(page, &with_section(page, part, &text));
        }
        let rules = [schema, &schema["properties"]["spec"]]
            .into_iter()
            .flat_map(fields::rules)
            .map(|rule| format!("- {rule}\n"))
            .collect::<String>();
        compare(page, &with_section(page, "rules", &rules));
        let columns = version["additionalPrinterColumns"].as_array().unwrap();
        let rows = columns.iter().map(|column| {
            let wide = match column["priority"].as_u64() {
                Some(1..) => " (with `--output wide`)",
                _ => "",
            };
            vec![
                format!("`{}`", column["name"].as_str().unwrap().to_uppercase()),
                format!("{}{wide}", column["description"].as_str().unwrap()),
            ]
        });
        let columns = table(&["Column", "Shows"], rows);
        compare(page, &with_section(page, "columns", &columns));
    }
}

#[test]
fn the_reasons_in_the_reference_are_those_of_the_code() {
    let rows = Reason::ALL.iter().map(|reason| {
        vec![
            format!("`{reason}`"),
            reason.meaning().to_owned(),
            reason.remedy().to_owned(),
        ]
    });
    let text = table(&["Reason", "Meaning", "What to do"], rows);
    compare(REASONS, &with_section(REASONS, "reasons", &text));
}

#[test]
fn every_reason_has_a_section_in_the_guide_to_troubleshooting() {
    let guide = fs::read_to_string(path("docs/troubleshooting.md")).unwrap();
    for reason in Reason::ALL {
        let heading = |line: &str| line.starts_with('#') && line.contains(reason.as_str());
        assert!(guide.lines().any(heading), "{reason} has no section");
    }
}

#[test]
fn the_commands_and_flags_in_the_reference_are_those_of_the_code() {
    let cli = Cli::command();
    let commands = cli.get_subcommands().map(|command| {
        let flags = command
            .get_arguments()
            .filter(|_| command.get_name() != "run");
        let flags: String = flags
            .map(|flag| format!("<br>`--{}`: {}", name(flag), help(flag)))
            .collect();
        let about = command.get_about().expect("every command has help");
        vec![
            format!("`edge-credential-operator {}`", command.get_name()),
            format!("{about}.{flags}"),
        ]
    });
    let commands = table(&["Command", "Does"], commands);
    compare(FLAGS, &with_section(FLAGS, "commands", &commands));

    let run = Settings::augment_args(Command::new("run"));
    let rows = run.get_arguments().map(|flag| {
        let variable = flag.get_env().expect("every flag has a variable");
        let defaults: Vec<_> = flag
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        vec![
            format!("`--{}`", name(flag)),
            format!("`{}`", variable.to_string_lossy()),
            defaults.join(" "),
            help(flag),
        ]
    });
    let flags = table(&["Flag", "Environment", "Default", "Meaning"], rows);
    compare(FLAGS, &with_section(FLAGS, "flags", &flags));
}

fn name(flag: &Arg) -> &str {
    flag.get_long().expect("every argument is a flag")
}

fn help(flag: &Arg) -> String {
    let help = flag.get_long_help().or(flag.get_help());
    let help = help.expect("every flag has help").to_string();
    help.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What an operator serves that has done each thing once. That the labels are true of one at work is tested where one is
/// scraped, in `tests/cluster/monitoring.rs`.
#[test]
fn the_metrics_in_the_reference_are_those_of_the_code() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, Clock::system());
    metrics.reconciled(Duration::ZERO, None);
    metrics.event_ended(EventOutcome::Published);
    metrics.watch_fails("secrets", "*", false);
    let credentials = ClientCredentials {
        client_id: "id".into(),
        client_secret: "secret".into(),
    };
    let reply = Reply {
        clock_skew: Some(SignedDuration::ZERO),
        ..Err(TokenError::RateLimited { quota: None }).into()
    };
    metrics.requested("https://auth.example", &credentials, Duration::ZERO, &reply);
    registry.register_collector(Box::new(EndpointCollector {
        edge_credentials: Vec::new(),
        allowed: AllowedOrigins::from_iter([]),
    }));
    registry.register_collector(Box::new(ObjectCollector(Vec::new())));
    let call = Call::CreateKey;
    metrics
        .keys
        .called("https://edge.example", call, Duration::ZERO, None);
    registry.register_collector(Box::new(KeyCollector(Vec::new())));
    let text = prometheus_text(&registry).unwrap();
    let mut rows: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '))
        .map(|(name, help)| {
            let announced = format!("# TYPE {name} ");
            let kind = text.lines().find_map(|line| line.strip_prefix(&announced));
            vec![
                format!("`{name}`"),
                kind.expect("every metric has a kind").to_owned(),
                labels(&text, name).join(", "),
                help.to_owned(),
            ]
        })
        .collect();
    rows.sort();
    assert!(rows.len() > 20, "{rows:?}");
    let metrics = table(&["Metric", "Type", "Labels", "Meaning"], rows);
    compare(METRICS, &with_section(METRICS, "metrics", &metrics));
}

/// The labels of a metric's first sample. The name of another one may begin with its name.
fn labels(text: &str, name: &str) -> Vec<String> {
    let is_sample = |rest: &&str| {
        let begins = ["{", " ", "_bucket{"];
        begins.iter().any(|begin| rest.starts_with(begin))
    };
    let rest = text.lines().filter_map(|line| line.strip_prefix(name));
    let mut samples = rest.filter(is_sample);
    let labels = match samples.next() {
        Some(sample) => {
            let (_, labels) = sample.split_once('{').unwrap_or_default();
            let labels = labels.split(',').filter_map(|label| label.split_once('='));
            labels.map(|(label, _)| label).collect()
        }
        // No object is there to have a sample of.
        None if name.contains("_token_endpoint_") || name.contains("_quota_") => vec!["origin"],
        None => vec!["namespace", "name"],
    };
    let labels = labels.into_iter().filter(|&label| label != "le");
    labels.map(|label| format!("`{label}`")).collect()
}
