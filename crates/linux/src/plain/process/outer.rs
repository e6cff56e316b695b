//! The socket towards the other end: raw for ipip and gre, UDP for fou and gue.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrIn, bind, connect, setsockopt, sockopt};
use routerd_core::encapsulation::{Encapsulation, PlainTunnel};

use crate::plain::socket;

/// Bytes that may wait in either direction: what a burst at 10 Gbit/s brings while a thread is not scheduled.
const BUFFER: usize = 4 << 20;

/// The socket.
pub(super) struct Outer {
    fd: OwnedFd,
    remote: SocketAddrV4,
    raw: bool,
}

impl Outer {
    /// Binds a socket to this end; its address may come later.
    pub(super) fn open(tunnel: &PlainTunnel) -> io::Result<Self> {
        let (kind, protocol) = match tunnel.encapsulation {
            Encapsulation::Ipip => (libc::SOCK_RAW, libc::IPPROTO_IPIP),
            Encapsulation::Gre { .. } => (libc::SOCK_RAW, libc::IPPROTO_GRE),
            Encapsulation::Fou(_) | Encapsulation::Gue(_) => (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
        };
        let fd = socket::open_socket(kind, protocol)?;
        let ports = tunnel.encapsulation.ports();
        let (from, to) = ports.map_or((0, 0), |ports| (ports.source, ports.destination));
        let outer = Self {
            fd,
            remote: SocketAddrV4::new(tunnel.remote, to),
            raw: kind == libc::SOCK_RAW,
        };
        outer.set_up(tunnel)?;
        let local = SockaddrIn::from(SocketAddrV4::new(tunnel.local, from));
        bind(outer.fd.as_raw_fd(), &local)?;
        Ok(outer)
    }

    /// Goes on with the socket of another process for the same tunnel.
    pub(super) fn adopt(fd: OwnedFd, tunnel: &PlainTunnel) -> Self {
        let ports = tunnel.encapsulation.ports();
        Self {
            fd,
            remote: SocketAddrV4::new(tunnel.remote, ports.map_or(0, |ports| ports.destination)),
            raw: ports.is_none(),
        }
    }

    fn set_up(&self, tunnel: &PlainTunnel) -> io::Result<()> {
        if let Some(underlay) = &tunnel.underlay {
            let name = underlay.as_str().to_owned().into();
            setsockopt(&self.fd, sockopt::BindToDevice, &name)?;
        }
        self.set(libc::SOL_IP, libc::IP_FREEBIND, 1)?;
        self.set(libc::SOL_IP, libc::IP_TTL, tunnel.ttl.into())?;
        self.forbid_fragments(true)?;
        // Beyond the system's limit only the administrator may go; others get what the limit allows.
        if setsockopt(&self.fd, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&self.fd, sockopt::RcvBuf, &BUFFER)?;
        }
        if setsockopt(&self.fd, sockopt::SndBufForce, &BUFFER).is_err() {
            setsockopt(&self.fd, sockopt::SndBuf, &BUFFER)?;
        }
        if !self.raw {
            // Several tunnels may share this end's port: connected sockets get what is from their own peer.
            self.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
            // Missing before Linux 5.0; then each datagram comes alone.
            let _ = setsockopt(&self.fd, sockopt::UdpGroSegment, &true);
        }
        Ok(())
    }

    /// Has the kernel take packets from the other end only, and learn the path MTU to it. False while there is no route.
    pub(super) fn connect(&self) -> bool {
        connect(self.fd.as_raw_fd(), &SockaddrIn::from(self.remote)).is_ok()
    }

    /// The other end.
    pub(super) fn remote(&self) -> SocketAddr {
        self.remote.into()
    }

    /// Whether what is received starts with an IP header.
    pub(super) fn is_raw(&self) -> bool {
        self.raw
    }

    /// Whether outer packets carry the don't-fragment flag. Only the one thread that sends may change it.
    pub(super) fn forbid_fragments(&self, forbid: bool) -> io::Result<()> {
        let policy = if forbid {
            libc::IP_PMTUDISC_DO
        } else {
            libc::IP_PMTUDISC_DONT
        };
        self.set(libc::SOL_IP, libc::IP_MTU_DISCOVER, policy)
    }

    /// What the kernel knows of the path to the other end.
    pub(super) fn path_mtu(&self) -> Option<u32> {
        // It answers from the route that the socket was connected by, which may have changed since.
        self.connect();
        let mtu = socket::option(self.fd.as_fd(), libc::SOL_IP, libc::IP_MTU);
        mtu.and_then(|mtu| mtu.try_into().ok())
    }

    /// Waits until there is something to receive.
    pub(super) fn wait(&self) -> io::Result<()> {
        self.wait_for(PollFlags::POLLIN, PollTimeout::NONE)
            .map(drop)
    }

    /// Waits a moment until there is room to send.
    pub(super) fn wait_for_room(&self) -> bool {
        let moment = PollTimeout::from(100_u8);
        matches!(self.wait_for(PollFlags::POLLOUT, moment), Ok(true))
    }

    fn wait_for(&self, events: PollFlags, limit: PollTimeout) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.fd.as_fd(), events)];
        match poll(&mut fds, limit) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::Error::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn set(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        socket::set_option(self.fd.as_fd(), level, name, value)
    }
}

impl AsFd for Outer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
