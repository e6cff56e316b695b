//! What became of each resource: where it stands, why, and what was observed of it.

mod capture;
mod device;

pub(crate) use device::{is_alive, mac_words};

use std::collections::BTreeMap;

use api::ResourceId;
use api::status::{Phase, ResourceStatus};
use serde_json::Value;

use crate::effective::{RouteIntent, RouteKey};
use crate::host::{Host, target_words};
use crate::plan::{Desired, resolve};
use crate::{Effective, Ledger, Observed, Plan};

/// The status of every resource, in order of kind and name.
pub fn status(effective: &Effective, observed: &Observed, plan: &Plan) -> Vec<ResourceStatus> {
    let host = Host::new(observed, Ledger::nothing());
    let desired = resolve(effective, &host);
    let scene = Scene {
        effective,
        host: &host,
        desired: &desired,
    };
    let mut reports = Reports::default();
    device::report_interfaces(&scene, &mut reports);
    device::report_tunnels(&scene, &mut reports);
    device::report_plain_tunnels(&scene, &mut reports);
    device::report_paths(&scene, &mut reports);
    capture::report_captures(&scene, &mut reports);
    report_addresses(&scene, &mut reports);
    report_routes(&scene, &mut reports);
    let open = Open::new(plan);
    let ids = effective.resources.keys();
    ids.map(|id| reports.conclude(id, &open)).collect()
}

/// What a status is made from.
struct Scene<'a> {
    effective: &'a Effective,
    host: &'a Host<'a>,
    desired: &'a Desired<'a>,
}

/// What is known about each resource.
#[derive(Default)]
struct Reports<'a>(BTreeMap<&'a ResourceId, About>);

/// What is known about one resource.
#[derive(Default)]
struct About {
    problem: Option<String>,
    words: Vec<String>,
    facts: BTreeMap<String, Value>,
}

impl About {
    /// Says what the resource became.
    fn say(&mut self, words: impl Into<String>) {
        self.words.push(words.into());
    }

    /// Notes a fact.
    fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    /// Notes what is wrong; the first counts.
    fn problem(&mut self, problem: impl Into<String>) {
        self.problem.get_or_insert_with(|| problem.into());
    }
}

impl<'a> Reports<'a> {
    fn about(&mut self, id: &'a ResourceId) -> &mut About {
        self.0.entry(id).or_default()
    }

    /// Waiting beats what is left to do, that beats problems.
    fn conclude(&mut self, id: &'a ResourceId, open: &Open<'_>) -> ResourceStatus {
        let about = self.0.remove(id).unwrap_or_default();
        let (phase, message) = match (open.waiting.get(id), open.steps.get(id), about.problem) {
            (Some(reason), _, _) => (Phase::Pending, (*reason).to_owned()),
            (None, Some((count, first)), _) => {
                let more = count.saturating_sub(1);
                (
                    Phase::Pending,
                    with_more(&format!("not applied: {first}"), more),
                )
            }
            (None, None, Some(problem)) => (Phase::Degraded, problem),
            (None, None, None) => {
                let more = about.words.len().saturating_sub(1);
                let first = about.words.first().map_or("", String::as_str);
                (Phase::Ready, with_more(first, more))
            }
        };
        ResourceStatus {
            id: id.clone(),
            phase,
            message,
            facts: about.facts,
        }
    }
}

fn with_more(first: &str, more: usize) -> String {
    match more {
        0 => first.to_owned(),
        more => format!("{first} and {more} more"),
    }
}

/// What a plan leaves open, by owner.
struct Open<'a> {
    waiting: BTreeMap<&'a ResourceId, &'a str>,
    steps: BTreeMap<&'a ResourceId, (usize, String)>,
}

impl<'a> Open<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut waiting = BTreeMap::new();
        for wait in &plan.waiting {
            waiting.entry(&wait.owner).or_insert(wait.reason.as_str());
        }
        let mut steps: BTreeMap<_, (usize, String)> = BTreeMap::new();
        for step in &plan.steps {
            let entry = steps.entry(&step.owner);
            entry.or_insert_with(|| (0, step.to_string())).0 += 1;
        }
        Self { waiting, steps }
    }
}

fn report_addresses<'a>(scene: &Scene<'a>, reports: &mut Reports<'a>) {
    for ((ifname, net), intent) in &scene.effective.addresses {
        // Addresses are one line of the interfaces that list them.
        if intent.owner.kind == "IPv4StaticAddress" {
            reports
                .about(&intent.owner)
                .say(format!("{net} dev {ifname}"));
        }
    }
}

fn report_routes<'a>(scene: &Scene<'a>, reports: &mut Reports<'a>) {
    for (key, intent) in &scene.effective.routes {
        let words = route_words(key, intent);
        reports.about(&intent.owner).say(words);
    }
}

/// `10.77.60.9 dev wg-hybrid metric 120`: a host route without its length, as `ip route` shows it.
pub(crate) fn route_words(key: &RouteKey, intent: &RouteIntent) -> String {
    let destination = key.destination;
    let destination = if destination.prefix_len() == 32 {
        destination.addr().to_string()
    } else {
        destination.to_string()
    };
    let target = target_words(&intent.target);
    format!("{destination} {target} metric {}", key.metric)
}

#[cfg(test)]
mod tests;
