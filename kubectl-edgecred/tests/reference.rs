//! `docs/reference/cli.md`: what the commands' own help says. `make generate` writes it anew.

use clap::{Arg, Command, CommandFactory};
use kit::{generated, workspace};
use kubectl_edgecred::cli::Cli;

const HEAD: &str = "# kubectl edgecred

Generated from the help of the commands. [The guide](../kubectl.md) shows what they print.

";

#[test]
fn the_reference_says_what_the_help_says() {
    let mut cli = Cli::command();
    cli.build();
    let mut page = HEAD.to_owned();
    page += &format!("{}\n\n", help(cli.get_long_about().or(cli.get_about())));
    page += "## Flags of all commands\n\n";
    page += &table(cli.get_arguments().filter(|flag| flag.is_global_set()));
    for command in cli
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        if command.get_name() == "help" {
            continue;
        }
        page += &format!(
            "\n## {}\n\n{}.\n\n```\n{}\n```\n",
            command.get_name(),
            help(command.get_about()),
            usage(command)
        );
        let mut own: Vec<_> = command
            .get_arguments()
            .filter(|flag| !flag.is_global_set() && flag.get_id() != "help")
            .collect();
        own.sort_by_key(|flag| !flag.is_positional());
        if !own.is_empty() {
            page += &format!("\n{}", table(own.into_iter()));
        }
    }
    generated::compare(&workspace().join("docs/reference/cli.md"), &page);
}

/// Each command is known by its own name, and its help begins with it.
#[test]
fn help_names_the_plugin_as_kubectl_calls_it() {
    let text = Cli::command().render_long_help().to_string();
    assert!(text.contains("Usage: kubectl edgecred"), "{text}");
    Cli::command().debug_assert();
}

fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.trim_start_matches("Usage: ").to_owned()
}

fn help<T: ToString>(text: Option<T>) -> String {
    let text = text.expect("everything has help").to_string();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn table<'a>(flags: impl Iterator<Item = &'a Arg>) -> String {
    let rows = flags.map(|flag| {
        let default: Vec<_> = flag
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        let values = flag.get_possible_values();
        let values: Vec<_> = values
            .iter()
            .filter_map(|value| Some(format!("<br>`{}`: {}", value.get_name(), value.get_help()?)))
            .collect();
        let takes_value = flag.get_action().takes_values();
        let default = if takes_value {
            default.join(" ")
        } else {
            String::new()
        };
        let values = if takes_value {
            values.concat()
        } else {
            String::new()
        };
        let text = help(flag.get_long_help().or(flag.get_help()));
        format!(
            "| {} | {default} | {}{values} |\n",
            name(flag),
            text.replace('|', "\\|")
        )
    });
    let rows: String = rows.collect();
    format!("| Flag | Default | Meaning |\n|---|---|---|\n{rows}")
}

fn name(flag: &Arg) -> String {
    let value = flag.get_value_names().and_then(|names| names.first());
    let value = value
        .filter(|_| flag.get_action().takes_values())
        .map(|name| format!(" {name}"));
    let value = value.unwrap_or_default();
    match (flag.get_short(), flag.get_long()) {
        (Some(short), Some(long)) => format!("`-{short}`, `--{long}{value}`"),
        (None, Some(long)) => format!("`--{long}{value}`"),
        _ => format!("`{}`", value.trim()),
    }
}
