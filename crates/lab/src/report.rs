//! What a scenario found.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::impair::Account;

/// One assertion.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assertion {
    /// Stable: `ping/cloud-to-onprem`.
    pub id: String,
    /// Whether it held.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
}

/// Which drivers the tunnels ran on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Drivers {
    /// `kernel` or `user-space`; absent if there was no such tunnel.
    pub wireguard: Option<String>,
    /// Likewise.
    pub ipip: Option<String>,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The scenario's id.
    pub scenario: String,
    /// Whether every assertion held, and there was one.
    pub passed: bool,
    /// Wall time, from an empty machine to the verdict.
    pub seconds: f64,
    /// Tunnel drivers.
    pub driver: Drivers,
    /// What the link between the sites was like, if it was made worse than a cable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impairment: Option<Account>,
    /// In the order in which they were made.
    pub assertions: Vec<Assertion>,
    /// Numbers by name; the unit is the name's last word.
    pub measures: BTreeMap<String, f64>,
}

impl Report {
    /// An empty one.
    pub fn new(scenario: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            // What looked at nothing has shown nothing.
            passed: false,
            seconds: 0.0,
            driver: Drivers::default(),
            impairment: None,
            assertions: Vec::new(),
            measures: BTreeMap::new(),
        }
    }

    /// Adds an assertion.
    pub fn add(&mut self, id: &str, passed: bool, detail: String) {
        self.passed = passed && (self.passed || self.assertions.is_empty());
        self.assertions.push(Assertion {
            id: id.to_owned(),
            passed,
            detail,
        });
    }

    /// The verdict: what was checked from site to site, a column for each direction, then the rest.
    pub fn table(&self) -> String {
        const COLUMNS: [&str; 2] = ["cloud-to-onprem", "onprem-to-cloud"];
        let mut rows: Vec<(&str, [Option<&Assertion>; 2])> = Vec::new();
        let mut rest = Vec::new();
        for assertion in &self.assertions {
            let split = assertion.id.split_once('/');
            let column = split.and_then(|(_, c)| COLUMNS.iter().position(|k| *k == c));
            let (Some((row, _)), Some(column)) = (split, column) else {
                rest.push(assertion);
                continue;
            };
            match rows.iter_mut().find(|(name, _)| *name == row) {
                Some((_, cells)) => cells[column] = Some(assertion),
                None => {
                    let mut cells = [None, None];
                    cells[column] = Some(assertion);
                    rows.push((row, cells));
                }
            }
        }
        let mut text = String::new();
        let longest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
        let name = longest(&mut rows.iter().map(|(name, _)| name.len()));
        let left = longest(&mut rows.iter().map(|(_, [a, _])| cell(*a).chars().count()));
        if !rows.is_empty() {
            let [a, b] = ["cloud → on-prem", "on-prem → cloud"];
            line(&mut text, &format!("{:name$}  {a:left$}  {b}", ""));
        }
        for (row, cells) in rows {
            let [a, b] = cells.map(cell);
            line(&mut text, &format!("{row:name$}  {a:left$}  {b}"));
        }
        let name = longest(&mut rest.iter().map(|a| a.id.len()));
        for assertion in rest {
            let cell = cell(Some(assertion));
            line(&mut text, &format!("{:name$}  {cell}", assertion.id));
        }
        text
    }
}

fn line(text: &mut String, line: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}", line.trim_end());
}

fn cell(assertion: Option<&Assertion>) -> String {
    match assertion {
        None => String::new(),
        Some(a) if a.passed => format!("pass  {}", a.detail),
        Some(a) => format!("FAIL  {}", a.detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_looked_at_nothing_has_not_passed() {
        let mut report = Report::new("two-site-doctor");
        assert!(!report.passed);
        report.add("ping", true, String::new());
        report.add("ssh", true, String::new());
        assert!(report.passed);
        report.add("scp", false, String::new());
        report.add("nat", true, String::new());
        assert!(!report.passed);
    }

    #[test]
    fn one_failure_fails_the_run_and_the_shape_is_stable() {
        let mut report = Report::new("two-site-azure");
        report.add("ping/cloud-to-onprem", true, "3/3".to_owned());
        report.add("ping/onprem-to-cloud", false, "0/3".to_owned());
        report.add("nat-absent/cloud-router", true, "no rule".to_owned());
        assert!(!report.passed);
        let json = serde_json::to_value(&report).expect("json");
        let keys: Vec<_> = json.as_object().expect("object").keys().collect();
        assert_eq!(
            keys,
            [
                "assertions",
                "driver",
                "measures",
                "passed",
                "scenario",
                "seconds"
            ]
        );
        assert_eq!(
            json["driver"],
            serde_json::json!({"wireguard": null, "ipip": null})
        );
        let table = report.table();
        let row = table.lines().nth(1).expect("row");
        assert!(row.starts_with("ping") && row.contains("pass  3/3") && row.ends_with("FAIL  0/3"));
    }
}
