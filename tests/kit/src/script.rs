//! Scripts that stand in for programs.

use std::{
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
};

/// Writes a script that can be run at once.
///
/// A child writes it. If this process did, a child that another thread starts in that moment would hold the file open for
/// writing until its own program is loaded, and until then the script could not be run: "Text file busy" (ETXTBSY).
///
/// # Errors
/// If there is no shell, or the file cannot be written.
pub fn write(path: &Path, script: &str) -> io::Result<()> {
    let mut shell = Command::new("sh")
        .args(["-c", r#"cat > "$0" && chmod 755 "$0""#])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()?;
    // The pipe is closed here, at which the shell ends.
    let written = shell
        .stdin
        .take()
        .map(|mut pipe| pipe.write_all(script.as_bytes()));
    let status = shell.wait()?;
    written.transpose()?;
    if !status.success() {
        return Err(io::Error::other(format!("cannot write {}", path.display())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_script_can_be_run_at_once_while_other_threads_start_processes() {
        let folder = TempDir::new().unwrap();
        thread::scope(|threads| {
            for thread in 0..8 {
                let folder = folder.path();
                threads.spawn(move || {
                    for turn in 0..50 {
                        let path = folder.join(format!("{thread}-{turn}"));
                        write(&path, "#!/bin/sh\nexit 3\n").unwrap();
                        assert_eq!(Command::new(&path).status().unwrap().code(), Some(3));
                    }
                });
            }
        });
    }

    #[test]
    fn a_script_is_not_written_where_there_is_no_folder() {
        let folder = TempDir::new().unwrap();
        assert!(write(&folder.path().join("none/script"), "").is_err());
    }
}
