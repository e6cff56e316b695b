//! Words that more than one kind knows.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// The side of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// A provider's network, where a fabric answers ARP and checks addresses.
    Cloud,
    /// A network of one's own, where hosts ask for each other by ARP.
    Onprem,
}

impl Side {
    /// The opposite one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Cloud => Self::Onprem,
            Self::Onprem => Self::Cloud,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cloud => "cloud",
            Self::Onprem => "onprem",
        })
    }
}

/// A cloud provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cloud {
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
        f.write_str(match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Oci => "oci",
            Self::Gcp => "gcp",
        })
    }
}

/// Something that a provider's API does for a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Capability {
    /// A secondary private address on the router's NIC, by the name that fits every cloud.
    NicSecondaryIp,
    /// `nic-secondary-ip` as AWS calls it.
    EniSecondaryIp,
    /// `nic-secondary-ip` as OCI calls it.
    VnicPrivateIp,
    /// `nic-secondary-ip`, named after the action.
    AssignSecondaryIp,
    /// `nic-secondary-ip` as GCP calls it.
    AliasIp,
    /// Forwarding: the NIC may send and receive packets of others.
    IpForwarding,
    /// `ip-forwarding` as AWS and OCI call it.
    DisableSourceDestCheck,
    /// Routes in the provider's route table.
    RouteTable,
}

impl Capability {
    /// Every capability.
    const ALL: [Self; 8] = [
        Self::NicSecondaryIp,
        Self::EniSecondaryIp,
        Self::VnicPrivateIp,
        Self::AssignSecondaryIp,
        Self::AliasIp,
        Self::IpForwarding,
        Self::DisableSourceDestCheck,
        Self::RouteTable,
    ];

    /// Whether a provider knows this, under this name.
    pub(crate) fn fits(self, cloud: Cloud) -> bool {
        match self {
            Self::EniSecondaryIp => cloud == Cloud::Aws,
            Self::VnicPrivateIp => cloud == Cloud::Oci,
            Self::AliasIp => cloud == Cloud::Gcp,
            Self::DisableSourceDestCheck => matches!(cloud, Cloud::Aws | Cloud::Oci),
            Self::NicSecondaryIp
            | Self::AssignSecondaryIp
            | Self::IpForwarding
            | Self::RouteTable => true,
        }
    }

    /// Everything that a provider offers.
    pub(crate) fn of(cloud: Cloud) -> BTreeSet<Self> {
        Self::ALL.into_iter().filter(|c| c.fits(cloud)).collect()
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NicSecondaryIp => "nic-secondary-ip",
            Self::EniSecondaryIp => "eni-secondary-ip",
            Self::VnicPrivateIp => "vnic-private-ip",
            Self::AssignSecondaryIp => "assign-secondary-ip",
            Self::AliasIp => "alias-ip",
            Self::IpForwarding => "ip-forwarding",
            Self::DisableSourceDestCheck => "disable-source-dest-check",
            Self::RouteTable => "route-table",
        })
    }
}
