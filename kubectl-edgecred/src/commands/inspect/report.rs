//! What was found in a target, and how it is printed.

use std::io::Write;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use crate::{
    check::{Check, exit},
    error::Error,
    exit::Exit,
    kind::{Kind, Object},
    output::format::{Format, FormatArgs, write_json, write_yaml},
};

/// What stands for what is not known.
pub(super) const UNKNOWN: &str = "–";

/// What was found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Inspection<T> {
    kind: Kind,
    namespace: String,
    name: String,
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<T>,
    checks: Vec<Check>,
}

/// What is known of a token or a key, as far as it may be shown.
pub(super) trait Described: Serialize {
    /// A line for each fact, with its name.
    fn lines(&self, now: Timestamp) -> Vec<(&'static str, String)>;
}

impl<T: Described> Inspection<T> {
    pub(super) fn new<K: Object>(object: &K, token: Option<T>, checks: Vec<Check>) -> Self {
        Self {
            kind: K::KIND,
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            target: object.target().into(),
            token,
            checks,
        }
    }

    pub(super) fn print(&self, format: FormatArgs) -> Result<Exit, Error> {
        let mut out = anstream::stdout().lock();
        match format.output {
            Format::Json => write_json(&mut out, self)?,
            Format::Yaml => write_yaml(&mut out, self)?,
            Format::Name => writeln!(out, "secret/{}", self.target)?,
            Format::Table | Format::Wide => self.write(&mut out, Timestamp::now())?,
        }
        Ok(exit(&self.checks))
    }

    fn write(&self, out: &mut dyn Write, now: Timestamp) -> std::io::Result<()> {
        writeln!(
            out,
            "{} {}/{}, Secret \"{}\"",
            self.kind, self.namespace, self.name, self.target
        )?;
        for (name, value) in self.token.iter().flat_map(|token| token.lines(now)) {
            writeln!(out, "  {name:<13} {value}")?;
        }
        self.checks.iter().try_for_each(|check| check.write(out))
    }
}
