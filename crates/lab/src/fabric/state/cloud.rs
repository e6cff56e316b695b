//! The four clouds and their limits.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// Whose rules a fabric follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cloud {
    /// Amazon EC2.
    Aws,
    /// Microsoft Azure.
    Azure,
    /// Oracle Cloud Infrastructure.
    Oci,
    /// Google Compute Engine.
    Gcp,
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Oci => "oci",
            Self::Gcp => "gcp",
        })
    }
}

impl Cloud {
    /// Addresses at the start and the end of a subnet that the cloud keeps for itself, network and
    /// broadcast address included.
    fn reserved(self) -> (u32, u32) {
        match self {
            Self::Aws | Self::Azure => (4, 1),
            Self::Oci => (2, 1),
            Self::Gcp => (2, 2),
        }
    }

    /// How many addresses a NIC holds at most, the primary included (design/providers.md, limits).
    pub(super) fn addresses_per_nic(self) -> usize {
        match self {
            Self::Aws => 50,
            Self::Azure => 256,
            Self::Oci => 65,
            Self::Gcp => 151,
        }
    }

    /// How many routes a table holds at most.
    pub(super) fn routes_per_table(self) -> usize {
        match self {
            Self::Aws => 500,
            Self::Azure => 400,
            Self::Oci | Self::Gcp => 200,
        }
    }

    /// Whether a NIC in this subnet may hold this address.
    pub(super) fn takes(self, prefix: Ipv4Net, address: Ipv4Addr) -> bool {
        let (first, last) = self.reserved();
        let address = u32::from(address);
        let start = u32::from(prefix.network()).saturating_add(first);
        let end = u32::from(prefix.broadcast()).saturating_sub(last);
        (start..=end).contains(&address)
    }
}
