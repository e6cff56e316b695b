//! `routerctl action execute` and `rollback`.

use api::action::control::{Progress, Run, RunReport, RunRequest};
use api::action::journal::State;
use api::action::protocol::Mode;

use super::colour;
use crate::cli::Output;
use crate::cli_action as cli;
use crate::client::Client;
use crate::failure::{FAILED, Failure, OK};
use crate::output::print;
use crate::terminal::Terminal;

pub(super) fn execute(
    options: &cli::Run,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let request = RunRequest {
        ids: options.ids.clone(),
        dry_run: options.how.dry_run,
    };
    let (path, output) = ("/v1/actions/execute", options.show.output);
    carry_out(path, &request, State::Succeeded, output, client, terminal)
}

pub(super) fn rollback(
    options: &cli::Rollback,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let request = RunRequest {
        ids: options.ids.clone(),
        dry_run: options.how.dry_run,
    };
    let (path, output) = ("/v1/actions/rollback", options.show.output);
    carry_out(path, &request, State::RolledBack, output, client, terminal)
}

/// Asks for a run, tells of it, and says whether all of it came to `end`; a dry run need not.
fn carry_out(
    path: &str,
    request: &RunRequest,
    end: State,
    output: Output,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let report = follow(path, request, client, terminal)?;
    show(&report, output, terminal)?;
    let done = |run: &Run| run.state == end || request.dry_run;
    Ok(verdict(&report, request, done))
}

/// Says on the way what happens; people wait minutes for clouds.
fn follow(
    path: &str,
    request: &RunRequest,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<RunReport, Failure> {
    let mut report = None;
    client.post_and_follow(path, request, |progress: Progress| {
        match progress {
            Progress::Started(start) => {
                let (id, action, mode) = (start.id, start.action, start.mode);
                writeln!(terminal.err, "action {id} {action}: {mode} …")?;
                terminal.err.flush()?;
            }
            Progress::Ended(_) => {}
            Progress::Report(whole) => report = Some(whole),
            Progress::Failed(refusal) => return Err(Failure::Refused(refusal)),
        }
        Ok(())
    })?;
    report.ok_or_else(|| Failure::Protocol {
        request: path.to_owned(),
        reason:
            "the daemon ended before the run did; `routerctl action list` shows how far it came"
                .to_owned(),
    })
}

fn show(report: &RunReport, output: Output, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    print(terminal, output, report, |report, terminal| {
        if report.runs.is_empty() {
            writeln!(terminal.out, "nothing to do")?;
        }
        report.runs.iter().try_for_each(|run| line(run, terminal))
    })
}

fn line(run: &Run, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let (id, action) = (run.id, run.action);
    let state = terminal.paint(colour(run.state), run.state.as_str());
    let said = match run.mode {
        Some(Mode::DryRun) => format!(", dry run: {}", run.message),
        _ if run.message.is_empty() => String::new(),
        _ => format!(", {}", run.message),
    };
    writeln!(terminal.out, "action {id} {action}: {state}{said}")?;
    if let Some(error) = &run.error {
        writeln!(terminal.out, "  error: {}: {}", error.class, error.detail)?;
        let more = [
            ("permission", &error.permission),
            ("scope", &error.scope),
            ("hint", &error.hint),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                writeln!(terminal.out, "  {name}: {value}")?;
            }
        }
    }
    if let Some(held) = &run.held {
        writeln!(terminal.out, "  waits: {} ({})", held.reason, held.code)?;
        if let Some(hint) = &held.hint {
            writeln!(terminal.out, "  hint: {hint}")?;
        }
    }
    Ok(())
}

/// Failed if something was tried and went wrong, or was asked for by number and is not done. What waits for its turn
/// is no failure to somebody who asked for all whose turn it is.
fn verdict(report: &RunReport, request: &RunRequest, done: impl Fn(&Run) -> bool) -> u8 {
    let failed = |run: &Run| {
        let held = run.held.as_ref().map(|refusal| refusal.code.as_str());
        let lost = matches!(run.state, State::Failed | State::Unknown)
            || matches!(held, Some("not-observed" | "unknown"));
        let named = !request.ids.is_empty();
        run.error.is_some()
            || run.mode.is_some() && lost
            || named && (!done(run) || request.dry_run && held.is_some())
    };
    match report.runs.iter().any(failed) {
        true => FAILED,
        false => OK,
    }
}
