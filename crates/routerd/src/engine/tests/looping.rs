//! The loop around the engine.

use std::thread;
use std::time::{Duration, Instant};

use api::control::{ApplyReport, Config};
use tokio::sync::oneshot;

use super::super::run::Reply;
use super::super::{ApplyError, Candidate, Message, Outbox, channel, run};
use crate::testing::{Bench, onprem};
use crate::view::lock;

const DEADLINE: Duration = Duration::from_secs(10);

/// Waits until something is so.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::yield_now();
    }
}

/// Runs a loop for the length of a test.
fn with_loop(bench: &Bench, test: impl FnOnce(&Outbox)) {
    let daemon = bench.boot();
    let (outbox, inbox) = channel();
    let looping = thread::spawn(move || run(daemon.engine, &inbox));
    test(&outbox);
    outbox.request(Message::Stop).expect("the loop runs");
    looping.join().expect("the loop ends");
}

fn message(config: Config, reply: Reply) -> Message {
    let candidate = Candidate::compile(config).expect("valid");
    Message::Apply(Box::new(candidate), reply)
}

fn apply(outbox: &Outbox, config: Config) -> Result<ApplyReport, ApplyError> {
    let (reply, answer) = oneshot::channel();
    outbox
        .request(message(config, reply))
        .expect("the loop runs");
    answer.blocking_recv().expect("an answer")
}

#[test]
fn a_wake_repairs_and_a_quiet_host_is_left_alone() {
    let bench = Bench::onprem();
    with_loop(&bench, |outbox| {
        apply(outbox, onprem()).expect("apply");
        let before = bench.seen();
        bench.meddle(|kernel| kernel.host.proxy_neighbours.clear());
        outbox.wake("neighbour");
        until("the proxy neighbour is back", || bench.seen() == before);
    });
}

/// The kernel announces our own changes too: they may cost one look, not another change, and no loop.
#[test]
fn our_own_changes_do_not_keep_the_loop_awake() {
    let bench = Bench::onprem();
    with_loop(&bench, |outbox| {
        apply(outbox, onprem()).expect("apply");
        let executed = bench.meddle(|kernel| kernel.executed);
        let before = *lock(&bench.host.looks);
        for _ in 0..20 {
            outbox.wake("route");
        }
        until("the wakes are answered", || {
            *lock(&bench.host.looks) > before
        });
        // Whatever the wakes led to has been done when the loop answers this.
        apply(outbox, onprem()).expect("apply");
        let looks = *lock(&bench.host.looks) - before;
        assert!(looks <= 8, "{looks} looks for one burst");
        assert_eq!(bench.meddle(|kernel| kernel.executed), executed);
    });
}

#[test]
fn a_client_that_goes_away_does_not_undo_what_it_asked_for() {
    let bench = Bench::onprem();
    with_loop(&bench, |outbox| {
        let (reply, answer) = oneshot::channel();
        drop(answer);
        outbox
            .request(message(onprem(), reply))
            .expect("the loop runs");
        until("it is in force", || {
            !bench.seen().proxy_neighbours.is_empty()
        });
    });
}
