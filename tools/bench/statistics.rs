//! What is made of many samples.

use std::time::Duration;

/// The sample that at least this share of all samples does not exceed (the nearest rank); 0 where there is none.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let index = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

/// Durations in milliseconds, in order.
pub fn sorted_milliseconds(durations: impl IntoIterator<Item = Duration>) -> Vec<f64> {
    sorted(
        durations
            .into_iter()
            .map(|duration| duration.as_secs_f64() * 1e3),
    )
}

/// Samples in order.
pub fn sorted(samples: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut samples: Vec<_> = samples.into_iter().collect();
    samples.sort_unstable_by(f64::total_cmp);
    samples
}

/// At most so many points of a line, evenly chosen, the first and the last among them.
pub fn thin<T: Copy>(points: &[T], most: usize) -> Vec<T> {
    if points.len() <= most || most < 2 {
        return points.to_vec();
    }
    let last = points.len() - 1;
    let chosen = (0..most).map(|number| number * last / (most - 1));
    chosen
        .filter_map(|index| points.get(index).copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_sample_at_its_nearest_rank() {
        let hundred: Vec<_> = (1..=100).map(f64::from).collect();
        for (share, expected) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            assert_eq!(percentile(&hundred, share), expected, "{share}");
        }
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 0.5), 2.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }

    #[test]
    fn durations_become_sorted_milliseconds() {
        let durations = [30, 10, 20].map(Duration::from_millis);
        assert_eq!(sorted_milliseconds(durations), [10.0, 20.0, 30.0]);
    }

    #[test]
    fn a_thinned_line_keeps_its_ends() {
        let points: Vec<_> = (0..1000).collect();
        let thinned = thin(&points, 100);
        assert_eq!(thinned.len(), 100);
        assert_eq!((thinned[0], thinned[99]), (0, 999));
        assert!(thinned.is_sorted());
        assert_eq!(thin(&[1, 2], 100), [1, 2]);
    }
}
