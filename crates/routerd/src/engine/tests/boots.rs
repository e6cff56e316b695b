//! What the next daemon makes of what the last one left.

use api::control::Config;
use routerd_core::config;

use crate::testing::{Bench, Daemon, onprem, onprem_changed};

/// Begins an apply and dies at a step of it.
fn die_in_apply(bench: &Bench, mut daemon: Daemon, config: &Config, step: usize) {
    let effective = config::load(config).effective.expect("valid");
    let engine = &mut daemon.engine;
    engine.store.begin(config, &effective).expect("begin");
    bench.meddle(|kernel| kernel.fail_at = Some(kernel.executed + step));
    let _ = engine.prove(&effective);
    bench.meddle(|kernel| kernel.fail_at = None);
}

#[test]
fn a_machine_that_restarts_gets_its_last_verified_generation() {
    let bench = Bench::onprem();
    let fresh = bench.meddle(|kernel| kernel.clone());
    let mut daemon = bench.boot();
    daemon.apply(&onprem()).expect("apply");
    let before = bench.seen();
    drop(daemon);
    bench.reboot(&fresh);
    let daemon = bench.boot();
    assert_eq!((daemon.generation(), daemon.pending()), (Some(1), 0));
    assert_eq!(bench.seen(), before);
}

#[test]
fn a_daemon_that_restarts_changes_nothing() {
    let bench = Bench::onprem();
    bench.boot().apply(&onprem()).expect("apply");
    let executed = bench.meddle(|kernel| kernel.executed);
    let daemon = bench.boot();
    assert_eq!((daemon.generation(), daemon.pending()), (Some(1), 0));
    assert_eq!(bench.meddle(|kernel| kernel.executed), executed);
}

#[test]
fn an_apply_that_was_killed_at_any_step_is_taken_back_at_the_next_start() {
    for step in 0..12 {
        let bench = Bench::onprem();
        let mut daemon = bench.boot();
        daemon.apply(&onprem()).expect("apply");
        let before = bench.seen();
        die_in_apply(&bench, daemon, &onprem_changed(), step);
        let daemon = bench.boot();
        assert_eq!((daemon.generation(), daemon.pending()), (Some(1), 0));
        assert_eq!(bench.seen(), before, "step {step}");
    }
}

#[test]
fn a_first_apply_that_was_killed_at_any_step_is_taken_back_at_the_next_start() {
    for step in 0..14 {
        let bench = Bench::onprem();
        let before = bench.seen();
        let daemon = bench.boot();
        die_in_apply(&bench, daemon, &onprem(), step);
        let daemon = bench.boot();
        assert_eq!((daemon.generation(), daemon.pending()), (None, 0));
        assert_eq!(bench.seen(), before, "step {step}");
    }
}

#[test]
fn a_teardown_that_was_killed_goes_on_at_the_next_start() {
    for step in 0..8 {
        let bench = Bench::onprem();
        let before = bench.seen();
        let mut daemon = bench.boot();
        daemon.apply(&onprem()).expect("apply");
        daemon.engine.store.forget().expect("forget");
        bench.meddle(|kernel| kernel.fail_at = Some(kernel.executed + step));
        let _ = daemon.engine.prove(&routerd_core::Effective::default());
        drop(daemon);
        let daemon = bench.boot();
        assert_eq!(daemon.pending(), 0);
        assert_eq!(bench.seen(), before, "step {step}");
    }
}

#[test]
fn the_configuration_file_makes_the_first_generation_and_no_other() {
    let bench = Bench::onprem();
    let file = bench.folder.path().join("router.yaml");
    let write = |config: &Config| {
        let text = config.files.first().map(|f| f.text.as_str());
        std::fs::write(&file, text.unwrap_or_default()).expect("write");
    };
    write(&onprem());
    let daemon = bench.boot();
    assert_eq!((daemon.generation(), daemon.pending()), (Some(1), 0));
    let state = |daemon: &Daemon| {
        let status = daemon.view.status().expect("status");
        status.config_file.state
    };
    assert_eq!(state(&daemon), api::control::ConfigFileState::InForce);
    write(&onprem_changed());
    let daemon = bench.boot();
    assert_eq!((daemon.generation(), daemon.pending()), (Some(1), 0));
    assert_eq!(state(&daemon), api::control::ConfigFileState::Differs);
}

#[test]
fn a_teardown_is_not_undone_by_the_configuration_file() {
    let bench = Bench::onprem();
    let before = bench.seen();
    let file = bench.folder.path().join("router.yaml");
    let text = onprem().files.pop().expect("file").text;
    std::fs::write(&file, text).expect("write");
    bench.boot().engine.teardown().expect("teardown");
    let mut daemon = bench.boot();
    daemon.repair();
    assert_eq!(bench.seen(), before);
}

#[test]
fn a_configuration_file_that_is_not_valid_is_said_and_changes_nothing() {
    let bench = Bench::onprem();
    let before = bench.seen();
    std::fs::write(bench.folder.path().join("router.yaml"), "kind: Nonsense").expect("write");
    let daemon = bench.boot();
    let status = daemon.view.status().expect("status");
    let error = status.last_error.expect("an error is shown");
    assert!(error.ends_with("the configuration is not valid"), "{error}");
    assert_eq!((status.generation, bench.seen()), (None, before));
}

/// Another version wrote it: what forwards is worth more than a guess.
#[test]
fn a_generation_that_cannot_be_read_leaves_the_host_as_it_is() {
    let bench = Bench::onprem();
    bench.boot().apply(&onprem()).expect("apply");
    let before = bench.seen();
    let db = rusqlite::Connection::open(bench.database()).expect("open");
    let changed = db.execute(
        "UPDATE generations SET config = replace(config, 'RemoteAddressClaim', 'WarpClaim')",
        [],
    );
    assert_eq!(changed.expect("update"), 1);
    let mut daemon = bench.start();
    // Nobody is told that nothing is asked for: actions would be given up.
    daemon
        .view
        .listen(|_, effective| panic!("told of {effective:?}"));
    let file = bench.folder.path().join("router.yaml");
    daemon.engine.boot(&file).expect("boot");
    daemon.repair();
    assert_eq!(bench.seen(), before);
    let status = daemon.view.status().expect("status");
    let error = status.last_error.expect("an error is shown");
    assert!(error.contains("generation 1 is not valid"), "{error}");
    assert!(!status.in_sync);
}
