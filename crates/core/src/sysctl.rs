//! The kernel settings that routerd reads and, on the interfaces that it uses, sets.

use std::fmt;

use api::IfName;
use serde::{Deserialize, Serialize};

/// The scope of a per-interface setting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// `net.ipv4.conf.all`.
    All,
    /// `net.ipv4.conf.default`: what an interface starts with. Read, never set.
    Default,
    /// One interface.
    Interface(IfName),
}

/// One integer setting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sysctl {
    /// Where it applies.
    pub scope: Scope,
    /// Which setting.
    pub key: SysctlKey,
}

/// The settings routerd knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SysctlKey {
    /// `forwarding`; for [`Scope::All`] the same bit as `net.ipv4.ip_forward`.
    Forwarding,
    /// `rp_filter`: 0 off, 1 strict, 2 loose. The kernel uses the larger of `all` and the interface.
    RpFilter,
    /// `send_redirects`. The kernel sends them if either `all` or the interface says so.
    SendRedirects,
    /// `proxy_arp`: answers for every address that is routed elsewhere. routerd uses proxy neighbours instead.
    ProxyArp,
    /// `arp_announce`: which source address ARP requests carry.
    ArpAnnounce,
    /// `arp_ignore`: which requests are answered.
    ArpIgnore,
    /// `net.ipv4.neigh.IF.proxy_delay`, in hundredths of a second (USER_HZ); delays proxied answers.
    ProxyDelay,
    /// `promote_secondaries`: when the first address of a subnet goes, the next one takes its place instead
    /// of going with it. The kernel does so if either `all` or the interface says so.
    PromoteSecondaries,
    /// `net.ipv4.fib_multipath_hash_policy`, one for the host: 0 spreads over several next hops by addresses, 1 by
    /// addresses and ports.
    MultipathHashPolicy,
}

impl SysctlKey {
    /// All of them: each is observed for every scope.
    pub const EVERY: [Self; 9] = [
        Self::Forwarding,
        Self::RpFilter,
        Self::SendRedirects,
        Self::ProxyArp,
        Self::ArpAnnounce,
        Self::ArpIgnore,
        Self::ProxyDelay,
        Self::PromoteSecondaries,
        Self::MultipathHashPolicy,
    ];

    /// Whether there is such a setting in this scope (`net.ipv4.neigh` has no `all`, and some are not of an interface).
    pub fn exists_in(self, scope: &Scope) -> bool {
        match self {
            Self::ProxyDelay => *scope != Scope::All,
            Self::MultipathHashPolicy => *scope == Scope::All,
            _ => true,
        }
    }
}

impl Sysctl {
    /// A setting of one interface.
    pub fn on(ifname: &IfName, key: SysctlKey) -> Self {
        Self {
            scope: Scope::Interface(ifname.clone()),
            key,
        }
    }

    /// A setting of `all`.
    pub fn all(key: SysctlKey) -> Self {
        Self {
            scope: Scope::All,
            key,
        }
    }

    /// What a new interface starts with.
    pub fn default_of(key: SysctlKey) -> Self {
        Self {
            scope: Scope::Default,
            key,
        }
    }

    /// The path below `/proc/sys`. Interface names may hold dots, hence slashes.
    pub fn path(&self) -> String {
        let (tree, leaf) = match self.key {
            SysctlKey::Forwarding => ("conf", "forwarding"),
            SysctlKey::RpFilter => ("conf", "rp_filter"),
            SysctlKey::SendRedirects => ("conf", "send_redirects"),
            SysctlKey::ProxyArp => ("conf", "proxy_arp"),
            SysctlKey::ArpAnnounce => ("conf", "arp_announce"),
            SysctlKey::ArpIgnore => ("conf", "arp_ignore"),
            SysctlKey::ProxyDelay => ("neigh", "proxy_delay"),
            SysctlKey::PromoteSecondaries => ("conf", "promote_secondaries"),
            SysctlKey::MultipathHashPolicy => {
                return "net/ipv4/fib_multipath_hash_policy".to_owned();
            }
        };
        let scope = match &self.scope {
            Scope::All => "all",
            Scope::Default => "default",
            Scope::Interface(ifname) => ifname.as_str(),
        };
        format!("net/ipv4/{tree}/{scope}/{leaf}")
    }
}

impl fmt::Display for Sysctl {
    /// `net.ipv4.conf.eth0.rp_filter`, as `sysctl` prints it (a dot in an interface name as a slash).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let swapped: String = self
            .path()
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect();
        f.pad(&swapped)
    }
}
