//! Private key files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use routerd_core::key::SecretKey;
use routerd_core::observed::KeyFile;

/// Reads the public half of a private key file.
pub(super) fn read(path: &Path) -> KeyFile {
    match fs::read_to_string(path) {
        Ok(text) => match text.parse::<SecretKey>() {
            Ok(key) => KeyFile::Present(key.public_key()),
            Err(error) => KeyFile::Bad(error.to_string()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => KeyFile::Absent,
        Err(error) => KeyFile::Bad(error.to_string()),
    }
}

/// Writes a new private key: mode 0600, in a directory that is made with mode 0700 if it is missing. What exists is
/// never overwritten, and a crash never leaves half a key behind.
///
/// # Errors
/// When the file exists and is not a key, or the file system refuses.
pub(super) fn generate(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let draft = path.with_added_extension(format!("new-{}", std::process::id()));
    let written = write(&draft, &new_key()?).and_then(|()| fs::hard_link(&draft, path));
    // Linked or of no use.
    let _ = fs::remove_file(&draft);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match read(path) {
            KeyFile::Present(_) => Ok(()),
            _ => Err(io::Error::other("exists and is not a WireGuard key")),
        },
        Err(error) => Err(error),
        Ok(()) => File::open(directory)?.sync_all(),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// 32 random bytes, clamped as Curve25519 wants them and `wg genkey` prints them.
fn new_key() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    bytes[0] &= 248;
    bytes[31] = bytes[31] & 127 | 64;
    Ok(STANDARD.encode(bytes) + "\n")
}
