//! `events`: what the operator said of EdgeCredentials and EdgeTokens, the latest last.

use std::io::Write;

use anstream::eprintln;
use clap::Args;
use clap_complete::ArgValueCandidates;
use k8s_openapi::{api::core::v1::Event, jiff::Timestamp};
use kube::{Api, api::ListParams};

use super::completion::object_names;
use crate::{
    cluster::{access::Cluster, errors::Action, objects::Scope},
    error::Error,
    exit::Exit,
    kind::Kind,
    name::{Entered, ObjectName},
    output::{
        format::{Format, OutputArgs, write_json, write_yaml},
        style::{GOOD, WARN, styled},
        table::Table,
        times::since,
    },
    view::printable,
};

/// The command line.
#[derive(Args, Debug)]
pub struct EventsArgs {
    /// NAME for an EdgeCredential, edgetoken/NAME for an EdgeToken; all of both kinds if there is none.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(object_names))]
    pub name: Option<Entered>,

    /// Look in all namespaces.
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub all_namespaces: bool,

    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Shows the Events that are still there: an API server forgets them after an hour, mostly.
pub async fn run(cluster: &Cluster, args: &EventsArgs) -> Result<Exit, Error> {
    let scope = cluster.scope(args.all_namespaces);
    let name = args.name.as_ref().map(Entered::of_any_kind);
    let mut events = list(cluster, &scope, name.as_ref()).await?;
    events.sort_by_key(last_seen);
    let mut out = anstream::stdout().lock();
    match args.output.output {
        Format::Json => write_json(&mut out, &events)?,
        Format::Yaml => write_yaml(&mut out, &events)?,
        Format::Name => {
            for event in &events {
                writeln!(
                    out,
                    "event/{}",
                    event.metadata.name.as_deref().unwrap_or_default()
                )?;
            }
        }
        Format::Table | Format::Wide => {
            if events.is_empty() {
                eprintln!(
                    "There are no Events. They are forgotten after an hour, mostly; what holds now is in `kubectl edgecred status`."
                );
            } else {
                table(&events, args.all_namespaces, Timestamp::now())
                    .write(&mut out, args.output.no_headers)?;
            }
        }
    }
    Ok(Exit::Well)
}

/// The Events of all objects of both kinds, or of one object.
pub async fn list(
    cluster: &Cluster,
    scope: &Scope,
    name: Option<&ObjectName>,
) -> Result<Vec<Event>, Error> {
    let events: Api<Event> = match scope {
        Scope::Namespace(namespace) => cluster.namespaced(namespace),
        Scope::All => Api::all(cluster.client.clone()),
    };
    let action = Action {
        verb: "list",
        resource: "events",
        namespace: scope.namespace().map(Into::into),
        name: None,
    };
    let mut found = Vec::new();
    for kind in Kind::ALL {
        if name.is_some_and(|name| name.kind != kind) {
            continue;
        }
        let mut fields = format!("involvedObject.kind={kind}");
        if let Some(ObjectName { name, .. }) = name {
            fields += &format!(",involvedObject.name={name}");
        }
        let params = ListParams::default().fields(&fields);
        let list = cluster.call(action.clone(), events.list(&params)).await?;
        found.extend(list.items);
    }
    Ok(found)
}

/// What an Event is about, as this program's commands take it.
fn subject(event: &Event) -> String {
    let object = &event.involved_object;
    let name = printable(object.name.as_deref().unwrap_or_default());
    let kind = Kind::ALL
        .into_iter()
        .find(|kind| object.kind.as_deref() == Some(kind.as_str()));
    kind.map_or(name.clone(), |kind| {
        ObjectName::new(kind, &name).to_string()
    })
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.as_ref());
    let time = series.or(event.event_time.as_ref()).map(|time| time.0);
    time.or(event.last_timestamp.as_ref().map(|time| time.0))
        .or(event
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0))
}

fn table(events: &[Event], with_namespace: bool, now: Timestamp) -> Table {
    let mut head = vec!["LAST SEEN", "TYPE", "REASON", "NAME", "COUNT", "MESSAGE"];
    if with_namespace {
        head.insert(0, "NAMESPACE");
    }
    let rows = events.iter().map(|event| {
        let type_ = event.type_.as_deref().unwrap_or_default();
        let style = if type_ == "Warning" { WARN } else { GOOD };
        let series = event.series.as_ref().and_then(|series| series.count);
        let text = |text: &Option<String>| printable(text.as_deref().unwrap_or_default());
        let mut cells = vec![
            last_seen(event).map_or("?".into(), |time| since(time, now)),
            styled(style, type_),
            text(&event.reason),
            subject(event),
            series.or(event.count).unwrap_or(1).to_string(),
            text(&event.message),
        ];
        if with_namespace {
            cells.insert(0, text(&event.metadata.namespace));
        }
        cells
    });
    Table {
        head,
        rows: rows.collect(),
    }
}
