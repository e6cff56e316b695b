//! Datagrams beside the tunnel: the network answers them with what it carries, and the kernel takes note.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use crate::plain::{option, set_option};

/// IPv4 and UDP headers.
const HEADERS: u32 = 28;

/// A socket for each endpoint. It stays open, or the kernel would not know whom an error is about.
#[derive(Debug, Default)]
pub(super) struct Outside {
    sockets: BTreeMap<SocketAddrV4, UdpSocket>,
    /// What the kernel knew of each path at last. It forgets what the network said after a while.
    known: BTreeMap<SocketAddrV4, Option<libc::c_int>>,
}

impl Outside {
    /// Forgets all others.
    pub(super) fn keep(&mut self, endpoints: &BTreeMap<SocketAddrV4, u32>) {
        self.sockets
            .retain(|endpoint, _| endpoints.contains_key(endpoint));
        self.known
            .retain(|endpoint, _| endpoints.contains_key(endpoint));
    }

    /// Sends a packet of this size. Returns whether the kernel knows something else of the path than the last time.
    pub(super) fn send(&mut self, endpoint: SocketAddrV4, size: u32) -> io::Result<bool> {
        let socket = match self.sockets.entry(endpoint) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(slot) => slot.insert(open(endpoint)?),
        };
        let length = size.saturating_sub(HEADERS).min(65_507);
        // Zeros are no message of WireGuard's: the other end throws them away.
        match socket.send(&vec![0; length as usize]) {
            // An error about the one before: what nobody has fetched yet is reported here.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => return Ok(true),
            sent => sent?,
        };
        let known = option(socket.as_fd(), libc::SOL_IP, libc::IP_MTU);
        let before = self.known.insert(endpoint, known);
        Ok(before.is_some_and(|before| before != known))
    }

    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.values().map(AsFd::as_fd)
    }

    /// Whether the network said that something was too large.
    pub(super) fn complained(&self) -> bool {
        let errors = self.sockets.values().map(UdpSocket::take_error);
        let too_large = |error: io::Error| error.raw_os_error() == Some(libc::EMSGSIZE);
        errors.fold(false, |any, error| {
            any | error.ok().flatten().is_some_and(too_large)
        })
    }
}

fn open(endpoint: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_nonblocking(true)?;
    // Fragments are forbidden, and what is known of the path does not count: it may have changed.
    set_option(
        socket.as_fd(),
        libc::SOL_IP,
        libc::IP_MTU_DISCOVER,
        libc::IP_PMTUDISC_PROBE,
    )?;
    socket.connect(endpoint)?;
    Ok(socket)
}
