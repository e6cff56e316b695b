use routerd_core::action::{Chain, verify};
use rusqlite::Connection;

use api::action::journal::Event;

use super::super::{Journal, Store, timestamp};

fn skipped(reason: &str) -> Event {
    Event::Skipped {
        reason: reason.to_owned(),
    }
}

#[test]
fn rows_are_only_added_at_the_end_and_all_or_none() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("routerd.db");
    Store::open(&path).expect("store");
    let mut journal = Journal::open(&path).expect("journal");
    let mut chain = Chain::default();
    let mut rows = Vec::new();
    for reason in ["a", "b", "c"] {
        let row = chain.seal(timestamp(), 1, &skipped(reason));
        chain.follow(&row).expect("it follows");
        rows.push(row);
    }
    // The second of these does not follow the first: none is written.
    let gap = [rows[0].clone(), rows[2].clone()];
    journal.append(&gap).expect_err("a gap");
    assert_eq!(journal.rows(0).expect("rows"), []);
    journal.append(&rows).expect("written");
    journal.append(&rows[2..]).expect_err("twice");
    let mut forged = chain.seal(timestamp(), 1, &skipped("d"));
    forged.previous = "0".repeat(64);
    journal
        .append(&[forged])
        .expect_err("it names another predecessor");
    assert_eq!(journal.rows(1).expect("rows"), rows[1..]);
    assert_eq!(
        verify(&journal.rows(0).expect("rows"), &[]).expect("whole"),
        *chain.head()
    );

    let db = Connection::open(&path).expect("database");
    for edit in [
        "UPDATE action_journal SET event = '{}' WHERE seq = 2",
        "UPDATE action_journal SET seq = 9 WHERE seq = 3",
        "DELETE FROM action_journal",
        "DELETE FROM action_journal WHERE seq = 3",
        "INSERT OR REPLACE INTO action_journal SELECT 2, at, action, '{}', previous, hash FROM action_journal WHERE seq = 2",
        "REPLACE INTO action_journal SELECT 3, at, 7, event, previous, hash FROM action_journal WHERE seq = 3",
    ] {
        db.execute_batch(edit).expect_err(edit);
    }
    assert_eq!(journal.rows(0).expect("rows"), rows);
}
