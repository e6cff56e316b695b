//! Which clients live on this site's LAN, from what was seen of them: ARP, DHCP leases, the neighbour table.
//!
//! Facts come out: observed, refreshed while it lasts, expired after a client stayed silent and did not answer
//! when asked. An address that this node captures, and the hardware address of a member router, are never
//! clients: announcing them would feed a site's own capture back to its owner.

mod facts;
mod leases;
mod scope;

pub use facts::{EXPIRED, OBSERVED};
pub(crate) use leases::parse_mac;
pub use leases::{Lease, parse_leases};
pub use scope::{Lan, LeaseBook, scope};

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use api::time::Timestamp;
use ipnet::Ipv4Net;

/// How often a silent client is asked before it counts as gone.
const PROBES: u32 = 3;

/// What counts as a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Addresses of the mobility domains.
    pub prefixes: Vec<Ipv4Net>,
    /// Addresses that are no clients: captured by this node, its own, the gateway.
    pub excluded: BTreeSet<Ipv4Addr>,
    /// Hardware addresses of member routers.
    pub router_macs: BTreeSet<[u8; 6]>,
}

impl Scope {
    fn admits(&self, address: Ipv4Addr, mac: [u8; 6]) -> bool {
        let unicast = mac[0] & 1 == 0 && mac != [0; 6];
        let host = |net: &Ipv4Net| {
            net.contains(&address) && address != net.network() && address != net.broadcast()
        };
        unicast
            && self.prefixes.iter().any(host)
            && !self.excluded.contains(&address)
            && !self.router_macs.contains(&mac)
    }
}

/// Where a client was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// It sent an ARP packet.
    Arp,
    /// A DHCP server leased it the address.
    DhcpLease,
    /// The kernel reached it.
    Neighbour,
}

impl Source {
    /// As events name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arp => "arp-observer",
            Self::DhcpLease => "dhcpv4-lease",
            Self::Neighbour => "neighbour-table",
        }
    }
}

/// A client was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// How.
    pub source: Source,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Tell the group: a client is here until `expires_at`, unless refreshed.
    Observed {
        /// What was seen.
        sighting: Sighting,
        /// For how long the fact holds.
        expires_at: Timestamp,
    },
    /// Tell the group: the client is gone.
    Expired {
        /// What was last seen.
        sighting: Sighting,
    },
    /// Ask the client by ARP whether it is there.
    Probe {
        /// Its address.
        address: Ipv4Addr,
    },
}

#[derive(Debug, Clone, Copy)]
struct Client {
    sighting: Sighting,
    seen_at: Timestamp,
    told_at: Timestamp,
    probes: u32,
}

/// The clients of a LAN. Feed it sightings and the time; it says what to do.
#[derive(Debug)]
pub struct Observer {
    /// How long a client counts as present after it was last seen, in milliseconds.
    ttl: u64,
    clients: BTreeMap<Ipv4Addr, Client>,
}

impl Observer {
    /// An observer that knows nobody. `ttl` is in milliseconds.
    pub fn new(ttl: u64) -> Self {
        Self {
            ttl: ttl.max(1000),
            clients: BTreeMap::new(),
        }
    }

    /// A client was seen. The group is told at once of a new client or of a new owner of an address, and again
    /// when half of what it was told is over.
    pub fn sighted(&mut self, now: Timestamp, scope: &Scope, sighting: Sighting) -> Option<Output> {
        if !scope.admits(sighting.address, sighting.mac) {
            return None;
        }
        let known = self.clients.get(&sighting.address).copied();
        let same = known.filter(|client| client.sighting.mac == sighting.mac);
        let tell = same.is_none_or(|client| now.millis_since(client.told_at) >= self.ttl / 2);
        let told_at = if tell {
            now
        } else {
            same.map_or(now, |client| client.told_at)
        };
        self.clients.insert(
            sighting.address,
            Client {
                sighting,
                seen_at: now,
                told_at,
                probes: 0,
            },
        );
        let expires_at = now.plus_millis(2 * self.ttl);
        tell.then_some(Output::Observed {
            sighting,
            expires_at,
        })
    }

    /// Takes up a client that was told of before a restart. It is asked at once whether it is still there.
    pub fn recall(&mut self, now: Timestamp, sighting: Sighting) {
        let long_ago = Timestamp::from_millis(now.as_millis().saturating_sub(self.ttl / 2));
        self.clients.entry(sighting.address).or_insert(Client {
            sighting,
            seen_at: long_ago,
            told_at: Timestamp::default(),
            probes: 0,
        });
    }

    /// Whether there is a client with this address.
    pub fn knows(&self, address: Ipv4Addr) -> bool {
        self.clients.contains_key(&address)
    }

    /// Time has passed: silent clients are asked, those that do not answer are gone, and so is at once whoever is
    /// no longer in scope, since this node may have begun to capture his address.
    pub fn tick(&mut self, now: Timestamp, scope: &Scope) -> Vec<Output> {
        let mut outputs = Vec::new();
        let (ttl, probe_every) = (self.ttl, self.probe_every());
        self.clients.retain(|address, client| {
            let silent = now.millis_since(client.seen_at);
            if silent >= ttl || !scope.admits(*address, client.sighting.mac) {
                outputs.push(Output::Expired {
                    sighting: client.sighting,
                });
                return false;
            }
            if silent >= ttl / 2 + u64::from(client.probes) * probe_every && client.probes < PROBES
            {
                client.probes += 1;
                outputs.push(Output::Probe { address: *address });
            }
            true
        });
        outputs
    }

    /// When [`Self::tick`] has something to do next.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let due = |client: &Client| {
            let probes = u64::from(client.probes);
            let probe = self.ttl / 2 + probes * self.probe_every();
            client.seen_at.plus_millis(if client.probes < PROBES {
                probe
            } else {
                self.ttl
            })
        };
        self.clients.values().map(due).min()
    }

    /// Between the half of the time to live and its end, each probe has the same share.
    fn probe_every(&self) -> u64 {
        self.ttl / 2 / u64::from(PROBES + 1)
    }
}

#[cfg(test)]
mod tests;
