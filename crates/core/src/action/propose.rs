//! The actions that the configuration itself asks for: claims whose capture is in a cloud.

use std::collections::BTreeMap;

use api::action::journal::{Event, State};
use api::action::plan::{ActionPlan, Decision, Facts, Parameters, RiskLevel, Target, Undo, Verb};
use api::{MobileAddress, ResourceId};
use serde_json::json;

use super::book::Book;
use super::chain::{canonical, sha256};
use super::profile::{Profile, profiles};
use super::schedule::{give_up, outdated};
use crate::Effective;
use crate::effective::{CaptureIntent, CaptureMethod};

/// What the configuration asks of the clouds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intents {
    /// Plans to import: importing them again changes nothing.
    pub plans: Vec<ActionPlan>,
    /// The decisions that they follow, by subject.
    pub decisions: BTreeMap<String, Decision>,
}

/// What the captures of `effective` ask for, on the router called `node`. With `again`, intents whose last
/// action was rolled back or skipped get a new one; otherwise those rest until they went away and came back.
pub fn intents(effective: &Effective, node: &str, book: &Book, again: bool) -> Intents {
    let profiles = profiles(effective);
    let mut intents = Intents::default();
    for (address, capture) in &effective.captures {
        let Some((verb, provider, nic_ref)) = cloud(capture) else {
            continue;
        };
        let Some(profile) = profiles.get(&provider.name) else {
            continue;
        };
        let forwarding = Target {
            nic_ref: nic_ref.clone(),
            ..Target::default()
        };
        let address = Target {
            nic_ref,
            address: Some(*address),
            ..Target::default()
        };
        for (verb, target) in [(Verb::EnsureForwardingEnabled, forwarding), (verb, address)] {
            let wish = Wish {
                verb,
                target,
                profile,
                provider,
                owner: &capture.owner,
                node,
            };
            wish.add(&mut intents, book, again);
        }
    }
    intents
}

/// The actions whose decision is gone: those that wait are skipped, those that were carried out are to be rolled
/// back.
pub fn withdrawals(book: &Book, decisions: &BTreeMap<String, Decision>) -> Vec<(u64, Event)> {
    let mut events = Vec::new();
    for action in book.open() {
        if action.withdrawn.is_some() || action.flight.is_some() {
            continue;
        }
        if let Some(reason) = outdated(&action.plan, decisions) {
            events.push((action.id, give_up(action, reason)));
        }
    }
    events
}

fn cloud(capture: &CaptureIntent) -> Option<(Verb, &ResourceId, Option<String>)> {
    match &capture.method {
        CaptureMethod::ProxyArp { .. } => None,
        CaptureMethod::ProviderSecondaryIp { provider, nic_ref } => {
            Some((Verb::AssignSecondaryIp, provider.as_ref()?, nic_ref.clone()))
        }
        CaptureMethod::RouteTable { provider } => {
            Some((Verb::EnsureRoute, provider.as_ref()?, None))
        }
    }
}

struct Wish<'a> {
    verb: Verb,
    target: Target,
    profile: &'a Profile,
    provider: &'a ResourceId,
    owner: &'a ResourceId,
    node: &'a str,
}

impl Wish<'_> {
    fn add(self, intents: &mut Intents, book: &Book, again: bool) {
        let decision = self.decision();
        // Many captures need the same NIC to forward.
        if intents
            .decisions
            .insert(decision.subject.clone(), decision.clone())
            .is_some()
        {
            return;
        }
        let idempotency_key = self.key();
        let generation = generation(book, &idempotency_key, again);
        let (name, risk_level) = match self.target.address {
            Some(_) => (format!("{}/{}", self.owner.name, self.verb), RiskLevel::Low),
            None => (
                format!("{}/{}", self.provider.name, self.verb),
                RiskLevel::Medium,
            ),
        };
        intents.plans.push(ActionPlan {
            name,
            provider: self.profile.provider.clone(),
            provider_ref: self.provider.name.clone(),
            action: self.verb,
            target: self.target,
            parameters: Parameters::default(),
            risk_level,
            idempotency_key,
            generation,
            preconditions: Vec::new(),
            expected_effects: Facts::default(),
            undo: Undo::RestorePrior,
            decision: Some(decision),
        });
    }

    /// The whole target is part of the key: another NIC is another intent.
    fn key(&self) -> String {
        let nic = self.target.nic_ref.as_deref().unwrap_or("own-nic");
        let address = self
            .target
            .address
            .map(|address| format!("/{}", address.addr()));
        format!(
            "routerd/{}/{nic}/{}{}",
            self.provider.name,
            self.verb,
            address.unwrap_or_default()
        )
    }

    /// A static claim is decided by the configuration alone: the decision changes when what it asks for does.
    fn decision(&self) -> Decision {
        let asked = json!({
            "action": self.verb,
            "provider": self.profile.provider,
            "providerRef": self.provider.name,
            "target": self.target,
        });
        let mut signature = sha256(&canonical(&asked));
        signature.truncate(16);
        Decision {
            subject: self.subject(),
            holder: self.node.to_owned(),
            signature,
            generation: 1,
        }
    }

    fn subject(&self) -> String {
        let nic = || self.target.nic_ref.as_deref().unwrap_or("own-nic");
        self.target.address.as_ref().map_or_else(
            || format!("forwarding of {} in {}", nic(), self.provider.name),
            MobileAddress::to_string,
        )
    }
}

fn generation(book: &Book, key: &str, again: bool) -> u64 {
    let Some(latest) = book.latest(key) else {
        return 1;
    };
    let over = matches!(latest.state, State::RolledBack | State::Skipped);
    let came_back = latest.withdrawn.is_some() || (again && over);
    latest.plan.generation + u64::from(came_back)
}
