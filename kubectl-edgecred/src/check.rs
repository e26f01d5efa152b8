//! Checks, as several commands print them: a mark, what was found, and what to do.

use std::io::{self, Write};

use serde::Serialize;

use crate::{
    exit::Exit,
    output::style::{BAD, DIM, GOOD, WARN, styled},
};

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Not wrong, but worth a look.
    Warning,
    /// A person must act.
    Bad,
    /// It could not be seen.
    Unseen,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What it came to.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Check {
    /// What is as it should be.
    pub fn good(found: impl Into<String>) -> Self {
        Self::new(Verdict::Good, found, None)
    }

    /// What is worth a look.
    pub fn warning(found: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Verdict::Warning, found, Some(next.into()))
    }

    /// What a person must act on.
    pub fn bad(found: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Verdict::Bad, found, Some(next.into()))
    }

    /// What could not be seen, and why.
    pub fn unseen(found: impl Into<String>) -> Self {
        Self::new(Verdict::Unseen, found, None)
    }

    fn new(verdict: Verdict, found: impl Into<String>, next: Option<String>) -> Self {
        Self {
            verdict,
            found: found.into(),
            next,
        }
    }

    /// Writes it, a line for what was found and one for what to do.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mark = match self.verdict {
            Verdict::Good => styled(GOOD, "✔"),
            Verdict::Warning => styled(WARN, "!"),
            Verdict::Bad => styled(BAD, "✘"),
            Verdict::Unseen => styled(DIM, "?"),
        };
        writeln!(out, "{mark} {}", self.found)?;
        self.next
            .iter()
            .try_for_each(|next| writeln!(out, "  {next}"))
    }
}

/// The exit code for these checks.
pub fn exit(checks: &[Check]) -> Exit {
    if checks.iter().any(|check| check.verdict == Verdict::Bad) {
        Exit::NeedsPerson
    } else {
        Exit::Well
    }
}
