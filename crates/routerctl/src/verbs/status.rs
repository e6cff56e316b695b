//! `routerctl status`: one screen.

use api::control::{ConfigFileState, DaemonStatus};

use super::phase_cell;
use super::validate::count;
use crate::cli::Show;
use crate::client::Client;
use crate::failure::{Failure, OK};
use crate::output::{Table, print};
use crate::terminal::{Colour, Terminal};

pub(super) fn run(show: Show, client: &Client, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    let status: DaemonStatus = client.get("/v1/status")?;
    print(terminal, show.output, &status, table)?;
    Ok(OK)
}

fn table(status: &DaemonStatus, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let up = duration(status.uptime_seconds);
    let (version, pid) = (&status.version, status.pid);
    writeln!(
        terminal.out,
        "daemon      routerd {version}, pid {pid}, up {up}"
    )?;
    let repairs = count(
        usize::try_from(status.repairs).unwrap_or(usize::MAX),
        "repair",
    );
    let sync = sync(status, terminal);
    let generation = match status.generation {
        Some(generation) if status.torn_down => format!("{generation}, torn down, {sync}"),
        Some(generation) => format!("{generation}, {sync}, {repairs} since start"),
        None => "none; `routerctl apply -f FILE` makes the first".to_owned(),
    };
    writeln!(terminal.out, "generation  {generation}")?;
    let relation = match status.config_file.state {
        ConfigFileState::InForce => "is in force",
        ConfigFileState::Differs => "differs from what is in force; `routerctl plan` shows how",
        ConfigFileState::Absent => "does not exist",
        ConfigFileState::Unreadable => "cannot be read",
    };
    writeln!(
        terminal.out,
        "file        {} {relation}",
        status.config_file.path
    )?;
    if let Some(error) = &status.last_error {
        let error = terminal.paint(Colour::Red, error);
        writeln!(terminal.out, "error       {error}")?;
    }
    if status.resources.is_empty() {
        return Ok(());
    }
    writeln!(terminal.out)?;
    let mut table = Table::new(["KIND", "NAME", "PHASE", "MESSAGE"]);
    for resource in &status.resources {
        table.row([
            resource.id.kind.as_str().into(),
            resource.id.name.as_str().into(),
            phase_cell(resource.phase),
            resource.message.as_str().into(),
        ]);
    }
    table.print(terminal)
}

fn sync(status: &DaemonStatus, terminal: &Terminal<'_>) -> String {
    match (status.in_sync, status.pending_changes) {
        (true, _) => terminal.paint(Colour::Green, "in sync"),
        (false, 0) => terminal.paint(Colour::Yellow, "not in sync"),
        (false, pending) => {
            let text = format!("{} away", count(pending, "change"));
            terminal.paint(Colour::Yellow, &text)
        }
    }
}

/// `12s`, `5m10s`, `3h5m`, `2d4h`.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d{}h", hours % 24),
        () if hours > 0 => format!("{hours}h{}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m{}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_show_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (310, "5m10s"),
            (7_500, "2h5m"),
            (187_200, "2d4h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
