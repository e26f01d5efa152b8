//! The calls that the operator makes of the Kubernetes API, read from the API server's audit log as it grows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::AddAssign,
    path::PathBuf,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use tokio::time::sleep;

/// How often to look for new calls.
const POLL: Duration = Duration::from_millis(100);

/// An audit log, from where it was last read.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    user: String,
    read: u64,
}

/// Calls that were counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calls {
    /// How many of each kind, such as `get secrets` or `patch edgecredentials/status`. Watches count when they begin.
    pub kinds: BTreeMap<String, u64>,
    /// When the last one of the counted work was received.
    pub last: Option<Timestamp>,
    /// When the last Event was received.
    pub last_event: Option<Timestamp>,
}

impl AuditLog {
    /// The calls of this user in the log, from the log's beginning.
    pub fn of(path: PathBuf, user: &str) -> AuditLog {
        AuditLog {
            path,
            user: user.to_owned(),
            read: 0,
        }
    }

    /// What was logged since the last call.
    pub fn take(&mut self) -> io::Result<Calls> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        // The last line may still be being written.
        let whole = text.iter().rposition(|byte| *byte == b'\n');
        text.truncate(whole.map_or(0, |end| end + 1));
        self.read += text.len() as u64;
        Ok(count(&String::from_utf8_lossy(&text), &self.user))
    }

    /// Waits until nothing but watches, Events and Leases is asked for as long as `silence`, at most until `limit`, and
    /// returns all that was logged since the last call.
    pub async fn until_quiet(&mut self, silence: Duration, limit: Duration) -> io::Result<Calls> {
        self.until_silent(silence, limit, |new| new.work() > 0)
            .await
    }

    /// The same for Events alone.
    pub async fn until_no_events(
        &mut self,
        silence: Duration,
        limit: Duration,
    ) -> io::Result<Calls> {
        self.until_silent(silence, limit, |new| new.events() > 0)
            .await
    }

    async fn until_silent(
        &mut self,
        silence: Duration,
        limit: Duration,
        matters: impl Fn(&Calls) -> bool,
    ) -> io::Result<Calls> {
        let start = Instant::now();
        let mut calls = self.take()?;
        let mut heard = Instant::now();
        while heard.elapsed() < silence && start.elapsed() < limit {
            sleep(POLL).await;
            let new = self.take()?;
            if matters(&new) {
                heard = Instant::now();
            }
            calls += new;
        }
        Ok(calls)
    }
}

impl Calls {
    /// All calls but watches, Events and Leases.
    pub fn work(&self) -> u64 {
        self.of(is_work)
    }

    /// Calls about Events.
    pub fn events(&self) -> u64 {
        self.of(|kind| kind.ends_with(" events"))
    }

    /// Lists, paged or not, and watches that begin with one.
    pub fn lists(&self) -> u64 {
        self.of(is_list)
    }

    /// How many resources were listed.
    pub fn listed(&self) -> usize {
        let lists = self.kinds.keys().filter(|kind| is_list(kind));
        lists
            .filter_map(|kind| kind.split_once(' '))
            .map(|(_, resource)| resource)
            .collect::<BTreeSet<_>>()
            .len()
    }

    fn of(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        let kinds = self.kinds.iter();
        kinds
            .filter(|(kind, _)| wanted(kind))
            .map(|(_, count)| count)
            .sum()
    }
}

impl AddAssign for Calls {
    fn add_assign(&mut self, other: Calls) {
        for (kind, count) in other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        self.last = self.last.max(other.last);
        self.last_event = self.last_event.max(other.last_event);
    }
}

fn is_work(kind: &str) -> bool {
    !(kind.starts_with("watch ") || kind.ends_with(" events") || kind.ends_with(" leases"))
}

fn is_list(kind: &str) -> bool {
    kind.starts_with("list ") || kind.starts_with("stream ")
}

fn count(log: &str, user: &str) -> Calls {
    let mut calls = Calls::default();
    let lines = log.lines().filter(|line| line.contains(user));
    for line in lines.filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        // A watch is logged when it begins and when it ends; what has no resource is no object's.
        let counted = (line.stage == "ResponseStarted") == (line.verb == "watch");
        if line.user.username != user || !counted || line.object.resource.is_empty() {
            continue;
        }
        let slash = if line.object.subresource.is_empty() {
            ""
        } else {
            "/"
        };
        // A watch that begins with all objects is a list, too.
        let verb = if line.uri.contains("sendInitialEvents=true") {
            "stream"
        } else {
            &line.verb
        };
        let (resource, subresource) = (&line.object.resource, &line.object.subresource);
        let kind = format!("{verb} {resource}{slash}{subresource}");
        let last = if resource == "events" {
            Some(&mut calls.last_event)
        } else if is_work(&kind) {
            Some(&mut calls.last)
        } else {
            None
        };
        if let Some(last) = last {
            *last = (*last).max(line.received.parse().ok());
        }
        *calls.kinds.entry(kind).or_default() += 1;
    }
    calls
}

/// The fields of `audit.k8s.io/v1` Event that are of interest.
#[derive(Deserialize)]
struct Line {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    uri: String,
    user: User,
    #[serde(rename = "objectRef", default)]
    object: Object,
    #[serde(rename = "requestReceivedTimestamp")]
    received: String,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    resource: String,
    subresource: String,
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn line(stage: &str, user: &str, verb: &str, resource: &str, second: u32) -> String {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        format!(
            r#"{{"stage":"{stage}","verb":"{verb}","requestURI":"/api","user":{{"username":"{user}"}},"objectRef":{{"resource":"{resource}","subresource":"{subresource}"}},"requestReceivedTimestamp":"2026-11-26T10:00:{second:02}.000000Z"}}
"#
        )
    }

    fn second(second: u32) -> Option<Timestamp> {
        format!("2026-11-26T10:00:{second:02}Z").parse().ok()
    }

    #[test]
    fn calls_are_counted_by_kind_and_watches_once() {
        let log = [
            line("ResponseStarted", "operator", "watch", "secrets", 1),
            line("ResponseComplete", "operator", "watch", "secrets", 2),
            line("ResponseComplete", "operator", "get", "secrets", 3),
            line(
                "ResponseComplete",
                "operator",
                "patch",
                "edgecredentials/status",
                4,
            ),
            line("ResponseComplete", "operator", "create", "events", 5),
            line("ResponseComplete", "operator", "update", "leases", 6),
            line("ResponseComplete", "operator-2", "get", "secrets", 7),
            line("ResponseComplete", "admin", "get", "operator", 8),
        ];
        let calls = count(&log.concat(), "operator");
        let kinds: Vec<_> = calls.kinds.iter().map(|(kind, n)| (&**kind, *n)).collect();
        let expected = [
            ("create events", 1),
            ("get secrets", 1),
            ("patch edgecredentials/status", 1),
            ("update leases", 1),
            ("watch secrets", 1),
        ];
        assert_eq!(kinds, expected);
        assert_eq!((calls.work(), calls.events(), calls.lists()), (2, 1, 0));
        assert_eq!((calls.last, calls.last_event), (second(4), second(5)));
    }

    #[test]
    fn a_watch_that_begins_with_a_list_counts_as_one() {
        let line = line("ResponseStarted", "operator", "watch", "secrets", 1);
        let line = line.replace("/api", "/api?sendInitialEvents=true");
        let mut calls = count(&line, "operator");
        assert_eq!((calls.lists(), calls.listed()), (1, 1));
        calls += count(&line.replace("watch", "list"), "operator");
        assert_eq!((calls.lists(), calls.listed()), (1, 1));
        calls += count(&line.replace("secrets", "edgecredentials"), "operator");
        assert_eq!((calls.lists(), calls.listed()), (2, 2));
    }

    #[test]
    fn a_log_is_read_on_from_where_it_ended() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut log = AuditLog::of(file.path().to_owned(), "operator");
        let whole = line("ResponseComplete", "operator", "get", "secrets", 1);
        let (begun, rest) = whole.split_at(40);
        write!(file, "{whole}{begun}").unwrap();
        assert_eq!(log.take().unwrap().work(), 1);
        write!(file, "{rest}").unwrap();
        assert_eq!(log.take().unwrap().work(), 1);
        assert_eq!(log.take().unwrap(), Calls::default());
    }
}
