//! Order, retries, priors and leases, one case each.

use api::action::journal::{Event, State};
use api::action::plan::{Decision, Facts};
use api::action::protocol::{Effect, ErrorClass, Mode, Outcome};

use super::lab::{Fault, Lab, TIMEOUT_MS, assign, failure, forwarding};
use crate::action::{Next, Run, interrupted, withdrawals};

const NIC: &str = "/nics/a";
const OTHER: &str = "/nics/b";

fn modes(started: &[(u64, Mode)]) -> Vec<(u64, &'static str)> {
    let short = |mode: &Mode| match mode {
        Mode::Observe => "look",
        Mode::DryRun => "dry",
        Mode::Execute => "do",
        Mode::Rollback => "undo",
    };
    started
        .iter()
        .map(|(id, mode)| (*id, short(mode)))
        .collect()
}

#[test]
fn the_story_of_the_first_seed() {
    let mut lab = Lab::default();
    let address = lab.import(&assign(NIC, "10.77.60.9"));
    let forward = lab.import(&forwarding(NIC));
    let started = lab.drive(lab.execute(&[]));
    assert_eq!(
        modes(&started),
        [
            (forward, "look"),
            (forward, "do"),
            (address, "look"),
            (address, "do")
        ]
    );
    let prior = lab.get(forward).prior.clone().expect("prior facts");
    assert_eq!(prior.facts.to_string(), "priorIpForwarding=false");
    assert!(lab.cloud.forwarding.contains(NIC) && lab.cloud.assigned.len() == 1);

    assert_eq!(lab.held_rollback(forward).as_deref(), Some("order"));
    let started = lab.drive(lab.rollback(&[]));
    assert_eq!(modes(&started), [(address, "undo"), (forward, "undo")]);
    assert_eq!(
        (lab.state(address), lab.state(forward)),
        (State::RolledBack, State::RolledBack)
    );
    assert!(lab.cloud.forwarding.is_empty() && lab.cloud.assigned.is_empty());
}

#[test]
fn what_was_so_before_stays_so() {
    let mut lab = Lab::default();
    lab.cloud.forwarding.insert(NIC.to_owned());
    let id = lab.import(&forwarding(NIC));
    lab.drive(lab.execute(&[]));
    lab.drive(lab.rollback(&[]));
    assert_eq!(lab.state(id), State::RolledBack);
    assert!(lab.cloud.forwarding.contains(NIC));
}

#[test]
fn a_lost_answer_is_looked_at_before_anything_else() {
    let mut lab = Lab::default();
    let id = lab.import(&forwarding(NIC));
    let dies = |_, mode| {
        if mode == Mode::Execute {
            Fault::DiesAfter
        } else {
            Fault::None
        }
    };
    lab.drive_with(lab.execute(&[]), dies);
    assert_eq!(lab.state(id), State::Unknown);
    // It was done: a look says so, and nothing is done again.
    assert_eq!(modes(&lab.drive(lab.execute(&[]))), [(id, "look")]);
    assert_eq!(lab.state(id), State::Succeeded);
    // The look after the change is not the baseline.
    assert_eq!(
        lab.get(id).prior.as_ref().map(|prior| prior.effect),
        Some(Effect::Absent)
    );
}

#[test]
fn killed_before_the_change_is_looked_at_and_tried_again() {
    for fault in [Fault::DiesBefore, Fault::TimesOut] {
        let mut lab = Lab::default();
        let id = lab.import(&forwarding(NIC));
        lab.drive_with(lab.execute(&[]), |_, mode| {
            if mode == Mode::Execute {
                fault
            } else {
                Fault::None
            }
        });
        assert_eq!(lab.state(id), State::Unknown);
        let started = modes(&lab.drive(lab.execute(&[])));
        assert_eq!(started.first(), Some(&(id, "look")));
        assert_eq!(lab.state(id), State::Succeeded);
    }
}

#[test]
fn a_lost_rollback_is_looked_at() {
    for (fault, after, again) in [
        (Fault::DiesAfter, State::RolledBack, vec![]),
        (Fault::DiesBefore, State::Succeeded, vec![(1, "undo")]),
    ] {
        let mut lab = Lab::default();
        let id = lab.import(&forwarding(NIC));
        lab.drive(lab.execute(&[]));
        lab.drive_with(lab.rollback(&[]), |_, _| fault);
        assert_eq!(lab.state(id), State::Unknown);
        let started = modes(&lab.drive(Run::automatic()));
        assert_eq!(started, [], "the daemon waits first");
        lab.now = lab.now.plus_millis(3_600_000);
        assert_eq!(modes(&lab.drive(Run::automatic())), [(id, "look")]);
        assert_eq!(lab.state(id), after);
        assert_eq!(modes(&lab.drive(lab.rollback(&[]))), again);
    }
}

#[test]
fn a_retry_keeps_the_first_prior_facts() {
    let mut lab = Lab::default();
    let id = lab.import(&forwarding(NIC));
    let refuse = |_, mode| match mode {
        Mode::Execute => Fault::Refused(ErrorClass::Transient),
        _ => Fault::None,
    };
    lab.drive_with(lab.execute(&[]), refuse);
    assert_eq!(lab.state(id), State::Failed);
    let prior = lab.get(id).prior.clone();
    // Somebody, or the half of our own attempt, has switched it on meanwhile.
    lab.cloud.forwarding.insert(NIC.to_owned());
    lab.drive(lab.execute(&[]));
    assert_eq!(
        (lab.state(id), &lab.get(id).prior),
        (State::Succeeded, &prior)
    );
    lab.drive(lab.rollback(&[]));
    assert!(lab.cloud.forwarding.is_empty());
}

#[test]
fn until_something_is_changed_the_newest_look_is_the_baseline() {
    let mut lab = Lab::default();
    let id = lab.import(&forwarding(NIC));
    let mut run = lab.execute(&[]);
    assert_eq!(
        run.next(&lab.book, lab.world()),
        Next::Start(id, Mode::Observe)
    );
    lab.write(
        id,
        &run.started(lab.get(id), Mode::Observe, lab.now, TIMEOUT_MS),
    );
    let event = lab.run_executor(id, Mode::Observe, Fault::None);
    lab.write(id, &event);
    // The daemon ends here; a day later an operator has switched forwarding on.
    lab.now = lab.now.plus_millis(86_400_000);
    lab.cloud.forwarding.insert(NIC.to_owned());
    lab.drive(lab.execute(&[]));
    lab.drive(lab.rollback(&[]));
    assert!(lab.cloud.forwarding.contains(NIC));
}

#[test]
fn a_look_that_fails_lets_nothing_be_changed() {
    let mut lab = Lab::default();
    let id = lab.import(&forwarding(NIC));
    for fault in [Fault::Refused(ErrorClass::Authorization), Fault::DiesBefore] {
        let started = lab.drive_with(lab.execute(&[]), |_, _| fault);
        assert_eq!(modes(&started), [(id, "look")]);
        assert_eq!(lab.state(id), State::Pending);
    }
    lab.drive(lab.execute(&[]));
    assert_eq!(lab.state(id), State::Succeeded);
}

#[test]
fn a_newer_generation_inherits_the_baseline() {
    let mut lab = Lab::default();
    let first = lab.import(&forwarding(NIC));
    lab.drive(lab.execute(&[]));
    let mut again = forwarding(NIC);
    again.generation = 2;
    let second = lab.import(&again);
    assert_eq!(lab.held_rollback(first), None);
    lab.drive(lab.execute(&[]));
    assert_eq!(
        lab.get(second).prior.as_ref().map(|prior| prior.effect),
        Some(Effect::Absent)
    );
    assert_eq!(lab.held_rollback(first).as_deref(), Some("superseded"));
    lab.drive(lab.rollback(&[second]));
    assert!(lab.cloud.forwarding.is_empty());
}

#[test]
fn a_failing_target_starves_no_other() {
    let mut lab = Lab::default();
    let bad = lab.import(&forwarding(NIC));
    let waits = lab.import(&assign(NIC, "10.0.0.1"));
    let good = lab.import(&forwarding(OTHER));
    let fail = |id, _| {
        if id == bad {
            Fault::Refused(ErrorClass::Throttled)
        } else {
            Fault::None
        }
    };
    lab.drive_with(Run::automatic(), fail);
    assert_eq!(
        (lab.state(bad), lab.state(waits), lab.state(good)),
        (State::Pending, State::Pending, State::Succeeded)
    );
    // The daemon leaves it alone, longer each time; a person may try at once.
    assert_eq!(lab.drive(Run::automatic()), []);
    let mut gaps = Vec::new();
    for _ in 0..4 {
        let retry_at = lab.get(bad).retry_at.expect("a time");
        gaps.push(retry_at.millis_since(lab.now));
        lab.now = retry_at;
        assert_eq!(
            modes(&lab.drive_with(Run::automatic(), fail)),
            [(bad, "look")]
        );
    }
    assert!(
        gaps.windows(2).all(|pair| pair[1] > pair[0] * 3 / 2),
        "{gaps:?}"
    );
    lab.drive(lab.execute(&[]));
    assert_eq!(
        (lab.state(bad), lab.state(waits)),
        (State::Succeeded, State::Succeeded)
    );
}

#[test]
fn throttling_holds_back_the_whole_target_and_a_conflict_does_not() {
    for (class, held) in [(ErrorClass::Throttled, true), (ErrorClass::Conflict, false)] {
        let mut lab = Lab::default();
        let bad = lab.import(&assign(NIC, "10.0.0.1"));
        lab.drive_with(Run::automatic(), |_, _| Fault::Refused(class));
        let other = lab.import(&assign(NIC, "10.0.0.2"));
        let expected = if held {
            vec![]
        } else {
            vec![(other, "look"), (other, "do")]
        };
        assert_eq!(
            modes(&lab.drive(Run::automatic())),
            expected,
            "{class} {bad}"
        );
    }
}

#[test]
fn the_cloud_says_how_long_to_wait() {
    let mut lab = Lab::default();
    let id = lab.import(&forwarding(NIC));
    let run = Run::automatic();
    lab.write(
        id,
        &run.started(lab.get(id), Mode::Observe, lab.now, TIMEOUT_MS),
    );
    let mut status = failure(ErrorClass::Throttled);
    status.error.as_mut().expect("an error").retry_after_seconds = Some(600);
    let asked_at = lab.now;
    lab.write(
        id,
        &Event::Finished {
            mode: Mode::Observe,
            status,
        },
    );
    assert_eq!(lab.get(id).retry_at, Some(asked_at.plus_millis(600_000)));
}

#[test]
fn one_executor_for_one_target() {
    let mut lab = Lab::default();
    let first = lab.import(&assign(NIC, "10.0.0.1"));
    let second = lab.import(&assign(NIC, "10.0.0.2"));
    let elsewhere = lab.import(&assign(OTHER, "10.0.0.3"));
    let mut run = lab.execute(&[]);
    assert_eq!(
        run.next(&lab.book, lab.world()),
        Next::Start(first, Mode::Observe)
    );
    lab.write(
        first,
        &run.started(lab.get(first), Mode::Observe, lab.now, TIMEOUT_MS),
    );
    assert_eq!(lab.held(second).as_deref(), Some("target-busy"));
    assert_eq!(
        run.next(&lab.book, lab.world()),
        Next::Start(elsewhere, Mode::Observe)
    );
}

#[test]
fn a_nic_left_to_be_found_may_be_any() {
    let mut lab = Lab::default();
    let mut own = assign(NIC, "10.0.0.1");
    own.target.nic_ref = None;
    let own = lab.import(&own);
    let named = lab.import(&assign(NIC, "10.0.0.2"));
    lab.write(
        own,
        &lab.execute(&[])
            .started(lab.get(own), Mode::Observe, lab.now, TIMEOUT_MS),
    );
    assert_eq!(lab.held(named).as_deref(), Some("target-busy"));
}

#[test]
fn a_lost_executor_keeps_its_lease() {
    let mut lab = Lab::default();
    let id = lab.import(&forwarding(NIC));
    let other = lab.import(&assign(NIC, "10.0.0.1"));
    let begun = lab.now;
    lab.write(
        id,
        &lab.execute(&[])
            .started(lab.get(id), Mode::Observe, begun, TIMEOUT_MS),
    );
    for (action, event) in interrupted(&lab.book) {
        lab.write(action, &event);
    }
    assert_eq!(interrupted(&lab.book), []);
    assert_eq!(
        (lab.held(id).as_deref(), lab.drive(lab.execute(&[]))),
        (Some("leased"), vec![])
    );
    lab.now = begun.plus_millis(TIMEOUT_MS);
    assert_eq!(
        lab.held(id).as_deref(),
        Some("leased"),
        "a lease is longer than the executor's timeout"
    );
    lab.now = begun.plus_millis(TIMEOUT_MS + 60_000);
    lab.drive(lab.execute(&[]));
    assert_eq!(
        (lab.state(id), lab.state(other)),
        (State::Succeeded, State::Succeeded)
    );
}

#[test]
fn what_no_policy_admits_is_not_waited_for() {
    let mut lab = Lab::default();
    lab.import(&forwarding(NIC));
    let address = lab.import(&assign(NIC, "10.0.0.1"));
    assert_eq!(lab.held(address).as_deref(), Some("order"));
    lab.policy().allowed_actions = [lab.get(address).plan.action].into();
    assert_eq!(lab.held(address), None);
}

#[test]
fn an_executor_that_contradicts_itself_is_not_believed() {
    let mut lab = Lab::default();
    let mut plan = forwarding(NIC);
    let mut expected = Facts::default();
    expected.set("ipForwarding", true);
    plan.expected_effects = expected;
    let id = lab.import(&plan);
    let run = lab.execute(&[]);
    let mut answers = Vec::new();
    for (effect, fact) in [
        (Effect::Absent, "true"),
        (Effect::Present, "false"),
        (Effect::Present, "true"),
    ] {
        for mode in [Mode::Observe, Mode::Execute] {
            lab.write(id, &run.started(lab.get(id), mode, lab.now, TIMEOUT_MS));
            let mut status = failure(ErrorClass::Invalid);
            status.status = Outcome::Succeeded;
            status.error = None;
            status.effect = Some(effect);
            status.observed.set("ipForwarding", fact);
            lab.write(id, &Event::Finished { mode, status });
        }
        answers.push(lab.state(id));
    }
    assert_eq!(answers, [State::Failed, State::Failed, State::Succeeded]);
}

#[test]
fn a_withdrawn_intent_is_taken_back_by_the_daemon() {
    let decision = Decision {
        subject: "x".to_owned(),
        holder: "us".to_owned(),
        signature: "s".to_owned(),
        generation: 1,
    };
    let mut lab = Lab::default();
    let mut done = forwarding(NIC);
    done.decision = Some(decision.clone());
    let mut waiting = assign(OTHER, "10.0.0.1");
    waiting.decision = Some(decision.clone());
    lab.decisions.insert("x".to_owned(), decision);
    let done = lab.import(&done);
    lab.drive(Run::automatic());
    let waiting = lab.import(&waiting);

    lab.decisions.clear();
    for (action, event) in withdrawals(&lab.book, &lab.decisions) {
        lab.write(action, &event);
    }
    assert_eq!(withdrawals(&lab.book, &lab.decisions), []);
    assert_eq!(
        (lab.state(done), lab.state(waiting)),
        (State::Succeeded, State::Skipped)
    );
    assert_eq!(modes(&lab.drive(Run::automatic())), [(done, "undo")]);
    assert_eq!(lab.state(done), State::RolledBack);
    assert_eq!(lab.drive(Run::automatic()), []);
}

#[test]
fn a_rollback_by_hand_is_not_undone_by_the_daemon() {
    let mut lab = Lab::default();
    let id = lab.import(&forwarding(NIC));
    lab.drive(Run::automatic());
    lab.drive_with(lab.rollback(&[]), |_, _| {
        Fault::Refused(ErrorClass::Conflict)
    });
    assert_eq!(lab.state(id), State::Failed);
    lab.now = lab.now.plus_millis(3_600_000);
    assert_eq!(lab.drive(Run::automatic()), []);
    lab.drive(lab.rollback(&[]));
    assert_eq!(lab.state(id), State::RolledBack);
    lab.now = lab.now.plus_millis(3_600_000);
    assert_eq!(lab.drive(Run::automatic()), []);
}
