use api::action::journal::{Event, Head};
use proptest::prelude::*;

use super::lab::{Fault, Lab, assign, forwarding};
use crate::action::{StoredRow, verify};

fn journal() -> Vec<StoredRow> {
    let mut lab = Lab::default();
    for nic in ["a", "b", "c"] {
        lab.import(&forwarding(nic));
        lab.import(&assign(nic, "10.0.0.1"));
    }
    lab.drive_with(lab.execute(&[]), |id, _| {
        if id == 3 {
            Fault::DiesAfter
        } else {
            Fault::None
        }
    });
    lab.drive(lab.rollback(&[]));
    lab.stored
}

#[test]
fn an_untouched_journal_verifies() {
    let rows = journal();
    let head = verify(&rows, &[]).expect("whole");
    assert_eq!(head.seq, u64::try_from(rows.len()).expect("few"));
    for row in &rows {
        let noted = Head {
            seq: row.seq,
            hash: row.hash.clone(),
        };
        assert_eq!(verify(&rows, &[noted]).as_ref(), Ok(&head));
    }
    assert_eq!(verify(&[], &[]).expect("an empty journal is whole").seq, 0);
}

#[test]
fn every_edited_byte_of_every_row_shows_and_the_row_is_named() {
    let rows = journal();
    for index in 0..rows.len() {
        let edits: [fn(&mut StoredRow); 6] = [
            |row| row.at = row.at.replace("2026", "2027"),
            |row| row.action += 1,
            |row| row.event = row.event.replace('e', "E"),
            |row| row.event.push(' '),
            |row| row.previous.replace_range(..1, "x"),
            |row| row.hash.replace_range(..1, "x"),
        ];
        for edit in edits {
            let mut edited = rows.clone();
            edit(&mut edited[index]);
            assert_ne!(edited, rows);
            let tampered = verify(&edited, &[]).expect_err("it shows");
            assert_eq!(tampered.seq, rows[index].seq);
        }
    }
}

#[test]
fn an_edited_row_that_was_hashed_anew_shows_at_the_next_row() {
    let rows = journal();
    let mut chain = crate::action::Chain::default();
    for row in &rows[..4] {
        chain.follow(row).expect("whole");
    }
    let forged = Event::Skipped {
        reason: "never happened".to_owned(),
    };
    let mut edited = rows.clone();
    edited[4] = chain.seal("2026-05-31T01:00:00Z".parse().expect("a time"), 1, &forged);
    assert_eq!(verify(&edited, &[]).expect_err("it shows").seq, rows[5].seq);
    // Somebody who hashes everything anew is found out by a head that was noted elsewhere.
    let noted = Head {
        seq: rows[4].seq,
        hash: rows[4].hash.clone(),
    };
    let rehashed = verify(&edited[..5], std::slice::from_ref(&noted)).expect_err("it shows");
    assert_eq!(rehashed.seq, noted.seq);
}

#[test]
fn a_cut_off_end_shows_against_a_noted_head() {
    let rows = journal();
    let last = rows.last().expect("rows");
    let noted = Head {
        seq: last.seq,
        hash: last.hash.clone(),
    };
    let cut = &rows[..rows.len() - 2];
    assert!(
        verify(cut, &[]).is_ok(),
        "by itself a chain cannot know its end"
    );
    assert_eq!(
        verify(cut, &[noted]).expect_err("it shows").seq,
        last.seq - 1
    );
}

proptest! {
    #[test]
    fn a_deleted_row_shows(index in 0usize..20) {
        let mut rows = journal();
        let deleted = rows.remove(index);
        prop_assert_eq!(verify(&rows, &[]).expect_err("it shows").seq, deleted.seq);
    }

    #[test]
    fn rows_in_another_order_show(a in 0usize..20, b in 0usize..20) {
        prop_assume!(a != b);
        let mut rows = journal();
        rows.swap(a, b);
        let first = a.min(b);
        prop_assert_eq!(verify(&rows, &[]).expect_err("it shows").seq, u64::try_from(first).expect("few") + 1);
    }

    #[test]
    fn a_repeated_row_shows(index in 0usize..20) {
        let mut rows = journal();
        rows.insert(index, rows[index].clone());
        prop_assert!(verify(&rows, &[]).is_err());
    }
}
