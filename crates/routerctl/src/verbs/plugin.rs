//! `routerctl plugin`: plugins and their runs.

use api::plugin::{PluginRun, PluginRunRequest, PluginView, PluginWork};

use super::action::imports;
use crate::cli_action::PluginVerb;
use crate::client::Client;
use crate::failure::{FAILED, Failure, OK};
use crate::output::{Cell, Table, print, yaml};
use crate::terminal::{Colour, Terminal};

pub(super) fn run(
    verb: &PluginVerb,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    match verb {
        PluginVerb::List(show) => {
            let plugins: Vec<PluginView> = client.get("/v1/plugins")?;
            print(terminal, show.output, &plugins, |list, to| table(list, to))?;
            Ok(OK)
        }
        PluginVerb::Runs { name, show } => {
            let path = match name {
                Some(name) => format!("/v1/plugins/{name}/runs"),
                None => "/v1/plugins/runs".to_owned(),
            };
            let list: Vec<PluginRun> = client.get(&path)?;
            print(terminal, show.output, &list, |list, to| runs(list, to))?;
            Ok(OK)
        }
        PluginVerb::Run {
            name,
            dry_run,
            show,
        } => {
            let request = PluginRunRequest {
                name: name.clone(),
                dry_run: *dry_run,
            };
            let work: PluginWork = client.post_slowly("/v1/plugins/run", &request)?;
            print(terminal, show.output, &work, result)?;
            Ok(match work.report.run.ok {
                true => OK,
                false => FAILED,
            })
        }
    }
}

fn table(plugins: &[PluginView], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if plugins.is_empty() {
        writeln!(terminal.err, "no plugins")?;
        return Ok(());
    }
    let mut table = Table::new(["NAME", "STATE", "CAPABILITIES", "LAST RUN", "OUTCOME"]);
    for plugin in plugins {
        let state = match &plugin.problem {
            None => Cell::painted(Colour::Green, "ready"),
            Some(problem) => Cell::painted(Colour::Red, problem),
        };
        let capabilities: Vec<_> = plugin.capabilities.iter().map(|c| c.as_str()).collect();
        let last = plugin.last_run.as_ref();
        table.row([
            plugin.name.as_str().into(),
            state,
            capabilities.join(",").into(),
            last.map(|run| run.started_at.to_string())
                .unwrap_or_default()
                .into(),
            last.map(|run| run.outcome.clone())
                .unwrap_or_default()
                .into(),
        ]);
    }
    table.print(terminal)
}

fn runs(runs: &[PluginRun], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if runs.is_empty() {
        writeln!(terminal.err, "no runs")?;
        return Ok(());
    }
    let mut table = Table::new(["RUN", "TIME", "PLUGIN", "REASON", "TOOK", "OUTCOME"]);
    for run in runs {
        table.row([
            run.id.to_string().into(),
            run.started_at.to_string().into(),
            run.plugin.as_str().into(),
            run.reason.as_str().into(),
            format!("{} ms", run.millis).into(),
            outcome(run),
        ]);
    }
    table.print(terminal)
}

fn outcome(run: &PluginRun) -> Cell {
    let colour = match run.ok {
        true => Colour::Green,
        false => Colour::Red,
    };
    Cell::painted(colour, &run.outcome)
}

fn result(work: &PluginWork, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let run = &work.report.run;
    let (id, plugin, millis, outcome) = (run.id, &run.plugin, run.millis, &run.outcome);
    writeln!(
        terminal.err,
        "run {id} of Plugin/{plugin}: {outcome} ({millis} ms; {})",
        run.sandbox
    )?;
    if !run.stderr.is_empty() {
        writeln!(terminal.err, "{}", run.stderr.trim_end())?;
    }
    if let Some(status) = &work.report.result {
        let value = serde_json::to_value(status).map_err(|e| Failure::Print(e.to_string()))?;
        write!(terminal.out, "{}", yaml(&value)?)?;
    }
    match work.imports.as_slice() {
        [] => Ok(()),
        taken => imports(taken, terminal),
    }
}
