//! Wakes the reconcile loop when the kernel's state changes.
//!
//! Says that something changed, not what it is now: whoever is woken looks.

mod poll;
mod tunnels;

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use routerd_core::{BGP_PROTOCOL, OWNER_PROTOCOL, TABLE_PREFIX};

use crate::netlink::{Error, Listener, Message, filter, text};
use crate::wireguard::Drivers;
use poll::ProxyPoll;
use tunnels::Tunnels;

/// Why it woke: for the log, never consulted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    /// A link appeared, changed or went.
    Link,
    /// An address.
    Address,
    /// A route or a routing rule.
    Route,
    /// A proxy neighbour.
    Neighbour,
    /// A setting.
    Sysctl,
    /// An nft table.
    Firewall,
    /// A tunnel process ended.
    Tunnel,
    /// Notifications were lost: look at everything.
    Overrun,
}

/// Subscribes to what changes in the calling thread's network namespace and calls `wake` from a thread of its own until
/// the process ends.
///
/// Links, addresses, IPv4 routes and rules, the IPv4 settings that the kernel announces (forwarding, `rp_filter`,
/// `proxy_arp`) and nft tables of ours wake within milliseconds, and so does the end of a user-space tunnel process. The
/// kernel announces no proxy neighbours: they are compared every 100 ms, or, where there are so many that
/// this takes long, as often as 2 % of a CPU allow. Other settings wake nobody.
///
/// # Errors
/// When a socket or the thread cannot be had.
pub fn watch(wireguard: Drivers, wake: impl Fn(Wake) + Send + 'static) -> std::io::Result<()> {
    let watch = Watch::open(wireguard).map_err(std::io::Error::other)?;
    std::thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || watch.run(wake))
        .map(drop)
}

struct Watch {
    route: Listener,
    tables: Listener,
    proxies: ProxyPoll,
    tunnels: Tunnels,
}

impl Watch {
    fn open(wireguard: Drivers) -> Result<Self, Error> {
        const NFNLGRP_NFTABLES: u32 = 7;
        let groups = [
            libc::RTNLGRP_LINK,
            libc::RTNLGRP_IPV4_IFADDR,
            libc::RTNLGRP_IPV6_IFADDR,
            libc::RTNLGRP_IPV4_ROUTE,
            libc::RTNLGRP_IPV4_RULE,
            libc::RTNLGRP_IPV4_NETCONF,
        ];
        let route = Listener::open(NETLINK_ROUTE, &groups)?;
        // The speaker looks after its own.
        route.filter(&filter::but_of_protocol(BGP_PROTOCOL))?;
        Ok(Self {
            route,
            tables: Listener::open(NETLINK_NETFILTER, &[NFNLGRP_NFTABLES])?,
            proxies: ProxyPoll::open()?,
            tunnels: Tunnels::open(wireguard)?,
        })
    }

    fn run(mut self, wake: impl Fn(Wake)) {
        loop {
            match self.wait() {
                Ok(reasons) => reasons.into_iter().for_each(&wake),
                Err(error) => {
                    // Whoever is woken finds out whether the host can still be observed. Without a pause a fault that
                    // stays would take a whole CPU.
                    tracing::error!(%error, "watch the kernel");
                    wake(Wake::Overrun);
                    std::thread::sleep(poll::FASTEST);
                }
            }
        }
    }

    /// Sleeps until something happens or is due.
    fn wait(&mut self) -> Result<BTreeSet<Wake>, Error> {
        let listeners = [self.route.as_fd(), self.tables.as_fd()];
        let mut fds: Vec<PollFd<'_>> = listeners
            .into_iter()
            .chain(self.tunnels.descriptors())
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match nix::poll::poll(&mut fds, self.proxies.timeout()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(Error::Socket {
                    operation: "poll",
                    errno,
                });
            }
        }
        let ready: Vec<bool> = fds
            .iter()
            .map(|fd| fd.revents().is_some_and(|events| !events.is_empty()))
            .collect();
        let (listeners, tunnels) = ready.split_at(listeners.len());
        let mut reasons = BTreeSet::new();
        if self.tunnels.forget(tunnels) {
            // Another process may have the device now.
            self.tunnels.scan()?;
            reasons.insert(Wake::Tunnel);
        }
        if listeners[0] {
            self.drain_route(&mut reasons)?;
        }
        if listeners[1] {
            let lost = self.tables.drain(|message| {
                reasons.extend(concerns_our_tables(message).then_some(Wake::Firewall));
            })?;
            reasons.extend(lost.then_some(Wake::Overrun));
        }
        if self.proxies.changed()? {
            reasons.insert(Wake::Neighbour);
        }
        Ok(reasons)
    }

    fn drain_route(&mut self, reasons: &mut BTreeSet<Wake>) -> Result<(), Error> {
        let tunnels = &mut self.tunnels;
        let lost = self.route.drain(|message| {
            reasons.extend(reason(message));
            tunnels.heard(message);
        })?;
        if lost {
            self.tunnels.scan()?;
            reasons.insert(Wake::Overrun);
        }
        Ok(())
    }
}

fn reason(message: Message<'_>) -> Option<Wake> {
    const RTM_NEWNETCONF: u16 = 80;
    const RTM_DELNETCONF: u16 = 81;
    match message.kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK => Some(Wake::Link),
        libc::RTM_NEWADDR | libc::RTM_DELADDR => Some(Wake::Address),
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
            // Every address brings three routes in the table `local`, which nobody looks at but for ours.
            let [table, protocol] = [4, 5].map(|at| message.payload.get(at));
            let kernels = table == Some(&libc::RT_TABLE_LOCAL) && protocol != Some(&OWNER_PROTOCOL);
            (!kernels).then_some(Wake::Route)
        }
        libc::RTM_NEWRULE | libc::RTM_DELRULE => Some(Wake::Route),
        RTM_NEWNETCONF | RTM_DELNETCONF => Some(Wake::Sysctl),
        _ => None,
    }
}

/// A busy host firewall changes many times a second; only tables with our prefix concern us. In the messages of
/// tables, chains, rules, sets and elements alike, attribute 1 names the table.
fn concerns_our_tables(message: Message<'_>) -> bool {
    const NFT_MSG_NEWGEN: u16 = 15;
    const NFTA_TABLE_NAME: u16 = 1;
    if message.kind & 0xff == NFT_MSG_NEWGEN {
        return false;
    }
    let name = message.attributes(4).find(NFTA_TABLE_NAME).and_then(text);
    name.is_some_and(|name| name.starts_with(TABLE_PREFIX))
}
