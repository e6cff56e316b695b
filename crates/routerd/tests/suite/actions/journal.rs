//! A row of the journal that somebody edits shows, and nothing is executed on its word.

use rusqlite::Connection;

use super::bench::{Bench, OPEN};
use crate::daemon::until;
use crate::namespace::isolated;

fn edited() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.daemon.start();
    bench.apply(&bench.configuration(OPEN, "10s"));
    bench.import("ensure-forwarding-enabled", "nic");
    until("it is done", || bench.states() == ["succeeded"]);
    let whole = bench.said(0, &["action", "journal", "--verify"]);
    let head = whole.trim().rsplit(' ').next().expect("a head").to_owned();
    bench.said(0, &["action", "journal", "--verify", "--head", &head]);
    assert!(bench.daemon.log().contains(&head), "the log notes it too");

    // The prior facts, so that a rollback would leave forwarding on.
    let db = Connection::open(bench.database()).expect("database");
    let edit = "UPDATE action_journal SET event = replace(event, '\"ipForwarding\":\"false\"', '\"ipForwarding\":\"true\"') WHERE seq = 3";
    let refused = db
        .execute(edit, [])
        .expect_err("a trigger stands in the way");
    assert!(refused.to_string().contains("only added to"), "{refused}");
    db.execute_batch("DROP TRIGGER action_journal_is_not_edited")
        .expect("dropped");
    assert_eq!(db.execute(edit, []).expect("edited"), 1);

    let said = bench.said(1, &["action", "journal", "--verify"]);
    assert!(
        said.contains("row 3 of the journal is not as it was written: its content"),
        "{said}"
    );
    let before = bench.asked();
    let said = bench.said(1, &["action", "rollback", "--approved", "1"]);
    assert!(said.contains("row 3 of the action journal"), "{said}");
    bench.daemon.kill();
    bench.daemon.start();
    let said = bench.said(1, &["action", "rollback", "--approved", "1"]);
    assert!(said.contains("row 3 of the action journal"), "{said}");
    assert_eq!(bench.asked(), before, "nothing was executed");
    bench.daemon.stop();
}

fn cut_off() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.daemon.start();
    bench.apply(&bench.configuration(OPEN, "10s"));
    bench.import("ensure-forwarding-enabled", "nic");
    until("it is done", || bench.states() == ["succeeded"]);
    let whole = bench.said(0, &["action", "journal", "--verify"]);
    let head = whole.trim().rsplit(' ').next().expect("a head").to_owned();
    bench.daemon.stop();
    let db = Connection::open(bench.database()).expect("database");
    db.execute_batch(
        "DROP TRIGGER action_journal_is_not_shortened; DELETE FROM action_journal WHERE seq > 3",
    )
    .expect("cut");
    drop(db);
    // The rest is whole in itself: who has noted the head knows better.
    bench.daemon.start();
    let said = bench.said(1, &["action", "journal", "--verify", "--head", &head]);
    assert!(said.contains("cut off"), "{said}");
    bench.daemon.stop();
}

#[test]
fn an_edited_row_is_reported_and_nothing_is_executed() {
    isolated(
        "actions::journal::an_edited_row_is_reported_and_nothing_is_executed",
        edited,
    );
}

#[test]
fn rows_cut_off_contradict_a_noted_head() {
    isolated(
        "actions::journal::rows_cut_off_contradict_a_noted_head",
        cut_off,
    );
}
