//! What goes over as text: the configuration, and of each peer what the configuration does not say.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use api::IfName;
use routerd_core::key::PublicKey;
use serde::{Deserialize, Serialize};

use super::super::device::Device;
use super::super::tun::Tun;
use super::super::uapi::{self, AllowedIpChange, DeviceState, SetDevice, SetPeer};
use super::super::udp::{Socket, Udp};

/// A device as its predecessor leaves it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Estate {
    /// As `get=1` answers.
    configuration: String,
    /// How many of the descriptors are TUN queues.
    queues: usize,
    /// Whether there is a socket for IPv4; it comes after the queues.
    v4: bool,
    /// Whether there is one for IPv6; it comes last.
    v6: bool,
    pub(super) peers: Vec<PeerNote>,
}

/// What is to be known of a peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::tunnel) struct PeerNote {
    pub(in crate::tunnel) key: PublicKey,
    pub(in crate::tunnel) remote: Option<SocketAddr>,
    /// The address of ours that it talks to.
    pub(in crate::tunnel) local: Option<IpAddr>,
    /// Upper 24 bits of the receiver indices in use.
    pub(in crate::tunnel) indices: Vec<u32>,
    /// Whether a session stands.
    pub(in crate::tunnel) live: bool,
    pub(in crate::tunnel) rx_bytes: u64,
    pub(in crate::tunnel) tx_bytes: u64,
    /// Since the Unix epoch.
    pub(in crate::tunnel) last_handshake: Option<Duration>,
}

/// The descriptors of an estate, in the order in which they are sent.
pub(super) struct Descriptors {
    queues: Vec<OwnedFd>,
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
}

impl Estate {
    pub(super) fn of(device: &Device, sockets: &[Option<Arc<Socket>>; 2]) -> Self {
        Self {
            configuration: uapi::format_state(&device.get()),
            queues: device.tun.queues().len(),
            v4: sockets[0].is_some(),
            v6: sockets[1].is_some(),
            peers: device.notes(),
        }
    }

    /// What is to be attached.
    pub(super) fn descriptors<'a>(
        device: &'a Device,
        sockets: &'a [Option<Arc<Socket>>; 2],
    ) -> Vec<BorrowedFd<'a>> {
        let mut fds = device.tun.queues();
        fds.extend(sockets.iter().flatten().map(|socket| socket.as_fd()));
        fds
    }

    /// Sorts what was attached.
    pub(super) fn sort(&self, fds: Vec<OwnedFd>) -> io::Result<Descriptors> {
        let expected = self.queues + usize::from(self.v4) + usize::from(self.v6);
        if fds.len() != expected {
            let text = format!("{} descriptors instead of {expected}", fds.len());
            return Err(io::Error::other(text));
        }
        let mut fds = fds.into_iter();
        Ok(Descriptors {
            queues: fds.by_ref().take(self.queues).collect(),
            v4: self.v4.then(|| fds.next()).flatten(),
            v6: self.v6.then(|| fds.next()).flatten(),
        })
    }

    /// The configuration as it stands.
    pub(super) fn state(&self) -> io::Result<DeviceState> {
        uapi::parse_state(&self.configuration).map_err(io::Error::other)
    }

    /// The receiver indices in use, and whose they are.
    pub(super) fn indices(&self) -> BTreeMap<u32, PublicKey> {
        let peers = self.peers.iter();
        peers
            .flat_map(|peer| peer.indices.iter().map(|index| (*index, peer.key)))
            .collect()
    }
}

impl Descriptors {
    pub(super) fn device(self, ifname: &IfName, mark: u32) -> io::Result<Device> {
        let tun = Tun::adopt(self.queues, ifname)?;
        Device::new(tun, Udp::adopt(self.v4, self.v6, mark)?)
    }
}

/// The request that makes a new device what a state says. Keepalives come later: they would confirm sessions.
pub(super) fn reproduce(state: &DeviceState) -> SetDevice {
    let peers = state.peers.iter().map(|peer| SetPeer {
        preshared_key: Some(peer.preshared_key.clone()),
        endpoint: peer.endpoint,
        allowed_ips: peer
            .allowed_ips
            .iter()
            .copied()
            .map(AllowedIpChange::Add)
            .collect(),
        ..SetPeer::new(peer.public_key)
    });
    SetDevice {
        private_key: Some(state.private_key.clone()),
        peers: peers.collect(),
        ..SetDevice::default()
    }
}

/// The request with the keepalives.
pub(super) fn keepalives(state: &DeviceState) -> SetDevice {
    let peers = state.peers.iter();
    let peers = peers.filter(|peer| peer.persistent_keepalive != 0);
    let peers = peers.map(|peer| SetPeer {
        update_only: true,
        persistent_keepalive: Some(peer.persistent_keepalive),
        ..SetPeer::new(peer.public_key)
    });
    SetDevice {
        peers: peers.collect(),
        ..SetDevice::default()
    }
}
