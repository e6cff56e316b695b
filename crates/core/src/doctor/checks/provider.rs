//! What the cloud provider has is what is asked of it: NIC flag, secondary address, route entry.

use std::collections::BTreeMap;

use api::action::plan::{ActionPlan, Facts, Verb};
use api::action::protocol::Effect;
use api::plugin::Capability;

use super::hybrid;
use crate::action::{Book, intents};
use crate::doctor::answer::{Answer, Looked};
use crate::doctor::findings::{Entry, Findings, Tally};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = hybrid("provider", check);

/// Facts that are longer are whole representations.
const LONGEST_FACT: usize = 120;

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let wanted = intents(scene.effective, "", &Book::default(), false).plans;
    let mut unanswered = BTreeMap::<String, usize>::new();
    let mut tallies = BTreeMap::<String, Tally>::new();
    for plan in &wanted {
        match scene.runtime.providers.get(&plan.idempotency_key) {
            Some(answer) => {
                let tally = tallies.entry(plan.provider_ref.clone()).or_default();
                judge(plan, answer, tally, findings);
            }
            None => *unanswered.entry(plan.provider.executor()).or_default() += 1,
        }
    }
    for (profile, tally) in tallies {
        tally.finish(findings, format!("CloudProviderProfile/{profile}"));
    }
    for (executor, count) in unanswered {
        findings.skip("provider", silence(scene, &executor, count));
    }
    if wanted.is_empty() {
        findings.skip("provider", "nothing is asked of a provider here");
    }
}

/// Why nothing is known.
fn silence(scene: &Scene<'_>, executor: &str, count: usize) -> String {
    let may = Capability::ExecuteProviderAction;
    let plugin = scene.effective.plugins.get(executor);
    if plugin.is_none_or(|plugin| !plugin.capabilities.contains(&may)) {
        format!("provider state not observable: no Plugin/{executor} with execute.providerAction")
    } else if !scene.runtime.daemon {
        format!("provider state not observed: the daemon is down, and only it asks {executor}")
    } else {
        format!("provider state not observed yet: {executor} has not answered for {count}")
    }
}

fn judge(plan: &ActionPlan, answer: &Answer, tally: &mut Tally, findings: &mut Findings) {
    let subject = subject(plan);
    let looked = match &answer.said {
        Ok(looked) => looked,
        Err(why) => {
            let detail = format!("{} cannot tell: {why}", plan.provider.executor());
            let remedy = format!("routerctl action preflight {}", plan.provider_ref);
            return findings.warn(subject, detail, remedy);
        }
    };
    let seen = format!("{}, seen {}s ago", words(plan, looked), answer.age);
    match looked.effect {
        Effect::Present => tally.pass(subject, seen),
        Effect::Absent | Effect::Partial => {
            tally.fail(findings, subject, seen, "routerctl action list");
        }
    }
}

/// The resource that asks for it.
fn subject(plan: &ActionPlan) -> String {
    match plan.name.split_once('/') {
        Some((owner, _)) if plan.target.address.is_some() => format!("RemoteAddressClaim/{owner}"),
        _ => format!("CloudProviderProfile/{}", plan.provider_ref),
    }
}

fn words(plan: &ActionPlan, looked: &Looked) -> String {
    let address = plan
        .target
        .address
        .map(|address| address.addr().to_string());
    let address = address.unwrap_or_default();
    let words = match (plan.action, looked.effect) {
        (_, Effect::Partial) => format!("a change of {address} stopped half-way"),
        (Verb::EnsureForwardingEnabled, Effect::Present) => "the NIC may forward".to_owned(),
        (Verb::EnsureForwardingEnabled, Effect::Absent) => "the NIC may not forward".to_owned(),
        (Verb::AssignSecondaryIp, Effect::Present) => format!("{address} is assigned to the NIC"),
        (Verb::AssignSecondaryIp, Effect::Absent) => {
            format!("{address} is not assigned to the NIC")
        }
        (Verb::EnsureRoute, Effect::Present) => format!("a route sends {address} here"),
        (Verb::EnsureRoute, Effect::Absent) => format!("no route sends {address} here"),
        (verb, Effect::Present) => format!("{verb} is done"),
        (verb, Effect::Absent) => format!("{verb} is not done"),
    };
    let facts = short(&looked.facts);
    if looked.effect == Effect::Present || facts.is_empty() {
        words
    } else {
        format!("{words} ({facts})")
    }
}

fn short(facts: &Facts) -> Facts {
    let facts = facts
        .0
        .iter()
        .filter(|(_, value)| value.len() <= LONGEST_FACT && !value.starts_with('{'));
    Facts(
        facts
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}
