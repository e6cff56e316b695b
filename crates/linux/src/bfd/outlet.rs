//! Where the control packets of one session go out.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use api::IfName;
use bgp::bfd::{FIRST_SOURCE_PORT, HOP_LIMIT};
use nix::sys::socket::{setsockopt, sockopt};

/// DSCP CS6, network control.
const PRIORITY: libc::c_int = 0xc0;

/// A socket with a source port of its own, as the standard wants it for each session.
#[derive(Debug)]
pub(super) struct Outlet {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Outlet {
    /// `first` is where the search for a free port begins.
    pub(super) fn open(
        to: SocketAddr,
        local: Option<Ipv4Addr>,
        interface: Option<&IfName>,
        first: u16,
    ) -> io::Result<Self> {
        let local = local.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let socket = bind(local, first)?;
        socket.set_nonblocking(true)?;
        socket.set_ttl(HOP_LIMIT.into())?;
        setsockopt(&socket, sockopt::Ipv4Tos, &PRIORITY)?;
        if let Some(interface) = interface {
            setsockopt(&socket, sockopt::BindToDevice, &interface.as_str().into())?;
        }
        Ok(Self { socket, to })
    }

    /// What the kernel does not take is lost, as any packet may be: the next one is sent soon.
    pub(super) fn send(&self, packet: &[u8]) {
        if let Err(error) = self.socket.send_to(packet, self.to) {
            tracing::debug!(%error, to = %self.to, "send BFD");
        }
    }
}

fn bind(local: Ipv4Addr, first: u16) -> io::Result<UdpSocket> {
    let ports = u16::MAX - FIRST_SOURCE_PORT + 1;
    let mut tries = 0;
    loop {
        let port = FIRST_SOURCE_PORT + first.wrapping_add(tries) % ports;
        match UdpSocket::bind((local, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < ports => tries += 1,
            bound => return bound,
        }
    }
}
