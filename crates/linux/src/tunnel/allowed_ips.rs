//! Which peer a prefix belongs to: longest match wins, and a prefix has one owner.
//!
//! One hash table per prefix length that is in use, longest first. Host routes dominate here, so a lookup
//! is mostly one probe whatever the number of prefixes, and a change is one insertion.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;

/// Owners by prefix.
#[derive(Debug)]
pub(super) struct AllowedIps<T> {
    v4: Family<u32, T>,
    v6: Family<u128, T>,
}

impl<T> Default for AllowedIps<T> {
    fn default() -> Self {
        Self {
            v4: Family(Vec::new()),
            v6: Family(Vec::new()),
        }
    }
}

impl<T> AllowedIps<T> {
    /// Gives a prefix to an owner and returns the one that it is taken from.
    pub(super) fn insert(&mut self, net: IpNet, owner: T) -> Option<T> {
        match net {
            IpNet::V4(net) => {
                let mask = net.netmask().to_bits();
                self.v4
                    .insert(net.prefix_len(), mask, net.network().to_bits(), owner)
            }
            IpNet::V6(net) => {
                let mask = net.netmask().to_bits();
                self.v6
                    .insert(net.prefix_len(), mask, net.network().to_bits(), owner)
            }
        }
    }

    /// Takes a prefix from its owner.
    pub(super) fn remove(&mut self, net: IpNet) -> Option<T> {
        match net {
            IpNet::V4(net) => self.v4.remove(net.prefix_len(), net.network().to_bits()),
            IpNet::V6(net) => self.v6.remove(net.prefix_len(), net.network().to_bits()),
        }
    }

    /// The owner of exactly this prefix.
    pub(super) fn owner(&self, net: IpNet) -> Option<&T> {
        match net {
            IpNet::V4(net) => self.v4.owner(net.prefix_len(), net.network().to_bits()),
            IpNet::V6(net) => self.v6.owner(net.prefix_len(), net.network().to_bits()),
        }
    }

    /// The owner of the longest prefix that an address is in.
    pub(super) fn lookup(&self, address: IpAddr) -> Option<&T> {
        match address {
            IpAddr::V4(address) => self.v4.lookup(address.to_bits()),
            IpAddr::V6(address) => self.v6.lookup(address.to_bits()),
        }
    }
}

/// Levels, longest prefix first.
#[derive(Debug)]
struct Family<K, T>(Vec<Level<K, T>>);

#[derive(Debug)]
struct Level<K, T> {
    length: u8,
    mask: K,
    owners: HashMap<K, T, BuildHasherDefault<Mix>>,
}

impl<K, T> Family<K, T>
where
    K: Copy + Eq + std::hash::Hash + std::ops::BitAnd<Output = K>,
{
    fn insert(&mut self, length: u8, mask: K, network: K, owner: T) -> Option<T> {
        let at = match self.find(length) {
            Ok(at) => at,
            Err(at) => {
                let owners = HashMap::default();
                self.0.insert(
                    at,
                    Level {
                        length,
                        mask,
                        owners,
                    },
                );
                at
            }
        };
        self.0[at].owners.insert(network, owner)
    }

    fn remove(&mut self, length: u8, network: K) -> Option<T> {
        let at = self.find(length).ok()?;
        let owner = self.0[at].owners.remove(&network);
        if self.0[at].owners.is_empty() {
            self.0.remove(at);
        }
        owner
    }

    fn owner(&self, length: u8, network: K) -> Option<&T> {
        let at = self.find(length).ok()?;
        self.0[at].owners.get(&network)
    }

    fn lookup(&self, address: K) -> Option<&T> {
        self.0
            .iter()
            .find_map(|level| level.owners.get(&(address & level.mask)))
    }

    fn find(&self, length: u8) -> Result<usize, usize> {
        self.0.binary_search_by(|level| length.cmp(&level.length))
    }
}

/// A hash for numbers that the administrator chooses: nobody else can aim at collisions.
#[derive(Debug, Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u128(&mut self, n: u128) {
        let [high, low] = [(n >> 64) as u64, n as u64];
        self.write_u64(high);
        self.write_u64(low);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Few enough addresses that prefixes nest and collide.
    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0..4_u32, 0..4_u32).prop_map(|(a, b)| IpAddr::from((a << 30 | b).to_be_bytes())),
            (0..4_u128, 0..4_u128).prop_map(|(a, b)| IpAddr::from((a << 126 | b).to_be_bytes())),
        ]
    }

    fn net() -> impl Strategy<Value = IpNet> {
        (address(), any::<u8>()).prop_map(|(address, length)| {
            let max = if address.is_ipv4() { 32 } else { 128 };
            IpNet::new(address, length % (max + 1))
                .expect("length")
                .trunc()
        })
    }

    proptest! {
        #[test]
        fn like_a_list_searched_for_the_longest(
            changes in proptest::collection::vec((net(), proptest::option::of(0..4_u8)), 0..64),
            probes in proptest::collection::vec(address(), 16),
        ) {
            let mut table = AllowedIps::default();
            let mut list = BTreeMap::new();
            for (net, owner) in changes {
                match owner {
                    Some(owner) => prop_assert_eq!(table.insert(net, owner), list.insert(net, owner)),
                    None => prop_assert_eq!(table.remove(net), list.remove(&net)),
                }
                prop_assert_eq!(table.owner(net), list.get(&net));
            }
            for probe in probes {
                let longest = list
                    .iter()
                    .filter(|(net, _)| net.contains(&probe))
                    .max_by_key(|(net, _)| net.prefix_len())
                    .map(|(_, owner)| owner);
                prop_assert_eq!(table.lookup(probe), longest);
            }
        }
    }
}
