//! `--output`, as kubectl has it.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// The same with more columns.
    Wide,
    /// For programs.
    Json,
    /// For both.
    Yaml,
    /// Names alone, to be handed to kubectl.
    Name,
}

/// How a command prints.
#[derive(Args, Clone, Copy, Debug)]
pub struct FormatArgs {
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
}

/// How a command prints whose tables have headings.
#[derive(Args, Clone, Copy, Debug)]
pub struct OutputArgs {
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Format,

    /// Leave the headings of a table out.
    #[arg(long)]
    pub no_headers: bool,
}

/// Writes data in JSON.
pub fn write_json<T: Serialize>(out: &mut dyn Write, data: &T) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, data)?;
    writeln!(out)
}

/// Writes data in YAML.
pub fn write_yaml<T: Serialize>(out: &mut dyn Write, data: &T) -> io::Result<()> {
    let text =
        serde_saphyr::to_string(data).map_err(|error| io::Error::other(error.to_string()))?;
    out.write_all(text.as_bytes())
}
