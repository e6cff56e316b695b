//! No address is announced by two owners that nothing ranks.

use super::bgp;
use crate::doctor::findings::{Entry, Findings, Tally};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = bgp("bgp-rivals", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let (Some(intent), Some(_)) = (&scene.effective.bgp, &scene.runtime.speaker) else {
        return;
    };
    let mut tally = Tally::default();
    for rivals in &scene.runtime.rivals {
        let [used, other] = rivals.next_hops;
        let detail = format!(
            "announced by {used} and by {other} with the same preference: {used} is used, by chance"
        );
        let remedy = format!("routerctl describe bgp {}", rivals.prefix.address());
        tally.fail(findings, rivals.prefix, detail, remedy);
    }
    if scene.runtime.rivals.is_empty() {
        tally.pass(&intent.owner, "no address has two owners of one rank");
    }
    tally.finish(findings, &intent.owner);
}
