//! From what is wanted and what is there to a list of steps.
//!
//! A plan is data so specific that execution makes no choices. Planning twice in a row gives an empty
//! plan.

mod step;

pub use step::{Action, AllowedIpsChange, PeerChange, PresharedKeyChange, Step, WireGuardChange};

use std::collections::BTreeMap;

use api::plan::{PlanView, Waiting};
use api::{IfName, MobileAddress};

use crate::observed::Query;
use crate::{Effective, Ledger, Observed};

/// What to do, and what cannot be done yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of execution.
    pub steps: Vec<Step>,
    /// What is wanted but has to wait for something.
    pub waiting: Vec<Waiting>,
}

impl Plan {
    /// The plan as people read it.
    pub fn view(&self) -> PlanView {
        PlanView {
            steps: self.steps.iter().map(Step::line).collect(),
            waiting: self.waiting.clone(),
        }
    }
}

/// What has to be observed to plan for this configuration.
pub fn query(effective: &Effective) -> Query {
    let _ = effective;
    Query::default()
}

/// The steps from what is there to what is wanted. An empty [`Effective`] gives back the host as it was.
pub fn plan(effective: &Effective, observed: &Observed, ledger: &Ledger) -> Plan {
    let _ = (effective, observed, ledger);
    Plan::default()
}

/// The ledger as it must stand on disk before `plan` is executed.
pub fn record(ledger: &Ledger, plan: &Plan, observed: &Observed) -> Ledger {
    let _ = (plan, observed);
    ledger.clone()
}

/// The ledger after a plan was executed: entries that were restored are forgotten.
pub fn settle(ledger: &Ledger, effective: &Effective, observed: &Observed) -> Ledger {
    let _ = (effective, observed);
    ledger.clone()
}

/// The captured addresses that this node answers and announces by ARP, by capture interface; the value
/// says whether to announce it when it becomes active.
pub fn responders(
    effective: &Effective,
    observed: &Observed,
) -> BTreeMap<IfName, BTreeMap<MobileAddress, bool>> {
    let _ = (effective, observed);
    BTreeMap::new()
}
