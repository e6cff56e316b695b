//! The reconcile loop succeeds.

use super::runtime;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = runtime("reconcile", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    match &scene.runtime.last_error {
        Some(error) => findings.fail("routerd", error.as_str(), "routerctl plan"),
        None if scene.runtime.daemon => findings.pass("routerd", "the last pass succeeded"),
        None => {}
    }
}
