//! `explain`: what a reason means, from the operator's own table. Asks no cluster.

use std::io::Write;

use clap::{Args, builder::PossibleValuesParser};
use edge_credential_operator::{api::Reason, cluster::back_off::Class};
use serde_json::json;

use crate::{
    error::Error,
    exit::Exit,
    output::{
        format::{Format, OutputArgs, write_json, write_yaml},
        table::Table,
    },
};

/// Where each reason has a section.
const GUIDE: &str = "https://github.com/edge-credential-operator/edge-credential-operator/blob/main/docs/troubleshooting.md";

/// The command line.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The reason, as `status` or a condition names it. All of them if there is none.
    #[arg(value_parser = PossibleValuesParser::new(Reason::ALL.iter().map(|reason| reason.as_str())), ignore_case = true, hide_possible_values = true)]
    pub reason: Option<String>,

    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What comes next, by the class of a reason.
fn outlook(reason: Reason) -> &'static str {
    match Class::of(reason) {
        _ if reason == Reason::TokenValid => "Nothing has to be done.",
        _ if reason == Reason::RenewalStalled => "A person must act.",
        Class::Transient | Class::Conflict | Class::Unavailable | Class::Standby => {
            "It passes by itself: it is tried again."
        }
        Class::Write => "Only the write is tried again. No token is requested for it.",
        Class::Unreadable => "It is tried again, ever more rarely; if it lasts, a person must act.",
        Class::Terminal | Class::Unusable => {
            "It is tried three times more, since some causes pass. Then a person must act."
        }
        Class::Final => "A person must act. It is tried every 30 minutes.",
        Class::Waiting => "The operator goes on once it is there.",
        Class::Blocked => {
            "A person must act. The operator goes on once what is in the way is changed."
        }
        Class::Forbidden => "A person must act. The operator asks for the right every 10 seconds.",
    }
}

/// Prints what a reason means, or all of them.
pub fn run(args: &ExplainArgs) -> Result<Exit, Error> {
    let wanted = args.reason.as_deref();
    let reasons = Reason::ALL.iter().copied();
    let reasons: Vec<_> = reasons
        .filter(|reason| wanted.is_none_or(|name| reason.as_str().eq_ignore_ascii_case(name)))
        .collect();
    let mut out = anstream::stdout().lock();
    let described = |reason: &Reason| {
        json!({
            "reason": reason,
            "meaning": reason.meaning(),
            "remedy": reason.remedy(),
            "outlook": outlook(*reason),
        })
    };
    match args.output.output {
        Format::Json => write_json(&mut out, &reasons.iter().map(described).collect::<Vec<_>>())?,
        Format::Yaml => write_yaml(&mut out, &reasons.iter().map(described).collect::<Vec<_>>())?,
        Format::Name => {
            for reason in reasons {
                writeln!(out, "{reason}")?;
            }
        }
        Format::Table | Format::Wide => match (wanted, reasons.as_slice()) {
            (Some(_), [reason]) => write!(out, "{}", text(*reason))?,
            _ => Table {
                head: vec!["REASON", "MEANING"],
                rows: reasons
                    .iter()
                    .map(|reason| vec![reason.to_string(), reason.meaning().to_owned()])
                    .collect(),
            }
            .write(&mut out, args.output.no_headers)?,
        },
    }
    Ok(Exit::Well)
}

/// A reason as text.
fn text(reason: Reason) -> String {
    format!(
        "{reason}\n  Means:  {}\n  Do:     {}\n  Next:   {}\n  More:   {GUIDE}#{}\n",
        reason.meaning(),
        reason.remedy(),
        outlook(reason),
        reason.as_str().to_lowercase()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_explained_in_the_operators_own_words() {
        assert_eq!(
            text(Reason::ClientNotAllowed),
            "ClientNotAllowed\n  \
             Means:  The token endpoint knows the client but refuses the request (HTTP 403): wrong kind of client, audience or scope.\n  \
             Do:     Use an Edge administration client, and check `spec.tokenRequest.audience` and `spec.tokenRequest.scopes`.\n  \
             Next:   It is tried three times more, since some causes pass. Then a person must act.\n  \
             More:   https://github.com/edge-credential-operator/edge-credential-operator/blob/main/docs/troubleshooting.md#clientnotallowed\n"
        );
    }

    /// What is said of the next attempt is what the operator's table says.
    #[test]
    fn who_must_act_is_what_the_class_says() {
        for &reason in Reason::ALL {
            let class = Class::of(reason);
            let says = outlook(reason);
            if reason == Reason::TokenValid || reason == Reason::RenewalStalled {
                continue;
            }
            assert_eq!(
                class.is_stalled(i32::MAX),
                says.to_lowercase().contains("a person must act"),
                "{reason}: {says}"
            );
        }
    }
}
