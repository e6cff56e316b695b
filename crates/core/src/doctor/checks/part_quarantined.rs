//! No part of the dynamic configuration is quarantined.

use api::dynamic::PartStatus;

use super::dynamic;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = dynamic("part-quarantined", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let parts = &scene.runtime.dynamic.parts;
    let mut counting = 0;
    for part in parts {
        match part.status {
            PartStatus::Active | PartStatus::Held => counting += 1,
            PartStatus::Expired | PartStatus::Superseded => {}
            PartStatus::Quarantined => {
                let detail = format!(
                    "generation {} does not count: {}",
                    part.generation,
                    part.reasons.join("; ")
                );
                let remedy = format!("routerctl dynamic describe {}", part.source);
                findings.warn(&part.source, detail, remedy);
            }
        }
    }
    let effective = scene.effective;
    let awaited = !effective.sources.is_empty() || !effective.federation.subscriptions.is_empty();
    if parts.is_empty() && awaited {
        findings.skip("dynamic configuration", "no source has said anything");
    } else if counting > 0 {
        findings.pass("dynamic configuration", format!("{counting} parts count"));
    }
}
