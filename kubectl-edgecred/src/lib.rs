//! A kubectl plugin for the person on call, and for who sets EdgeCredentials and EdgeTokens up: it shows, renews, tries and explains them.
//!
//! What an object means is decided by the operator's own rules, which are functions of its library; nothing of them is here again.
//!
//! - [`cli`]: the command line; [`commands`]: a file for each command.
//! - [`kind`]: the kinds of objects; [`name`]: what an object is called on the command line.
//! - [`cluster`]: what is asked of the API server, and what its errors mean to a person.
//! - [`view`]: what is shown of an object, of whatever kind; [`users`]: which workloads use a Secret, and how.
//! - [`stored`]: the token or the key that a target holds; [`http`]: calls of APIs with it.
//! - [`request`]: what a person asks the operator for by an annotation, and what became of it.
//! - [`manifest`] and [`schema`]: what is checked without a cluster; [`check`]: checks as they are printed;
//!   [`bundle`]: an archive for who helps.
//! - [`output`]: tables, times and formats.
//! - [`error`] and [`exit`]: what went wrong, what to do next, and the exit code.

// A panic is no message to anybody, so no input may cause one.
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable
    )
)]

pub mod bundle;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod error;
pub mod exit;
pub mod http;
pub mod kind;
pub mod manifest;
pub mod name;
pub mod output;
pub mod request;
pub mod schema;
pub mod stored;
pub mod users;
pub mod view;

use std::{io, process::ExitCode};

use anstream::eprintln;
use clap::Parser;

use crate::{
    error::Error,
    exit::Exit,
    output::style::{BAD, styled},
};

/// Parses the command line and carries the command out. What goes wrong is told on stderr, with what to do next.
pub fn execute() -> ExitCode {
    let result = runtime()
        .map_err(Error::Output)
        .and_then(|runtime| runtime.block_on(commands::carry_out(cli::Cli::parse())));
    let exit = result.unwrap_or_else(|error| {
        // Whoever reads has had enough: that is no error of ours.
        if !error.is_broken_pipe() {
            eprintln!("{} {error}", styled(BAD, "error:"));
        }
        error.exit()
    });
    exit.into()
}

/// One thread: what is waited for is the network.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
