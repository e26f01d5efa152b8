//! What the demo and its like print: one line for each thing that happens, with the seconds since the start.

use std::{
    env,
    io::{self, IsTerminal, Write},
    time::Instant,
};

/// What a line is about, which gives it its colour on a terminal.
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    /// Goes without saying.
    Plain,
    /// Something was done to the operator or to its objects.
    Deed,
    /// It went as it should.
    Good,
    /// It did not.
    Bad,
}

impl Mark {
    fn colour(self) -> &'static str {
        match self {
            Mark::Plain => "\x1b[1m",
            Mark::Deed => "\x1b[1;33m",
            Mark::Good => "\x1b[1;32m",
            Mark::Bad => "\x1b[1;31m",
        }
    }
}

/// Prints lines.
#[derive(Debug)]
pub struct TimeLine {
    start: Instant,
    colours: bool,
}

impl TimeLine {
    /// Starts the clock.
    pub fn start() -> TimeLine {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        TimeLine {
            start: Instant::now(),
            colours: io::stdout().is_terminal() && !refused,
        }
    }

    /// Prints what happened. Further lines of `text` are set below its first one.
    pub fn say(&self, mark: Mark, subject: &str, text: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        let (on, off) = if self.colours {
            (mark.colour(), "\x1b[0m")
        } else {
            ("", "")
        };
        let text = text.replace('\n', &format!("\n{:27}", ""));
        print(&format!("{seconds:6.1} s  {on}{subject:<15}{off}  {text}"));
    }

    /// Prints something that belongs to no moment.
    pub fn print(&self, text: &str) {
        print(text);
    }
}

/// Not with `println!`, which panics when nobody reads any more: `make demo | head`.
fn print(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
