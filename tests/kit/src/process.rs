//! Child processes that cannot outlive this one.
//!
//! A test can panic, be stopped with Ctrl-C or be killed with SIGKILL, and then no destructor runs. So each program runs
//! under a small shell guard whose standard input is a pipe from this process. However this process ends, the kernel
//! closes the pipe, and the guard kills its child.
//!
//! What the guard doesn't cover: processes that the child starts itself, and a SIGKILL sent to the guard alone.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, OpenOptions},
    io::{self, BufRead, BufReader, PipeWriter},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

/// `$1` is the log file, the rest is the command.
///
/// - Signals to the guard's group are trapped, not ignored: an ignored signal would stay ignored in the child.
/// - A trapped signal ends `wait` early, hence the loop.
/// - `read` rather than `cat` watches the pipe, since killing a subshell would leave its `cat` behind.
const GUARD: &str = r#"
exec 3<&0
log=$1
shift
trap : HUP INT TERM
"$@" </dev/null >>"$log" 2>&1 3<&- &
child=$!
{ read -r nothing <&3; kill -s KILL "$child"; } >/dev/null 2>&1 &
watcher=$!
echo "$child"
while :; do
  wait "$child"
  code=$?
  kill -s 0 "$child" 2>/dev/null || break
done
kill -s KILL "$watcher"
exit "$code"
"#;

/// How often [`GuardedProcess::wait`] looks whether the process has ended.
const POLL: Duration = Duration::from_millis(10);

/// What can go wrong with a child process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log file could not be opened.
    #[error("cannot write the log of {name} to {}", path.display())]
    Log {
        /// The process.
        name: String,
        /// Its log file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The shell that guards the process could not be started.
    #[error("cannot start the guard of {name}")]
    Start {
        /// The process.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The guard could not be asked whether the process has ended.
    #[error("cannot wait for {name}")]
    Wait {
        /// The process.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The process has ended, so it gets no signal.
    #[error("{name} has ended with exit code {code}, so it cannot be sent SIG{signal}")]
    Ended {
        /// The process.
        name: String,
        /// Its exit code.
        code: i32,
        /// The signal it should have got.
        signal: String,
    },
    /// The signal could not be sent.
    #[error("cannot send SIG{signal} to {name}")]
    Signal {
        /// The process.
        name: String,
        /// The signal it should have got.
        signal: String,
        /// Why.
        source: io::Error,
    },
}

/// A program to run under a guard: [`GuardedProcess::command`] makes one, [`spawn`](Self::spawn) starts it.
#[derive(Debug)]
pub struct GuardedCommand {
    name: String,
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    env_clear: bool,
    current_dir: Option<PathBuf>,
    log: PathBuf,
    lifeline: Option<PipeWriter>,
}

impl GuardedCommand {
    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.args.extend(args);
        self
    }

    /// Sets an environment variable. By default the process inherits this one's environment.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let pair = (key.as_ref().to_owned(), value.as_ref().to_owned());
        self.envs.push(pair);
        self
    }

    /// Lets the process inherit nothing of this one's environment.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.env_clear = true;
        self
    }

    /// Sets the working directory. By default it's this process's.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(dir.into());
        self
    }

    /// Lets the guard hold this end of a pipe, so that whoever reads the other end sees its end of file only once the
    /// process is dead.
    #[must_use]
    pub fn lifeline(mut self, lifeline: PipeWriter) -> Self {
        self.lifeline = Some(lifeline);
        self
    }

    /// Starts the program.
    ///
    /// A program that does not exist is noticed only afterwards: the process ends at once with exit code 127, and the
    /// log says why.
    pub fn spawn(self) -> Result<GuardedProcess, Error> {
        let name = self.name;
        let start_error = |source| Error::Start {
            name: name.clone(),
            source,
        };
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(|source| Error::Log {
                name: name.clone(),
                path: self.log.clone(),
                source,
            })?;
        // The guard may run in another directory than this process.
        let log = std::path::absolute(&self.log).map_err(start_error)?;

        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", GUARD, "guard"])
            .arg(&log)
            .arg(self.program)
            .args(self.args);
        if self.env_clear {
            command.env_clear();
        }
        command.envs(self.envs);
        if let Some(dir) = self.current_dir {
            command.current_dir(dir);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(self.lifeline.map_or_else(Stdio::null, Stdio::from))
            // Ctrl-C in a terminal goes to the whole foreground group. This process decides what it means.
            .process_group(0);
        let mut guard = command.spawn().map_err(start_error)?;
        let pid = read_pid(&mut guard).map_err(start_error)?;
        Ok(GuardedProcess {
            name,
            guard,
            pid,
            log,
        })
    }
}

/// The guard's first line of output is its child's process id.
fn read_pid(guard: &mut Child) -> io::Result<u32> {
    let mut line = String::new();
    if let Some(stdout) = guard.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    line.trim_end()
        .parse()
        .map_err(|_| io::Error::other("the guard named no process id"))
}

/// A running program that is killed when this value is dropped, and when this process ends, however it ends.
#[derive(Debug)]
pub struct GuardedProcess {
    name: String,
    guard: Child,
    pid: u32,
    log: PathBuf,
}

impl GuardedProcess {
    /// Prepares `program`. What it prints, on both streams, is appended to `log`. `name` is for error messages.
    pub fn command(
        name: impl Into<String>,
        program: impl AsRef<OsStr>,
        log: impl Into<PathBuf>,
    ) -> GuardedCommand {
        GuardedCommand {
            name: name.into(),
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            env_clear: false,
            current_dir: None,
            log: log.into(),
            lifeline: None,
        }
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id of the program itself, not of its guard.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file with everything it has printed.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last `lines` lines it has printed.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    /// Whether it still runs. A stopped (SIGSTOP) process does.
    pub fn is_running(&mut self) -> bool {
        matches!(self.try_wait(), Ok(None))
    }

    /// Its exit code, once it has ended. As in a shell, 128 plus the signal's number where a signal ended it.
    pub fn try_wait(&mut self) -> Result<Option<i32>, Error> {
        let status = self.guard.try_wait().map_err(|source| Error::Wait {
            name: self.name.clone(),
            source,
        })?;
        Ok(status.map(exit_code))
    }

    /// Waits for its end, and returns its exit code as [`try_wait`](Self::try_wait) does.
    pub async fn wait(&mut self) -> Result<i32, Error> {
        loop {
            if let Some(code) = self.try_wait()? {
                return Ok(code);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends a signal, named without `SIG`: `TERM`, `STOP`, `CONT`… After `STOP` it stands still.
    pub fn signal(&mut self, signal: &str) -> Result<(), Error> {
        if let Some(code) = self.try_wait()? {
            return Err(Error::Ended {
                name: self.name.clone(),
                code,
                signal: signal.to_owned(),
            });
        }
        // The shell's own `kill`, since the program of that name is missing from small images.
        Command::new("/bin/sh")
            .args(["-c", r#"kill -s "$1" "$2""#, "kill", signal])
            .arg(self.pid.to_string())
            .output()
            .and_then(|output| {
                if output.status.success() {
                    Ok(())
                } else {
                    let stderr = String::from_utf8_lossy(&output.stderr);
                    Err(io::Error::other(stderr.trim().to_owned()))
                }
            })
            .map_err(|source| Error::Signal {
                name: self.name.clone(),
                signal: signal.to_owned(),
                source,
            })?;
        // It only stands still once its first thread has had its turn, for which a busy machine takes its time.
        while signal == "STOP" && goes_on(self.pid) {
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Kills it with SIGKILL and waits until it's gone. Does nothing if it has ended.
    pub fn kill(&mut self) -> Result<(), Error> {
        // Closing the pipe is what makes the guard kill its child.
        drop(self.guard.stdin.take());
        self.guard.wait().map_err(|source| Error::Wait {
            name: self.name.clone(),
            source,
        })?;
        Ok(())
    }
}

impl Drop for GuardedProcess {
    fn drop(&mut self) {
        // A failure leaves nothing to do: the pipe is closed in any case.
        let _ = self.kill();
    }
}

/// Whether a process neither stands still nor has ended. Unknown, and so denied, where there is no `/proc`.
fn goes_on(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may have any in it.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with(['R', 'S', 'D']))
}

/// The guard ends with its child's code. It has none itself only if somebody killed it.
fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// The last `lines` lines of a text file, or nothing if it cannot be read.
pub fn tail(path: &Path, lines: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
