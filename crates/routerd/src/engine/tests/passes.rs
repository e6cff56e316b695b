//! Apply, repair and teardown.

use routerd_core::OWNER_PROTOCOL;
use routerd_core::fake::FakeKernel;
use rusqlite::Connection;

use super::super::{ApplyError, Outcome};
use crate::testing::{Bench, cloud, ifname, onprem, onprem_changed};
use crate::view::lock;

fn drop_routes_of_ours(kernel: &mut FakeKernel) {
    let ours = |route: &routerd_core::observed::Route| route.protocol == OWNER_PROTOCOL;
    kernel.host.routes.retain(|route| !ours(route));
}

#[test]
fn what_was_applied_is_in_force_and_nothing_is_left_to_do() {
    for (bench, config) in [(Bench::onprem(), onprem()), (Bench::cloud(), cloud())] {
        let mut daemon = bench.boot();
        let report = daemon.apply(&config).expect("apply");
        assert_eq!(report.generation, 1);
        assert!(!report.plan.steps.is_empty());
        let executed = bench.meddle(|kernel| kernel.executed);
        assert_eq!(daemon.pending(), 0);
        assert_eq!(daemon.repair(), Outcome::Settled);
        assert_eq!(bench.meddle(|kernel| kernel.executed), executed);
        let status = daemon.view.status().expect("status");
        assert_eq!((status.in_sync, status.repairs), (true, 0));
    }
}

#[test]
fn captured_addresses_are_answered_for_after_the_apply() {
    let bench = Bench::onprem();
    bench.boot().apply(&onprem()).expect("apply");
    let told = lock(&bench.told);
    let addresses = told.0.get(&ifname("ens21")).expect("capture interface");
    assert!(addresses.contains_key(&"10.77.60.7".parse().expect("address")));
}

#[test]
fn the_same_configuration_again_makes_no_generation() {
    let bench = Bench::onprem();
    let mut daemon = bench.boot();
    daemon.apply(&onprem()).expect("apply");
    bench.meddle(drop_routes_of_ours);
    let again = daemon.apply(&onprem()).expect("apply");
    assert_eq!(again.generation, 1);
    assert!(!again.plan.steps.is_empty());
    assert_eq!(daemon.pending(), 0);
}

#[test]
fn a_first_apply_that_fails_at_any_step_leaves_the_host_as_it_was() {
    let total = steps_of_first_apply();
    for step in 0..total {
        let bench = Bench::onprem();
        let before = bench.seen();
        bench.meddle(|kernel| kernel.fail_at = Some(step));
        let mut daemon = bench.boot();
        let error = daemon.apply(&onprem()).expect_err("a step fails");
        assert!(
            matches!(error, ApplyError::Reverted(_)),
            "step {step}: {error}"
        );
        assert_eq!(bench.seen(), before, "step {step}");
        assert_eq!(daemon.generation(), None);
    }
}

fn steps_of_first_apply() -> usize {
    let bench = Bench::onprem();
    let report = bench.boot().apply(&onprem()).expect("apply");
    report.plan.steps.len()
}

#[test]
fn a_change_that_fails_at_any_step_is_taken_back_whole() {
    let mut step = 0;
    loop {
        let bench = Bench::onprem();
        let mut daemon = bench.boot();
        daemon.apply(&onprem()).expect("apply");
        let before = bench.seen();
        bench.meddle(|kernel| kernel.fail_at = Some(kernel.executed + step));
        let result = daemon.apply(&onprem_changed());
        if result.is_ok() {
            break;
        }
        assert!(matches!(result, Err(ApplyError::Reverted(_))), "{result:?}");
        assert_eq!(bench.seen(), before, "step {step}");
        assert_eq!((daemon.generation(), daemon.pending()), (Some(1), 0));
        step += 1;
    }
    assert!(step > 3, "the change has only {step} steps");
}

#[test]
fn what_cannot_be_recorded_is_not_done() {
    let bench = Bench::onprem();
    let mut daemon = bench.boot();
    let before = bench.seen();
    let db = Connection::open(bench.database()).expect("open");
    db.execute_batch(
        "CREATE TRIGGER full BEFORE INSERT ON ledger
         BEGIN SELECT raise(FAIL, 'database or disk is full'); END",
    )
    .expect("trigger");
    let error = daemon.apply(&onprem()).expect_err("nothing is recorded");
    assert!(error.to_string().contains("disk is full"), "{error}");
    assert_eq!(bench.seen(), before);
}

/// The tunnel appears and dies: nothing "waits" for it to come back, the apply has failed.
#[test]
fn an_apply_whose_tunnel_dies_at_once_is_taken_back() {
    let bench = Bench::onprem();
    let mut daemon = bench.boot();
    let before = bench.seen();
    *lock(&bench.host.after) = Some(|kernel| {
        // Gone already when the revert removes it.
        let _ = kernel.delete_link(&ifname("wg-hybrid"));
    });
    let error = daemon.apply(&onprem()).expect_err("never settles");
    assert!(matches!(error, ApplyError::Reverted(_)), "{error}");
    assert_eq!(bench.seen(), before);
}

#[test]
fn drift_is_repaired_and_counted() {
    let bench = Bench::onprem();
    let mut daemon = bench.boot();
    daemon.apply(&onprem()).expect("apply");
    let before = bench.seen();
    bench.meddle(|kernel| {
        drop_routes_of_ours(kernel);
        kernel.host.proxy_neighbours.clear();
        kernel.host.tables.clear();
        kernel.host.mss = None;
    });
    assert_eq!(daemon.repair(), Outcome::Settled);
    assert_eq!(bench.seen(), before);
    assert_eq!(daemon.view.status().expect("status").repairs, 1);
}

#[test]
fn a_repair_that_fails_in_one_place_goes_on_in_others() {
    let bench = Bench::onprem();
    let mut daemon = bench.boot();
    daemon.apply(&onprem()).expect("apply");
    let before = bench.seen();
    bench.meddle(|kernel| {
        drop_routes_of_ours(kernel);
        kernel.host.proxy_neighbours.clear();
        kernel.fail_at = Some(kernel.executed);
    });
    assert_eq!(daemon.repair(), Outcome::Failed);
    let halfway = bench.seen();
    assert_eq!(halfway.proxy_neighbours, before.proxy_neighbours);
    let status = daemon.view.status().expect("status");
    assert!(status.last_error.is_some() && !status.in_sync);
    assert_eq!(daemon.repair(), Outcome::Settled);
    assert_eq!(bench.seen(), before);
    assert_eq!(daemon.view.status().expect("status").last_error, None);
}

#[test]
fn an_address_that_an_agent_puts_on_the_os_is_taken_off_and_counted() {
    let bench = Bench::cloud();
    let mut daemon = bench.boot();
    daemon.apply(&cloud()).expect("apply");
    for expected in 1..=3 {
        bench.meddle(|kernel| {
            let net = "10.77.60.9/24".parse().expect("address");
            let added = kernel.add_address(&ifname("eth0"), net, false);
            added.expect("the agent adds it");
        });
        assert_eq!(daemon.repair(), Outcome::Settled);
        let addresses = bench.seen().addresses;
        assert!(
            addresses
                .iter()
                .any(|a| a.net.to_string() == "10.77.60.4/24")
        );
        assert!(
            !addresses
                .iter()
                .any(|a| a.net.to_string() == "10.77.60.9/24")
        );
        assert_eq!(removals(&daemon.engine.state.removals), expected);
    }
    drop(daemon);
    assert_eq!(removals(&bench.boot().engine.state.removals), 3);
}

fn removals(counted: &crate::store::Removals) -> u64 {
    counted.values().sum()
}

#[test]
fn a_teardown_gives_the_host_back_as_it_was() {
    for (bench, config) in [(Bench::onprem(), onprem()), (Bench::cloud(), cloud())] {
        let before = bench.seen();
        let mut daemon = bench.boot();
        daemon.apply(&config).expect("apply");
        daemon.engine.teardown().expect("teardown");
        assert_eq!(bench.seen(), before);
        assert_eq!(daemon.pending(), 0);
        assert!(lock(&bench.told).0.is_empty());
        assert_eq!(*daemon.engine.state.ledger, routerd_core::Ledger::default());
    }
}

#[test]
fn before_a_first_apply_nothing_is_touched() {
    let bench = Bench::onprem();
    bench.boot().apply(&onprem()).expect("apply");
    let before = bench.seen();
    std::fs::remove_file(bench.database()).expect("the disk is lost");
    let mut daemon = bench.boot();
    assert_eq!(daemon.repair(), Outcome::Settled);
    assert_eq!(bench.seen(), before, "what forwards goes on forwarding");
    assert_eq!(daemon.generation(), None);
}
