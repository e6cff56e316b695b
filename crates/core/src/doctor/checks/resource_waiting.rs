//! Nothing that the configuration asks for has to wait.

use std::collections::BTreeSet;

use super::host;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = host("resource-waiting", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let mut owners = BTreeSet::new();
    for wait in &scene.plan.waiting {
        if owners.insert(&wait.owner) {
            let remedy = format!("routerctl describe {}", wait.owner);
            findings.fail(&wait.owner, format!("waits: {}", wait.reason), remedy);
        }
    }
    if owners.is_empty() {
        let all = scene.effective.resources.len();
        findings.pass("resources", format!("{all} resources, none waits"));
    }
}
