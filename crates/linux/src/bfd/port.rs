//! Where control packets come in.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

/// Packets read in one go, so that a flood on one port leaves time for the sessions.
const BURST: usize = 256;
/// More than a control packet with any authentication.
const ROOM: usize = 128;

/// A UDP port of the protocol, on all addresses.
#[derive(Debug)]
pub(super) struct Port {
    socket: UdpSocket,
    pub(super) multi_hop: bool,
    control: Vec<u8>,
}

/// A packet that came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Datagram {
    pub(super) remote: Ipv4Addr,
    pub(super) local: Ipv4Addr,
    pub(super) interface: u32,
    pub(super) hop_limit: u8,
    /// How long ago the kernel had it.
    pub(super) age: Duration,
    bytes: [u8; ROOM],
    length: usize,
}

impl Datagram {
    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Port {
    pub(super) fn open(number: u16, multi_hop: bool) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, number))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        Ok(Self {
            socket,
            multi_hop,
            control: cmsg_space!(TimeSpec, libc::in_pktinfo, i32),
        })
    }

    /// Hands over what has arrived without waiting for more.
    pub(super) fn drain(&mut self, mut each: impl FnMut(Datagram)) -> io::Result<()> {
        for _ in 0..BURST {
            match self.receive() {
                Ok(Some(datagram)) => each(datagram),
                Ok(None) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Absent: not from an IPv4 address, or without the kernel's word on how it came.
    fn receive(&mut self) -> Result<Option<Datagram>, Errno> {
        let mut bytes = [0; ROOM];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<SockaddrIn>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut self.control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let (mut info, mut hop_limit, mut stamp) = (None, None, None);
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::Ipv4PacketInfo(found) => info = Some(found),
                ControlMessageOwned::Ipv4Ttl(found) => hop_limit = u8::try_from(found).ok(),
                ControlMessageOwned::ScmTimestampns(found) => stamp = Some(found),
                _ => {}
            }
        }
        let (remote, length) = (message.address, message.bytes);
        let (Some(remote), Some(info), Some(hop_limit)) = (remote, info, hop_limit) else {
            return Ok(None);
        };
        Ok(Some(Datagram {
            remote: remote.ip(),
            local: Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()),
            interface: info.ipi_ifindex.cast_unsigned(),
            hop_limit,
            age: stamp.map(age).unwrap_or_default(),
            bytes,
            length: length.min(ROOM),
        }))
    }
}

/// The kernel's stamp is wall-clock time: a step of that clock must not count for more than a moment.
fn age(stamp: TimeSpec) -> Duration {
    const MOST: Duration = Duration::from_secs(1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let age = now.unwrap_or_default().checked_sub(Duration::from(stamp));
    age.filter(|age| *age <= MOST).unwrap_or_default()
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
