//! `docs/reference/cli.md` is what the programs say about themselves.

use std::fmt::Write;
use std::path::Path;

use clap::{Command, CommandFactory};

const INTRODUCTION: &str = "\
# Commands

<!-- Written by `UPDATE_GOLDEN=1 cargo test -p routerd --test suite reference`; the text is in the programs. -->

`routerctl` is for people and scripts, `routerd` is the daemon. Exit status of `routerctl`: 0 ok, 1 failed, 2 invalid
input, 3 changes pending (`plan`).

| variable | read by | meaning |
|---|---|---|
| `ROUTERD_SOCKET` | both | the control socket, as `--socket` |
| `ROUTERD_LOG` | `routerd` | what to log: `debug`, `warn`, `info,boringtun=warn` …; `info` if unset |
| `NO_COLOR` | `routerctl` | no colours even on a terminal |
";

fn write_command(out: &mut String, path: &str, command: &Command) -> std::fmt::Result {
    let mut command = command.clone().bin_name(path).disable_version_flag(true);
    let help = command.render_long_help().to_string();
    writeln!(out, "\n## `{path}`\n\n```text\n{}\n```", trimmed(&help))?;
    for inner in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        write_command(out, &format!("{path} {}", inner.get_name()), inner)?;
    }
    Ok(())
}

/// No white space at the end of lines.
fn trimmed(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[test]
fn the_command_reference_is_what_the_programs_say() {
    let mut text = INTRODUCTION.to_owned();
    for (name, command) in [
        ("routerctl", routerctl::cli::Cli::command()),
        ("routerd", routerd::cli::Cli::command()),
    ] {
        write_command(&mut text, name, &command).expect("text");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("write");
    }
    let written = std::fs::read_to_string(&path).expect("docs/reference/cli.md");
    assert!(
        written == text,
        "docs/reference/cli.md is out of date: UPDATE_GOLDEN=1 cargo test -p routerd --test suite reference"
    );
}
