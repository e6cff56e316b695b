//! Dynamic parts: they come, go, survive, and never cost more than themselves.

use std::sync::Arc;

use api::control::{Config, SourceFile};
use api::dynamic::PartStatus;
use api::plugin::{Metadata, ResourceDocument};
use api::time::Timestamp;
use routerd_core::dynamic::Part;
use routerd_core::fake::FakeKernel;
use serde_json::json;

use super::super::Outcome;
use crate::testing::{Bench, Daemon, clock, cloud, pass_time};

const MINUTE: u64 = 60_000;

/// A machine at the other site.
fn claim(source: &str, generation: u64, address: &str) -> Part {
    let resource = ResourceDocument {
        api_version: "hybrid.routerd.net/v1alpha1".to_owned(),
        kind: "RemoteAddressClaim".to_owned(),
        metadata: Metadata {
            name: format!("onprem-{}", address.replace('.', "-")),
            labels: Default::default(),
            annotations: Default::default(),
        },
        spec: json!({
            "address": address,
            "ownerSide": "onprem",
            "capture": {"type": "provider-secondary-ip"},
        }),
    };
    Part {
        source: source.to_owned(),
        generation,
        observed_at: clock(),
        expires_at: Some(clock().plus_millis(MINUTE)),
        resources: vec![resource],
        ..Part::default()
    }
}

fn in_force() -> (Bench, Daemon) {
    let bench = Bench::cloud();
    let mut daemon = bench.boot();
    daemon.apply(&cloud()).expect("apply");
    (bench, daemon)
}

fn routed(bench: &Bench, address: &str) -> bool {
    let destination: ipnet::Ipv4Net = format!("{address}/32").parse().expect("prefix");
    let seen = bench.seen();
    seen.routes
        .iter()
        .any(|route| route.key.destination == destination && route.key.table == 254)
}

fn status(daemon: &Daemon) -> Vec<(String, u64, PartStatus)> {
    let parts = daemon.view.parts().into_iter();
    parts.map(|p| (p.source, p.generation, p.status)).collect()
}

#[test]
fn a_part_comes_is_held_and_goes_with_time_alone() {
    let (bench, mut daemon) = in_force();
    let generation = daemon.generation();
    daemon
        .shelf
        .put(&[claim("a", 1, "10.77.60.50")])
        .expect("kept");
    assert!(!routed(&bench, "10.77.60.50"));
    assert_eq!(daemon.repair(), Outcome::Settled);
    assert!(routed(&bench, "10.77.60.50"));
    assert_eq!(daemon.pending(), 0);
    assert!(
        daemon.engine.alarm(std::time::Instant::now()).is_some(),
        "its end wakes the loop"
    );
    pass_time(2 * MINUTE);
    daemon.repair();
    assert_eq!(status(&daemon), [("a".to_owned(), 1, PartStatus::Held)]);
    assert!(routed(&bench, "10.77.60.50"), "it is held");
    pass_time(10 * MINUTE);
    daemon.repair();
    assert!(!routed(&bench, "10.77.60.50"));
    assert_eq!(daemon.generation(), generation);
    let status = daemon.view.status().expect("status");
    assert_eq!(status.repairs, 0, "what is wanted is no repair");
}

#[test]
fn parts_survive_the_daemon_and_the_machine() {
    let (bench, mut daemon) = in_force();
    let fresh = FakeKernel::clone(&bench.host.kernel.lock().expect("host"));
    daemon
        .shelf
        .put(&[claim("a", 1, "10.77.60.50")])
        .expect("kept");
    daemon.repair();
    // Dropped without a word, as by kill -9.
    drop(daemon);
    let executed = bench.meddle(|kernel| kernel.executed);
    let daemon = bench.boot();
    assert_eq!(
        bench.meddle(|kernel| kernel.executed),
        executed,
        "nothing moved"
    );
    assert!(routed(&bench, "10.77.60.50"));
    drop(daemon);
    bench.reboot(&fresh);
    assert!(!routed(&bench, "10.77.60.50"));
    let daemon = bench.boot();
    assert!(routed(&bench, "10.77.60.50"));
    assert_eq!(status(&daemon), [("a".to_owned(), 1, PartStatus::Active)]);
}

#[test]
fn a_part_that_the_host_refuses_goes_alone_and_is_tried_again() {
    let (bench, mut daemon) = in_force();
    let (good, bad) = (
        claim("good", 1, "10.77.60.50"),
        claim("bad", 1, "10.77.60.51"),
    );
    daemon.shelf.put(&[good, bad]).expect("kept");
    // The steps of `bad` come last.
    let steps = daemon_steps(&bench, &mut daemon);
    bench.meddle(|kernel| kernel.fail_at = Some(kernel.executed + steps - 1));
    daemon.repair();
    let quarantined = |daemon: &Daemon| -> Vec<String> {
        let parts = daemon.view.parts().into_iter();
        parts
            .filter(|p| p.status == PartStatus::Quarantined)
            .map(|p| format!("{}: {}", p.source, p.reasons.join("; ")))
            .collect()
    };
    let found = quarantined(&daemon);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("the host refused it"), "{found:?}");
    let both = [routed(&bench, "10.77.60.50"), routed(&bench, "10.77.60.51")];
    assert_eq!(both.iter().filter(|routed| **routed).count(), 1, "{both:?}");
    let status = daemon.view.status().expect("status");
    assert_eq!((status.generation, status.last_error), (Some(1), None));
    pass_time(MINUTE - 1000);
    daemon.repair();
    assert_eq!(quarantined(&daemon).len(), 1);
    pass_time(2000);
    daemon.repair();
    assert!(quarantined(&daemon).is_empty(), "it was tried again");
}

/// How many steps the next pass would do.
fn daemon_steps(bench: &Bench, daemon: &mut Daemon) -> usize {
    let twin = Bench::cloud();
    let mut other = twin.boot();
    other.apply(&cloud()).expect("apply");
    let before = twin.meddle(|kernel| kernel.executed);
    let parts: Vec<Part> = daemon
        .shelf
        .stock()
        .parts
        .iter()
        .map(|part| Part::clone(part))
        .collect();
    other.shelf.put(&parts).expect("kept");
    other.repair();
    assert!(routed(&twin, "10.77.60.51") && !routed(bench, "10.77.60.51"));
    twin.meddle(|kernel| kernel.executed) - before
}

#[test]
fn an_apply_stands_though_a_part_cannot() {
    let bench = Bench::cloud();
    let mut daemon = bench.boot();
    let garbage = Part {
        resources: vec![ResourceDocument {
            kind: "Plugin".to_owned(),
            ..claim("x", 1, "10.77.60.51").resources.remove(0)
        }],
        ..claim("garbage", 1, "10.77.60.51")
    };
    let fine = claim("fine", 1, "10.77.60.50");
    daemon.shelf.put(&[garbage, fine]).expect("kept");
    let report = daemon.apply(&cloud()).expect("apply");
    assert_eq!(report.generation, 1);
    assert!(routed(&bench, "10.77.60.50"));
    let warned = report
        .diagnostics
        .iter()
        .find(|d| d.id == "part-quarantined");
    let warned = warned.expect("a warning").to_string();
    assert!(warned.contains("garbage may not add a Plugin"), "{warned}");
}

#[test]
fn plan_and_dry_run_see_parts() {
    let (_bench, mut daemon) = in_force();
    daemon
        .shelf
        .put(&[claim("a", 1, "10.77.60.50")])
        .expect("kept");
    daemon.repair();
    let report = daemon
        .view
        .plan(Some(&cloud()), |_| Vec::new())
        .expect("plan");
    assert!(report.plan.steps.is_empty(), "{:?}", report.plan.steps);
    let id = api::ResourceId::new("RemoteAddressClaim", "onprem-10-77-60-50");
    let status = daemon.view.status().expect("status");
    assert!(status.resources.iter().any(|status| status.id == id));
}

#[test]
fn the_newest_generation_replaces_the_older_and_few_are_kept() {
    let (bench, mut daemon) = in_force();
    for (generation, address) in
        (1..).zip(["10.77.60.50", "10.77.60.51", "10.77.60.52", "10.77.60.53"])
    {
        daemon
            .shelf
            .put(&[claim("a", generation, address)])
            .expect("kept");
        daemon.repair();
    }
    assert!(!routed(&bench, "10.77.60.50") && routed(&bench, "10.77.60.53"));
    let superseded = PartStatus::Superseded;
    assert_eq!(
        status(&daemon),
        [
            ("a".to_owned(), 2, superseded),
            ("a".to_owned(), 3, superseded),
            ("a".to_owned(), 4, PartStatus::Active),
        ]
    );
    let stored = bench.boot().shelf.stock().parts;
    assert_eq!(stored.len(), 3, "the database keeps the same");
    pass_time(26 * 60 * MINUTE);
    daemon.shelf.prune().expect("pruned");
    daemon.repair();
    assert!(status(&daemon).is_empty());
}

#[test]
fn a_host_that_was_torn_down_carries_no_part() {
    let (bench, mut daemon) = in_force();
    daemon
        .shelf
        .put(&[claim("a", 1, "10.77.60.50")])
        .expect("kept");
    daemon.repair();
    daemon.engine.teardown().expect("teardown");
    daemon.repair();
    assert!(!routed(&bench, "10.77.60.50"));
    assert!(daemon.view.parts().is_empty());
}

#[test]
fn parts_come_into_force_within_a_moment_of_a_real_loop() {
    let file = SourceFile {
        name: "router.yaml".to_owned(),
        text: include_str!("../../../../../examples/two-site-cloud.yaml").to_owned(),
    };
    let config = Config { files: vec![file] };
    let bench = Bench::cloud();
    let mut daemon = bench.boot();
    daemon.apply(&config).expect("apply");
    let (outbox, inbox) = super::super::channel();
    let shelf = Arc::clone(&daemon.shelf);
    let looping = std::thread::spawn(move || super::super::run(daemon.engine, &inbox));
    let short = Part {
        ended_at: Some(Timestamp::from_millis(clock().as_millis() + 400)),
        ..claim("a", 1, "10.77.60.50")
    };
    shelf.put(&[short]).expect("kept");
    outbox.wake("dynamic");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let wait_for = |wanted: bool| {
        while routed(&bench, "10.77.60.50") != wanted {
            assert!(std::time::Instant::now() < deadline, "{wanted}");
            std::thread::yield_now();
        }
    };
    wait_for(true);
    // Nothing wakes the loop but the part's own end.
    wait_for(false);
    outbox
        .request(super::super::Message::Stop)
        .expect("the loop runs");
    looping.join().expect("the loop ends");
}
