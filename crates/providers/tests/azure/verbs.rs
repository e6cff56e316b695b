//! Every verb in every mode, where nothing goes wrong.

use std::time::Duration;

use api::action::Verb;
use api::action::protocol::{Effect, Mode, Outcome};
use lab::cloud::azure::example::{CLIENT, ROUTER, STANDBY};
use serde_json::json;

use crate::world::{CAPTURED, World, class, present, succeeded};

/// Observe, rehearse, execute, execute again, roll back, roll back again: each as promised, and the
/// representations at the end are those of the beginning.
fn life(world: &World, verb: Verb, message: &str) {
    let baseline = world.everything();
    let seen = world.run(verb, Mode::Observe, |_| ());
    succeeded(&seen, false);
    assert_eq!(seen.effect, Some(Effect::Absent));
    let rehearsed = world.run(verb, Mode::DryRun, |_| ());
    succeeded(&rehearsed, true);
    assert!(
        rehearsed.message.starts_with("would "),
        "{}",
        rehearsed.message
    );
    assert_eq!(world.everything(), baseline, "looking changed something");
    let prior = seen.observed.as_prior();
    let done = world.run(verb, Mode::Execute, |spec| spec.prior = prior.clone());
    succeeded(&done, true);
    present(&done);
    assert!(done.undo_available);
    assert_eq!(done.message, message);
    assert_ne!(world.everything(), baseline);
    let again = world.run(verb, Mode::Execute, |spec| spec.prior = prior.clone());
    succeeded(&again, false);
    present(&again);
    let undone = world.run(verb, Mode::Rollback, |spec| spec.prior = prior.clone());
    succeeded(&undone, true);
    assert_eq!(undone.effect, Some(Effect::Absent));
    assert_eq!(world.everything(), baseline, "the rollback is not exact");
    let twice = world.run(verb, Mode::Rollback, |spec| spec.prior = prior.clone());
    succeeded(&twice, false);
}

fn forwarding_on(world: &World) {
    let status = world.run(Verb::EnsureForwardingEnabled, Mode::Execute, |_| ());
    succeeded(&status, true);
}

#[test]
fn forwarding_goes_on_and_back() {
    life(
        &World::new(),
        Verb::EnsureForwardingEnabled,
        "set ipForwarding=true",
    );
}

#[test]
fn forwarding_goes_off_and_back() {
    let world = World::new();
    forwarding_on(&world);
    life(
        &world,
        Verb::EnsureForwardingDisabled,
        "set ipForwarding=false",
    );
}

#[test]
fn an_address_is_assigned_and_taken_back() {
    life(
        &World::new(),
        Verb::AssignSecondaryIp,
        "assigned 10.77.60.9 to ce-router-nic (ip-config routerd-10-77-60-9)",
    );
}

#[test]
fn an_address_is_unassigned_and_put_back_in_its_place() {
    let world = World::new()
        .with_address(ROUTER, "before", "10.77.60.20".parse().expect("address"))
        .with_address(ROUTER, "ipconfig-onprem-capture", CAPTURED)
        .with_address(ROUTER, "after", "10.77.60.21".parse().expect("address"));
    life(
        &world,
        Verb::UnassignSecondaryIp,
        "unassigned 10.77.60.9 from ce-router-nic (ip-config ipconfig-onprem-capture)",
    );
}

#[test]
fn a_route_is_written_and_removed() {
    life(
        &World::new(),
        Verb::EnsureRoute,
        "routed 10.77.60.9/32 to 10.77.60.4 in ce-routes (route routerd-10-77-60-9-32)",
    );
}

#[test]
fn a_route_is_removed_and_written_back() {
    let world = World::new();
    succeeded(&world.run(Verb::EnsureRoute, Mode::Execute, |_| ()), true);
    life(
        &world,
        Verb::RemoveRoute,
        "removed 10.77.60.9/32 from ce-routes (route routerd-10-77-60-9-32)",
    );
}

#[test]
fn slow_operations_are_followed_to_their_end() {
    for verb in [
        Verb::EnsureForwardingEnabled,
        Verb::AssignSecondaryIp,
        Verb::EnsureRoute,
    ] {
        let world = World::new();
        world.operation_time(Duration::from_secs(20));
        let status = world.run(verb, Mode::Execute, |_| ());
        succeeded(&status, true);
        present(&status);
    }
}

#[test]
fn what_was_so_before_stays_so_after_a_rollback() {
    let world = World::new().with_address(ROUTER, "mine", CAPTURED);
    forwarding_on(&world);
    let baseline = world.everything();
    for verb in [Verb::EnsureForwardingEnabled, Verb::AssignSecondaryIp] {
        let seen = world.run(verb, Mode::Observe, |_| ());
        present(&seen);
        let prior = seen.observed.as_prior();
        succeeded(
            &world.run(verb, Mode::Execute, |spec| spec.prior = prior.clone()),
            false,
        );
        succeeded(
            &world.run(verb, Mode::Rollback, |spec| spec.prior = prior.clone()),
            false,
        );
    }
    assert_eq!(world.everything(), baseline);
}

#[test]
fn the_packets_follow() {
    let world = World::new();
    assert_eq!(world.holder(CAPTURED), None);
    succeeded(
        &world.run(Verb::AssignSecondaryIp, Mode::Execute, |_| ()),
        true,
    );
    assert_eq!(world.holder(CAPTURED).as_deref(), Some(ROUTER));
    succeeded(
        &world.run(Verb::UnassignSecondaryIp, Mode::Execute, |_| ()),
        true,
    );
    assert_eq!(world.holder(CAPTURED), None);
}

#[test]
fn an_address_of_another_nic_is_not_taken() {
    let world = World::new().with_address(STANDBY, "theirs", CAPTURED);
    let baseline = world.everything();
    for mode in [Mode::DryRun, Mode::Execute] {
        let status = world.run(Verb::AssignSecondaryIp, mode, |_| ());
        assert_eq!(class(&status), "conflict", "{status:#?}");
    }
    assert_eq!(world.everything(), baseline);
    // A primary address not even then.
    let status = world.run(Verb::AssignSecondaryIp, Mode::Execute, |spec| {
        spec.target.address = Some("10.77.60.7".parse().expect("address"));
        spec.parameters.allow_reassignment = true;
    });
    assert_eq!(class(&status), "conflict");
    assert_eq!(
        world
            .holder("10.77.60.7".parse().expect("address"))
            .as_deref(),
        Some(CLIENT)
    );
}

#[test]
fn an_address_moves_when_the_plan_says_so() {
    for atomic in [false, true] {
        let world = World::new().with_address(STANDBY, "theirs", CAPTURED);
        if atomic {
            world.atomic_move();
        }
        let baseline = world.everything();
        let group = vec![world.nic_id(STANDBY).to_uppercase()];
        let ask = |mode, prior: &api::action::Facts| {
            world.run(Verb::AssignSecondaryIp, mode, |spec| {
                spec.prior = prior.clone();
                spec.parameters.placement_group = group.clone();
            })
        };
        let seen = ask(Mode::Observe, &api::action::Facts::default());
        assert_eq!(seen.effect, Some(Effect::Absent));
        assert_eq!(
            seen.observed.get("holder"),
            Some(world.nic_id(STANDBY).as_str())
        );
        let prior = seen.observed.as_prior();
        let done = ask(Mode::Execute, &prior);
        succeeded(&done, true);
        present(&done);
        assert_eq!(world.holder(CAPTURED).as_deref(), Some(ROUTER));
        let posts = |world: &World| {
            let azure = world.azure.borrow();
            let moves = azure
                .log()
                .iter()
                .filter(|one| one.path.ends_with("moveIpConfigurations"));
            moves.filter(|one| one.status == Some(202)).count()
        };
        assert_eq!(posts(&world), usize::from(atomic));
        succeeded(&ask(Mode::Rollback, &prior), true);
        assert_eq!(world.everything(), baseline, "atomic={atomic}");
    }
}

#[test]
fn a_primary_address_is_never_let_go() {
    let world = World::new();
    let status = world.run(Verb::UnassignSecondaryIp, Mode::Execute, |spec| {
        spec.target.address = Some("10.77.60.4".parse().expect("address"));
    });
    assert_eq!(class(&status), "invalid", "{status:#?}");
}

#[test]
fn a_route_of_somebody_else_is_taken_over_only_when_the_plan_says_so() {
    let world = World::new();
    let theirs = "10.77.60.5".parse().expect("address");
    let status = world.run(Verb::EnsureRoute, Mode::Execute, |spec| {
        spec.parameters.next_hop = Some(theirs);
        spec.parameters.name = Some("by-hand".to_owned());
    });
    succeeded(&status, true);
    let baseline = world.everything();
    let refused = world.run(Verb::EnsureRoute, Mode::Execute, |_| ());
    assert_eq!(class(&refused), "conflict", "{refused:#?}");
    let kept = world.run(Verb::RemoveRoute, Mode::Execute, |_| ());
    succeeded(&kept, false);
    assert_eq!(world.everything(), baseline);
    let prior = world
        .run(Verb::EnsureRoute, Mode::Observe, |_| ())
        .observed
        .as_prior();
    let allowed = |spec: &mut api::action::protocol::ExecuteSpec| {
        spec.parameters.allow_reassignment = true;
        spec.prior = prior.clone();
    };
    let taken = world.run(Verb::EnsureRoute, Mode::Execute, allowed);
    succeeded(&taken, true);
    assert_eq!(taken.observed.get("routeName"), Some("by-hand"));
    succeeded(&world.run(Verb::EnsureRoute, Mode::Rollback, allowed), true);
    assert_eq!(world.everything(), baseline);
}

#[test]
fn fields_that_nobody_knows_go_back_as_they_came() {
    let world = World::new();
    let nic = world.nic_id(ROUTER);
    for (pointer, value) in [
        (
            "/properties/futureField",
            json!({"keep": ["me", 9_007_199_254_740_993_u64]}),
        ),
        ("/tags/owner", json!("network team")),
        (
            "/properties/dnsSettings/internalDnsNameLabel",
            json!("router"),
        ),
    ] {
        world.fault(
            lab::cloud::fault::Fault::next(lab::cloud::fault::Effect::Race {
                pointer: pointer.to_owned(),
                value,
            })
            .on("GET", "networkInterfaces/ce-router-nic"),
        );
    }
    succeeded(
        &world.run(Verb::AssignSecondaryIp, Mode::Observe, |_| ()),
        false,
    );
    let before = world.shown(&nic).expect("the NIC");
    assert_eq!(before["properties"]["futureField"]["keep"][0], "me");
    life(
        &world,
        Verb::AssignSecondaryIp,
        "assigned 10.77.60.9 to ce-router-nic (ip-config routerd-10-77-60-9)",
    );
    life(
        &world,
        Verb::EnsureForwardingEnabled,
        "set ipForwarding=true",
    );
    assert_eq!(world.shown(&nic), Some(before));
}

#[test]
fn every_write_of_a_nic_carries_the_tag_it_was_read_with() {
    let world = World::new();
    succeeded(
        &world.run(Verb::AssignSecondaryIp, Mode::Execute, |_| ()),
        true,
    );
    succeeded(&world.run(Verb::EnsureRoute, Mode::Execute, |_| ()), true);
    succeeded(&world.run(Verb::RemoveRoute, Mode::Execute, |_| ()), true);
    let azure = world.azure.borrow();
    let writes: Vec<_> = azure
        .log()
        .iter()
        .filter(|one| one.method != "GET")
        .collect();
    assert_eq!(writes.len(), 3);
    let tagged: Vec<bool> = writes.iter().map(|one| one.if_match.is_some()).collect();
    assert_eq!(tagged, [true, false, true], "a new route has no tag yet");
}

#[test]
fn lists_are_read_to_their_last_page() {
    let world = World::new().with_address(STANDBY, "theirs", CAPTURED);
    world.azure.borrow_mut().site_mut().page_size = 1;
    let seen = world.run(Verb::AssignSecondaryIp, Mode::Observe, |_| ());
    assert_eq!(
        seen.observed.get("holder"),
        Some(world.nic_id(STANDBY).as_str())
    );
}

#[test]
fn requests_that_make_no_sense_are_refused_before_anything_is_asked() {
    let world = World::new();
    let other_cloud = world.run(Verb::EnsureRoute, Mode::Execute, |spec| {
        spec.provider = "aws".parse().expect("a provider");
    });
    let no_address = world.run(Verb::EnsureRoute, Mode::Execute, |spec| {
        spec.target.address = None
    });
    let no_prior = world.run(Verb::EnsureRoute, Mode::Rollback, |_| ());
    let no_nic = world.run(Verb::AssignSecondaryIp, Mode::Execute, |spec| {
        spec.target.nic_ref = Some("ce-router-nic".to_owned());
    });
    let in_the_clear = world.run(Verb::EnsureRoute, Mode::Execute, |spec| {
        spec.context.profile.endpoint = Some("http://arm.example".to_owned());
    });
    for status in [other_cloud, no_address, no_prior, no_nic, in_the_clear] {
        assert_eq!(
            (status.status, class(&status)),
            (Outcome::Failed, "invalid"),
            "{status:#?}"
        );
    }
    assert_eq!(world.azure.borrow().log(), []);
}
