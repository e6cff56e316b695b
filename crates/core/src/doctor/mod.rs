//! Checks that say what is wrong on this host, causes first.
//!
//! A check is one file in `checks/` and one line in [`CHECKS`]; its code has a page `docs/doctor/CODE.md`.
//! Causes stand above their consequences in the list: a check says what it found broken, and the checks below
//! leave alone what cannot work without it.

mod answer;
mod checks;
mod dynamic;
mod federation;
mod findings;
mod firewall;
mod scene;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::doctor::Report;
use bgp::Rivals;

use crate::bgp::SpeakerView;
use crate::observed::Query;
use crate::{Effective, Observed, Plan};
pub use answer::{Answer, Looked};
use checks::CHECKS;
pub use dynamic::{DynamicState, SourceRun};
pub use federation::{Backlog, FederationState};
use findings::Findings;
use scene::Scene;

/// What is known about routerd itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Runtime {
    /// Whether the daemon runs.
    pub daemon: bool,
    /// The generation in force.
    pub generation: Option<u64>,
    /// Why the last pass of the reconcile loop failed.
    pub last_error: Option<String>,
    /// What executors said of late about what is asked of their clouds, by the key of the intent
    /// (`ActionPlan::idempotency_key`).
    pub providers: BTreeMap<String, Answer>,
    /// The state of event federation; absent where there is no store.
    pub federation: Option<FederationState>,
    /// Why no provider action is executed, if the journal of them is not as it was written.
    pub journal_fault: Option<String>,
    /// The state of the dynamic configuration.
    pub dynamic: DynamicState,
    /// How the BGP speaker stands; absent without a daemon.
    pub speaker: Option<SpeakerView>,
    /// Addresses that two BGP speakers announce with nothing to rank them.
    pub rivals: Vec<Rivals>,
}

/// What has to be observed for the checks: more than a plan needs, so only for them.
pub fn query(effective: &Effective) -> Query {
    let mut query = crate::plan::query(effective);
    query.firewall = true;
    query.clock = true;
    let captured = effective.captures.keys();
    let captured = captured.map(|address| IpAddr::from(address.addr()));
    query.lookups.extend(captured);
    query
}

/// Runs the checks of one area (`hybrid`, `bgp`, `dynamic`, `federation`, `host`, `runtime`), or of all.
pub fn doctor(
    area: Option<&str>,
    effective: &Effective,
    observed: &Observed,
    plan: &Plan,
    runtime: &Runtime,
) -> Report {
    let scene = Scene::new(effective, observed, plan, runtime);
    let mut findings = Findings::default();
    for check in CHECKS {
        if area.is_none_or(|area| area == check.area) {
            findings.begin(check);
            (check.run)(&scene, &mut findings);
        }
    }
    Report::new(findings.into_checks())
}
