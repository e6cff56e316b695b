//! `routerctl dynamic`: what plugins and events add to the configuration and mask of it.
//!
//! Asks the daemon, or, given files, the daemon's program: the same merge either way.

use api::dynamic::{EffectiveView, Masked, PartStatus, PartView, Rendered};
use api::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::beside;
use super::plan::warnings;
use crate::cli::{Dynamic, Offline};
use crate::client::Client;
use crate::failure::{FAILED, Failure, OK};
use crate::output::{Cell, Table, print, yaml};
use crate::terminal::{Colour, Terminal};

pub(super) fn run(
    what: &Dynamic,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    match what {
        Dynamic::List(from) => {
            let parts: Vec<PartView> = ask("parts", from, client)?;
            print(terminal, from.show.output, &parts, |parts, to| {
                list(parts, to)
            })?;
        }
        Dynamic::Describe { source, offline } => {
            return describe(source, offline, client, terminal);
        }
        Dynamic::Render(from) => {
            let view: EffectiveView = ask("effective", from, client)?;
            print(terminal, from.show.output, &view, render)?;
        }
        Dynamic::Diff(from) => {
            let mut view: EffectiveView = ask("effective", from, client)?;
            view.resources.retain(|rendered| rendered.part.is_some());
            print(terminal, from.show.output, &view, diff)?;
        }
    }
    Ok(OK)
}

fn ask<T: DeserializeOwned>(
    what: &'static str,
    from: &Offline,
    client: &Client,
) -> Result<T, Failure> {
    if from.config.is_none() && from.state_file.is_none() {
        return client.get(&format!("/v1/dynamic/{what}"));
    }
    let mut command = beside::command("routerd")?;
    command.args(["dynamic", what]);
    for (option, path) in [
        ("--config", &from.config),
        ("--state-file", &from.state_file),
    ] {
        if let Some(path) = path {
            command.arg(option).arg(path);
        }
    }
    beside::json(&mut command)
}

fn list(parts: &[PartView], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let mut table = Table::new([
        "SOURCE",
        "GEN",
        "STATUS",
        "RESOURCES",
        "DIRECTIVES",
        "ACTIONPLANS",
        "EXPIRES",
    ]);
    for part in parts {
        table.row([
            part.source.as_str().into(),
            part.generation.to_string().into(),
            status(part.status),
            part.resources.len().to_string().into(),
            part.directives.len().to_string().into(),
            part.action_plans.len().to_string().into(),
            time(part.expires_at).into(),
        ]);
    }
    table.print(terminal)
}

fn status(status: PartStatus) -> Cell {
    let colour = match status {
        PartStatus::Active => Colour::Green,
        PartStatus::Held => Colour::Yellow,
        PartStatus::Quarantined => Colour::Red,
        PartStatus::Expired | PartStatus::Superseded => Colour::Plain,
    };
    Cell::painted(colour, status.to_string())
}

fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "never".to_owned(), |time| time.to_string())
}

fn describe(
    source: &str,
    from: &Offline,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let mut parts: Vec<PartView> = ask("parts", from, client)?;
    // A source without a subject stands for all of its subjects.
    let about = format!("{source}:");
    parts.retain(|part| part.source == source || part.source.starts_with(&about));
    if parts.is_empty() {
        writeln!(terminal.err, "error: nothing was said by {source}")?;
        writeln!(
            terminal.err,
            "hint: `routerctl dynamic list` shows who said something"
        )?;
        return Ok(FAILED);
    }
    print(terminal, from.show.output, &parts, |parts, to| {
        parts.iter().try_for_each(|part| one(part, to))
    })?;
    Ok(OK)
}

fn one(part: &PartView, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let title = format!("{} generation {}", part.source, part.generation);
    let title = terminal.paint(Colour::Bold, &title);
    writeln!(terminal.out, "{title}")?;
    writeln!(terminal.out, "status       {}", part.status)?;
    for reason in &part.reasons {
        writeln!(terminal.out, "reason       {reason}")?;
    }
    let facts = [
        ("plugin", part.plugin.clone()),
        ("event", part.event.clone()),
        ("observed", Some(part.observed_at.to_string())),
        ("expires", Some(time(part.expires_at))),
        ("held until", part.held_until.map(|at| at.to_string())),
        ("ended", part.ended_at.map(|at| at.to_string())),
        ("digest", Some(part.digest.clone())),
    ];
    for (name, fact) in facts {
        if let Some(fact) = fact {
            writeln!(terminal.out, "{name:<12} {fact}")?;
        }
    }
    section("resources", &part.resources, terminal)?;
    section("directives", &part.directives, terminal)?;
    section("action plans", &part.action_plans, terminal)?;
    writeln!(terminal.out)?;
    Ok(())
}

fn section<T: Serialize>(
    name: &str,
    items: &[T],
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    if items.is_empty() {
        return Ok(());
    }
    let name = terminal.paint(Colour::Bold, name);
    writeln!(terminal.out, "{name}")?;
    for item in items {
        let text = document(item)?;
        for (n, line) in text.lines().enumerate() {
            let lead = if n == 0 { "- " } else { "  " };
            writeln!(terminal.out, "  {lead}{line}")?;
        }
    }
    Ok(())
}

fn document<T: Serialize>(item: &T) -> Result<String, Failure> {
    let value = serde_json::to_value(item).map_err(|error| Failure::Print(error.to_string()))?;
    yaml(&value)
}

/// As files that could be applied, one document a resource.
fn render(view: &EffectiveView, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    warnings(&view.diagnostics, terminal)?;
    for Rendered { resource, part } in &view.resources {
        writeln!(terminal.out, "---")?;
        if let Some(part) = part {
            writeln!(terminal.out, "# {part}")?;
        }
        write!(terminal.out, "{}", document(resource)?)?;
    }
    Ok(())
}

fn diff(view: &EffectiveView, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    warnings(&view.diagnostics, terminal)?;
    for Rendered { resource, part } in &view.resources {
        let Some(part) = part else { continue };
        let line = format!("+ {}/{}  {part}", resource.kind, resource.metadata.name);
        let line = terminal.paint(Colour::Green, &line);
        writeln!(terminal.out, "{line}")?;
    }
    for masked in &view.masked {
        let line = terminal.paint(Colour::Red, &suppressed(masked));
        writeln!(terminal.out, "{line}")?;
    }
    if view.resources.is_empty() && view.masked.is_empty() {
        writeln!(terminal.out, "no difference")?;
    }
    Ok(())
}

fn suppressed(masked: &Masked) -> String {
    let until = masked.until.map(|at| format!(" until {at}"));
    let reason = masked.reason.as_ref().map(|reason| format!(": {reason}"));
    format!(
        "- {}  masked by {}{}{}",
        masked.resource,
        masked.part,
        until.unwrap_or_default(),
        reason.unwrap_or_default()
    )
}
