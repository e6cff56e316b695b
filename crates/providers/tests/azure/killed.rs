//! kill -9 at every request of every verb, before it leaves and after it was carried out — in this process on a
//! virtual clock, for the table in the manual; [`crate::process`] does it to the real program.
//!
//! Each function says how often it killed.

use std::time::Duration;

use api::action::plan::Facts;
use api::action::protocol::{Effect, Mode, Outcome};
use serde_json::Value;

use crate::cases::Case;
use crate::world::World;

/// As the journal does after a crash: look, then do what is left, then take it back.
pub fn then_completed(case: &Case) -> usize {
    [Duration::ZERO, Duration::from_secs(30)]
        .into_iter()
        .map(|operation| {
            each(
                case,
                Mode::Execute,
                operation,
                |world, prior, baseline, step| {
                    let seen = world.execute(case.spec(world, Mode::Observe, prior));
                    let name = case.name;
                    assert_eq!(
                        seen.status,
                        Outcome::Succeeded,
                        "{name} step {step}: {seen:#?}"
                    );
                    if seen.effect == Some(Effect::Present) {
                        assert_eq!(world.everything(), case.goal(), "{name} step {step}");
                    }
                    case.ends_well(world, prior, baseline);
                },
            )
        })
        .sum()
}

/// Rolling back right after the crash, without completing first.
pub fn then_rolled_back(case: &Case) -> usize {
    each(
        case,
        Mode::Execute,
        Duration::ZERO,
        |world, prior, baseline, step| {
            is_undone(case, world, prior, baseline, step);
        },
    )
}

/// The rollback is killed, and started again.
pub fn while_rolling_back(case: &Case) -> usize {
    each(
        case,
        Mode::Rollback,
        Duration::ZERO,
        |world, prior, baseline, step| {
            is_undone(case, world, prior, baseline, step);
        },
    )
}

/// Kills the executor at each of its requests in turn, and lets `after` look at what it left.
fn each(
    case: &Case,
    mode: Mode,
    operation: Duration,
    after: impl Fn(&World, &Facts, &[Option<Value>], usize),
) -> usize {
    let mut kills = 0;
    for carried_out in [false, true] {
        for step in 1.. {
            let world = (case.world)();
            let (baseline, prior) = (world.everything(), case.prior(&world));
            if mode == Mode::Rollback {
                let done = world.execute(case.spec(&world, Mode::Execute, &prior));
                assert_eq!(done.status, Outcome::Succeeded, "{}: {done:#?}", case.name);
            }
            world.operation_time(operation);
            let spec = case.spec(&world, mode, &prior);
            if world.run_killed(spec, step, carried_out).is_none() {
                break;
            }
            kills += 1;
            world.operation_time(Duration::ZERO);
            after(&world, &prior, &baseline, step);
        }
    }
    kills
}

fn is_undone(case: &Case, world: &World, prior: &Facts, baseline: &[Option<Value>], step: usize) {
    let undone = world.execute(case.spec(world, Mode::Rollback, prior));
    let name = case.name;
    assert_eq!(
        undone.status,
        Outcome::Succeeded,
        "{name} step {step}: {undone:#?}"
    );
    assert_eq!(world.everything(), baseline, "{name} step {step}");
}
