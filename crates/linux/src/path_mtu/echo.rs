//! Echo requests through tunnels: every host answers them, whatever else runs there.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{MsgFlags, SockaddrIn, recv, sendto, setsockopt, sockopt};
use routerd_core::path_mtu::PathTarget;

use crate::plain::{open_socket, set_option};
use crate::tunnel::checksum::Sum;

const IPV4: usize = 20;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
/// `ICMP_FILTER` of `linux/icmp.h`: a bit for each type that is not wanted.
const ICMP_FILTER: libc::c_int = 1;
/// What tells our requests from those of others, behind the identifier and the sequence number.
const MARK: &[u8; 8] = b"routerd\0";
/// The largest packet.
const LARGEST: usize = 65_535;

/// The socket of all requests. It hears every echo reply of the host.
#[derive(Debug)]
pub(super) struct Echoes {
    socket: OwnedFd,
    identifier: [u8; 2],
    buffer: Vec<u8>,
}

impl Echoes {
    pub(super) fn open() -> io::Result<Self> {
        let socket = open_socket(libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
        set_option(
            socket.as_fd(),
            libc::SOL_RAW,
            ICMP_FILTER,
            !(1 << ECHO_REPLY),
        )?;
        // Fragments are forbidden, and what is known of the path does not count.
        let probe = libc::IP_PMTUDISC_PROBE;
        set_option(socket.as_fd(), libc::SOL_IP, libc::IP_MTU_DISCOVER, probe)?;
        Ok(Self {
            socket,
            identifier: crate::wireguard::random()?,
            buffer: vec![0; LARGEST],
        })
    }

    /// Sends a request whose IP packet has this size.
    pub(super) fn send(&mut self, target: &PathTarget, sequence: u16, size: u32) -> io::Result<()> {
        let length = (size as usize).clamp(IPV4 + 16, LARGEST) - IPV4;
        let packet = &mut self.buffer[..length];
        packet.fill(0);
        packet[0] = ECHO_REQUEST;
        packet[4..6].copy_from_slice(&self.identifier);
        packet[6..8].copy_from_slice(&sequence.to_be_bytes());
        packet[8..16].copy_from_slice(MARK);
        let checksum = Sum::default().add(packet).finish();
        packet[2..4].copy_from_slice(&checksum);
        let device = target.ifname.as_str().to_owned().into();
        setsockopt(&self.socket, sockopt::BindToDevice, &device)?;
        let to = SockaddrIn::from(SocketAddrV4::new(target.inside, 0));
        let sent = sendto(self.socket.as_raw_fd(), packet, &to, MsgFlags::empty());
        // Answers come by any device.
        setsockopt(
            &self.socket,
            sockopt::BindToDevice,
            &std::ffi::OsString::new(),
        )?;
        sent.map(drop).map_err(Into::into)
    }

    /// The sequence number of the next answer to one of ours, if one is there.
    pub(super) fn receive(&mut self) -> Option<u16> {
        loop {
            let fd = self.socket.as_raw_fd();
            match recv(fd, &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    if let Some(sequence) = parse(&self.buffer[..length], self.identifier) {
                        return Some(sequence);
                    }
                }
                Err(nix::Error::EAGAIN) => return None,
                // An ICMP error about something sent: reading clears it.
                Err(_) => {}
            }
        }
    }
}

impl AsFd for Echoes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn parse(packet: &[u8], identifier: [u8; 2]) -> Option<u16> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let icmp: &[u8; 16] = packet.get(header..)?.first_chunk()?;
    let ours = icmp[0] == ECHO_REPLY && icmp[4..6] == identifier && icmp[8..] == *MARK;
    ours.then(|| u16::from_be_bytes([icmp[6], icmp[7]]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_answers_to_our_own_requests_count() {
        let mut packet = vec![0x45; 1];
        packet.resize(IPV4, 0);
        packet.extend([ECHO_REPLY, 0, 0, 0, 7, 9, 1, 2]);
        packet.extend(MARK);
        assert_eq!(parse(&packet, [7, 9]), Some(0x0102));
        assert_eq!(parse(&packet, [7, 8]), None);
        packet[IPV4] = ECHO_REQUEST;
        assert_eq!(parse(&packet, [7, 9]), None);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&bytes, [0, 0]);
        }
    }
}
