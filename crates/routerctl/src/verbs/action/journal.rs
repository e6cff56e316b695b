//! `routerctl action journal`: what was done, and whether the record of it is whole.

use std::collections::BTreeSet;

use api::action::control::{JournalReport, JournalRequest};
use api::action::journal::{Event, JournalRow};
use api::action::plan::Facts;
use api::action::protocol::{ExecuteStatus, Mode, Outcome};

use crate::cli_action as cli;
use crate::client::Client;
use crate::failure::{FAILED, Failure, OK};
use crate::output::{Table, print};
use crate::terminal::Terminal;

pub(super) fn run(
    options: &cli::Journal,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let request = JournalRequest {
        action: options.id,
        after: options.after,
        verify: options.verify,
        head: options.head.clone(),
    };
    let report: JournalReport = client.post("/v1/actions/journal", &request)?;
    print(terminal, options.show.output, &report, |report, to| {
        if options.verify {
            verdict(report, to)
        } else {
            rows(&report.rows, to)
        }
    })?;
    if let Some(tampered) = &report.tampered {
        let (seq, reason) = (tampered.seq, &tampered.reason);
        writeln!(
            terminal.err,
            "error: row {seq} of the journal is not as it was written: {reason}"
        )?;
        return Ok(FAILED);
    }
    Ok(OK)
}

fn verdict(report: &JournalReport, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if report.tampered.is_none() {
        let head = &report.head;
        writeln!(
            terminal.out,
            "whole: {} rows, head {}:{}",
            head.seq, head.seq, head.hash
        )?;
    }
    Ok(())
}

/// Rows as a table.
pub(super) fn rows(rows: &[JournalRow], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if rows.is_empty() {
        writeln!(terminal.err, "no rows")?;
        return Ok(());
    }
    let mut table = Table::new(["ROW", "TIME", "ACTION", "EVENT", "WHAT"]);
    // Until the first change what is observed are the prior facts.
    let mut changed = BTreeSet::new();
    for row in rows {
        if matches!(&row.event, Event::Started { mode, .. } if mode.mutates()) {
            changed.insert(row.action);
        }
        let (event, what) = words(&row.event, !changed.contains(&row.action));
        table.row([
            row.seq.to_string().into(),
            row.at.to_string().into(),
            row.action.to_string().into(),
            event.into(),
            what.into(),
        ]);
    }
    table.print(terminal)
}

fn words(event: &Event, untouched: bool) -> (String, String) {
    match event {
        Event::Imported { plan, by } => ("imported".to_owned(), format!("{} by {by}", plan.action)),
        Event::Approved { by, rollback: true } => {
            ("approved".to_owned(), format!("rollback, by {by}"))
        }
        Event::Approved { by, .. } => ("approved".to_owned(), format!("by {by}")),
        Event::Withdrawn { reason } => ("withdrawn".to_owned(), reason.clone()),
        Event::Started {
            mode, attempt, by, ..
        } => (
            "started".to_owned(),
            format!("{mode}, attempt {attempt}, for {by}"),
        ),
        Event::Finished { mode, status } => finished(*mode, status, untouched),
        Event::Lost { mode, reason, .. } => ("lost".to_owned(), format!("{mode}: {reason}")),
        Event::Skipped { reason } => ("skipped".to_owned(), reason.clone()),
    }
}

fn finished(mode: Mode, status: &ExecuteStatus, untouched: bool) -> (String, String) {
    let event = match status.status {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Skipped => "skipped",
    };
    let facts: Facts = match mode {
        Mode::Observe if untouched => status.observed.as_prior(),
        _ => status.observed.clone(),
    };
    let facts = if facts.is_empty() {
        String::new()
    } else {
        format!(" [{facts}]")
    };
    (
        event.to_owned(),
        format!("{mode}: {}{facts}", status.message),
    )
}
