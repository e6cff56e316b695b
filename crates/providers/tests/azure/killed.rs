//! kill -9 at every request of every verb, before it leaves and after it was carried out — first in this process
//! on a virtual clock, every step; [`crate::process`] does it to the real program.

use std::time::Duration;

use api::action::protocol::{Effect, Mode, Outcome};

use crate::cases::CASES;

/// As the journal does after a crash: look, then do what is left, then take it back.
#[test]
fn a_kill_at_any_step_ends_well() {
    let mut kills = 0;
    for case in &CASES {
        for operation in [Duration::ZERO, Duration::from_secs(30)] {
            for carried_out in [false, true] {
                let mut step = 0;
                loop {
                    step += 1;
                    let world = (case.world)();
                    let (baseline, prior) = (world.everything(), case.prior(&world));
                    world.operation_time(operation);
                    let spec = case.spec(&world, Mode::Execute, &prior);
                    if world.run_killed(spec, step, carried_out).is_none() {
                        break;
                    }
                    kills += 1;
                    world.operation_time(Duration::ZERO);
                    let seen = world.execute(case.spec(&world, Mode::Observe, &prior));
                    assert_eq!(
                        seen.status,
                        Outcome::Succeeded,
                        "{} step {step}: {seen:#?}",
                        case.name
                    );
                    if seen.effect == Some(Effect::Present) {
                        assert_eq!(world.everything(), case.goal(), "{} step {step}", case.name);
                    }
                    case.ends_well(&world, &prior, &baseline);
                }
            }
        }
    }
    assert!(kills > 200, "only {kills} kills");
}

/// Rolling back right after the crash, without completing first.
#[test]
fn a_kill_at_any_step_can_be_rolled_back() {
    for case in &CASES {
        for carried_out in [false, true] {
            let mut step = 0;
            loop {
                step += 1;
                let world = (case.world)();
                let (baseline, prior) = (world.everything(), case.prior(&world));
                let spec = case.spec(&world, Mode::Execute, &prior);
                if world.run_killed(spec, step, carried_out).is_none() {
                    break;
                }
                let undone = world.execute(case.spec(&world, Mode::Rollback, &prior));
                assert_eq!(
                    undone.status,
                    Outcome::Succeeded,
                    "{} step {step}: {undone:#?}",
                    case.name
                );
                assert_eq!(world.everything(), baseline, "{} step {step}", case.name);
            }
        }
    }
}

/// The rollback is killed at any step and started again.
#[test]
fn a_rollback_killed_at_any_step_is_started_again() {
    for case in &CASES {
        for carried_out in [false, true] {
            let mut step = 0;
            loop {
                step += 1;
                let world = (case.world)();
                let (baseline, prior) = (world.everything(), case.prior(&world));
                let done = world.execute(case.spec(&world, Mode::Execute, &prior));
                assert_eq!(done.status, Outcome::Succeeded);
                let spec = case.spec(&world, Mode::Rollback, &prior);
                if world.run_killed(spec, step, carried_out).is_none() {
                    break;
                }
                let undone = world.execute(case.spec(&world, Mode::Rollback, &prior));
                assert_eq!(
                    undone.status,
                    Outcome::Succeeded,
                    "{} step {step}: {undone:#?}",
                    case.name
                );
                assert_eq!(world.everything(), baseline, "{} step {step}", case.name);
            }
        }
    }
}
