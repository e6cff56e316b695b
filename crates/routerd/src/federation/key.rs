//! What this node signs with and whom it believes: read where it is used, never kept in the database.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use api::federation::Keys;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use routerd_core::federation::intent::{Auth, Federation, GroupIntent};
use routerd_core::federation::signature::{NodePublicKey, Signer, Verifier};

/// A key could not be made or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file system refused.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is none to activate.
    #[error("there is no next key: prepare one first, and tell the peers")]
    NotPrepared,
    /// There, but no key.
    #[error("{}: not a node key (32 bytes in base64)", .0.display())]
    NotAKey(PathBuf),
    /// There, but without a secret.
    #[error("{}: no line with a secret of at least 16 characters", .0.display())]
    NoSecret(PathBuf),
}

/// The key of this node: a file beside the database.
#[derive(Debug, Clone)]
pub(crate) struct NodeKey {
    path: PathBuf,
}

impl NodeKey {
    /// The key that belongs to a database.
    pub(crate) fn beside(database: &Path) -> Self {
        Self {
            path: database.with_extension("node-key"),
        }
    }

    /// Reads the key, making it first if there is none.
    pub(crate) fn signer(&self) -> Result<Signer, KeyError> {
        read_or_make(&self.path)
    }

    /// The public half, if there is a key.
    pub(crate) fn public(&self) -> Option<NodePublicKey> {
        read(&self.path).ok()?.public_key()
    }

    /// The public halves of the key and of the next one.
    pub(crate) fn keys(&self) -> Keys {
        let next = read(&self.next()).ok().and_then(|next| next.public_key());
        Keys {
            current: self.public().map(|key| key.to_string()),
            next: next.map(|key| key.to_string()),
        }
    }

    /// Makes the next key if there is none; peers have to know it before it signs.
    pub(crate) fn prepare(&self) -> Result<Keys, KeyError> {
        read_or_make(&self.next())?;
        Ok(self.keys())
    }

    /// From now on the next key signs; the old one is gone.
    pub(crate) fn activate(&self) -> Result<Keys, KeyError> {
        let next = self.next();
        match read(&next) {
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(KeyError::NotPrepared);
            }
            read => drop(read?),
        }
        let swap = || -> io::Result<()> {
            fs::rename(&next, &self.path)?;
            File::open(folder(&self.path))?.sync_all()
        };
        swap().map_err(failed("activate node key", &next))?;
        Ok(self.keys())
    }

    fn next(&self) -> PathBuf {
        self.path.with_extension("node-key-next")
    }
}

fn read_or_make(path: &Path) -> Result<Signer, KeyError> {
    match read(path) {
        Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            generate(path).map_err(failed("make node key", path))?;
            read(path)
        }
        read => read,
    }
}

fn read(path: &Path) -> Result<Signer, KeyError> {
    let text = fs::read_to_string(path).map_err(failed("read node key", path))?;
    let bytes = STANDARD.decode(text.trim()).ok();
    let seed: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
    let seed = seed.ok_or_else(|| KeyError::NotAKey(path.to_owned()))?;
    Ok(Signer::node_key(&seed))
}

/// Whole or not at all, and never over another one.
fn generate(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder(path))?;
    let draft = path.with_extension(format!("draft-{:016x}", u64::from_ne_bytes(random()?)));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    let seed: [u8; 32] = random()?;
    writeln!(file, "{}", STANDARD.encode(seed))?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(folder(path))?.sync_all(),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// What the messages of a group are signed with.
pub(crate) fn signer(group: &GroupIntent, node: &NodeKey) -> Result<Signer, KeyError> {
    match &group.auth {
        Auth::NodeKey => node.signer(),
        Auth::Hmac(path) => {
            let mut secrets = secrets(path)?.into_iter();
            let first = secrets.next();
            first
                .map(Signer::Hmac)
                .ok_or_else(|| KeyError::NoSecret(path.clone()))
        }
    }
}

/// What a sender's signatures are checked against; nothing for one that the group does not believe.
pub(crate) fn verifier(
    federation: &Federation,
    name: &str,
    group: &GroupIntent,
    sender: &str,
) -> Result<Option<Verifier>, KeyError> {
    let mut peers = federation.peers.values();
    let Some(peer) = peers.find(|peer| peer.group == name && peer.node == sender) else {
        return Ok(None);
    };
    match &group.auth {
        Auth::NodeKey if peer.keys.is_empty() => Ok(None),
        Auth::NodeKey => Ok(Some(Verifier::NodeKeys(peer.keys.clone()))),
        Auth::Hmac(path) => Ok(Some(Verifier::Hmac(secrets(path)?))),
    }
}

/// The lines of a secret file.
fn secrets(path: &Path) -> Result<Vec<Vec<u8>>, KeyError> {
    let text = fs::read_to_string(path).map_err(failed("read secret", path))?;
    let lines = text.lines().map(str::trim).filter(|line| line.len() >= 16);
    let secrets: Vec<_> = lines.map(|line| line.as_bytes().to_vec()).collect();
    if secrets.is_empty() {
        return Err(KeyError::NoSecret(path.to_owned()));
    }
    Ok(secrets)
}

/// Bytes from the kernel's generator.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::File {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_node_key_is_made_once_and_for_us_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let key = NodeKey::beside(&folder.path().join("state/routerd.db"));
        assert_eq!(key.public(), None);
        let first = key.signer().expect("made").public_key();
        assert_eq!(key.signer().expect("read").public_key(), first);
        assert_eq!(key.public(), first);
        let mode = fs::metadata(&key.path).expect("file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&key.path, "short").expect("write");
        assert!(matches!(key.signer(), Err(KeyError::NotAKey(_))));
    }

    #[test]
    fn the_next_key_signs_once_it_is_activated() {
        let folder = tempfile::tempdir().expect("folder");
        let key = NodeKey::beside(&folder.path().join("routerd.db"));
        assert!(matches!(key.activate(), Err(KeyError::NotPrepared)));
        let current = key
            .signer()
            .expect("made")
            .public_key()
            .expect("key")
            .to_string();
        let prepared = key.prepare().expect("prepared");
        assert_eq!(key.prepare().expect("again"), prepared, "it is made once");
        assert_eq!(prepared.current, Some(current));
        let activated = key.activate().expect("activated");
        assert_eq!((activated.current, activated.next), (prepared.next, None));
    }

    #[test]
    fn the_first_secret_signs_and_all_are_believed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("secret");
        fs::write(&path, "new-secret-0123456\n\nold-secret-0123456\n").expect("write");
        assert_eq!(secrets(&path).expect("read").len(), 2);
        fs::write(&path, "short\n").expect("write");
        assert!(matches!(secrets(&path), Err(KeyError::NoSecret(_))));
    }
}
