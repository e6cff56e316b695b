//! The processes behind user-space tunnels.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use api::IfName;
use netlink_sys::protocols::NETLINK_ROUTE;
use routerd_core::OWNER_MARK;

use crate::netlink::link::{self, Entry};
use crate::netlink::{Error, Message, Socket};
use crate::wireguard::Drivers;

/// A descriptor for each process, readable when it ends.
///
/// A process that starts is heard of by its link: routerd marks the link after the process is ready, and then brings it
/// up if it is not. The kernel announces either, the former on a link that is up.
pub(super) struct Tunnels {
    wireguard: Drivers,
    socket: Socket,
    processes: BTreeMap<IfName, OwnedFd>,
}

impl Tunnels {
    pub(super) fn open(wireguard: Drivers) -> Result<Self, Error> {
        let mut tunnels = Self {
            wireguard,
            socket: Socket::open(NETLINK_ROUTE)?,
            processes: BTreeMap::new(),
        };
        tunnels.scan()?;
        Ok(tunnels)
    }

    /// Looks for processes that are not yet watched.
    pub(super) fn scan(&mut self) -> Result<(), Error> {
        for entry in link::dump(&mut self.socket)? {
            self.consider(&entry);
        }
        Ok(())
    }

    /// A link was heard of.
    pub(super) fn heard(&mut self, message: Message<'_>) {
        if message.kind == libc::RTM_NEWLINK
            && let Some(entry) = link::parse(message)
        {
            self.consider(&entry);
        }
    }

    fn consider(&mut self, entry: &Entry) {
        let alias = entry.link.alias.as_deref().unwrap_or_default();
        let ours = entry.link.kind == "tun" && alias.starts_with(OWNER_MARK);
        if ours
            && !self.processes.contains_key(&entry.name)
            && let Some(process) = self.wireguard.death_watch(&entry.name)
        {
            self.processes.insert(entry.name.clone(), process);
        }
    }

    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.processes.values().map(OwnedFd::as_fd)
    }

    /// Drops those that ended, told in the order of [`Self::descriptors`]. Returns whether there were any.
    pub(super) fn forget(&mut self, ended: &[bool]) -> bool {
        let before = self.processes.len();
        let mut ended = ended.iter().copied();
        self.processes
            .retain(|_, _| !ended.next().unwrap_or_default());
        self.processes.len() < before
    }
}
