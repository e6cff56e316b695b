//! Who had a session when this process ended: what the next one has to wait for. Kept where a reboot forgets it, as
//! it forgets the kernel's routes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// The file with the addresses of peers that have a session.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    peers: BTreeSet<IpAddr>,
}

impl Memory {
    /// Reads what the last process left; nothing if there was none.
    pub(super) fn open(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let peers = text.lines().filter_map(|line| line.parse().ok()).collect();
        Self { path, peers }
    }

    pub(super) fn peers(&self) -> &BTreeSet<IpAddr> {
        &self.peers
    }

    /// Notes that a session came up or ended.
    pub(super) fn note(&mut self, peer: IpAddr, up: bool) {
        let changed = if up {
            self.peers.insert(peer)
        } else {
            self.peers.remove(&peer)
        };
        if changed && let Err(error) = self.write() {
            tracing::warn!(%error, path = %self.path.display(), "remember BGP sessions");
        }
    }

    /// Whole or not at all: the process may be killed in the middle.
    fn write(&self) -> io::Result<()> {
        let lines: String = self.peers.iter().map(|peer| format!("{peer}\n")).collect();
        let new = self.path.with_extension("new");
        fs::write(&new, lines)?;
        fs::rename(&new, &self.path)
    }
}
