//! One interface: a packet socket and the state machine of the addresses held there.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socket};
use routerd_core::arp::{Mac, Packet, Station};

use super::filter;
use crate::bpf::attach;

/// Frames read in one go, so that a flood on one interface leaves time for the others.
const BURST: usize = 256;

/// An interface on which addresses are held.
#[derive(Debug)]
pub(super) struct Port {
    /// `ifindex` and hardware address: if either changes this is another port.
    pub(super) identity: (u32, Mac),
    socket: OwnedFd,
    filtered: Vec<Ipv4Addr>,
    pub(super) station: Station,
}

impl Port {
    pub(super) fn open(index: u32, mac: Mac) -> io::Result<Self> {
        // Protocol 0 hears nothing: the filter stands before the first frame.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        attach(&socket, &filter::program(&[]))?;
        bind(&socket, index)?;
        Ok(Self {
            identity: (index, mac),
            socket,
            filtered: Vec::new(),
            station: Station::new(mac),
        })
    }

    /// Lets frames through that concern these addresses.
    pub(super) fn filter(&mut self, addresses: Vec<Ipv4Addr>) -> io::Result<()> {
        if addresses != self.filtered {
            attach(&self.socket, &filter::program(&addresses))?;
            self.filtered = addresses;
        }
        Ok(())
    }

    /// Lets through what another program of the filter admits.
    pub(super) fn listen(&self, program: &[libc::sock_filter]) -> io::Result<()> {
        attach(&self.socket, program)
    }

    /// Sends a frame. What the queue does not take is lost, as any frame on a LAN may be.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }

    /// What has arrived.
    pub(super) fn receive(&self) -> io::Result<Vec<Packet>> {
        let mut packets = Vec::new();
        let mut frame = [0; 64];
        for _ in 0..BURST {
            match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                Ok(length) => packets.extend(Packet::parse(&frame[..length])),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(packets)
    }

    /// Sends what the station has to say.
    pub(super) fn transmit(&mut self) {
        while let Some(frame) = self.station.poll_transmit() {
            if let Err(error) = self.send(&frame) {
                tracing::debug!(%error, index = self.identity.0, "send ARP");
            }
        }
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bind(socket: &OwnedFd, index: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ARP as u16).to_be(),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    #[expect(
        unsafe_code,
        reason = "nix has no constructor for a link-layer address"
    )]
    // SAFETY: a pointer to a whole sockaddr_ll and its length.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    Errno::result(result)?;
    Ok(())
}
