//! What the environment says.

use std::{env, path::PathBuf};

use crate::{Result, cases::CASES};

/// How the benchmark runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether the waits, samples and repetitions are those of a few minutes.
    pub quick: bool,
    /// How many objects there are where there are many.
    pub objects: usize,
    /// The cases to run, by name.
    pub cases: Vec<String>,
    /// The description of another operator than this project's.
    pub subject: Option<PathBuf>,
    /// The program of this project's operator, if it's not that of the release build.
    pub program: Option<PathBuf>,
    /// Where the figures and the pictures are written.
    pub folder: PathBuf,
}

impl Settings {
    /// Reads them, and says what is wrong with them.
    pub fn from_env() -> Result<Settings> {
        let quick = match variable("BENCH").as_deref() {
            None | Some("full") => false,
            Some("quick") => true,
            Some(other) => return Err(format!("BENCH={other} is neither quick nor full").into()),
        };
        let objects = match variable("OBJECTS") {
            None if quick => 500,
            None => 10_000,
            Some(text) => match text.parse() {
                Ok(number) if number > 0 => number,
                _ => return Err(format!("OBJECTS={text} is not a number above 0").into()),
            },
        };
        Ok(Settings {
            quick,
            objects,
            cases: chosen(variable("CASES").as_deref())?,
            subject: variable("SUBJECT").map(PathBuf::from),
            program: variable("BENCH_OPERATOR").map(PathBuf::from),
            folder: kit::workspace().join("target/bench"),
        })
    }

    /// One value for a full run, and another one for a quick one.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// The numbers of objects for figures that are taken at two of them.
    pub fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![self.objects.min(1_000), self.objects];
        sizes.dedup();
        sizes
    }
}

fn chosen(names: Option<&str>) -> Result<Vec<String>> {
    let known = || CASES.iter().map(|case| case.name);
    let Some(names) = names else {
        return Ok(known().map(str::to_owned).collect());
    };
    names
        .split(',')
        .map(|name| match known().any(|known| known == name) {
            true => Ok(name.to_owned()),
            false => {
                let all: Vec<_> = known().collect();
                Err(format!("there is no case {name}: there are {}", all.join(", ")).into())
            }
        })
        .collect()
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_chosen_by_name_and_all_by_default() {
        assert_eq!(chosen(Some("start,memory")).unwrap(), ["start", "memory"]);
        assert_eq!(chosen(None).unwrap().len(), CASES.len());
        let error = chosen(Some("memroy")).unwrap_err().to_string();
        assert!(
            error.contains("memroy") && error.contains("memory"),
            "{error}"
        );
    }
}
