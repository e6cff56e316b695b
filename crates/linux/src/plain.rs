//! Plain tunnels (ipip, gre, fou, gue): the kernel's through rtnetlink, or a process of ours with a TUN device.
//!
//! Owns how such a tunnel is made, read and changed; which there should be is decided elsewhere.

mod client;
mod fou;
mod header;
mod kernel;
mod process;
mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use api::IfName;
use routerd_core::encapsulation::{KernelTunnel, PlainTunnel};
use routerd_core::observed::{Build, Driver, FouPort, Link, PlainTunnelDevice};

use crate::netlink;
use crate::netlink::link::Names;
use crate::wireguard::Builds;

#[cfg(feature = "fuzz")]
pub use process::fuzz;
pub use process::{Options, run};
pub(crate) use socket::{open_socket, option, set_option};

/// Where the processes of user-space tunnels listen.
pub const SOCKET_DIR: &str = "/var/run/routerd/tunnels";

/// A plain tunnel operation failed.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The kernel refused.
    #[error("{operation} {ifname}: {source}")]
    Kernel {
        /// For example `create ipip link`.
        operation: &'static str,
        /// The device.
        ifname: IfName,
        /// The kernel's answer.
        source: netlink::Error,
    },
    /// A device that it is to be bound to is not there.
    #[error("bind {ifname} to {underlay}: no such interface")]
    Underlay {
        /// The device.
        ifname: IfName,
        /// What it is to be bound to.
        underlay: IfName,
    },
    /// The kernel refused a port.
    #[error("{operation} port {port}: {source}")]
    Port {
        /// `add` or `remove`.
        operation: &'static str,
        /// The UDP port.
        port: u16,
        /// The kernel's answer.
        source: netlink::Error,
    },
    /// The user-space process could not be started or ended.
    #[error("{operation} the process of {ifname}: {reason}")]
    Process {
        /// `start` or `end`.
        operation: &'static str,
        /// The device.
        ifname: IfName,
        /// What it said.
        reason: String,
    },
}

/// The two ways to have a plain tunnel.
#[derive(Debug, Clone)]
pub(crate) struct Drivers {
    /// Run as `PROGRAM tunnel MODE --interface NAME …` for a user-space device.
    program: PathBuf,
    socket_dir: PathBuf,
    builds: Builds,
}

impl Drivers {
    pub(crate) fn new(program: PathBuf, socket_dir: PathBuf, builds: Builds) -> Self {
        Self {
            program,
            socket_dir,
            builds,
        }
    }

    /// Every plain tunnel that routerd could have made. One in user space whose process is gone is not there.
    pub(crate) fn observe(
        &self,
        links: &BTreeMap<IfName, Link>,
        names: &Names,
    ) -> Result<BTreeMap<IfName, PlainTunnelDevice>, netlink::Error> {
        let kernels = links
            .values()
            .any(|l| matches!(l.kind.as_str(), "ipip" | "gre"));
        let mut devices = BTreeMap::new();
        if kernels {
            devices.extend(kernel::observe(names)?);
        }
        for (ifname, _) in links.iter().filter(|(_, link)| link.kind == "tun") {
            let path = self.socket_path(ifname);
            if let Some(tunnel) = path.exists().then(|| client::observe(&path)).flatten() {
                // A process from before there were take-overs does not say what it runs.
                let build = client::build(&path);
                let rate = |build: String| self.builds.rate(ifname, &build);
                let device = PlainTunnelDevice {
                    driver: Driver::UserSpace,
                    build: build.map_or(Build::Current, rate),
                    tunnel,
                };
                devices.insert(ifname.clone(), device);
            }
        }
        Ok(devices)
    }

    /// Makes a tunnel and marks its link as ours. One that is there already becomes what it should be.
    pub(crate) fn create(
        &self,
        ifname: &IfName,
        driver: Driver,
        tunnel: &PlainTunnel,
    ) -> Result<(), TunnelError> {
        match driver {
            Driver::Kernel => kernel::create(ifname, tunnel),
            Driver::UserSpace => {
                client::start(&self.program, &self.socket_dir, ifname, tunnel)?;
                kernel::mark(ifname)
            }
        }
    }

    /// Makes a tunnel another one. In user space that is another process on the same device.
    pub(crate) fn change(
        &self,
        ifname: &IfName,
        driver: Driver,
        tunnel: &PlainTunnel,
    ) -> Result<(), TunnelError> {
        match driver {
            Driver::Kernel => kernel::change(ifname, tunnel),
            Driver::UserSpace => client::start(&self.program, &self.socket_dir, ifname, tunnel),
        }
    }

    /// Has a new process take a user-space tunnel over from the one that runs it. If that fails, the old one goes on.
    pub(crate) fn take_over(&self, ifname: &IfName, tunnel: &PlainTunnel) {
        let taken_over = client::take_over(&self.program, &self.socket_dir, ifname, tunnel);
        self.builds.note(ifname, taken_over);
    }

    /// Ends the process behind a device whose link is gone, if there is one.
    pub(crate) fn end(&self, ifname: &IfName) -> Result<(), TunnelError> {
        let path = self.socket_path(ifname);
        let ended = client::process(&path).map_or(Ok(()), |process| process.end());
        let removed = ended.and_then(|()| match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        });
        removed.map_err(|error| TunnelError::Process {
            operation: "end",
            ifname: ifname.clone(),
            reason: error.to_string(),
        })
    }

    /// A descriptor that becomes readable when the process behind a device ends, if there is one.
    pub(crate) fn death_watch(&self, ifname: &IfName) -> Option<OwnedFd> {
        let path = self.socket_path(ifname);
        let process = path.exists().then(|| client::process(&path)).flatten();
        process.map(crate::wireguard::Process::into_fd)
    }

    fn socket_path(&self, ifname: &IfName) -> PathBuf {
        socket_path(&self.socket_dir, ifname)
    }
}

/// Those of the drivers that this kernel has.
pub(crate) fn offered(wanted: &BTreeSet<KernelTunnel>) -> BTreeSet<KernelTunnel> {
    wanted
        .iter()
        .copied()
        .filter(|tunnel| kernel::offers(*tunnel))
        .collect()
}

/// The UDP ports that the kernel feeds to tunnels; none where it cannot. A module that nobody wants is not loaded for
/// the question: without it there are none.
pub(crate) fn ports(wanted: &BTreeSet<KernelTunnel>) -> BTreeMap<u16, FouPort> {
    if wanted.contains(&KernelTunnel::Fou) || Path::new("/sys/module/fou").exists() {
        fou::ports()
    } else {
        BTreeMap::new()
    }
}

/// Has the kernel feed a port to tunnels.
pub(crate) fn add_port(port: u16, feeds: FouPort) -> Result<(), TunnelError> {
    fou::add(port, feeds).map_err(|source| TunnelError::Port {
        operation: "add",
        port,
        source,
    })
}

/// Gives a port back.
pub(crate) fn remove_port(port: u16) -> Result<(), TunnelError> {
    fou::remove(port).map_err(|source| TunnelError::Port {
        operation: "remove",
        port,
        source,
    })
}

/// Where the process of a device listens.
fn socket_path(dir: &Path, ifname: &IfName) -> PathBuf {
    dir.join(format!("{ifname}.sock"))
}
