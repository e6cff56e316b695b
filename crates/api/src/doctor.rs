//! What `routerctl doctor` reports.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Every area that can be asked for alone.
pub const AREAS: [&str; 6] = ["hybrid", "bgp", "dynamic", "federation", "host", "runtime"];

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// Wrong: traffic fails or will fail.
    Fail,
    /// Traffic still flows, but something is not as it should be.
    Warn,
    /// Could not or need not be checked; `detail` says why.
    Skip,
    /// As it should be.
    Pass,
}

impl fmt::Display for CheckStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fail => "fail",
            Self::Warn => "warn",
            Self::Skip => "skip",
            Self::Pass => "pass",
        })
    }
}

/// One check of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// `hybrid`, `host`, `runtime` …
    pub area: String,
    /// Stable code, kebab-case: `delivery-route`. Each has a page in `docs/doctor/`.
    pub code: String,
    /// What was checked: `RemoteAddressClaim/onprem-9`.
    pub subject: String,
    /// The result.
    pub status: CheckStatus,
    /// What was seen.
    pub detail: String,
    /// A command that can be pasted; absent where nothing is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The page that explains the code.
    pub doc: String,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {}: {}",
            self.status, self.code, self.subject, self.detail
        )?;
        if let Some(remedy) = &self.remedy {
            write!(f, "\n     fix: {remedy}")?;
        }
        Ok(())
    }
}

/// Counts over all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// `fail` if anything failed, else `pass` (warnings do not fail a host).
    pub overall: CheckStatus,
    /// How many passed.
    pub pass: usize,
    /// How many warn.
    pub warn: usize,
    /// How many failed.
    pub fail: usize,
    /// How many were skipped.
    pub skip: usize,
}

impl fmt::Display for Summary {
    /// `overall=pass warn=0 fail=0 skip=1`, the line the seeds show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "overall={} warn={} fail={} skip={}",
            self.overall, self.warn, self.fail, self.skip
        )
    }
}

/// Everything that was checked, root causes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Counts.
    pub summary: Summary,
    /// Fails before warnings before the rest; within each, causes before consequences.
    pub checks: Vec<Check>,
}

impl Report {
    /// Counts and orders the checks. The sort is stable, so causes that were reported first stay first.
    pub fn new(mut checks: Vec<Check>) -> Self {
        checks.sort_by_key(|check| check.status);
        let count = |status| checks.iter().filter(|c| c.status == status).count();
        let fail = count(CheckStatus::Fail);
        let summary = Summary {
            overall: if fail > 0 {
                CheckStatus::Fail
            } else {
                CheckStatus::Pass
            },
            pass: count(CheckStatus::Pass),
            warn: count(CheckStatus::Warn),
            fail,
            skip: count(CheckStatus::Skip),
        };
        Self { summary, checks }
    }
}

impl fmt::Display for Report {
    /// The summary line, then one line a check.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary)?;
        self.checks
            .iter()
            .try_for_each(|check| writeln!(f, "{check}"))
    }
}
