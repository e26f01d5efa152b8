//! `completion`: has the shell complete commands, flags and the names of objects, by way of kubectl's own completion.
//!
//! kubectl calls a program `kubectl_complete-edgecred` with what was entered so far, and reads a line for each candidate and a last
//! one with a directive. Krew does not install such a program, so this command does.

use std::{
    env,
    ffi::OsString,
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use anstream::eprintln;
use clap::{Args, CommandFactory, FromArgMatches, builder::ValueHint};
use clap_complete::{CompletionCandidate, engine::complete};
use edge_credential_operator::api::{EdgeCredential, EdgeToken};

use crate::{
    cli::Cli,
    cluster::access::{AccessArgs, Cluster, Timeout},
    error::Error,
    exit::Exit,
    kind::Object,
    name::ObjectName,
};

/// The program that kubectl looks for.
const PROGRAM: &str = if cfg!(windows) {
    "kubectl_complete-edgecred.cmd"
} else {
    "kubectl_complete-edgecred"
};

/// What is in it.
const SCRIPT: &str = if cfg!(windows) {
    "@echo off\r\nkubectl-edgecred __complete %*\r\n"
} else {
    "#!/bin/sh\n# Has kubectl complete `kubectl edgecred`. Written by `kubectl edgecred completion --install`.\nexec kubectl-edgecred __complete \"$@\"\n"
};

/// To complete no files in place of candidates (cobra's ShellCompDirectiveNoFileComp).
const NO_FILES: u8 = 4;

/// Files are completed by the shell (cobra's ShellCompDirectiveDefault).
const FILES: u8 = 0;

/// Nobody waits longer for a name.
const PATIENCE: Duration = Duration::from_secs(3);

/// Which cluster the names are from, while something is completed.
static ACCESS: OnceLock<AccessArgs> = OnceLock::new();

/// The command line.
#[derive(Args, Debug)]
pub struct CompletionArgs {
    /// Write the program that kubectl looks for, instead of printing it.
    #[arg(long)]
    pub install: bool,

    /// Write it into this folder, which has to be in PATH: by default the one that this program is in.
    #[arg(long, value_name = "FOLDER", requires = "install", value_hint = ValueHint::DirPath)]
    pub to: Option<PathBuf>,
}

/// Prints or installs the program.
pub fn run(args: &CompletionArgs) -> Result<Exit, Error> {
    if !args.install {
        write!(std::io::stdout(), "{SCRIPT}")?;
        eprintln!("Put this into a folder of PATH as {PROGRAM}, or use --install.");
        return Ok(Exit::Well);
    }
    let folder = match &args.to {
        Some(folder) => folder.clone(),
        None => env::current_exe()?
            .parent()
            .unwrap_or(Path::new("."))
            .to_owned(),
    };
    let path = folder.join(PROGRAM);
    write_program(&path).map_err(|source| Error::File {
        path: path.clone(),
        action: "written",
        source,
    })?;
    writeln!(std::io::stdout(), "{}", path.display())?;
    let is_found = env::var_os("PATH")
        .is_some_and(|paths| env::split_paths(&paths).any(|other| other == folder));
    if !is_found {
        eprintln!(
            "{} is not in PATH: add it, or name another folder with --to.",
            folder.display()
        );
    }
    eprintln!("kubectl's own completion has to be loaded: kubectl completion --help");
    Ok(Exit::Well)
}

fn write_program(path: &Path) -> std::io::Result<()> {
    fs::write(path, SCRIPT)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// What kubectl passes on: the words so far, of which the last one, maybe empty, is to be completed.
#[derive(Args, Debug)]
pub struct CompleteArgs {
    /// The words.
    #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
    pub words: Vec<OsString>,
}

/// Prints the candidates as kubectl reads them. What goes wrong is no reason to spoil the command line.
pub fn complete_words(args: CompleteArgs) -> Result<Exit, Error> {
    let words: Vec<_> = [OsString::from("kubectl-edgecred")]
        .into_iter()
        .chain(args.words)
        .collect();
    let _ = ACCESS.set(read_access(&words));
    let last = words.len() - 1;
    let wants_flag = words
        .last()
        .is_some_and(|word| word.to_string_lossy().starts_with('-'));
    let candidates = complete(&mut Cli::command(), words, last, None).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    let is_flag =
        |candidate: &CompletionCandidate| candidate.get_value().to_string_lossy().starts_with('-');
    let visible = candidates
        .iter()
        .filter(|candidate| !candidate.is_hide_set() && (wants_flag || !is_flag(candidate)));
    let lines: Vec<_> = visible.map(line).collect();
    for line in &lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out, ":{}", if lines.is_empty() { FILES } else { NO_FILES })?;
    Ok(Exit::Well)
}

fn line(candidate: &CompletionCandidate) -> String {
    let value = candidate.get_value().to_string_lossy();
    match candidate.get_help() {
        Some(help) => format!(
            "{value}\t{}",
            help.to_string().lines().next().unwrap_or_default()
        ),
        None => value.into_owned(),
    }
}

/// The flags so far that say which cluster is meant.
fn read_access(words: &[OsString]) -> AccessArgs {
    let matches = Cli::command()
        .ignore_errors(true)
        .try_get_matches_from(words);
    let access = matches
        .ok()
        .and_then(|matches| AccessArgs::from_arg_matches(&matches).ok());
    AccessArgs {
        request_timeout: Timeout(PATIENCE),
        ..access.unwrap_or_default()
    }
}

/// The objects of the namespace, as they are entered; none where they cannot be seen.
pub fn object_names() -> Vec<CompletionCandidate> {
    candidates(async |cluster: &Cluster| {
        let credentials = names::<EdgeCredential>(cluster).await;
        let keys = names::<EdgeToken>(cluster).await;
        let all = credentials.into_iter().chain(keys);
        all.map(|name| name.to_string()).collect()
    })
}

/// The names of the EdgeCredentials alone.
pub fn edge_credential_names() -> Vec<CompletionCandidate> {
    candidates(bare_names::<EdgeCredential>)
}

/// The names of the EdgeTokens alone.
pub fn edge_token_names() -> Vec<CompletionCandidate> {
    candidates(bare_names::<EdgeToken>)
}

fn candidates(
    list: impl AsyncFnOnce(&Cluster) -> Vec<String> + Send + 'static,
) -> Vec<CompletionCandidate> {
    // A runtime of its own thread: this is called from within another one.
    let listed = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?;
        runtime.block_on(async {
            let cluster = ACCESS.get()?.connect().await.ok()?;
            Some(list(&cluster).await)
        })
    });
    let names = listed.join().ok().flatten().unwrap_or_default();
    names.into_iter().map(CompletionCandidate::new).collect()
}

async fn bare_names<K: Object>(cluster: &Cluster) -> Vec<String> {
    let names = names::<K>(cluster).await.into_iter();
    names.map(|name| name.name).collect()
}

async fn names<K: Object>(cluster: &Cluster) -> Vec<ObjectName> {
    let found = cluster.list::<K>(&cluster.scope(false), None).await;
    found.map_or(Vec::new(), |found| found.names().collect())
}
