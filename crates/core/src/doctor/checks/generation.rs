//! A configuration is in force.

use super::runtime;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = runtime("generation", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    match scene.runtime.generation {
        Some(generation) => {
            findings.pass("routerd", format!("generation {generation} is in force"))
        }
        None => findings.warn(
            "routerd",
            "no configuration is in force",
            format!("routerctl apply -f {}", api::control::DEFAULT_CONFIG),
        ),
    }
}
