//! The hash chain that makes a deleted, edited or reordered journal row show.
//!
//! Each row's hash covers the text of the row as it is stored and the hash of the row before. A chain cannot
//! know what was cut off at its end: for that it is compared with heads that were noted somewhere else.

use std::fmt::Write;

use api::action::control::Tampered;
use api::action::journal::{Event, Head, JournalRow};
use api::time::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A row as it is stored: the event is kept as text, so that every edited byte counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// Its number.
    pub seq: u64,
    /// When, RFC 3339.
    pub at: String,
    /// Which action.
    pub action: u64,
    /// The event as canonical JSON.
    pub event: String,
    /// Hash of the row before.
    pub previous: String,
    /// Hash of this row.
    pub hash: String,
}

impl StoredRow {
    fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.previous);
        hash.update("\n");
        let at = Value::from(self.at.as_str());
        hash.update(format!(
            "{{\"action\":{},\"at\":{at},\"event\":{},\"seq\":{}}}",
            self.action, self.event, self.seq
        ));
        hex(&hash.finalize())
    }
}

/// A journal's end, to which rows are added one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    head: Head,
}

impl Default for Chain {
    fn default() -> Self {
        let hash = "0".repeat(64);
        Self {
            head: Head { seq: 0, hash },
        }
    }
}

impl Chain {
    /// Where the chain ends.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The row that would come next. The chain does not move: that is [`Self::follow`], once the row is stored.
    pub fn seal(&self, at: Timestamp, action: u64, event: &Event) -> StoredRow {
        let event = serde_json::to_value(event).unwrap_or(Value::Null);
        let mut row = StoredRow {
            seq: self.head.seq + 1,
            at: at.to_string(),
            action,
            event: canonical(&event),
            previous: self.head.hash.clone(),
            hash: String::new(),
        };
        row.hash = row.digest();
        row
    }

    /// Reads a stored row, checks that it is the next one, and moves on to it.
    ///
    /// # Errors
    /// What is wrong with the row; the chain stays where it was.
    pub fn follow(&mut self, row: &StoredRow) -> Result<JournalRow, Tampered> {
        let seq = self.head.seq + 1;
        let wrong = |reason: String| Tampered { seq, reason };
        if row.seq != seq {
            return Err(wrong(format!(
                "row {seq} is missing; the next one is {}",
                row.seq
            )));
        }
        if row.previous != self.head.hash {
            return Err(wrong("it does not follow the row before it".to_owned()));
        }
        if row.digest() != row.hash {
            return Err(wrong("its content is not what was hashed".to_owned()));
        }
        let unreadable = |reason: String| wrong(format!("it cannot be read: {reason}"));
        let at = row
            .at
            .parse()
            .map_err(|e: api::time::TimeError| unreadable(e.to_string()))?;
        let event = serde_json::from_str(&row.event).map_err(|e| unreadable(e.to_string()))?;
        self.head = Head {
            seq,
            hash: row.hash.clone(),
        };
        Ok(JournalRow {
            seq,
            at,
            action: row.action,
            event,
            previous: row.previous.clone(),
            hash: row.hash.clone(),
        })
    }
}

/// Checks a whole journal, and that it still contains the heads that were noted elsewhere.
///
/// # Errors
/// The first row that is not as it was written.
pub fn verify<'a>(
    rows: impl IntoIterator<Item = &'a StoredRow>,
    noted: &[Head],
) -> Result<Head, Tampered> {
    let mut chain = Chain::default();
    let contradicted = |head: &Head| {
        noted
            .iter()
            .find(|noted| noted.seq == head.seq && noted.hash != head.hash)
            .map(|noted| Tampered {
                seq: noted.seq,
                reason: format!("its hash was noted as {}", noted.hash),
            })
    };
    for row in rows {
        chain.follow(row)?;
        if let Some(tampered) = contradicted(chain.head()) {
            return Err(tampered);
        }
    }
    let last = chain.head().seq;
    match noted
        .iter()
        .filter(|noted| noted.seq > last)
        .map(|noted| noted.seq)
        .min()
    {
        Some(_) => Err(Tampered {
            seq: last + 1,
            reason: "it and everything after it was cut off".to_owned(),
        }),
        None => Ok(chain.head),
    }
}

/// Canonical JSON: keys sorted by their UTF-8 bytes, no white space.
pub(crate) fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            out.push('{');
            for (index, (name, field)) in sorted.into_iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                // Writing to a String cannot fail.
                let _ = write!(out, "{comma}{}:", Value::from(name.as_str()));
                write_canonical(field, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        plain => {
            let _ = write!(out, "{plain}");
        }
    }
}

/// SHA-256 of a text in hexadecimal.
pub(crate) fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
