//! The ledger as rows, so that a change of one entry writes one row.

use std::collections::{BTreeMap, BTreeSet};

use routerd_core::Ledger;
use rusqlite::Connection;
use serde_json::{Map, Value};

use super::{Store, StoreError};

/// Entries as JSON text, by section.
pub(super) type Rows = BTreeMap<String, BTreeSet<String>>;

impl Store {
    /// What routerd has changed on this host.
    pub(crate) fn ledger(&self) -> Result<Ledger, StoreError> {
        parse(&self.saved).map_err(content)
    }

    /// Makes the ledger on the disk equal to `ledger`; on the disk when this returns.
    pub(crate) fn save_ledger(&mut self, ledger: &Ledger) -> Result<(), StoreError> {
        let wanted = render(ledger).map_err(content)?;
        if wanted == self.saved {
            return Ok(());
        }
        write(&mut self.durable, &self.saved, &wanted)
            .map_err(StoreError::database("write ledger"))?;
        self.saved = wanted;
        Ok(())
    }
}

fn content(source: serde_json::Error) -> StoreError {
    StoreError::Content {
        operation: "read ledger",
        source,
    }
}

pub(super) fn rows(db: &Connection) -> Result<Rows, StoreError> {
    let read = || -> rusqlite::Result<Rows> {
        let mut statement = db.prepare("SELECT section, entry FROM ledger")?;
        let mut found = statement.query([])?;
        let mut rows = Rows::new();
        while let Some(row) = found.next()? {
            rows.entry(row.get(0)?).or_default().insert(row.get(1)?);
        }
        Ok(rows)
    };
    read().map_err(StoreError::database("read ledger"))
}

fn write(db: &mut Connection, from: &Rows, to: &Rows) -> rusqlite::Result<()> {
    let none = BTreeSet::new();
    let transaction = db.transaction()?;
    for section in from.keys().chain(to.keys()).collect::<BTreeSet<_>>() {
        let old = from.get(section).unwrap_or(&none);
        let new = to.get(section).unwrap_or(&none);
        for entry in old.difference(new) {
            transaction
                .prepare_cached("DELETE FROM ledger WHERE section = ?1 AND entry = ?2")?
                .execute((section, entry))?;
        }
        for entry in new.difference(old) {
            transaction
                .prepare_cached("INSERT INTO ledger (section, entry) VALUES (?1, ?2)")?
                .execute((section, entry))?;
        }
    }
    transaction.commit()
}

/// Every field of a ledger serializes as a list: one section each.
fn render(ledger: &Ledger) -> Result<Rows, serde_json::Error> {
    let sections: BTreeMap<String, Vec<Value>> =
        serde_json::from_value(serde_json::to_value(ledger)?)?;
    let rows = sections
        .into_iter()
        .filter(|(_, entries)| !entries.is_empty())
        .map(|(section, entries)| (section, entries.iter().map(Value::to_string).collect()));
    Ok(rows.collect())
}

fn parse(rows: &Rows) -> Result<Ledger, serde_json::Error> {
    let empty: BTreeMap<String, Vec<Value>> =
        serde_json::from_value(serde_json::to_value(Ledger::default())?)?;
    let mut sections: Map<String, Value> = empty
        .into_keys()
        .map(|section| (section, Value::Array(Vec::new())))
        .collect();
    for (section, entries) in rows {
        let entries = entries
            .iter()
            .map(|entry| serde_json::from_str(entry))
            .collect::<Result<_, _>>()?;
        sections.insert(section.clone(), Value::Array(entries));
    }
    serde_json::from_value(Value::Object(sections))
}
