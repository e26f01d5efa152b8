//! Whether something grows.

/// Into how many parts the time is cut. One mean for each keeps neighbouring samples, which depend on each other, from
/// making the slope look more certain than it is.
const PARTS: usize = 12;

/// Student's t for 95 % confidence and `PARTS` - 2 degrees of freedom.
const T: f64 = 2.228;

/// A slope per hour.
#[derive(Clone, Copy, Debug)]
pub struct Slope {
    /// By least squares.
    pub per_hour: f64,
    /// It's within so much of the true one, with 95 % confidence.
    pub uncertainty: f64,
}

impl Slope {
    /// Whether it's certainly more than this: a short run has large uncertainties, and proves little.
    pub fn exceeds(&self, limit: f64) -> bool {
        self.per_hour - self.uncertainty > limit
    }

    /// The slope of samples: hours and values, in order. `None` where there are too few.
    pub fn of(samples: &[(f64, f64)]) -> Option<Slope> {
        if samples.len() < PARTS * 2 {
            return None;
        }
        let means: Vec<_> = (0..PARTS)
            .map(|part| {
                let bound = |part| part * samples.len() / PARTS;
                mean(&samples[bound(part)..bound(part + 1)])
            })
            .collect();
        let (x, y) = mean(&means);
        let spread: f64 = means.iter().map(|(h, _)| (h - x).powi(2)).sum();
        let per_hour = means.iter().map(|(h, v)| (h - x) * (v - y)).sum::<f64>() / spread;
        let residuals: f64 = means
            .iter()
            .map(|(h, v)| (v - y - per_hour * (h - x)).powi(2))
            .sum();
        let error = (residuals / (PARTS - 2) as f64 / spread).sqrt();
        Some(Slope {
            per_hour,
            uncertainty: T * error,
        })
    }
}

fn mean(samples: &[(f64, f64)]) -> (f64, f64) {
    let count = samples.len() as f64;
    let sum = samples.iter().fold((0.0, 0.0), |sum, sample| {
        (sum.0 + sample.0, sum.1 + sample.1)
    });
    (sum.0 / count, sum.1 / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slope(value: impl Fn(f64) -> f64) -> Slope {
        let samples: Vec<_> = (0..240)
            .map(|sample| f64::from(sample) / 240.0)
            .map(|hours| (hours, value(hours)))
            .collect();
        Slope::of(&samples).unwrap()
    }

    #[test]
    fn a_straight_line_has_its_slope_and_no_uncertainty() {
        let slope = slope(|hours| 20.0 + 3.0 * hours);
        assert!((slope.per_hour - 3.0).abs() < 1e-9);
        assert!(slope.uncertainty < 1e-9);
        assert!(slope.exceeds(2.9) && !slope.exceeds(3.1));
    }

    #[test]
    fn noise_makes_it_uncertain_and_not_steep() {
        let noisy = slope(|hours| 20.0 + (hours * 50.0).sin());
        assert!(noisy.uncertainty > 0.0);
        assert!(!noisy.exceeds(1.0));
        assert!(slope(|hours| 20.0 + 5.0 * hours + 0.2 * (hours * 50.0).sin()).exceeds(1.0));
    }

    #[test]
    fn a_few_samples_say_nothing() {
        assert!(Slope::of(&[(0.0, 1.0), (1.0, 2.0)]).is_none());
    }
}
