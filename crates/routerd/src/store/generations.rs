//! Every configuration that was tried, and what became of it.

use api::control::Config;
use routerd_core::Effective;
use routerd_core::key::{KeySource, SecretKey};
use rusqlite::{Connection, OptionalExtension, Row};
use sha2::{Digest, Sha256};

use super::{Store, StoreError, now};

/// How many generations are kept, beside the one in force.
const KEPT: u64 = 50;

/// What became of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Being applied; if found at a start, the daemon died over it.
    Pending,
    /// The host was seen to match it.
    Verified,
    /// It did not verify and its predecessor was put back.
    Reverted,
    /// It did not verify and its predecessor could not be put back at once.
    Failed,
}

/// A generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Its number, from 1.
    pub(crate) id: u64,
    /// What became of it.
    pub(crate) state: State,
    /// Digest of its texts; see [`digest`].
    pub(crate) digest: String,
    /// Its files, with secrets in place. No files: torn down.
    pub(crate) config: Config,
    /// When it was last settled or made, in milliseconds since the epoch.
    pub(crate) at: i64,
}

impl Generation {
    /// One that has just become verified; its files are not needed any more.
    pub(crate) fn verified_now(id: u64, digest: String) -> Self {
        Self {
            id,
            state: State::Verified,
            digest,
            config: Config::default(),
            at: now(),
        }
    }
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Verified => "verified",
            Self::Reverted => "reverted",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "verified" => Self::Verified,
            "reverted" => Self::Reverted,
            "failed" => Self::Failed,
            // The table's CHECK leaves nothing else.
            _ => Self::Pending,
        }
    }
}

impl Store {
    /// Records that a configuration is about to be applied.
    pub(crate) fn begin(
        &mut self,
        config: &Config,
        effective: &Effective,
    ) -> Result<u64, StoreError> {
        self.insert(config, effective, State::Pending)
    }

    /// Records a teardown: from now on the host is to carry nothing of ours, whatever happens.
    pub(crate) fn forget(&mut self) -> Result<u64, StoreError> {
        self.insert(&Config::default(), &Effective::default(), State::Verified)
    }

    fn insert(
        &mut self,
        config: &Config,
        effective: &Effective,
        state: State,
    ) -> Result<u64, StoreError> {
        let sealed = self.secrets.seal(config, &inline_keys(effective))?;
        let text = serde_json::to_string(&sealed).map_err(content)?;
        self.durable
            .execute(
                "INSERT INTO generations (state, digest, config, created_at) VALUES (?1, ?2, ?3, ?4)",
                (state.as_str(), digest(config), text, now()),
            )
            .map_err(StoreError::database("record generation"))?;
        Ok(u64::try_from(self.durable.last_insert_rowid()).unwrap_or_default())
    }

    /// Says what became of a generation.
    pub(crate) fn settle(
        &mut self,
        id: u64,
        state: State,
        message: Option<&str>,
    ) -> Result<(), StoreError> {
        self.durable
            .execute(
                "UPDATE generations SET state = ?2, settled_at = ?3, message = ?4 WHERE id = ?1",
                (id, state.as_str(), now(), message),
            )
            .map_err(StoreError::database("settle generation"))?;
        if state == State::Verified {
            self.prune(id)?;
        }
        Ok(())
    }

    /// Marks every generation that a dead daemon left pending as reverted and says which they were.
    pub(crate) fn settle_interrupted(&mut self) -> Result<Vec<u64>, StoreError> {
        let settle = |db: &Connection| -> rusqlite::Result<Vec<u64>> {
            let mut statement = db.prepare(
                "UPDATE generations SET state = 'reverted', settled_at = ?1, message = 'interrupted'
                 WHERE state = 'pending' RETURNING id",
            )?;
            statement.query_map([now()], |row| row.get(0))?.collect()
        };
        settle(&self.durable).map_err(StoreError::database("settle interrupted generations"))
    }

    /// The generation to boot from.
    pub(crate) fn last_verified(&self) -> Result<Option<Generation>, StoreError> {
        let row = self
            .durable
            .query_row(
                "SELECT id, state, digest, coalesce(settled_at, created_at), config FROM generations
                 WHERE state = 'verified' ORDER BY id DESC LIMIT 1",
                [],
                read,
            )
            .optional()
            .map_err(StoreError::database("read last verified generation"))?;
        row.map(|(mut generation, text)| {
            let sealed = serde_json::from_str(&text).map_err(content)?;
            generation.config = self.secrets.unseal(&sealed)?;
            Ok(generation)
        })
        .transpose()
    }

    /// Forgets old generations and the secrets that only they used.
    fn prune(&mut self, current: u64) -> Result<(), StoreError> {
        let limit = current.saturating_sub(KEPT);
        self.durable
            .execute("DELETE FROM generations WHERE id < ?1", [limit])
            .map_err(StoreError::database("prune generations"))?;
        let texts = self
            .texts()
            .map_err(StoreError::database("read generations"))?;
        self.secrets.keep_only(&texts)
    }

    fn texts(&self) -> rusqlite::Result<Vec<String>> {
        let mut statement = self.durable.prepare("SELECT config FROM generations")?;
        statement.query_map([], |row| row.get(0))?.collect()
    }
}

/// SHA-256 over the texts of a configuration in order, hexadecimal. Names do not count: the same file is the
/// same configuration from wherever it is applied.
pub(crate) fn digest(config: &Config) -> String {
    let mut hash = Sha256::new();
    for file in &config.files {
        hash.update((file.text.len() as u64).to_be_bytes());
        hash.update(&file.text);
    }
    hex(&hash.finalize())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn inline_keys(effective: &Effective) -> Vec<SecretKey> {
    let intents = effective.wireguard.values();
    intents
        .filter_map(|intent| match &intent.private_key {
            KeySource::Inline(key) => Some(key.clone()),
            KeySource::File(_) => None,
        })
        .collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<(Generation, String)> {
    let state: String = row.get(1)?;
    let generation = Generation {
        id: row.get(0)?,
        state: State::parse(&state),
        digest: row.get(2)?,
        at: row.get(3)?,
        config: Config::default(),
    };
    Ok((generation, row.get(4)?))
}

fn content(source: serde_json::Error) -> StoreError {
    StoreError::Content {
        operation: "read generation",
        source,
    }
}
