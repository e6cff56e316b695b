//! No part of the dynamic configuration counts although its time is over.

use api::dynamic::PartStatus;

use super::dynamic;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = dynamic("part-held", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let parts = scene.runtime.dynamic.parts.iter();
    for part in parts.filter(|part| part.status == PartStatus::Held) {
        let (Some(expired), Some(until)) = (part.expires_at, part.held_until) else {
            continue;
        };
        let detail = format!("nothing was heard since it expired at {expired}; it goes at {until}");
        let remedy = match (&part.event, &part.plugin) {
            (Some(_), _) => "routerctl federation event list".to_owned(),
            (None, Some(plugin)) => format!("routerctl plugin run {plugin} --dry-run"),
            (None, None) => format!("routerctl dynamic describe {}", part.source),
        };
        findings.warn(&part.source, detail, remedy);
    }
}
