//! What routerd changed on this host that the kernel cannot mark as ours, and what was there before.
//!
//! The ledger is written to disk before the change is made, so a crash in between costs at most a
//! restore of the value that is still there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use api::IfName;
use serde::{Deserialize, Serialize};

use crate::effective::RouteKey;
use crate::key::PublicKey;
use crate::sysctl::Sysctl;

/// Everything that is remembered. It serializes with maps as lists of pairs, so any format can hold it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Kernel settings that routerd set.
    #[serde(with = "pairs")]
    pub sysctls: BTreeMap<Sysctl, Changed<i32>>,
    /// Links that routerd made or changed.
    #[serde(with = "pairs")]
    pub links: BTreeMap<IfName, LinkRecord>,
    /// Keys of the routes that routerd holds: a foreign route found at such a key took the place of ours.
    pub routes: BTreeSet<RouteKey>,
    /// The endpoint that each peer was last told. The kernel changes a peer's endpoint when the peer roams;
    /// a difference from the configuration alone says nothing.
    #[serde(with = "pairs")]
    pub endpoints: BTreeMap<PeerKey, SocketAddr>,
    /// UDP ports that routerd had the kernel feed to tunnels.
    #[serde(default)]
    pub fou_ports: BTreeSet<u16>,
}

/// A value that routerd changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed<T> {
    /// The last value that somebody else gave it.
    pub prior: T,
    /// The value that routerd gave it. If another one stands there, somebody else wanted it so.
    pub set: T,
}

/// What routerd did to a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkRecord {
    /// It was not there: routerd made it.
    Created,
    /// It was there and these of its properties were changed.
    Adopted {
        /// MTU in bytes.
        mtu: Option<Changed<u32>>,
        /// Administratively up.
        up: Option<Changed<bool>>,
        /// Whether anybody had put an address on it by then.
        addressed: bool,
    },
}

/// A WireGuard peer of an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PeerKey {
    /// The interface.
    pub ifname: IfName,
    /// The peer.
    pub public_key: PublicKey,
}

static NOTHING: Ledger = Ledger {
    sysctls: BTreeMap::new(),
    links: BTreeMap::new(),
    routes: BTreeSet::new(),
    endpoints: BTreeMap::new(),
    fou_ports: BTreeSet::new(),
};

impl Ledger {
    /// The ledger of a host that nothing was changed on.
    pub(crate) fn nothing() -> &'static Self {
        &NOTHING
    }
}

impl<T: Copy + PartialEq> Changed<T> {
    /// The record of a change from `from` to `to`, given the one that stands.
    pub(crate) fn follow(recorded: Option<Self>, from: T, to: T) -> Self {
        match recorded {
            // On the way back. Until it is there, the record says what is due.
            Some(changed) if changed.set == from && changed.prior == to => changed,
            // What routerd itself had set is nobody's prior value.
            Some(Self { prior, set }) if set == from => Self { prior, set: to },
            _ => Self {
                prior: from,
                set: to,
            },
        }
    }

    /// The value to go back to, if what stands there now is still ours.
    pub(crate) fn restore(self, current: T) -> Option<T> {
        (current == self.set && self.prior != self.set).then_some(self.prior)
    }
}

/// Maps whose keys are no strings, as lists of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K, V, S>(map: &BTreeMap<K, V>, out: S) -> Result<S::Ok, S::Error>
    where
        K: Serialize,
        V: Serialize,
        S: Serializer,
    {
        out.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(input: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::deserialize(input)?.into_iter().collect())
    }
}
