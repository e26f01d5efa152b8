//! `status`: how EdgeCredentials and EdgeTokens stand, the worst first.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    time::Duration,
};

use clap::Args;
use clap_complete::ArgValueCandidates;
use console::Term;
use edge_credential_operator::api::{EdgeCredential, EdgeToken};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::completion::object_names;
use crate::{
    cluster::{
        access::Cluster,
        errors::CallError,
        objects::{Found, Scope},
    },
    error::Error,
    exit::Exit,
    kind::{Kind, Object},
    name::{Entered, ObjectName},
    output::{
        format::{Format, OutputArgs, write_json, write_yaml},
        style::{WARN, styled},
        table::Table,
        times::{since, until},
    },
    users,
    view::{State, View, summary},
};

/// How often `--watch` looks. Times are shown to the second only where it matters.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// What is shown where there is nothing to show.
const NONE: &str = "–";

/// The command line.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// NAME for an EdgeCredential, edgetoken/NAME for an EdgeToken; all of both kinds if there are none.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(object_names))]
    pub names: Vec<Entered>,

    /// Look in all namespaces.
    #[arg(short = 'A', long, conflicts_with = "names")]
    pub all_namespaces: bool,

    /// Show those with these labels only.
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "names")]
    pub selector: Option<String>,

    /// Draw the table anew every 2 seconds, until Ctrl-C.
    #[arg(short, long)]
    pub watch: bool,

    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// An object with the number of pods that use its token; none where the pods cannot be seen.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(flatten)]
    view: View,
    #[serde(skip_serializing_if = "Option::is_none")]
    pods: Option<usize>,
}

/// What was found, and what could not be seen.
struct Status {
    rows: Vec<Row>,
    unseen: Vec<String>,
    now: Timestamp,
}

/// Shows how they stand.
pub async fn run(cluster: &Cluster, args: &StatusArgs) -> Result<Exit, Error> {
    if args.watch {
        return watch(cluster, args).await;
    }
    let status = look(cluster, args).await?;
    status.write(&mut anstream::stdout().lock(), args)?;
    status.write_summary(&mut anstream::stderr().lock(), cluster, args)?;
    Ok(status.exit())
}

/// Draws the table anew: in place on a terminal, else one after the other. A cluster that cannot be asked for a while does not end it.
async fn watch(cluster: &Cluster, args: &StatusArgs) -> Result<Exit, Error> {
    let terminal = Term::stdout();
    let mut status = look(cluster, args).await?;
    let mut trouble = None;
    loop {
        let mut text = Vec::new();
        status.write(&mut text, args)?;
        status.write_summary(&mut text, cluster, args)?;
        if let Some(error) = &trouble {
            let ago = since(status.now, Timestamp::now());
            writeln!(text, "{} this is {ago} old: {error}", styled(WARN, "!"))?;
        }
        if std::io::stdout().is_terminal() {
            terminal.move_cursor_to(0, 0)?;
            terminal.clear_to_end_of_screen()?;
        }
        let mut out = anstream::stdout().lock();
        out.write_all(&text)?;
        out.flush()?;
        drop(out);
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(status.exit()),
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
        match look(cluster, args).await {
            Ok(seen) => (status, trouble) = (seen, None),
            Err(error) => trouble = Some(error),
        }
    }
}

async fn look(cluster: &Cluster, args: &StatusArgs) -> Result<Status, Error> {
    let scope = cluster.scope(args.all_namespaces);
    let now = Timestamp::now();
    let mut unseen = Vec::new();
    let mut views = if args.names.is_empty() {
        let selector = args.selector.as_deref();
        let credentials = cluster.list::<EdgeCredential>(&scope, selector).await?;
        // Whoever has no rights on EdgeTokens still has EdgeCredentials to look at.
        let keys = cluster.list_if_served::<EdgeToken>(&scope, selector).await;
        let keys = keys.unwrap_or_else(|error| {
            let action = error.action;
            unseen.push(format!("EdgeTokens are not shown: cannot {action}"));
            Found::default()
        });
        for name in credentials.malformed.iter().chain(&keys.malformed) {
            unseen.push(format!(
                "{name} does not fit this program's definition: is the operator of another version?"
            ));
        }
        let credentials = credentials.objects.iter();
        let mut views: Vec<_> = credentials.map(|object| View::of(object, now)).collect();
        views.extend(keys.objects.iter().map(|object| View::of(object, now)));
        views
    } else {
        let mut views = Vec::new();
        for name in &args.names {
            views.push(view(cluster, &name.of_any_kind(), now).await?);
        }
        views
    };
    views.sort_by(|one, other| one.rank().cmp(&other.rank()));
    let pods = match pods_by_secret(cluster, &scope).await {
        Ok(pods) => Some(pods),
        Err(error) => {
            let action = error.action;
            unseen.push(format!("USED BY is not shown: cannot {action}"));
            None
        }
    };
    let rows = views.into_iter().map(|view| {
        let key = (view.namespace.clone(), view.target.clone());
        let pods = pods
            .as_ref()
            .map(|pods| pods.get(&key).copied().unwrap_or_default());
        Row { view, pods }
    });
    Ok(Status {
        rows: rows.collect(),
        unseen,
        now,
    })
}

/// One object as it is shown.
async fn view(cluster: &Cluster, object: &ObjectName, now: Timestamp) -> Result<View, CallError> {
    async fn of<K: Object>(
        cluster: &Cluster,
        name: &str,
        now: Timestamp,
    ) -> Result<View, CallError> {
        Ok(View::of(&cluster.get::<K>(name).await?, now))
    }
    match object.kind {
        Kind::EdgeCredential => of::<EdgeCredential>(cluster, &object.name, now).await,
        Kind::EdgeToken => of::<EdgeToken>(cluster, &object.name, now).await,
    }
}

/// How many pods use each Secret, by namespace and name.
async fn pods_by_secret(
    cluster: &Cluster,
    scope: &Scope,
) -> Result<BTreeMap<(String, String), usize>, CallError> {
    let mut counts = BTreeMap::new();
    cluster
        .pods(scope, |pod| {
            let Some(spec) = &pod.spec else { return };
            let namespace = pod.metadata.namespace.unwrap_or_default();
            for secret in users::secrets(spec) {
                *counts
                    .entry((namespace.clone(), secret.to_owned()))
                    .or_default() += 1;
            }
        })
        .await?;
    Ok(counts)
}

impl Status {
    fn exit(&self) -> Exit {
        Exit::worst(self.rows.iter().map(|row| row.view.state.exit()))
    }

    fn write(&self, out: &mut dyn Write, args: &StatusArgs) -> std::io::Result<()> {
        match args.output.output {
            Format::Json => write_json(out, &self.rows),
            Format::Yaml => write_yaml(out, &self.rows),
            Format::Name => self
                .rows
                .iter()
                .try_for_each(|row| writeln!(out, "{}", row.view.resource_name())),
            Format::Table => self.table(args, false).write(out, args.output.no_headers),
            Format::Wide => self.table(args, true).write(out, args.output.no_headers),
        }
    }

    fn table(&self, args: &StatusArgs, wide: bool) -> Table {
        if self.rows.is_empty() {
            return Table::default();
        }
        let mut head = vec!["NAME", "STATE", "EXPIRES IN", "RENEWS IN", "USED BY", "WHY"];
        if args.all_namespaces {
            head.insert(0, "NAMESPACE");
        }
        if wide {
            head.extend(["TARGET", "TENANT", "MESSAGE"]);
        }
        let rows = self.rows.iter().map(|row| {
            let mut cells = row.cells(self.now);
            if args.all_namespaces {
                cells.insert(0, row.view.namespace.clone());
            }
            if wide {
                cells.extend([
                    row.view.target.clone(),
                    row.view.tenant.clone().unwrap_or(NONE.into()),
                    row.view.message.clone().unwrap_or_default(),
                ]);
            }
            cells
        });
        Table {
            head,
            rows: rows.collect(),
        }
    }

    fn write_summary(
        &self,
        out: &mut dyn Write,
        cluster: &Cluster,
        args: &StatusArgs,
    ) -> std::io::Result<()> {
        for unseen in &self.unseen {
            writeln!(out, "{} {unseen}", styled(WARN, "!"))?;
        }
        if self.rows.is_empty() {
            let place = if args.all_namespaces {
                "any namespace".to_owned()
            } else {
                format!("namespace \"{}\"", cluster.namespace)
            };
            return writeln!(
                out,
                "There are no EdgeCredentials and no EdgeTokens in {place} ({}). Look elsewhere with -n or -A, or make one with `kubectl edgecred init`.",
                cluster.place
            );
        }
        let views: Vec<_> = self.rows.iter().map(|row| row.view.clone()).collect();
        writeln!(out, "{}", summary(&views, self.now))
    }
}

impl Row {
    fn cells(&self, now: Timestamp) -> Vec<String> {
        let view = &self.view;
        let time =
            |time: Option<Timestamp>, past| time.map_or(NONE.into(), |time| until(time, now, past));
        let is_at_rest = view.state == State::Suspended;
        vec![
            view.entered_name(),
            view.state.colored(),
            time(view.expires_at, "expired"),
            if is_at_rest {
                NONE.into()
            } else {
                time(view.renews_at, "overdue")
            },
            match self.pods {
                None => "?".into(),
                Some(0) => "0".into(),
                Some(1) => "1 pod".into(),
                Some(pods) => format!("{pods} pods"),
            },
            view.why.clone(),
        ]
    }
}
