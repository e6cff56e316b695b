//! The host is as the configuration wants it.

use super::runtime;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::{RESTART, Scene};

pub(super) const CHECK: Entry = runtime("drift", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let steps = &scene.plan.steps;
    match steps.as_slice() {
        [] => findings.pass("host", "nothing is left to do"),
        [first, rest @ ..] => {
            let more = match rest.len() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            let detail = format!("not as wanted: {first}{more}");
            let remedy = if scene.runtime.daemon {
                "routerctl plan"
            } else {
                RESTART
            };
            findings.warn("host", detail, remedy);
        }
    }
}
