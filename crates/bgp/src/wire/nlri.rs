//! Prefixes on the wire.

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::notification::Notification;
use crate::types::{Family, Prefix};

/// An address as a number: `u32` or `u128`. Everything per family is generic over it.
pub(crate) trait Address: Copy + Eq + Ord + Hash + Debug + Default {
    const FAMILY: Family;
    const BITS: u8;

    /// The leading octets, the rest zero; bits from `length` on are cleared.
    fn from_octets(octets: &[u8], length: u8) -> Self;
    /// Appends the octets that `length` bits need.
    fn put(self, length: u8, out: &mut Vec<u8>);
    fn ip(self) -> IpAddr;
    fn from_ip(address: IpAddr) -> Option<Self>;
    /// For hashing: the eight networks in a row that this one of so many bits is among, and which of them it is.
    fn row(self, length: u8) -> (u64, u8);
}

impl Address for u32 {
    const FAMILY: Family = Family::Ipv4Unicast;
    const BITS: u8 = 32;

    fn from_octets(octets: &[u8], length: u8) -> Self {
        let mut whole = [0; 4];
        whole[..octets.len()].copy_from_slice(octets);
        Self::from_be_bytes(whole) & Self::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
    }

    fn put(self, length: u8, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes()[..usize::from(length.div_ceil(8))]);
    }

    fn ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self))
    }

    fn from_ip(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(v4) => Some(v4.into()),
            IpAddr::V6(_) => None,
        }
    }

    fn row(self, length: u8) -> (u64, u8) {
        let number = self.checked_shr(32 - u32::from(length)).unwrap_or(0);
        (u64::from(number >> 3), (number & 7) as u8)
    }
}

impl Address for u128 {
    const FAMILY: Family = Family::Ipv6Unicast;
    const BITS: u8 = 128;

    fn from_octets(octets: &[u8], length: u8) -> Self {
        let mut whole = [0; 16];
        whole[..octets.len()].copy_from_slice(octets);
        Self::from_be_bytes(whole) & Self::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
    }

    fn put(self, length: u8, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes()[..usize::from(length.div_ceil(8))]);
    }

    fn ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self))
    }

    fn from_ip(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(v6.into()),
        }
    }

    fn row(self, length: u8) -> (u64, u8) {
        let number = self.checked_shr(128 - u32::from(length)).unwrap_or(0);
        // Halves of an address are not independent: multiply before folding.
        let [high, low] = [(number >> 67) as u64, (number >> 3) as u64];
        let folded = high.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) ^ low;
        (folded, (number & 7) as u8)
    }
}

/// A prefix of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Net<A> {
    pub(crate) bits: A,
    pub(crate) length: u8,
}

impl<A: Address> Net<A> {
    pub(crate) fn prefix(self) -> Prefix {
        // The length was checked and the bits were masked when it was made.
        Prefix::new(self.bits.ip(), self.length).unwrap_or(Prefix::host(self.bits.ip()))
    }

    pub(crate) fn from_prefix(prefix: Prefix) -> Option<Self> {
        Some(Self {
            bits: A::from_ip(prefix.address())?,
            length: prefix.length(),
        })
    }

    /// With the path identifier in front under ADD-PATH.
    pub(crate) fn put(self, path_id: Option<u32>, out: &mut Vec<u8>) {
        if let Some(id) = path_id {
            out.extend_from_slice(&id.to_be_bytes());
        }
        out.push(self.length);
        self.bits.put(self.length, out);
    }
}

/// Walks prefixes in place. An item is the path identifier (0 without ADD-PATH) and the prefix.
pub(crate) struct Nlri<'a, A> {
    rest: &'a [u8],
    add_path: bool,
    family: PhantomData<A>,
}

impl<'a, A> Nlri<'a, A> {
    pub(crate) fn new(octets: &'a [u8], add_path: bool) -> Self {
        Self {
            rest: octets,
            add_path,
            family: PhantomData,
        }
    }
}

/// Invalid network field: prefixes that cannot be told apart end the session (RFC 7606, section 3 i, j).
fn invalid() -> Notification {
    Notification::new(3, 10, Vec::new())
}

impl<A: Address> Iterator for Nlri<'_, A> {
    type Item = Result<(u32, Net<A>), Notification>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut rest = self.rest;
        // Whatever was wrong, there is no next item.
        self.rest = &[];
        let path_id = if self.add_path {
            let Some((id, after)) = rest.split_first_chunk() else {
                return Some(Err(invalid()));
            };
            rest = after;
            u32::from_be_bytes(*id)
        } else {
            0
        };
        let Some((&length, after)) = rest.split_first() else {
            return Some(Err(invalid()));
        };
        let octets = usize::from(length.div_ceil(8));
        match after.split_at_checked(octets) {
            Some((bits, after)) if length <= A::BITS => {
                self.rest = after;
                let bits = A::from_octets(bits, length);
                Some(Ok((path_id, Net { bits, length })))
            }
            _ => Some(Err(invalid())),
        }
    }
}
