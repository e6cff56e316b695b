//! WireGuard devices of this network namespace: the kernel's through generic netlink, user-space ones
//! through the standard configuration socket.
//!
//! Owns how a device is made, read, changed and removed; which devices there should be is decided
//! elsewhere. The user-space process itself is [`crate::tunnel`].

mod builds;
mod change;
mod kernel;
mod key_file;
mod pid;
mod socket;
mod user;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::netlink;
use crate::plain;
use api::IfName;
use routerd_core::key::{KeySource, PublicKey, SecretKey};
use routerd_core::observed::{Driver, Link, WireGuardDevice};
use routerd_core::plan::{PeerChange, PresharedKeyChange, WireGuardChange};

pub(crate) use builds::Builds;
pub(crate) use key_file::random;
pub use key_file::{KeyFileError, generate, inspect, read};
pub(crate) use pid::Process;
pub(crate) use socket::{Connection, LONG, SHORT};
pub(crate) use user::launch;

/// Where configuration sockets stand, by the cross-platform convention that `wg` follows.
pub const SOCKET_DIR: &str = "/var/run/wireguard";

/// A WireGuard operation failed.
#[derive(Debug, thiserror::Error)]
pub enum WireGuardError {
    /// The kernel refused.
    #[error("{operation} {ifname}: {source}")]
    Kernel {
        /// For example `create wireguard link`.
        operation: &'static str,
        /// The device.
        ifname: IfName,
        /// The kernel's answer.
        source: netlink::Error,
    },
    /// The user-space process did not answer, or refused.
    #[error("{operation} {ifname} through its configuration socket: {source}")]
    Process {
        /// For example `configure`.
        operation: &'static str,
        /// The device.
        ifname: IfName,
        /// What happened.
        source: io::Error,
    },
    /// The user-space process could not be started.
    #[error("start {program} for {ifname}: {reason}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The device.
        ifname: IfName,
        /// What it said.
        reason: String,
    },
    /// No key could be drawn.
    #[error("draw a key: {0}")]
    Random(io::Error),
    /// A key file could not be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A plain tunnel could not be taken down.
    #[error(transparent)]
    Plain(#[from] plain::TunnelError),
}

/// The two ways to have a WireGuard device.
#[derive(Debug, Clone)]
pub struct Drivers {
    program: PathBuf,
    socket_dir: PathBuf,
    builds: Builds,
    /// Tunnels of other kinds: a link that goes or dies may be one of theirs.
    plain: plain::Drivers,
}

impl Drivers {
    /// `program` is run as `PROGRAM tunnel wireguard --interface NAME` for a user-space device.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        let builds = Builds::of(program.clone());
        Self {
            plain: plain::Drivers::new(program.clone(), plain::SOCKET_DIR.into(), builds.clone()),
            builds,
            program,
            socket_dir: SOCKET_DIR.into(),
        }
    }

    /// Uses another directory for configuration sockets.
    #[must_use]
    pub fn with_socket_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.socket_dir = dir.into();
        let others = self.socket_dir.join("tunnels");
        self.plain = plain::Drivers::new(self.program.clone(), others, self.builds.clone());
        self
    }

    /// Those of plain tunnels.
    pub(crate) fn plain(&self) -> &plain::Drivers {
        &self.plain
    }

    /// Every WireGuard device among `links`. A user-space device whose process is gone or hangs is not
    /// there; asking a hung one costs at most a second.
    ///
    /// # Errors
    /// When the kernel refuses to dump one of its own devices.
    pub fn observe(
        &self,
        links: &BTreeMap<IfName, Link>,
    ) -> Result<BTreeMap<IfName, WireGuardDevice>, WireGuardError> {
        let mut devices = BTreeMap::new();
        for (ifname, link) in links {
            let device = match link.kind.as_str() {
                "wireguard" => kernel::observe(ifname)?,
                "tun" => user::observe(&self.socket_path(ifname), |build| {
                    self.builds.rate(ifname, build)
                }),
                _ => None,
            };
            if let Some(device) = device {
                devices.insert(ifname.clone(), device);
            }
        }
        Ok(devices)
    }

    /// Makes a device and marks its link as ours. A user-space device whose link outlived its process gets
    /// a new process on the same link; one that runs already is left alone.
    ///
    /// # Errors
    /// Names the operation and the device.
    pub fn create(&self, ifname: &IfName, driver: Driver) -> Result<(), WireGuardError> {
        match driver {
            Driver::Kernel => kernel::create(ifname),
            Driver::UserSpace => {
                user::start(&self.program, &self.socket_dir, ifname)?;
                kernel::mark(ifname)
            }
        }
    }

    /// Has a new process take a user-space device over from the one that runs it. If that fails, the old one goes on,
    /// and the device is observed as [`Build::Kept`](routerd_core::observed::Build::Kept) for a while.
    pub fn take_over(&self, ifname: &IfName) {
        let taken_over = user::take_over(&self.program, &self.socket_dir, ifname);
        self.builds.note(ifname, taken_over);
    }

    /// Changes a device. An allowed IP that moves from one peer to another is never without an owner, and
    /// those that stay are never taken away in between.
    ///
    /// # Errors
    /// Names the operation and the device; key files are read before anything is changed.
    pub fn set(&self, ifname: &IfName, change: &WireGuardChange) -> Result<(), WireGuardError> {
        let change = resolve(change)?;
        let path = self.socket_path(ifname);
        if path.exists() {
            user::set(&path, ifname, &change)
        } else {
            kernel::set(ifname, &change)
        }
    }

    /// Removes a device: the link and, if there is one, the process behind it.
    ///
    /// # Errors
    /// When the link cannot be removed or the process cannot be ended. A link that is already gone is none.
    pub fn delete(&self, ifname: &IfName) -> Result<(), WireGuardError> {
        let path = self.socket_path(ifname);
        let process = user::process(&path);
        kernel::delete(ifname)?;
        self.plain.end(ifname)?;
        if let Some(process) = process {
            process
                .end()
                .map_err(|source| process_error("end the process of", ifname, source))?;
        }
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(process_error("remove the socket of", ifname, source))
            }
            _ => Ok(()),
        }
    }

    /// A descriptor that becomes readable at the moment the process behind a user-space device ends;
    /// absent for kernel devices and for devices without a process.
    pub fn death_watch(&self, ifname: &IfName) -> Option<OwnedFd> {
        let wireguard = user::process(&self.socket_path(ifname)).map(Process::into_fd);
        wireguard.or_else(|| self.plain.death_watch(ifname))
    }

    fn socket_path(&self, ifname: &IfName) -> PathBuf {
        socket_path(&self.socket_dir, ifname)
    }
}

/// Whether the kernel can make WireGuard links; asking loads its module where there is one.
pub fn kernel_driver_available() -> bool {
    kernel::available()
}

/// Where the configuration socket of a device stands.
pub(crate) fn socket_path(dir: &Path, ifname: &IfName) -> PathBuf {
    dir.join(format!("{ifname}.sock"))
}

fn process_error(operation: &'static str, ifname: &IfName, source: io::Error) -> WireGuardError {
    WireGuardError::Process {
        operation,
        ifname: ifname.clone(),
        source,
    }
}

/// A change with its keys read.
struct Resolved<'a> {
    private_key: Option<SecretKey>,
    /// `None` clears it.
    preshared_keys: BTreeMap<PublicKey, Option<SecretKey>>,
    change: &'a WireGuardChange,
}

fn resolve(change: &WireGuardChange) -> Result<Resolved<'_>, WireGuardError> {
    let private_key = match &change.private_key {
        Some(KeySource::File(path)) => Some(read(path)?),
        Some(KeySource::Inline(key)) => Some(key.clone()),
        None => None,
    };
    let mut preshared_keys = BTreeMap::new();
    for (public_key, peer) in &change.peers {
        if let PeerChange::Set {
            preshared_key: Some(preshared_key),
            ..
        } = peer
        {
            let key = match preshared_key {
                PresharedKeyChange::Load(path) => Some(read(path)?),
                PresharedKeyChange::Clear => None,
            };
            preshared_keys.insert(*public_key, key);
        }
    }
    Ok(Resolved {
        private_key,
        preshared_keys,
        change,
    })
}
