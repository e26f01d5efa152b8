//! Building the programs with Go, once.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    error::{Error, Result},
    program::{Program, download_megabytes, expected_minutes},
};
use crate::process;

/// How often a running build says that it's still running.
const STILL_RUNNING: Duration = Duration::from_secs(30);

/// What builds programs.
#[derive(Debug)]
pub(super) struct Builder {
    /// The Go command.
    pub(super) go: OsString,
    /// The folder that gets the programs.
    pub(super) cache: PathBuf,
    /// Tells a person how it's going.
    pub(super) say: fn(&str),
}

impl Builder {
    /// Builds those of `missing` that are still missing once no other process is building.
    pub(super) fn build(&self, missing: &[Program]) -> Result<()> {
        self.require_go(missing)?;
        fs::create_dir_all(&self.cache).map_err(Error::file("create", &self.cache))?;
        // Released when this process ends, however it ends.
        let _lock = self.lock()?;
        let missing: Vec<Program> = missing
            .iter()
            .copied()
            .filter(|program| !program.path_in(&self.cache).is_file())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }

        (self.say)(&format!(
            "Building the local control plane, which is done once: {}.\n\
             It downloads up to {} MB of Go modules and takes about {} minutes on two cores.",
            names(&missing),
            download_megabytes(&missing),
            expected_minutes(&missing),
        ));
        for (index, &program) in missing.iter().enumerate() {
            let step = format!("[{}/{}] {}", index + 1, missing.len(), program.name());
            (self.say)(&format!("{step} {}", program.version()));
            self.build_one(program, &step)?;
        }
        Ok(())
    }

    /// Fails if there is no Go. Whether it's new enough is Go's own business: it compares itself with `go.mod`, and
    /// fetches the right version or says what is wrong.
    fn require_go(&self, missing: &[Program]) -> Result<()> {
        match Command::new(&self.go).arg("version").output() {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoGo {
                programs: names(missing),
            }),
            Err(error) => Err(Error::RunGo(error)),
        }
    }

    /// Keeps other processes from building: two of them may need the programs at once.
    fn lock(&self) -> Result<File> {
        let path = self.cache.join("lock");
        let file = File::create(&path).map_err(Error::file("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                (self.say)("Another process is building the local control plane; waiting for it.");
                file.lock().map_err(Error::file("lock", path))?;
                Ok(file)
            }
            Err(TryLockError::Error(error)) => Err(Error::file("lock", path)(error)),
        }
    }

    fn build_one(&self, program: Program, step: &str) -> Result<()> {
        let target = program.path_in(&self.cache);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        }
        // A file of the program's name is always complete: it gets the name once it is.
        let partial = target.with_extension("partial");
        let log_path = target.with_extension("log");
        let log = File::create(&log_path).map_err(Error::file("create", &log_path))?;

        let mut command = Command::new(&self.go);
        command
            .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false"])
            // Without debug information, which is stripped anyway, they are compiled in four fifths of the time.
            .arg("-gcflags=all=-dwarf=false")
            .args(["-ldflags", &program.link_flags()])
            .arg("-o")
            .arg(&partial)
            .arg(program.package())
            .current_dir(program.recipe_folder())
            .env("CGO_ENABLED", "0")
            // A go.work above this folder would change what is built.
            .env("GOWORK", "off")
            // The programs are for this machine, whatever the user builds for otherwise.
            .env_remove("GOOS")
            .env_remove("GOARCH")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let status = self.run(&mut command, step).map_err(Error::RunGo)?;
        if !status.success() {
            return Err(Error::Build {
                program: program.name(),
                tail: process::tail(&log_path, 20),
                log: log_path,
            });
        }
        fs::rename(&partial, &target).map_err(Error::file("rename", &partial))
    }

    /// Runs a command to its end, and says now and then that it still runs.
    fn run(&self, command: &mut Command, step: &str) -> io::Result<ExitStatus> {
        let start = Instant::now();
        let mut next_word = STILL_RUNNING;
        let mut child = command.spawn()?;
        loop {
            let seconds = start.elapsed().as_secs();
            if let Some(status) = child.try_wait()? {
                let end = if status.success() { "done" } else { "failed" };
                (self.say)(&format!("{step} {end} after {seconds} s"));
                return Ok(status);
            }
            if start.elapsed() >= next_word {
                (self.say)(&format!("{step} {seconds} s…"));
                next_word += STILL_RUNNING;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn names(programs: &[Program]) -> String {
    let names: Vec<&str> = programs.iter().map(|program| program.name()).collect();
    names.join(", ")
}

/// Tells a person on standard error. Not with `eprintln!`: a test's output is held back until it fails, and minutes of
/// silence look like a hang.
pub(super) fn say(message: &str) {
    // Nobody may be listening, and then there is nobody to tell about it.
    let _ = writeln!(io::stderr(), "{message}");
}
