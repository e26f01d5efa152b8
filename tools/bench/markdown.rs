//! A run as a page.

use std::fmt::Write;

use crate::report::{Measured, Report};

/// The end of the page.
const REPEAT: &str = "
## How to repeat it

`make bench` takes hours on 2 cores; nothing else should run on the machine. `BENCH=quick make bench` takes a quarter of an hour, with fewer
objects, shorter waits and fewer samples. `CASES=memory,restart` runs these cases only, `OBJECTS=300` sets the number of objects where there
are many. Figures and pictures are in `target/bench` after each case, and `make bench-docs` writes this page from them.

`SUBJECT=FILE` measures another operator: `FILE` is JSON as `tools/bench/subjects/edge-credential-operator.json`, which describes this one, and says
how to install and start it, what to create for each object, and when one is ready. Cases that need what only this operator has are left out.

Each case has a control plane of its own: etcd (which does not wait for the disk) and kube-apiserver with its audit log, from which calls are counted.
The operator runs as a process with its default flags; memory and processor time are what the kernel counts for it. The token endpoint is a
stand-in that answers after 5 ms unless a case says otherwise.
";

/// The page. The pictures, by file and title, are in `folder` beside it.
pub fn render(report: &Report, pictures: &[(String, String)], folder: &str) -> String {
    let mut page = format!(
        "# Benchmarks\n\n\
         {} on {}, measured by `make bench` ({} run, {} objects where there are many).\n\
         etcd, the API server, the load and the operator shared the machine. The page is written from the run's figures and\n\
         judges none of them.\n\n",
        report.subject,
        report.date,
        report.run,
        thousands(report.objects as f64),
    );
    page.push_str("| machine and versions | |\n|---|---|\n");
    for (name, value) in report.machine.iter().chain(&report.versions) {
        let _ = writeln!(page, "| {name} | {value} |");
    }
    for (file, title) in pictures {
        let _ = write!(page, "\n![{title}]({folder}{file})\n");
    }
    for measured in &report.cases {
        page.push_str(&section(measured));
    }
    page.push_str(REPEAT);
    page
}

fn section(measured: &Measured) -> String {
    let mut section = format!("\n## {}\n\n{}.\n", measured.case, measured.about);
    if let Some(problem) = &measured.problem {
        let problem = problem.lines().next().unwrap_or_default();
        let _ = write!(section, "\nNot measured to the end: {problem}.\n");
    }
    if measured.figures.is_empty() {
        return section;
    }
    section.push_str("\n| figure | value |\n|---|---:|\n");
    let mut of = "";
    for figure in &measured.figures {
        if figure.of != of {
            of = &figure.of;
            let _ = writeln!(section, "| **{of}** | |");
        }
        let value = number(figure.value);
        let _ = writeln!(
            section,
            "| {} | {} |",
            figure.name,
            format!("{value} {}", figure.unit).trim_end()
        );
    }
    section
}

/// A number with as many digits as it deserves.
fn number(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1000.0 {
        thousands(value)
    } else if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

/// A whole number with commas.
fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 {
        format!("-{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_they_deserve() {
        for (value, expected) in [
            (0.0, "0"),
            (20_041.0, "20,041"),
            (1_234_567.8, "1,234,568"),
            (-1000.0, "-1,000"),
            (236.4, "236"),
            (13.72, "13.7"),
            (0.0456, "0.046"),
        ] {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn a_page_has_a_table_for_each_case_and_says_what_is_missing() {
        let mut measured = Measured {
            case: "memory".into(),
            about: "What it takes".into(),
            problem: Some("it ended\nwith a log".into()),
            ..Measured::default()
        };
        let mut found = measured.of("10,000 objects");
        found.figure("resident", 48.25, "MiB");
        found.figure("token requests", 0.0, "");
        let report = Report {
            cases: vec![measured],
            ..Report::default()
        };
        let page = render(
            &report,
            &[("memory.svg".into(), "Memory".into())],
            "benchmarks/",
        );
        for line in [
            "## memory",
            "Not measured to the end: it ended.",
            "| **10,000 objects** | |",
            "| resident | 48.2 MiB |",
            "| token requests | 0 |",
            "![Memory](benchmarks/memory.svg)",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
    }
}
