//! The tables of docs/performance.md: written by a run, between markers, so that no number there is typed by hand.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use crate::Row;

const PAGE: &str = "docs/performance.md";

/// Replaces the table of every bench that gave rows, and says on which machine.
pub(crate) fn update(results: &[(&str, Vec<Row>)]) -> Result<()> {
    let mut page = fs::read_to_string(PAGE).with_context(|| format!("read {PAGE}"))?;
    let machine = machine();
    for (name, rows) in results.iter().filter(|(_, rows)| !rows.is_empty()) {
        let text = format!("{}\n_{machine}_\n", table(rows));
        let place = name.strip_suffix("-full").unwrap_or(name);
        page = replace(&page, place, &text)
            .with_context(|| format!("{PAGE} has no place for the table of bench {name}"))?;
    }
    fs::write(PAGE, page).with_context(|| format!("write {PAGE}"))
}

/// Puts a text of a bench's own between its markers.
pub(crate) fn insert(place: &str, text: &str) -> Result<()> {
    let page = fs::read_to_string(PAGE).with_context(|| format!("read {PAGE}"))?;
    let page = replace(&page, place, text).with_context(|| format!("{PAGE} has no {place}"))?;
    fs::write(PAGE, page).with_context(|| format!("write {PAGE}"))
}

/// The page with `text` between the markers of a bench; absent if it has none.
fn replace(page: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (
        format!("<!-- bench:{name} -->\n"),
        format!("<!-- /bench:{name} -->"),
    );
    let from = page.find(&begin)? + begin.len();
    let until = from + page[from..].find(&end)?;
    Some(format!("{}{text}{}", &page[..from], &page[until..]))
}

fn table(rows: &[Row]) -> String {
    let mut text =
        "| | unit | ours | peer | | ratio | goal | |\n|---|---|--:|--:|---|--:|--:|---|\n"
            .to_owned();
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.2} | {:.1} | {} |",
            row.name,
            row.unit,
            figure(row.ours),
            figure(row.peer),
            row.peer_name,
            row.ratio,
            row.goal,
            row.verdict()
        );
    }
    text
}

/// Three significant digits are more than a shared machine repeats.
fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// What the numbers were seen on.
fn machine() -> String {
    let first = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key));
        let value = line.and_then(|line| line.rsplit(':').next());
        value.unwrap_or("unknown").trim().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let build = match cfg!(debug_assertions) {
        true => "dev build",
        false => "release build",
    };
    let guest = match first("/proc/cpuinfo", "flags").contains(" hypervisor") {
        true => ", virtual",
        false => "",
    };
    format!(
        "{}, {cores} cores{guest}; Linux {}; {build}",
        first("/proc/cpuinfo", "model name"),
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_table_between_the_markers_changes() {
        let page =
            "a\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nb\n<!-- bench:y -->\n<!-- /bench:y -->\n";
        let new = replace(page, "x", "new\n").expect("place");
        assert_eq!(new, page.replace("old", "new"));
        let again = replace(&new, "x", "new\n").expect("place");
        assert_eq!(again, new);
        assert_eq!(replace(page, "z", "new\n"), None);
    }

    #[test]
    fn a_row_says_whether_its_goal_is_met() {
        let rows = [
            Row::more("rate", "1/s", 1234.0, ("them", 100.0), 5.0),
            Row::less("time", "s", 0.5, ("them", 0.25), 1.0),
        ];
        let text = table(&rows);
        assert!(
            text.contains("| rate | 1/s | 1234 | 100 | them | 12.34 | 5.0 | met |"),
            "{text}"
        );
        assert!(
            text.contains("| time | s | 0.500 | 0.250 | them | 0.50 | 1.0 | not met |"),
            "{text}"
        );
    }
}
