//! Private key files: made once, readable by their owner alone, never overwritten.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use routerd_core::key::{KeyError, PublicKey, SecretKey};
use routerd_core::observed::KeyFile;

/// The longest file that is taken for a key: 44 characters and generous white space.
const MAX_LEN: u64 = 128;

/// A key file could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system refused.
    #[error("{operation} {path}: {source}")]
    Io {
        /// For example `write key file`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// There, but not a key.
    #[error("read key file {path}: {source}")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
}

/// Writes a new private key to `path`, mode 0600, in a directory that is made with mode 0700 if it is not
/// there. The file appears complete or not at all, and survives a power cut once this returns.
///
/// # Errors
/// When the file exists already, whatever it holds, or cannot be written.
pub fn generate(path: &Path) -> Result<PublicKey, KeyFileError> {
    let failed = |operation| {
        move |source| KeyFileError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    };
    let mut bytes = random().map_err(failed("draw a key for"))?;
    clamp(&mut bytes);
    let key = SecretKey::from_bytes(bytes);

    let dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed("make the directory of key file"))?;
    write_new(path, dir, &key).map_err(failed("write key file"))?;
    Ok(key.public_key())
}

/// Bytes from the kernel's generator.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(io::Error::other(error.to_string())),
    }
}

/// Reads a private or preshared key.
///
/// # Errors
/// When the file cannot be read or does not hold a key.
pub fn read(path: &Path) -> Result<SecretKey, KeyFileError> {
    let text = read_text(path).map_err(|source| KeyFileError::Io {
        operation: "read key file",
        path: path.to_owned(),
        source,
    })?;
    text.parse().map_err(|source| KeyFileError::NotAKey {
        path: path.to_owned(),
        source,
    })
}

/// The state of a private key file.
pub fn inspect(path: &Path) -> KeyFile {
    match read(path) {
        Ok(key) => KeyFile::Present(key.public_key()),
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            KeyFile::Absent
        }
        Err(KeyFileError::Io { source, .. }) => KeyFile::Bad(source.to_string()),
        Err(KeyFileError::NotAKey { source, .. }) => KeyFile::Bad(source.to_string()),
    }
}

/// Writes beside the target and links the finished file to its name: `link` fails where the name is taken,
/// which `rename` would not.
fn write_new(path: &Path, dir: &Path, key: &SecretKey) -> io::Result<()> {
    let draft = dir.join(format!(".{:016x}.new", u64::from_ne_bytes(random()?)));
    let written = write_draft(&draft, key).and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    written?;
    File::open(dir)?.sync_all()
}

fn write_draft(draft: &Path, key: &SecretKey) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    let mut text = STANDARD.encode(key.expose());
    text.push('\n');
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_LEN).read_to_string(&mut text)?;
    Ok(text)
}

/// The form of a Curve25519 scalar that `wg genkey` writes (RFC 7748, section 5).
fn clamp(bytes: &mut [u8; 32]) {
    bytes[0] &= 248;
    bytes[31] = (bytes[31] & 127) | 64;
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_key_is_private_and_never_overwritten() {
        let root = tempfile::tempdir().expect("directory");
        let path = root.path().join("keys/wg0.key");
        assert_eq!(inspect(&path), KeyFile::Absent);

        let public = generate(&path).expect("generate");
        assert_eq!(inspect(&path), KeyFile::Present(public));
        let mode = |p: &Path| fs::metadata(p).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("parent")), 0o700);

        let before = fs::read(&path).expect("read");
        assert!(generate(&path).is_err(), "an existing key is kept");
        assert_eq!(fs::read(&path).expect("read"), before);
        let files = fs::read_dir(path.parent().expect("parent")).expect("list");
        assert_eq!(files.count(), 1, "no draft is left behind");
    }

    #[test]
    fn what_is_not_a_key_is_bad() {
        let root = tempfile::tempdir().expect("directory");
        let path = root.path().join("key");
        fs::write(&path, "not a key\n").expect("write");
        assert!(matches!(inspect(&path), KeyFile::Bad(_)));
        fs::write(&path, vec![b'A'; 1 << 20]).expect("write");
        assert!(matches!(inspect(&path), KeyFile::Bad(_)));
        assert!(matches!(inspect(root.path()), KeyFile::Bad(_)));
    }
}
