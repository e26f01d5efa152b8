//! What the environment says.

use std::{env, fmt, path::PathBuf, time::Duration};

use k8s_openapi::jiff::SignedDuration;

use crate::SETTLE;

/// How the soak runs.
#[derive(Debug)]
pub struct Settings {
    /// How long things go wrong.
    pub duration: Duration,
    /// What the choices follow from.
    pub seed: u64,
    /// How many EdgeCredentials there are.
    pub objects: usize,
    /// The operator, if it's not that of the release build.
    pub program: Option<PathBuf>,
}

impl Settings {
    /// Reads them, and says what is wrong with them.
    pub fn from_env() -> Result<Settings, String> {
        let duration = match variable("SOAK") {
            None => Duration::from_mins(20),
            Some(text) => duration(&text)?,
        };
        let number = |name: &str, default: u64| match variable(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| format!("{name}={text} is not a number")),
        };
        Ok(Settings {
            duration,
            seed: number("SEED", fastrand::u64(..))?,
            objects: usize::try_from(number("SOAK_OBJECTS", 200)?)
                .map_err(|error| error.to_string())?
                .max(2),
            program: variable("SOAK_OPERATOR").map(PathBuf::from),
        })
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = text
        .parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| format!("SOAK={text} is not a duration such as 20m or 24h"))?;
    if duration < SETTLE * 3 {
        return Err(format!("SOAK={text} is less than {:?}", SETTLE * 3));
    }
    Ok(duration)
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Soak: {:#} with {} EdgeCredentials, SEED={}",
            SignedDuration::try_from(self.duration).unwrap_or_default(),
            self.objects,
            self.seed,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_in_go() {
        assert_eq!(duration("20m"), Ok(Duration::from_mins(20)));
        assert_eq!(duration("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        for wrong in ["", "20", "-5m", "soon", "10s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
