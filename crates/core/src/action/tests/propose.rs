use std::collections::BTreeMap;

use api::action::journal::State;
use api::action::plan::Verb;
use api::{MobileAddress, ResourceId};
use serde_json::json;

use super::lab::Lab;
use crate::Effective;
use crate::action::{Run, intents, profiles, withdrawals};
use crate::effective::{CaptureIntent, CaptureMethod, Declared, DeliveryIntent};

fn secondary_ip(nic: Option<&str>) -> CaptureMethod {
    CaptureMethod::ProviderSecondaryIp {
        provider: Some(ResourceId::new("CloudProviderProfile", "main")),
        nic_ref: nic.map(str::to_owned),
    }
}

fn with(captures: &[(&str, CaptureMethod)]) -> Effective {
    let capture = |(address, method): &(&str, CaptureMethod)| {
        let address: MobileAddress = address.parse().expect("an address");
        let intent = CaptureIntent {
            owner: ResourceId::new("RemoteAddressClaim", format!("claim-{}", address.addr())),
            domain: "10.77.60.0/24".parse().expect("a prefix"),
            interface: None,
            tunnel: "wg-hybrid".parse().expect("a name"),
            delivery: DeliveryIntent::Route,
            method: method.clone(),
        };
        (address, intent)
    };
    let spec = json!({"provider": "azure", "subscriptionID": "s", "capabilities": ["route-table"]});
    let declared = Declared {
        api_version: "hybrid.routerd.net/v1alpha1".to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        spec,
        place: None,
    };
    Effective {
        resources: [(ResourceId::new("CloudProviderProfile", "main"), declared)].into(),
        captures: captures.iter().map(capture).collect(),
        ..Effective::default()
    }
}

impl Lab {
    fn follow(&mut self, effective: &Effective, again: bool) {
        let intents = intents(effective, "routerd-cloud", &self.book, again);
        self.decisions = intents.decisions;
        for (action, event) in withdrawals(&self.book, &self.decisions) {
            self.write(action, &event);
        }
        for plan in &intents.plans {
            self.import(plan);
        }
    }

    fn actions(&self) -> Vec<(Verb, State)> {
        self.book
            .actions()
            .map(|action| (action.plan.action, action.state))
            .collect()
    }
}

#[test]
fn claims_ask_for_forwarding_once_and_for_each_address() {
    let effective = with(&[
        ("10.77.60.9", secondary_ip(Some("nic"))),
        ("10.77.60.10", secondary_ip(Some("nic"))),
        (
            "10.77.60.11",
            CaptureMethod::RouteTable {
                provider: Some(ResourceId::new("CloudProviderProfile", "main")),
            },
        ),
        ("10.77.60.12", CaptureMethod::ProxyArp { gratuitous: true }),
        ("10.77.60.13", CaptureMethod::RouteTable { provider: None }),
    ]);
    let mut lab = Lab::default();
    lab.follow(&effective, false);
    assert_eq!(
        lab.book
            .actions()
            .map(|a| (a.plan.action, a.plan.target.nic_ref.clone()))
            .collect::<Vec<_>>(),
        [
            (Verb::EnsureForwardingEnabled, Some("nic".to_owned())),
            (Verb::AssignSecondaryIp, Some("nic".to_owned())),
            (Verb::AssignSecondaryIp, Some("nic".to_owned())),
            (Verb::EnsureForwardingEnabled, None),
            (Verb::EnsureRoute, None),
        ]
    );
    let rows = lab.rows.len();
    lab.follow(&effective, false);
    assert_eq!(lab.rows.len(), rows, "asking again writes nothing");
    assert_eq!(
        profiles(&effective)["main"]
            .executor
            .subscription_id
            .as_deref(),
        Some("s")
    );
}

#[test]
fn forwarding_stays_until_the_last_claim_leaves() {
    let one = secondary_ip(Some("nic"));
    let both = with(&[("10.77.60.9", one.clone()), ("10.77.60.10", one.clone())]);
    let mut lab = Lab::default();
    lab.follow(&both, false);
    lab.drive(Run::automatic());
    lab.follow(&with(&[("10.77.60.10", one)]), false);
    lab.drive(Run::automatic());
    assert_eq!(
        lab.actions(),
        [
            (Verb::EnsureForwardingEnabled, State::Succeeded),
            (Verb::AssignSecondaryIp, State::RolledBack),
            (Verb::AssignSecondaryIp, State::Succeeded),
        ]
    );
    lab.follow(&with(&[]), false);
    lab.drive(Run::automatic());
    assert!(
        lab.actions()
            .iter()
            .all(|(_, state)| *state == State::RolledBack),
        "{:?}",
        lab.actions()
    );
    assert_eq!(lab.cloud, super::lab::Cloud::default());
}

#[test]
fn an_intent_that_comes_back_is_a_new_generation() {
    let effective = with(&[("10.77.60.9", secondary_ip(Some("nic")))]);
    let mut lab = Lab::default();
    for _ in 0..2 {
        lab.follow(&effective, false);
        lab.drive(Run::automatic());
        lab.follow(&Effective::default(), false);
        lab.drive(Run::automatic());
    }
    lab.follow(&effective, false);
    let generations: BTreeMap<_, _> = lab
        .book
        .actions()
        .map(|a| ((a.plan.action, a.plan.generation), a.state))
        .collect();
    assert_eq!(
        generations[&(Verb::AssignSecondaryIp, 2)],
        State::RolledBack
    );
    assert_eq!(generations[&(Verb::AssignSecondaryIp, 3)], State::Pending);
}

#[test]
fn what_a_person_rolled_back_rests_until_asked_for() {
    let effective = with(&[("10.77.60.9", secondary_ip(Some("nic")))]);
    let mut lab = Lab::default();
    lab.follow(&effective, false);
    lab.drive(lab.execute(&[]));
    lab.drive(lab.rollback(&[]));
    lab.follow(&effective, false);
    assert_eq!(lab.book.actions().count(), 2);
    lab.follow(&effective, true);
    assert_eq!(
        lab.book
            .actions()
            .filter(|action| action.state == State::Pending)
            .count(),
        2
    );
}

#[test]
fn a_claim_that_returns_before_it_was_taken_back_is_not_interrupted() {
    let effective = with(&[("10.77.60.9", secondary_ip(Some("nic")))]);
    let mut lab = Lab::default();
    lab.follow(&effective, false);
    lab.drive(Run::automatic());
    lab.follow(&Effective::default(), false);
    lab.follow(&effective, false);
    let started = lab.drive(Run::automatic());
    assert!(
        started.iter().all(|(id, _)| *id > 2),
        "the old ones are not rolled back: {started:?}"
    );
    assert_eq!(lab.cloud.assigned.len(), 1);
    // And the new ones still know what it was like before the old ones.
    lab.drive(lab.rollback(&[3, 4]));
    assert_eq!(lab.cloud, super::lab::Cloud::default());
}
