//! Metrics as text. They are encoded once for all that ask within a second, kept no longer, and sent in pieces: with many
//! objects the text is large.

use std::{
    convert::Infallible,
    fmt::{self, Write},
    mem,
    sync::Arc,
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures::stream;
use prometheus_client::{encoding::text, registry::Registry};
use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{Instant, sleep},
};

/// For how long a text is good for others that ask.
const SHARED: Duration = Duration::from_secs(1);

/// For how long it is while somebody still reads it, so that slow readers cannot have a text each.
const SHARED_WHILE_READ: Duration = Duration::from_secs(10);

/// The size of a piece, about.
const PIECE: usize = 64 << 10;

/// The formats of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus 0.0.4, for scrapers that do not ask for OpenMetrics.
    Prometheus,
}

/// The metrics of a registry.
#[derive(Clone, Debug)]
pub struct Exposition {
    registry: Arc<Registry>,
    current: Arc<Mutex<Option<Encoded>>>,
}

/// Whole lines in OpenMetrics, and when they were encoded.
#[derive(Clone, Debug)]
struct Encoded {
    at: Instant,
    pieces: Arc<Vec<Bytes>>,
}

impl Encoded {
    fn is_good(&self) -> bool {
        let is_read = Arc::strong_count(&self.pieces) > 1;
        let good_for = if is_read { SHARED_WHILE_READ } else { SHARED };
        self.at.elapsed() < good_for
    }
}

impl Exposition {
    pub fn new(registry: Registry) -> Self {
        Self {
            registry: Arc::new(registry),
            current: Arc::default(),
        }
    }

    /// The text, as the body of an answer. `None` where it could not be encoded, which is a fault in this program.
    pub async fn body(&self, format: Format) -> Option<Body> {
        let pieces = self.pieces().await?;
        let mut prometheus = PrometheusText::default();
        let text = (0..pieces.len()).map(move |number| {
            let piece = pieces.get(number).cloned().unwrap_or_default();
            Ok::<_, Infallible>(match format {
                Format::OpenMetrics => piece,
                Format::Prometheus => prometheus.convert(&piece).into(),
            })
        });
        Some(Body::from_stream(stream::iter(text)))
    }

    /// The pieces that were encoded last, or new ones. Who asks meanwhile waits for these.
    async fn pieces(&self) -> Option<Arc<Vec<Bytes>>> {
        let mut current = self.current.lock().await;
        if let Some(encoded) = current.as_ref().filter(|encoded| encoded.is_good()) {
            return Some(encoded.pieces.clone());
        }
        // Not on a thread that others wait for.
        let registry = self.registry.clone();
        let pieces = spawn_blocking(move || encode(&registry)).await.ok()?.ok()?;
        let pieces = Arc::new(pieces);
        let at = Instant::now();
        *current = Some(Encoded {
            at,
            pieces: pieces.clone(),
        });
        tokio::spawn(self.clone().drop_in_time(at));
        Some(pieces)
    }

    /// Drops the text that was encoded at this time as soon as it is good for nobody, unless there is another by then.
    async fn drop_in_time(self, at: Instant) {
        loop {
            sleep(SHARED).await;
            let mut current = self.current.lock().await;
            match &*current {
                Some(encoded) if encoded.at == at => {
                    if !encoded.is_good() {
                        *current = None;
                    }
                }
                _ => return,
            }
        }
    }
}

/// What a registry holds, in Prometheus' text.
pub fn prometheus_text(registry: &Registry) -> Result<String, fmt::Error> {
    let mut prometheus = PrometheusText::default();
    let pieces = encode(registry)?;
    Ok(pieces
        .iter()
        .map(|piece| prometheus.convert(piece))
        .collect())
}

fn encode(registry: &Registry) -> Result<Vec<Bytes>, fmt::Error> {
    let mut pieces = Pieces::default();
    text::encode(&mut pieces, registry)?;
    pieces.cut();
    Ok(pieces.done)
}

/// Text in pieces of whole lines: one string would have to be copied whenever it grows.
#[derive(Debug, Default)]
struct Pieces {
    done: Vec<Bytes>,
    current: String,
}

impl Pieces {
    fn cut(&mut self) {
        // A line more than a piece fits, so that it need not grow.
        let next = String::with_capacity(PIECE + 1024);
        self.done.push(mem::replace(&mut self.current, next).into());
    }
}

impl Write for Pieces {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.current.push_str(text);
        if self.current.len() >= PIECE && text.ends_with('\n') {
            self.cut();
        }
        Ok(())
    }
}

/// Converts OpenMetrics. The two formats differ in the name of a counter's type line and in the end mark.
#[derive(Debug, Default)]
struct PrometheusText {
    /// The name and the text of the last line of help, until the line of the type says how it goes on.
    help: Option<(String, String)>,
}

impl PrometheusText {
    /// Converts the lines that follow those that were converted before.
    fn convert(&mut self, lines: &[u8]) -> String {
        let lines = str::from_utf8(lines).unwrap_or_default();
        let mut output = String::with_capacity(lines.len());
        for line in lines.lines() {
            let words: Vec<_> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "HELP", name, text] => self.help = Some((name.into(), text.into())),
                ["#", "TYPE", name, kind] => {
                    let (name, kind) = match kind {
                        "counter" => (format!("{name}_total"), kind),
                        "info" => (format!("{name}_info"), "gauge"),
                        _ => (name.to_owned(), kind),
                    };
                    if let Some((_, text)) = self.help.take() {
                        output.push_str(&format!("# HELP {name} {text}\n"));
                    }
                    output.push_str(&format!("# TYPE {name} {kind}\n"));
                }
                ["#", "EOF"] | ["#", "UNIT", ..] => {}
                _ => {
                    output.push_str(line);
                    output.push('\n');
                }
            }
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::to_bytes;
    use futures::future::join_all;
    use prometheus_client::{
        collector::Collector,
        encoding::{DescriptorEncoder, EncodeMetric},
        metrics::{MetricType, counter::Counter, gauge::ConstGauge},
    };

    use super::*;

    const SERIES: usize = 5000;

    /// Many series, and how often they were encoded.
    #[derive(Debug, Default)]
    struct Counted(Arc<AtomicUsize>);

    impl Collector for Counted {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            let times = self.0.fetch_add(1, Ordering::Relaxed) + 1;
            let mut metric =
                encoder.encode_descriptor("series", "Many", None, MetricType::Gauge)?;
            for number in 0..SERIES {
                let labels = [("number", number.to_string())];
                let value = ConstGauge::new(i64::try_from(times).unwrap());
                value.encode(metric.encode_family(&labels)?)?;
            }
            Ok(())
        }
    }

    fn registry() -> (Registry, Arc<AtomicUsize>) {
        let mut registry = Registry::default();
        registry.register("requests", "Some", Counter::<u64>::default());
        let times = Arc::new(AtomicUsize::new(0));
        registry.register_collector(Box::new(Counted(times.clone())));
        (registry, times)
    }

    async fn read(body: Body) -> String {
        let text = to_bytes(body, usize::MAX).await.unwrap();
        String::from_utf8(text.into()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_ask_within_a_second_have_the_same_text_in_either_format() {
        let (registry, times) = registry();
        let exposition = Exposition::new(registry);
        let formats = [Format::OpenMetrics, Format::Prometheus].repeat(10);
        let bodies = formats.iter().map(|format| exposition.body(*format));
        for body in join_all(bodies).await {
            let text = read(body.unwrap()).await;
            assert!(text.contains("series{number=\"4999\"} 1\n"));
        }
        sleep(SHARED - Duration::from_millis(1)).await;
        read(exposition.body(Format::Prometheus).await.unwrap()).await;
        assert_eq!(times.load(Ordering::Relaxed), 1);
        sleep(Duration::from_millis(1)).await;
        let next = exposition.body(Format::Prometheus).await.unwrap();
        assert!(read(next).await.contains("series{number=\"0\"} 2\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_text_is_not_kept_and_slow_readers_have_no_text_each() {
        let (registry, times) = registry();
        let exposition = Exposition::new(registry);
        let is_kept = async || exposition.current.lock().await.is_some();
        read(exposition.body(Format::OpenMetrics).await.unwrap()).await;
        assert!(is_kept().await);
        sleep(SHARED * 2).await;
        assert!(!is_kept().await, "nobody asked for a second");

        let mut slow = Vec::new();
        for _ in 0..9 {
            slow.push(exposition.body(Format::OpenMetrics).await.unwrap());
            sleep(SHARED).await;
        }
        assert_eq!(times.load(Ordering::Relaxed), 2);
        sleep(SHARED).await;
        slow.push(exposition.body(Format::OpenMetrics).await.unwrap());
        assert_eq!(times.load(Ordering::Relaxed), 3, "after ten seconds");
        drop(slow);
        sleep(SHARED * 2).await;
        assert!(!is_kept().await);
    }

    #[test]
    fn the_pieces_are_whole_lines_of_moderate_size_and_make_the_whole_text() {
        let (registry, _) = registry();
        let pieces = encode(&registry).unwrap();
        assert!(pieces.len() > 1);
        for piece in &pieces {
            assert!(piece.len() < PIECE + 1024 && piece.ends_with(b"\n"));
        }
        let whole = pieces.concat();
        let whole = str::from_utf8(&whole).unwrap();
        assert_eq!(whole.matches("series{").count(), SERIES);
        assert!(whole.ends_with("# EOF\n"));
    }

    #[test]
    fn prometheus_text_names_types_as_prometheus_does_wherever_the_text_is_cut() {
        let openmetrics = "# HELP requests Some text.\n# TYPE requests counter\nrequests_total{a=\"b c\"} 1\n\
            # HELP build The version.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n\
            # HELP took How long.\n# TYPE took histogram\n# UNIT took seconds\ntook_sum 0.0\n# EOF\n";
        let expected = "# HELP requests_total Some text.\n# TYPE requests_total counter\nrequests_total{a=\"b c\"} 1\n\
            # HELP build_info The version.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n\
            # HELP took How long.\n# TYPE took histogram\ntook_sum 0.0\n";
        let ends = openmetrics.match_indices('\n').map(|(at, _)| at + 1);
        for end in ends {
            let (one, other) = openmetrics.as_bytes().split_at(end);
            let mut prometheus = PrometheusText::default();
            let text = prometheus.convert(one) + &prometheus.convert(other);
            assert_eq!(text, expected);
        }
    }
}
