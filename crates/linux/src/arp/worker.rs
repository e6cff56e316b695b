//! The thread: keeps a port open for each interface that is there, and carries frames and time to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::IfName;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use routerd_core::arp::Mac;

use super::port::Port;
use super::{Heard, Shared, lock};
use crate::netlink::{Listener, Socket, link};

pub(super) struct Worker {
    shared: Arc<Mutex<Shared>>,
    control: UnixStream,
    links: Listener,
    socket: Socket,
    ports: BTreeMap<IfName, Port>,
    /// Hardware addresses of this host: what it says itself on another interface of the same LAN is no conflict.
    own: BTreeSet<Mac>,
    start: Instant,
}

/// What woke the thread.
#[derive(Default)]
struct Woken {
    control: bool,
    links: bool,
    ports: Vec<IfName>,
}

impl Worker {
    pub(super) fn open(shared: Arc<Mutex<Shared>>, control: UnixStream) -> io::Result<Self> {
        let links = Listener::open(NETLINK_ROUTE, &[libc::RTNLGRP_LINK]);
        Ok(Self {
            shared,
            control,
            links: links.map_err(io::Error::other)?,
            socket: Socket::open(NETLINK_ROUTE).map_err(io::Error::other)?,
            ports: BTreeMap::new(),
            own: BTreeSet::new(),
            start: Instant::now(),
        })
    }

    /// Runs until the other end of `control` is closed.
    pub(super) fn run(mut self) {
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    // A fault that stays must neither end the defence nor take a whole CPU.
                    tracing::error!(%error, "hold addresses by ARP");
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
        }
    }

    /// Sleeps until something is to be done, and does it. Returns false when it is over.
    fn turn(&mut self) -> io::Result<bool> {
        let woken = self.wait()?;
        if woken.control && !self.drain_control()? {
            return Ok(false);
        }
        let links_moved = woken.links && self.drain_links()?;
        if woken.control || links_moved {
            self.arrange()?;
        }
        for ifname in woken.ports {
            self.receive(&ifname);
        }
        let now = self.start.elapsed();
        for port in self.ports.values_mut() {
            port.station.handle_timeout(now);
            port.transmit();
        }
        Ok(true)
    }

    fn wait(&self) -> io::Result<Woken> {
        let ports = self.ports.values().map(AsFd::as_fd);
        let mut fds: Vec<PollFd<'_>> = [self.control.as_fd(), self.links.as_fd()]
            .into_iter()
            .chain(ports)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match nix::poll::poll(&mut fds, self.timeout()) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Woken::default()),
            Err(errno) => return Err(errno.into()),
        }
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        Ok(Woken {
            control: ready(&fds[0]),
            links: ready(&fds[1]),
            ports: self
                .ports
                .keys()
                .zip(&fds[2..])
                .filter(|(_, fd)| ready(fd))
                .map(|(ifname, _)| ifname.clone())
                .collect(),
        })
    }

    fn timeout(&self) -> PollTimeout {
        let due = self
            .ports
            .values()
            .filter_map(|port| port.station.next_timeout());
        let Some(next) = due.min() else {
            return PollTimeout::NONE;
        };
        let left = next.saturating_sub(self.start.elapsed());
        // Rounded up: poll in whole milliseconds must not return just before the time.
        PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
    }

    /// Returns whether there is still somebody at the other end.
    fn drain_control(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 64];
        match self.control.read(&mut bytes) {
            Ok(length) => Ok(length > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn drain_links(&mut self) -> io::Result<bool> {
        let mut moved = false;
        let lost = self
            .links
            .drain(|_| moved = true)
            .map_err(io::Error::other)?;
        Ok(moved || lost)
    }

    /// Opens and closes ports so that there is one for each wanted interface that can carry frames. A port that is
    /// opened anew, after its interface came back, takes its addresses anew.
    fn arrange(&mut self) -> io::Result<()> {
        let wanted = lock(&self.shared).wanted.clone();
        let links = link::dump(&mut self.socket).map_err(io::Error::other)?;
        self.own = links.iter().filter_map(|entry| entry.link.mac).collect();
        let usable: BTreeMap<&IfName, (u32, Mac)> = links
            .iter()
            .filter(|entry| entry.operational)
            .filter_map(|entry| Some((&entry.name, (entry.link.index, entry.link.mac?))))
            .collect();
        self.ports.retain(|ifname, port| {
            wanted.contains_key(ifname) && usable.get(ifname) == Some(&port.identity)
        });
        let now = self.start.elapsed();
        for (ifname, addresses) in &wanted {
            let Some((index, mac)) = usable.get(ifname) else {
                continue;
            };
            if !self.ports.contains_key(ifname) {
                match Port::open(*index, *mac) {
                    Ok(port) => self.ports.insert(ifname.clone(), port),
                    Err(error) => {
                        tracing::error!(%error, %ifname, "open a packet socket");
                        continue;
                    }
                };
            }
            if let Some(port) = self.ports.get_mut(ifname) {
                port.filter(addresses.keys().copied().collect())?;
                port.station.hold(now, addresses);
            }
        }
        self.publish();
        Ok(())
    }

    fn receive(&mut self, ifname: &IfName) {
        let Some(port) = self.ports.get_mut(ifname) else {
            return;
        };
        match port.receive() {
            Ok(packets) => {
                let now = self.start.elapsed();
                for packet in packets {
                    if !self.own.contains(&packet.sender_mac) {
                        port.station.hear(now, &packet);
                    }
                }
                self.publish();
            }
            // The interface went down or away; its notification closes or renews the port.
            Err(error) => tracing::debug!(%error, %ifname, "receive ARP"),
        }
    }

    fn publish(&self) {
        let now = self.start.elapsed();
        let heard = self.ports.iter().flat_map(|(ifname, port)| {
            let rivals = port.station.rivals(now).into_iter();
            rivals.map(move |(address, rival)| {
                let heard = Heard {
                    ifname: ifname.clone(),
                    mac: rival.mac,
                    at: self.start + rival.heard,
                };
                (address, heard)
            })
        });
        lock(&self.shared).heard = heard.collect();
    }
}
