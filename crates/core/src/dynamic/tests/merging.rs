//! Merging with a loader that knows only names.

use std::collections::BTreeSet;

use api::control::{Config, SourceFile};
use api::plugin::{Directive, DirectiveOp, DirectiveTarget, Metadata, ResourceDocument};
use api::time::Timestamp;
use api::{Diagnostic, Place, ResourceId};

use crate::Effective;
use crate::config::Loaded;
use crate::dynamic::merge::merge_by;
use crate::dynamic::*;
use crate::effective::Declared;

const T0: u64 = 1_780_000_000_000;
const MINUTE: u64 = 60_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(T0 + millis)
}

fn startup() -> Config {
    Config {
        files: vec![SourceFile {
            name: "router.yaml".into(),
            text: "RemoteAddressClaim/static".into(),
        }],
    }
}

/// A loader for files that are lists of ids, or JSON documents of parts. A resource called `bad` is an error at
/// its place, one called `breaks-startup` an error in the startup file.
fn loader(config: &Config, others: Vec<SourceFile>, masked: &BTreeSet<ResourceId>) -> Loaded {
    let mut effective = Effective::default();
    let mut diagnostics = Vec::new();
    for file in config.files.iter().chain(&others) {
        for text in file.text.split("\n---\n") {
            let id = match serde_json::from_str::<ResourceDocument>(text) {
                Ok(document) => ResourceId::new(document.kind, document.metadata.name),
                Err(_) => {
                    let (kind, name) = text.split_once('/').expect("kind/name");
                    ResourceId::new(kind, name)
                }
            };
            let place = |file: &str| Place {
                file: file.into(),
                line: 1,
                column: 1,
            };
            match id.name.as_str() {
                "bad" => diagnostics.push(Diagnostic::error("bad", "is bad").at(place(&file.name))),
                "breaks-startup" => {
                    diagnostics.push(Diagnostic::error("broken", "broken").at(place("router.yaml")))
                }
                _ => {}
            }
            if !masked.contains(&id) {
                let declared = Declared {
                    api_version: String::new(),
                    labels: Default::default(),
                    annotations: Default::default(),
                    spec: serde_json::Value::Null,
                    place: None,
                };
                effective.resources.insert(id, declared);
            }
        }
    }
    let resources = effective.resources.len();
    let effective = diagnostics.is_empty().then_some(effective);
    Loaded {
        effective,
        diagnostics,
        resources,
    }
}

fn resource(kind: &str, name: &str) -> ResourceDocument {
    let metadata = Metadata {
        name: name.into(),
        labels: Default::default(),
        annotations: Default::default(),
    };
    ResourceDocument {
        api_version: "hybrid.routerd.net/v1alpha1".into(),
        kind: kind.into(),
        metadata,
        spec: serde_json::json!({}),
    }
}

fn claims(source: &str, generation: u64, names: &[&str]) -> Part {
    Part {
        source: source.into(),
        generation,
        observed_at: at(0),
        expires_at: Some(at(MINUTE)),
        resources: names
            .iter()
            .map(|name| resource("RemoteAddressClaim", name))
            .collect(),
        ..Part::default()
    }
}

fn masking(part: Part, name: &str) -> Part {
    let target = DirectiveTarget {
        api_version: "hybrid.routerd.net/v1alpha1".into(),
        kind: "RemoteAddressClaim".into(),
        name: name.into(),
    };
    let directive = Directive {
        op: DirectiveOp::Mask,
        target,
        reason: Some("drill".into()),
    };
    Part {
        directives: vec![directive],
        ..part
    }
}

fn merged(parts: &[Part], policies: &Policies, now: Timestamp) -> Merged {
    let base = loader(&startup(), Vec::new(), &BTreeSet::new());
    let base = Effective {
        permissions: policies.clone(),
        ..base.effective.expect("startup")
    };
    let parts: Vec<_> = parts.iter().cloned().map(std::sync::Arc::new).collect();
    merge_by(&startup(), &base, &parts, now, &loader)
}

fn names(merged: &Merged) -> Vec<&str> {
    let resources = merged.effective.resources.keys();
    resources.map(|id| id.name.as_str()).collect()
}

fn quarantined(merged: &Merged) -> Vec<&str> {
    let parts = merged.merge.parts.iter();
    parts
        .filter(|p| matches!(p.state, PartState::Quarantined(_)))
        .map(|p| p.part.source.as_str())
        .collect()
}

#[test]
fn parts_are_added_and_the_newest_generation_of_a_source_replaces_the_older() {
    let parts = [
        claims("a", 1, &["old"]),
        claims("a", 2, &["new"]),
        claims("b", 1, &["other"]),
    ];
    let result = merged(&parts, &Policies::default(), at(1));
    assert_eq!(names(&result), ["new", "other", "static"]);
    assert_eq!(result.merge.parts[0].state, PartState::Superseded);
    assert_eq!(result.merge.next_change, Some(at(MINUTE)));
}

#[test]
fn an_expired_part_is_held_ten_times_its_life_and_an_hour_at_most() {
    let part = claims("a", 1, &["x"]);
    let state = |part: &Part, now| {
        merged(std::slice::from_ref(part), &Policies::default(), now)
            .merge
            .parts[0]
            .state
            .clone()
    };
    assert_eq!(state(&part, at(MINUTE - 1)), PartState::Active);
    assert_eq!(state(&part, at(MINUTE)), PartState::Held);
    assert_eq!(state(&part, at(11 * MINUTE - 1)), PartState::Held);
    assert_eq!(state(&part, at(11 * MINUTE)), PartState::Expired);
    let long = Part {
        expires_at: Some(at(600 * MINUTE)),
        ..part.clone()
    };
    assert_eq!(state(&long, at(659 * MINUTE)), PartState::Held);
    assert_eq!(state(&long, at(660 * MINUTE)), PartState::Expired);
    let ended = Part {
        ended_at: Some(at(5)),
        ..part.clone()
    };
    assert_eq!(state(&ended, at(5)), PartState::Expired);
    let eternal = Part {
        expires_at: None,
        ..part
    };
    assert_eq!(state(&eternal, Timestamp::MAX), PartState::Active);
}

#[test]
fn a_mask_needs_permission_and_suppresses_while_it_stands() {
    let part = masking(claims("a", 1, &[]), "static");
    let refused = merged(std::slice::from_ref(&part), &Policies::default(), at(1));
    assert_eq!(
        (names(&refused), quarantined(&refused)),
        (vec!["static"], vec!["a"])
    );
    let target = MaskTarget {
        kind: "RemoteAddressClaim".into(),
        name: None,
    };
    let allow = AllowMasks {
        source: "a".into(),
        targets: vec![target],
    };
    let policies = Policies {
        masks: vec![allow],
        ..Policies::default()
    };
    let allowed = merged(std::slice::from_ref(&part), &policies, at(1));
    assert!(names(&allowed).is_empty());
    let mask = &allowed.merge.masked[&ResourceId::new("RemoteAddressClaim", "static")];
    assert_eq!(
        (mask.source.as_str(), mask.reason.as_deref()),
        ("a", Some("drill"))
    );
    assert_eq!(
        names(&merged(&[part], &policies, at(60 * MINUTE))),
        ["static"]
    );
}

#[test]
fn a_source_adds_claims_unless_its_policy_says_otherwise_and_never_authority() {
    let plugin = Part {
        resources: vec![resource("Plugin", "evil")],
        ..claims("a", 1, &[])
    };
    let route = Part {
        resources: vec![resource("HybridRoute", "r")],
        ..claims("b", 1, &[])
    };
    let allow = |source: &str, kind: &str| AllowResources {
        source: source.into(),
        kinds: vec![kind.into()],
    };
    let none = merged(
        &[plugin.clone(), route.clone()],
        &Policies::default(),
        at(1),
    );
    assert_eq!(quarantined(&none), ["a", "b"]);
    let policies = Policies {
        resources: vec![
            allow("a", "Plugin"),
            allow("b", "HybridRoute"),
            allow("c", "HybridRoute"),
        ],
        ..Policies::default()
    };
    let some = merged(&[plugin, route, claims("c", 1, &["x"])], &policies, at(1));
    assert_eq!(quarantined(&some), ["a", "c"]);
    assert_eq!(names(&some), ["r", "static"]);
}

#[test]
fn whoever_is_wrong_is_quarantined_alone() {
    let wrong = [
        ("garbage", claims("z", 1, &["bad"])),
        ("startup identity", claims("z", 1, &["static"])),
        ("breaks another file", claims("z", 1, &["breaks-startup"])),
        (
            "identity of an earlier source",
            Part {
                observed_at: at(1),
                ..claims("z", 1, &["x"])
            },
        ),
    ];
    for (what, part) in wrong {
        let result = merged(
            &[claims("a", 1, &["x"]), part, claims("zz", 1, &["y"])],
            &Policies::default(),
            at(2),
        );
        assert_eq!(quarantined(&result), ["z"], "{what}");
        assert_eq!(names(&result), ["static", "x", "y"], "{what}");
    }
}

#[test]
fn the_order_in_which_parts_arrive_does_not_matter() {
    let parts = [
        claims("a", 1, &["x"]),
        claims("a", 2, &["y"]),
        Part {
            observed_at: at(1),
            ..claims("b", 1, &["y"])
        },
        claims("c", 1, &["bad"]),
    ];
    let first = merged(&parts, &Policies::default(), at(1));
    let mut backwards = parts.to_vec();
    backwards.reverse();
    let second = merged(&backwards, &Policies::default(), at(1));
    assert_eq!(first.merge.parts, second.merge.parts);
    assert_eq!(names(&first), names(&second));
}

#[test]
fn a_source_with_a_subject_has_the_rights_of_the_source() {
    let part = claims("EventSubscription/a:10.77.60.9/32", 1, &["x"]);
    let part = Part {
        resources: vec![resource("HybridRoute", "r")],
        ..part
    };
    let rule = AllowResources {
        source: "EventSubscription/a".into(),
        kinds: vec!["HybridRoute".into()],
    };
    let policies = Policies {
        resources: vec![rule],
        ..Policies::default()
    };
    assert_eq!(names(&merged(&[part], &policies, at(1))), ["r", "static"]);
}

#[test]
fn of_rivals_the_latest_word_goes_and_a_refresh_loses_nothing() {
    let holder = Part {
        observed_at: at(9),
        held_since: [(ResourceId::new("RemoteAddressClaim", "x"), at(0))].into(),
        ..claims("a", 2, &["x"])
    };
    let rival = Part {
        observed_at: at(1),
        ..claims("b", 1, &["x", "y"])
    };
    // Its only rival is out already: it stays.
    let third = Part {
        observed_at: at(2),
        ..claims("c", 1, &["y"])
    };
    let result = merged(&[holder, rival, third], &Policies::default(), at(10));
    assert_eq!(quarantined(&result), ["b", "c"]);
    let PartState::Quarantined(reasons) = &result.merge.parts[1].state else {
        panic!("quarantined");
    };
    assert_eq!(reasons, &["RemoteAddressClaim/x of b is held by a"]);
}

#[test]
fn what_does_not_match_its_digest_or_failed_on_the_host_is_quarantined() {
    let wrong = Part {
        digest: Some(Digest::of(&claims("a", 1, &["other"]))),
        ..claims("a", 1, &["x"])
    };
    let refused = Part {
        refused: Some("the host refused it".into()),
        ..claims("b", 1, &["y"])
    };
    let right = claims("c", 1, &["z"]);
    let right = Part {
        digest: Some(Digest::of(&right)),
        ..right
    };
    let result = merged(&[wrong, refused, right], &Policies::default(), at(1));
    assert_eq!(quarantined(&result), ["a", "b"]);
    assert_eq!(names(&result), ["static", "z"]);
}

#[test]
fn one_bad_part_among_a_thousand_costs_a_few_loads() {
    let loads = std::cell::Cell::new(0);
    let counting = |config: &Config, others: Vec<SourceFile>, masked: &BTreeSet<ResourceId>| {
        loads.set(loads.get() + 1);
        loader(config, others, masked)
    };
    let part = |n: usize| {
        let name = if n == 700 {
            "breaks-startup".to_owned()
        } else {
            format!("c{n}")
        };
        std::sync::Arc::new(claims(&format!("s{n:04}"), 1, &[&name]))
    };
    let parts: Vec<_> = (0..1000).map(part).collect();
    let base = loader(&startup(), Vec::new(), &BTreeSet::new());
    let base = base.effective.expect("startup");
    let result = merge_by(&startup(), &base, &parts, at(1), &counting);
    assert_eq!(quarantined(&result), ["s0700"]);
    assert!(loads.get() <= 16, "{} loads", loads.get());
}
