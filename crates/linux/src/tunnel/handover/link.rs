//! Messages that one process reads and the other can deal with: passed on with their sender, one a packet of a Unix
//! socket.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use routerd_core::key::PublicKey;

use super::super::device::Device;
use super::super::handshake::Message;
use super::super::inbound::{self, data_for};
use super::super::join::Joiner;
use super::super::mmsg::Endpoint;
use super::super::outbox::Outbox;

/// Bytes that may be under way: what arrives at full speed while a peer hears of its new session.
const BUFFER: usize = 8 * 1024 * 1024;

/// How long a process that does not read may hold up the other.
const PATIENCE: Duration = Duration::from_millis(100);

/// The largest datagram, and its sender before it.
const MAX_PACKET: usize = 65_536 + 128;

/// The two ends of a link.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    for end in [&a, &b] {
        // Beyond the system's limit only the administrator may go.
        if setsockopt(end, sockopt::SndBufForce, &BUFFER).is_err() {
            setsockopt(end, sockopt::SndBuf, &BUFFER)?;
        }
        let patience = TimeVal::milliseconds(PATIENCE.as_millis() as i64);
        setsockopt(end, sockopt::SendTimeout, &patience)?;
    }
    Ok((a, b))
}

/// The other process of a take-over, as long as there is one.
#[derive(Default)]
pub(in crate::tunnel) struct Neighbour {
    link: RwLock<Option<Link>>,
    /// Whether sessions are made, but must not be used yet.
    unconfirmed: AtomicBool,
}

struct Link {
    socket: Arc<OwnedFd>,
    /// What the neighbour is known to use; a neighbour that may use any index gets all that is unknown.
    indices: Option<BTreeMap<u32, PublicKey>>,
    /// When a message was last passed on, by peer.
    passed: Mutex<BTreeMap<PublicKey, Instant>>,
}

impl Neighbour {
    /// Opens the link. Without `indices` the neighbour gets every message that is nobody's here.
    pub(super) fn meet(&self, socket: Arc<OwnedFd>, indices: Option<BTreeMap<u32, PublicKey>>) {
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = Some(Link {
            socket,
            indices,
            passed: Mutex::default(),
        });
    }

    /// Closes the link.
    pub(super) fn part(&self) {
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn set_unconfirmed(&self, unconfirmed: bool) {
        self.unconfirmed.store(unconfirmed, Ordering::Release);
    }

    /// Whether peers must not hear yet that a session stands.
    pub(in crate::tunnel) fn is_unconfirmed(&self) -> bool {
        self.unconfirmed.load(Ordering::Acquire)
    }

    /// Passes a message on that is for no session here.
    pub(in crate::tunnel) fn pass(&self, receiver: u32, from: Endpoint, message: &[u8]) {
        let link = self.link.read().unwrap_or_else(PoisonError::into_inner);
        let Some(link) = link.as_ref() else { return };
        if let Some(indices) = &link.indices {
            let Some(peer) = indices.get(&(receiver >> 8)) else {
                return;
            };
            let mut passed = link.passed.lock().unwrap_or_else(PoisonError::into_inner);
            passed.insert(*peer, Instant::now());
        }
        let mut packet = Vec::with_capacity(message.len() + 128);
        let local = from.local.map_or_else(String::new, |a| a.to_string());
        // Writing to memory cannot fail.
        let _ = writeln!(packet, "{} {local}", from.remote);
        packet.extend_from_slice(message);
        // A neighbour that is gone or hangs loses it, as the network could have.
        let _ = send(link.socket.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL);
    }

    /// When a message of a peer was last passed on.
    pub(super) fn last_passed(&self, peer: &PublicKey) -> Option<Instant> {
        let link = self.link.read().unwrap_or_else(PoisonError::into_inner);
        let passed = &link.as_ref()?.passed;
        let passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.get(peer).copied()
    }
}

/// Takes what the neighbour passes on, until it closes the link.
pub(super) fn receive(
    device: &Device,
    socket: &OwnedFd,
    handshakes: &SyncSender<Message>,
) -> io::Result<()> {
    let mut buffer = vec![0; MAX_PACKET];
    let mut joiner = Joiner::new(device.tun.udp_offload());
    let mut outbox = Outbox::new();
    loop {
        let length = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(0) | Err(nix::Error::ECONNRESET) => return Ok(()),
            Err(nix::Error::EINTR) => continue,
            other => other?,
        };
        let Some((from, message)) = unpack(&buffer[..length]) else {
            continue;
        };
        if data_for(message).is_some() {
            inbound::deliver(device, from, message, &mut joiner, &mut outbox)?;
        } else {
            // Where there are more than can be looked at, senders repeat theirs.
            let _ = handshakes.try_send(Message::passed_on(from, message));
        }
    }
}

fn unpack(packet: &[u8]) -> Option<(Endpoint, &[u8])> {
    let end = packet.iter().position(|byte| *byte == b'\n')?;
    let (remote, local) = std::str::from_utf8(&packet[..end]).ok()?.split_once(' ')?;
    let from = Endpoint {
        remote: remote.parse().ok()?,
        local: match local {
            "" => None,
            local => Some(local.parse::<IpAddr>().ok()?),
        },
    };
    Some((from, &packet[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &OwnedFd) -> Option<(Endpoint, Vec<u8>)> {
        let mut buffer = vec![0; MAX_PACKET];
        let flags = MsgFlags::MSG_DONTWAIT;
        let length = recv(socket.as_raw_fd(), &mut buffer, flags).ok()?;
        unpack(&buffer[..length]).map(|(from, message)| (from, message.to_vec()))
    }

    #[test]
    fn what_is_the_neighbours_is_passed_on_with_its_sender() {
        let (ours, theirs) = pair().expect("link");
        let neighbour = Neighbour::default();
        let from = Endpoint {
            remote: "[fe80::1%3]:4500".parse().expect("address"),
            local: Some("fe80::2".parse().expect("address")),
        };
        neighbour.pass(0x701, from, b"nobody there");
        let peer = PublicKey([3; 32]);
        neighbour.meet(Arc::new(ours), Some(BTreeMap::from([(7, peer)])));
        neighbour.pass(0x801, from, b"unknown");
        assert_eq!(neighbour.last_passed(&peer), None);
        let largest = vec![9; 65_507];
        neighbour.pass(0x7ff, from, &largest);
        assert_eq!(received(&theirs), Some((from, largest)));
        assert_eq!(received(&theirs), None);
        assert!(neighbour.last_passed(&peer).is_some());

        let from = Endpoint::from(
            "192.0.2.1:51820"
                .parse::<std::net::SocketAddr>()
                .expect("address"),
        );
        let (ours, theirs) = pair().expect("link");
        neighbour.meet(Arc::new(ours), None);
        neighbour.pass(0x801, from, b"");
        assert_eq!(received(&theirs), Some((from, Vec::new())));
        neighbour.part();
        neighbour.pass(0x801, from, b"gone");
        assert_eq!(received(&theirs), None);
    }
}
