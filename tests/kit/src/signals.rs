//! A person's wish that a program ends.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a program that Ctrl-C ended, as a shell has it.
pub const INTERRUPTED: u8 = 130;

/// Completes at Ctrl-C or SIGTERM, neither of which ends the program by itself from now on.
pub fn stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
