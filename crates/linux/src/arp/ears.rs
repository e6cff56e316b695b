//! Hears who speaks ARP on LANs, without a word of its own but the questions that it is told to ask.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use api::IfName;
use ipnet::Ipv4Net;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use routerd_core::arp::{BROADCAST, Mac, Operation, Packet};

use super::filter;
use super::port::Port;

/// A packet socket for each LAN.
#[derive(Debug, Default)]
pub struct Ears {
    ports: BTreeMap<IfName, Port>,
}

impl Ears {
    /// Listens on exactly these interfaces, by index and hardware address, for senders with an address in one of the
    /// prefixes. One that cannot be opened is tried again at the next call.
    pub fn arrange(&mut self, lans: &BTreeMap<IfName, (u32, Mac)>, prefixes: &[Ipv4Net]) {
        self.ports
            .retain(|ifname, port| lans.get(ifname) == Some(&port.identity));
        for (ifname, (index, mac)) in lans {
            if self.ports.contains_key(ifname) {
                continue;
            }
            match Port::open(*index, *mac)
                .and_then(|port| port.listen(&filter::inside(prefixes)).map(|()| port))
            {
                Ok(port) => drop(self.ports.insert(ifname.clone(), port)),
                Err(error) => tracing::warn!(%error, %ifname, "listen to ARP"),
            }
        }
    }

    /// Waits for packets, for a byte on `bell`, or for the time to pass.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn wait(&self, timeout: Duration, bell: &UnixStream) -> io::Result<Vec<Packet>> {
        let bell_fd: BorrowedFd<'_> = bell.as_fd();
        let ports = self.ports.values().map(AsFd::as_fd);
        let mut fds: Vec<PollFd<'_>> = std::iter::once(bell_fd)
            .chain(ports)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        // Rounded up: not to wake just before the time.
        let millis = timeout.as_micros().div_ceil(1000);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(errno) => return Err(errno.into()),
        }
        let mut heard = Vec::new();
        let ready = self.ports.iter().zip(fds.iter().skip(1));
        for ((ifname, port), fd) in ready {
            if fd.revents().is_none_or(|events| events.is_empty()) {
                continue;
            }
            match port.receive() {
                Ok(packets) => heard.extend(packets),
                // The interface went down or away: the next arrangement closes the port.
                Err(error) => tracing::debug!(%error, %ifname, "receive ARP"),
            }
        }
        Ok(heard)
    }

    /// Asks on a LAN who has an address.
    pub fn ask(&mut self, ifname: &IfName, from: Ipv4Addr, target: Ipv4Addr) {
        let Some(port) = self.ports.get_mut(ifname) else {
            return;
        };
        let question = Packet {
            operation: Operation::Request,
            sender_mac: port.identity.1,
            sender: from,
            target_mac: [0; 6],
            target,
        };
        if let Err(error) = port.send(&question.frame(BROADCAST)) {
            tracing::debug!(%error, %ifname, "ask by ARP");
        }
    }
}
