//! Sources run their plugins, and in time.

use super::dynamic;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = dynamic("dynamic-source", check);

/// A run that is this many intervals late is missing.
const LATE: u64 = 3;
/// Whatever the interval, this much is not late, in milliseconds: plugins take their time.
const SLACK: u64 = 60_000;

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let state = &scene.runtime.dynamic;
    for intent in scene.effective.sources.values() {
        let Some(every) = intent.every else { continue };
        let remedy = format!("routerctl plugin run {} --dry-run", intent.plugin);
        let Some(run) = state.runs.get(&intent.owner.to_string()) else {
            if scene.runtime.daemon {
                findings.warn(&intent.owner, "its plugin never ran", remedy);
            }
            continue;
        };
        let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        let age = state.now.millis_since(run.began_at);
        if let Some(message) = &run.message {
            let detail = format!("{} runs in a row failed: {message}", run.failures);
            findings.warn(&intent.owner, detail, remedy);
        } else if age > every.saturating_mul(LATE).saturating_add(SLACK) {
            let detail = format!("its plugin ran last at {}", run.began_at);
            findings.warn(&intent.owner, detail, "systemctl status routerd");
        } else {
            findings.pass(&intent.owner, format!("ran at {}", run.began_at));
        }
    }
}
