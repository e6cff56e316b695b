//! The daemon runs: without it traffic flows on, but nothing is repaired.

use super::runtime;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = runtime("daemon", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    if scene.runtime.daemon {
        findings.pass("routerd", "the daemon answers");
    } else {
        let detail = "the daemon does not answer: what breaks is not repaired";
        findings.warn("routerd", detail, "systemctl start routerd");
    }
}
