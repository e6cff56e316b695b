//! One daemon a runtime directory and one a network namespace.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

/// How long a process that was killed may take to go.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);

/// The name that a daemon holds in its network namespace: abstract socket names belong to the namespace and go
/// with their process.
const NAME: &[u8] = b"routerd-instance";

/// Proof that no other daemon works here. The kernel takes it back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Instance {
    _lock: Flock<File>,
    _name: UnixDatagram,
}

impl Instance {
    /// Claims the runtime directory (made if it is not there) and the network namespace. Waits a moment for a
    /// predecessor that was killed and is not quite gone.
    pub(crate) fn claim(runtime_dir: &Path) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::try_claim(runtime_dir) {
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => std::thread::sleep(PAUSE),
                claimed => return claimed,
            }
        }
    }

    fn try_claim(runtime_dir: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(runtime_dir)
            .with_context(|| format!("make runtime directory {}", runtime_dir.display()))?;
        Ok(Self {
            _lock: lock(&runtime_dir.join("routerd.lock"))?,
            _name: name()?,
        })
    }
}

fn lock(path: &Path) -> Result<Flock<File>> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("open lock {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::Error::EWOULDBLOCK => anyhow::anyhow!(
            "another routerd holds {}\nhint: use another --runtime-dir, or stop that one",
            path.display()
        ),
        error => anyhow::Error::new(error).context(format!("lock {}", path.display())),
    })
}

fn name() -> Result<UnixDatagram> {
    let address = SocketAddr::from_abstract_name(NAME).context("name this instance")?;
    match UnixDatagram::bind_addr(&address) {
        Ok(socket) => Ok(socket),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => bail!(
            "another routerd runs in this network namespace\nhint: find it with `ss -xlp | grep routerd`"
        ),
        Err(error) => Err(error).context("name this instance"),
    }
}
