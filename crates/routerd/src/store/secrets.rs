//! Inline private keys, kept out of the database.
//!
//! A configuration may hold a `privateKey` in its text, and the daemon must be able to boot from that
//! configuration. The key goes into a file of its own (mode 0600 in a folder of mode 0700, as `privateKeyFile`
//! would be) and the stored text holds a reference, so that the database, its backups and evidence made of
//! it hold no secret.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use api::control::{Config, SourceFile};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use routerd_core::key::SecretKey;
use sha2::{Digest, Sha256};

use super::StoreError;
use super::generations::hex;

/// What a sealed key looks like in a stored text, before its name.
const MARK: &str = "routerd-sealed-key-";
/// Bytes of the key's digest that name it.
const NAME_BYTES: usize = 16;

/// The folder with one file a key.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder that belongs to a database.
    pub(super) fn beside(database: &Path) -> Self {
        Self {
            path: database.with_extension("keys"),
        }
    }

    /// The configuration with every one of `keys` replaced by a reference; the keys are on the disk after it.
    pub(super) fn seal(&self, config: &Config, keys: &[SecretKey]) -> Result<Config, StoreError> {
        let mut sealed = config.clone();
        for key in keys {
            let text = STANDARD.encode(key.expose());
            if !sealed.files.iter().any(|file| file.text.contains(&text)) {
                return Err(StoreError::SecretNotLiteral);
            }
            let name = name(key);
            self.keep(&name, &text)?;
            let reference = format!("{MARK}{name}");
            for file in &mut sealed.files {
                file.text = file.text.replace(&text, &reference);
            }
        }
        Ok(sealed)
    }

    /// The configuration with every reference replaced by its key.
    pub(super) fn unseal(&self, sealed: &Config) -> Result<Config, StoreError> {
        let files = sealed.files.iter().map(|file| {
            let text = self.unseal_text(&file.text)?;
            let name = file.name.clone();
            Ok(SourceFile { name, text })
        });
        Ok(Config {
            files: files.collect::<Result<_, StoreError>>()?,
        })
    }

    fn unseal_text(&self, sealed: &str) -> Result<String, StoreError> {
        let mut text = sealed.to_owned();
        for name in references(sealed) {
            let path = self.path.join(&name);
            let key = match fs::read_to_string(&path) {
                Ok(key) => key,
                // A person may have written something that looks like a reference into a comment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StoreError::file("read sealed key", &path)(error)),
            };
            text = text.replace(&format!("{MARK}{name}"), key.trim());
        }
        Ok(text)
    }

    /// Removes the keys that none of these texts refers to.
    pub(super) fn keep_only(&self, texts: &[String]) -> Result<(), StoreError> {
        let used: BTreeSet<String> = texts.iter().flat_map(|text| references(text)).collect();
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::file("list sealed keys", &self.path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::file("list sealed keys", &self.path))?;
            let is_used = entry
                .file_name()
                .to_str()
                .is_some_and(|name| used.contains(name));
            if !is_used {
                fs::remove_file(entry.path())
                    .map_err(StoreError::file("remove sealed key", &entry.path()))?;
            }
        }
        Ok(())
    }

    fn keep(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let path = self.path.join(name);
        self.write(&path, text)
            .map_err(StoreError::file("write sealed key", &path))
    }

    /// Whole or not at all: a torn key would never be noticed before the boot that needs it.
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        if path.exists() {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)?;
        let draft = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(&self.path)?.sync_all()
    }
}

fn name(key: &SecretKey) -> String {
    let digest = Sha256::digest(key.expose());
    hex(digest.get(..NAME_BYTES).unwrap_or(&digest))
}

/// The names of all references in a text.
fn references(text: &str) -> BTreeSet<String> {
    text.split(MARK)
        .skip(1)
        .filter_map(|rest| rest.get(..2 * NAME_BYTES))
        .filter(|name| name.bytes().all(|b| b.is_ascii_hexdigit()))
        .map(str::to_owned)
        .collect()
}
