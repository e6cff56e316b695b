//! The kernel has the routes of the best paths.

use super::bgp;
use crate::doctor::findings::{Entry, Findings, Tally};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = bgp("bgp-fib", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let (Some(intent), Some(view)) = (&scene.effective.bgp, &scene.runtime.speaker) else {
        return;
    };
    let mut tally = Tally::default();
    for (prefix, why) in &view.refused {
        let remedy = format!("ip route show {prefix}");
        tally.fail(
            findings,
            prefix,
            format!("not in the kernel: {why}"),
            remedy,
        );
    }
    if view.refused.is_empty() && intent.speaker.fib {
        tally.pass(
            &intent.owner,
            format!("{} routes installed", view.installed),
        );
    }
    tally.finish(findings, &intent.owner);
}
