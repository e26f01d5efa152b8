//! What came of it.

use std::{fmt, time::Duration};

use kit::sitecore::Sitecore;

use crate::{
    causes::{Causes, causes},
    history::{History, Moment, ObjectHistory, Span, Vitals, now},
    keys::{Count, Figures},
    scene::{Object, Scene, ServedBy},
    settings::Settings,
    trend::Slope,
};

/// The most that memory may grow by, in MiB an hour.
const MEMORY_LIMIT: f64 = 1.0;

/// The most that open descriptors may grow by, an hour.
const DESCRIPTOR_LIMIT: f64 = 1.0;

/// The part of the time after which the operator has all that it needs, so that only a leak grows. Tokens are kept until
/// they expire, and are swept out some time later.
const WARM_UP: f64 = 0.5;

/// The least time that says something about growth.
const MEASURED: Duration = Duration::from_mins(8);

/// One line while it runs.
pub fn progress(scene: &Scene, elapsed: Duration) -> String {
    let history = scene.history.lock();
    let sum = |value: fn(&ObjectHistory) -> u64| history.objects.iter().map(value).sum::<u64>();
    let vitals = history.vitals.last();
    format!(
        "{:5} s: {} tokens, {} kills, {} API server restarts, {} endpoint outages, {} rotations, {} damages; \
         {} seconds expired; {:.1} MiB, {} descriptors",
        elapsed.as_secs(),
        sum(|object| object.tokens.len() as u64),
        history.kills.len(),
        history.outages.len(),
        history.endpoint_outages.len(),
        sum(|object| object.rotations.len() as u64),
        sum(|object| object.damages.len() as u64),
        sum(|object| object.expired),
        vitals.map_or(0.0, |vitals| vitals.memory),
        vitals.map_or(0.0, |vitals| vitals.descriptors),
    )
}

/// The figures, and whether they are within the limits.
pub struct Report {
    lines: Vec<String>,
    broken: Vec<String>,
}

impl Report {
    /// Whether all limits were kept.
    pub fn is_good(&self) -> bool {
        self.broken.is_empty()
    }

    fn line(&mut self, text: String) {
        self.lines.push(text);
    }

    /// A figure that has to be zero.
    fn zero(&mut self, figure: u64, what: &str) {
        if figure > 0 {
            self.broken.push(format!("{figure} {what}"));
        }
    }

    /// A slope that may not certainly be more than the limit.
    fn flat(&mut self, what: &str, samples: &[(f64, f64)], limit: f64) {
        let Some(slope) = Slope::of(samples) else {
            self.line(format!("{what}: too few samples for a slope"));
            return;
        };
        let (hours, last) = samples.last().copied().unwrap_or_default();
        let measured = Duration::from_secs_f64(hours * 3600.0);
        let verdict = if measured < MEASURED {
            "too short to say whether it is more"
        } else if slope.exceeds(limit) {
            self.broken
                .push(format!("{what} grows by more than {limit} an hour"));
            "certainly more"
        } else {
            "not certainly more"
        };
        self.line(format!(
            "{what}: {last:.1} at the end, growing by {:+.2} ± {:.2} an hour in the last {} s: {verdict} than {limit}",
            slope.per_hour,
            slope.uncertainty,
            measured.as_secs(),
        ));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        if self.is_good() {
            return f.write_str("All limits were kept.");
        }
        write!(f, "Limits were broken: {}.", self.broken.join("; "))
    }
}

/// Sums up what happened.
pub fn report(scene: &Scene, settings: &Settings, elapsed: Duration, count: Count) -> Report {
    let history = scene.history.lock().clone();
    let mut report = Report {
        lines: vec![
            String::new(),
            format!("{settings}: {} s", elapsed.as_secs()),
        ],
        broken: Vec::new(),
    };
    disturbances(&mut report, &history);
    endpoint(&mut report, scene, &history);
    validity(&mut report, &history);
    tokens(&mut report, scene, &history);
    keys(&mut report, scene.keys.figures(), count);
    vitals(&mut report, &history.vitals);
    report
}

fn disturbances(report: &mut Report, history: &History) {
    let objects = history.objects.iter();
    let rotations: usize = objects.clone().map(|object| object.rotations.len()).sum();
    let asked: usize = objects
        .clone()
        .map(|object| object.renewals_asked.len())
        .sum();
    let damages: usize = objects.map(|object| object.damages.len()).sum();
    report.line(format!(
        "disturbances: {} kills of one operator, {} restarts of the API server, {rotations} rotations, {asked} requests \
         of a renewal, {damages} damages",
        history.kills.len(),
        history.outages.len(),
    ));
}

fn endpoint(report: &mut Report, scene: &Scene, history: &History) {
    let outages = &history.endpoint_outages;
    report.line(format!(
        "outages of the token endpoint: {}, {} s in all; no token expired any more {:.0} s after the end of each",
        outages.len(),
        seconds(outages),
        history.longest_recovery.as_secs_f64(),
    ));
    let sum = |value: fn(&Sitecore, &str) -> u64| -> u64 {
        let unruly = scene.unruly.iter();
        unruly
            .map(|object| value(&scene.sitecore, &object.name))
            .sum()
    };
    report.line(format!(
        "tenants that misbehave, with {} objects: for {} s in {} spells, {} requests, {} tokens",
        scene.unruly.len(),
        seconds(&history.misbehaviours),
        history.misbehaviours.len(),
        sum(Sitecore::requests),
        sum(Sitecore::issued),
    ));
}

/// How long these took, of which the last may still go on.
fn seconds(spans: &[Span]) -> u64 {
    let now = now();
    let lengths = spans
        .iter()
        .map(|span| span.end.min(now).saturating_sub(span.start));
    lengths.sum::<Duration>().as_secs()
}

fn validity(report: &mut Report, history: &History) {
    let sum = |value: fn(&ObjectHistory) -> u64| history.objects.iter().map(value).sum::<u64>();
    let expired = sum(|object| object.expired);
    let missing = sum(|object| object.missing);
    let objects = history.objects.iter();
    let longest = objects.map(|object| object.longest_repair).max();
    report.line(format!(
        "{} looks at {} targets ({} lists not answered): {expired} seconds expired, {} excused because the API server \
         or the token endpoint was away, {missing} without a token; longest repair while the \
         endpoint was there {:.0} s",
        history.looks,
        history.objects.len(),
        history.unanswered,
        sum(|object| object.excused),
        longest.unwrap_or_default().as_secs_f64(),
    ));
    report.zero(expired, "seconds with an expired token");
    report.zero(missing, "seconds without a token");
}

fn tokens(report: &mut Report, scene: &Scene, history: &History) {
    for (served_by, name) in [
        (ServedBy::Killed, "operator that is killed"),
        (ServedBy::Steady, "operator that is never killed"),
    ] {
        let mut all = Causes::default();
        let mut requests = 0;
        for (object, past) in scene.objects.iter().zip(&history.objects) {
            if object.served_by == served_by {
                let kills = scene.kills_of(object, &history.kills);
                let found = causes(past, object.lifetime, kills);
                for at in &found.needless {
                    report.line(describe(object, past, kills, *at));
                }
                all += found;
                requests += scene.sitecore.requests(&object.name);
            }
        }
        report.line(format!(
            "{name}: {requests} requests, {} tokens; needed exactly {} ({} first, {} due, {} rotated, {} asked for), \
             allowed for kills {} ({} killed before the write, {} lost with a damaged target), needless {}, \
             unanswered wishes {}",
            all.issued(),
            all.needed(),
            all.first,
            all.due,
            all.rotated,
            all.asked,
            all.interrupted + all.lost,
            all.interrupted,
            all.lost,
            all.needless.len(),
            all.unanswered,
        ));
        report.zero(all.needless.len() as u64, "needless tokens");
        report.zero(
            all.unanswered,
            "rotations or requests of a renewal unanswered",
        );
    }
}

fn keys(report: &mut Report, figures: Figures, count: Count) {
    let Figures {
        uses,
        refused,
        rotations,
        ended,
        damages,
        failures,
    } = figures;
    report.line(format!(
        "EdgeTokens: {rotations} rotations asked for, {ended} overlaps ended, {damages} damages, {failures} calls of the Token API \
         that failed; {uses} uses of their keys, {refused} refused; {} keys made, {} live at the end, {} of them unknown, {} missing",
        count.made, count.live, count.unknown, count.missing,
    ));
    report.zero(refused, "uses of a key refused");
    report.zero(count.unknown, "live keys that no status knows");
    report.zero(count.missing, "keys revoked that a status says to work");
}

/// A needless token, and what happened to its object before it.
fn describe(object: &Object, past: &ObjectHistory, kills: &[Span], at: Moment) -> String {
    let since = at.saturating_sub(object.lifetime);
    let ago = |moment: Moment| at.as_secs_f64() - moment.as_secs_f64();
    let tokens = past.tokens.iter().map(|token| {
        let seen = past.stored.contains(&token.id);
        (token.at, if seen { "token" } else { "token, never seen" })
    });
    let starts =
        |spans: &[Span], what| -> Vec<_> { spans.iter().map(|span| (span.start, what)).collect() };
    let ends: Vec<_> = kills.iter().map(|kill| (kill.end, "started")).collect();
    let mut events: Vec<_> = tokens
        .chain(starts(&past.rotations, "rotated"))
        .chain(starts(&past.renewals_asked, "asked for"))
        .chain(starts(kills, "killed"))
        .chain(ends)
        .chain(past.damages.iter().map(|moment| (*moment, "damaged")))
        .filter(|(moment, _)| since <= *moment && *moment < at)
        .collect();
    events.sort();
    let events: Vec<_> = events
        .into_iter()
        .map(|(moment, what)| format!("{what} {:.1} s before", ago(moment)))
        .collect();
    format!(
        "a needless token of {}, which live {:?}: {}",
        object.name,
        object.lifetime,
        events.join(", ")
    )
}

fn vitals(report: &mut Report, vitals: &[Vitals]) {
    let start = (vitals.len() as f64 * WARM_UP) as usize;
    let warm = &vitals[start..];
    let series = |value: fn(&Vitals) -> f64| -> Vec<(f64, f64)> {
        let first = warm.first().map(|vitals| vitals.at).unwrap_or_default();
        warm.iter()
            .map(|vitals| {
                let hours = vitals.at.saturating_sub(first).as_secs_f64() / 3600.0;
                (hours, value(vitals))
            })
            .collect()
    };
    let memory = series(|vitals| vitals.memory);
    let descriptors = series(|vitals| vitals.descriptors);
    report.flat("anonymous memory in MiB", &memory, MEMORY_LIMIT);
    report.flat("open descriptors", &descriptors, DESCRIPTOR_LIMIT);
}
