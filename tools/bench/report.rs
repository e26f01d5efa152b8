//! What was measured.

use std::{collections::BTreeMap, fs, path::Path, thread};

use serde::{Deserialize, Serialize};

use crate::{Result, calls::Calls, statistics::percentile, vitals::Memory};

/// A run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// When it began.
    pub date: String,
    /// The operator.
    pub subject: String,
    /// `quick` or `full`.
    pub run: String,
    /// How many objects there were where there were many.
    pub objects: usize,
    /// On what: processor, number of cores, memory, kernel.
    pub machine: BTreeMap<String, String>,
    /// With what.
    pub versions: BTreeMap<String, String>,
    /// What each case found.
    pub cases: Vec<Measured>,
}

/// What a case found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// The case.
    pub case: String,
    /// What it measures.
    pub about: String,
    /// The figures, in order.
    pub figures: Vec<Figure>,
    /// What is drawn of it.
    #[serde(default)]
    pub lines: Vec<Line>,
    /// Why it ended early.
    #[serde(default)]
    pub problem: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

/// One number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Of what, such as a number of objects.
    pub of: String,
    /// What it is.
    pub name: String,
    /// How much.
    pub value: f64,
    /// In what.
    pub unit: String,
}

/// A line of a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The picture.
    pub plot: String,
    /// What the line is called there.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

impl Measured {
    /// Where figures of this are added.
    pub fn of(&mut self, what: impl Into<String>) -> Found<'_> {
        Found {
            of: what.into(),
            figures: &mut self.figures,
        }
    }

    /// Adds a line of a picture.
    pub fn line(&mut self, plot: &str, name: impl Into<String>, points: Vec<(f64, f64)>) {
        self.lines.push(Line {
            plot: plot.to_owned(),
            name: name.into(),
            points,
        });
    }
}

/// What was found about one thing.
pub struct Found<'a> {
    of: String,
    figures: &'a mut Vec<Figure>,
}

impl Found<'_> {
    /// Adds a figure.
    pub fn figure(&mut self, name: impl Into<String>, value: f64, unit: &str) {
        self.figures.push(Figure {
            of: self.of.clone(),
            name: name.into(),
            value,
            unit: unit.to_owned(),
        });
    }

    /// Adds what samples in milliseconds, in order, come to.
    pub fn samples(&mut self, sorted: &[f64]) {
        self.figure("samples", sorted.len() as f64, "");
        self.percentiles("time", sorted, "ms");
    }

    /// Adds the median, the 99th percentile and the maximum of samples in order.
    pub fn percentiles(&mut self, name: &str, sorted: &[f64], unit: &str) {
        for (what, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            self.figure(format!("{name}, {what}"), percentile(sorted, share), unit);
        }
    }

    /// Adds the three figures of memory.
    pub fn memory(&mut self, memory: Memory) {
        self.figure("resident", memory.resident, "MiB");
        self.figure("anonymous", memory.anonymous, "MiB");
        self.figure("peak", memory.peak, "MiB");
    }

    /// Adds how much anonymous memory each of so many objects takes, beyond what there was without them.
    pub fn memory_for_each(&mut self, memory: Memory, without: Memory, objects: usize) {
        let each = (memory.anonymous - without.anonymous) * 1024.0 / objects as f64;
        self.figure("anonymous, for each object", each, "KiB");
    }

    /// Adds how many calls there were, all and by kind.
    pub fn calls(&mut self, calls: &Calls) {
        let work = calls.work() as f64;
        self.figure("calls but watches, Events and Leases", work, "");
        for (kind, count) in &calls.kinds {
            self.figure(kind, *count as f64, "");
        }
    }
}

/// What this machine is.
pub fn machine() -> BTreeMap<String, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |path: &str, name: &str| {
        let text = read(path);
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or("", |(_, value)| value.trim()).to_owned()
    };
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kibibytes = field("/proc/meminfo", "MemTotal");
    let kibibytes = kibibytes.split(' ').next().unwrap_or_default().parse();
    let gibibytes = kibibytes.unwrap_or(0.0) / f64::from(1024 * 1024);
    [
        ("processor", field("/proc/cpuinfo", "model name")),
        ("cores", cores.to_string()),
        ("memory", format!("{gibibytes:.1} GiB")),
        (
            "kernel",
            read("/proc/sys/kernel/osrelease").trim().to_owned(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

impl Report {
    /// Reads one.
    pub fn read(path: &Path) -> Result<Report> {
        let text = fs::read_to_string(path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Writes it as JSON, as Markdown, and as pictures.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(
            folder.join("bench.json"),
            serde_json::to_string_pretty(self)? + "\n",
        )?;
        crate::plots::draw(self, folder)?;
        let pictures = crate::plots::titles(self);
        fs::write(
            folder.join("bench.md"),
            crate::markdown::render(self, &pictures, ""),
        )?;
        Ok(())
    }
}
