//! How peers are reached: passwords, TTLs, and the socket that listens.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;
use linux::tcp::{self, Ttl};
use routerd_core::bgp::net;
use routerd_core::effective::{BgpIntent, Password, PasswordSource, Transport};

/// A peer's transport with its password read.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    pub(super) password: Option<Password>,
    pub(super) ttl: Ttl,
}

/// The transports of all peers.
#[derive(Debug, Default)]
pub(super) struct Reaches {
    peers: BTreeMap<Ipv4Addr, Reach>,
    /// By prefix, in the order of the configuration.
    ranges: Vec<(Ipv4Net, Reach)>,
    /// Peers and ranges whose password could not be read, and why. There is no session without the password that is asked for.
    pub(super) broken: BTreeMap<String, String>,
}

impl Reaches {
    /// Reads all passwords.
    pub(super) fn read(intent: &BgpIntent) -> Self {
        let mut reaches = Self::default();
        for (address, transport) in &intent.peers {
            let IpAddr::V4(address) = *address else {
                continue;
            };
            match reach(transport) {
                Ok(reach) => drop(reaches.peers.insert(address, reach)),
                Err(reason) => drop(reaches.broken.insert(address.to_string(), reason)),
            }
        }
        for range in &intent.speaker.dynamic {
            let Some(transport) = intent.ranges.get(&range.name) else {
                continue;
            };
            match reach(transport) {
                Ok(reach) => {
                    let nets = range.sources.iter().filter_map(|prefix| net(*prefix));
                    reaches.ranges.extend(nets.map(|net| (net, reach.clone())));
                }
                Err(reason) => drop(reaches.broken.insert(range.name.clone(), reason)),
            }
        }
        reaches
    }

    /// How a peer is reached; absent if nobody of this address may be.
    pub(super) fn of(&self, peer: Ipv4Addr) -> Option<&Reach> {
        let mut ranges = self.ranges.iter();
        let range = || ranges.find(|(net, _)| net.contains(&peer)).map(|(_, r)| r);
        self.peers.get(&peer).or_else(range)
    }

    /// The passwords that a listening socket has to know.
    fn passwords(&self) -> BTreeMap<Ipv4Net, Password> {
        let peers = self.peers.iter();
        let peers = peers.map(|(address, reach)| (Ipv4Net::from(*address), reach));
        let ranges = self.ranges.iter().map(|(net, reach)| (*net, reach));
        let all = ranges.chain(peers);
        all.filter_map(|(net, reach)| Some((net, reach.password.clone()?)))
            .collect()
    }
}

fn reach(transport: &Transport) -> Result<Reach, String> {
    let password = match &transport.password {
        None => None,
        Some(PasswordSource::Inline(password)) => Some(password.clone()),
        Some(PasswordSource::File(path)) => {
            let text = fs::read_to_string(path);
            let text = text.map_err(|error| format!("read {}: {error}", path.display()))?;
            let line = text.lines().next().unwrap_or_default();
            let bad = || {
                format!(
                    "{} does not begin with a password of 1 to 80 bytes",
                    path.display()
                )
            };
            Some(Password::new(line).ok_or_else(bad)?)
        }
    };
    Ok(Reach {
        password,
        ttl: Ttl {
            sent: transport.hops.ttl,
            least: transport.hops.least,
        },
    })
}

/// The socket that peers connect to.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) address: SocketAddrV4,
    pub(super) socket: mio::net::TcpListener,
    passwords: BTreeMap<Ipv4Net, Password>,
}

impl Listener {
    pub(super) fn open(address: SocketAddrV4) -> io::Result<Self> {
        Ok(Self {
            address,
            socket: mio::net::TcpListener::from_std(tcp::open_listener(address)?),
            passwords: BTreeMap::new(),
        })
    }

    /// Wants the passwords of these peers, and no others.
    pub(super) fn set_passwords(&mut self, reaches: &Reaches) -> io::Result<()> {
        let wanted = reaches.passwords();
        for net in self.passwords.keys() {
            if !wanted.contains_key(net) {
                tcp::set_password(&self.socket, *net, None)?;
            }
        }
        for (net, password) in &wanted {
            if self.passwords.get(net) != Some(password) {
                tcp::set_password(&self.socket, *net, Some(password.reveal()))?;
            }
        }
        self.passwords = wanted;
        Ok(())
    }
}
