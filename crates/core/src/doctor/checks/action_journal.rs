//! The journal of provider actions is as it was written.

use super::runtime;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = runtime("action-journal", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    match &scene.runtime.journal_fault {
        Some(fault) => {
            let remedy = "routerctl action journal --verify";
            findings.fail("routerd", fault.as_str(), remedy);
        }
        // Only the daemon reads it.
        None if scene.runtime.daemon => {
            findings.pass(
                "routerd",
                "every row of the action journal is as it was written",
            );
        }
        None => {}
    }
}
