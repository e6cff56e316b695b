//! Topologies as data: fabrics, nodes, links, addresses, routes. They decide nothing and start nothing.

mod azure;
mod two_site;

pub use two_site::{GATEWAY, Names, Site, TwoSite, WIREGUARD_PORT};

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use ipnet::Ipv4Net;

use crate::cloud::azure::Site as Subscription;
use crate::fabric::underlay::Underlay;
use crate::fabric::{Cloud, FabricState, NicId};

/// A topology that `lab up` knows.
#[derive(Debug)]
pub struct Entry {
    /// Its id.
    pub id: &'static str,
    /// What it is, in a line.
    pub summary: &'static str,
    /// Its parameters.
    pub parameters: TwoSite,
}

/// A cloud and an on-prem site, which may stand behind NAT, over an underlay of 1500 bytes.
pub const fn two_site(cloud: Cloud, nat: bool) -> TwoSite {
    TwoSite {
        cloud,
        nat,
        underlay_mtu: 1500,
    }
}

/// The same with links that take 9000 bytes everywhere: the underlay alone decides what fits.
pub const fn wide_two_site(cloud: Cloud) -> TwoSite {
    TwoSite {
        cloud,
        nat: false,
        underlay_mtu: 9000,
    }
}

/// All of them.
pub const ALL: &[Entry] = &[
    Entry {
        id: "two-site-azure",
        summary: "Azure and on-prem, one subnet",
        parameters: two_site(Cloud::Azure, false),
    },
    Entry {
        id: "two-site-aws",
        summary: "AWS and on-prem behind NAT, one subnet",
        parameters: two_site(Cloud::Aws, true),
    },
    Entry {
        id: "two-site-oci",
        summary: "OCI and on-prem, one subnet",
        parameters: two_site(Cloud::Oci, false),
    },
    Entry {
        id: "two-site-gcp",
        summary: "GCP and on-prem behind NAT, one subnet",
        parameters: two_site(Cloud::Gcp, true),
    },
];

/// The topology of that id.
///
/// # Errors
/// When there is none; the message lists those that there are.
pub fn find(id: &str) -> Result<&'static Entry> {
    ALL.iter().find(|entry| entry.id == id).with_context(|| {
        let ids: Vec<_> = ALL.iter().map(|entry| entry.id).collect();
        format!("no topology `{id}`; there are {}", ids.join(", "))
    })
}

/// What an interface is plugged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// A network interface of a cloud VM.
    Nic {
        /// Whose fabric.
        fabric: String,
        /// Which.
        nic: NicId,
    },
    /// The underlay link whose attachment names this interface.
    Underlay,
    /// A fabric's metadata service and API.
    Metadata {
        /// Whose fabric.
        fabric: String,
    },
    /// A port of the bridge in a switch node.
    Switch {
        /// The node that is the switch.
        node: String,
    },
}

/// An interface of a node.
#[derive(Debug, Clone)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its MTU in bytes.
    pub mtu: u16,
    /// Its addresses, the primary first.
    pub addresses: Vec<Ipv4Net>,
    /// What it is plugged into.
    pub wire: Wire,
}

/// A static route of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticRoute {
    /// Destination.
    pub destination: Ipv4Net,
    /// Next hop.
    pub via: Ipv4Addr,
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An end of the conversations.
    Host,
    /// Runs routerd.
    Router,
    /// Forwards for its LAN and translates to its last interface's address. Not ours.
    Gateway,
    /// A bridge.
    Switch,
}

/// A node.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Its routes beyond those of its interfaces.
    pub routes: Vec<StaticRoute>,
}

/// A cloud's API and metadata service. They keep no state of their own about the network: what they show and
/// change is the table that the fabric's packets are decided from.
#[derive(Debug, Clone)]
pub struct CloudService {
    /// The node that they listen in.
    pub node: String,
    /// What the API calls things, who is who, and how fast it is.
    pub subscription: Subscription,
    /// The name that the API is known under.
    pub name: &'static str,
    /// Where that name leads.
    pub address: Ipv4Addr,
}

/// A whole topology.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Its name.
    pub name: String,
    /// Cloud fabrics by name, in the state that the scenario starts from.
    pub fabrics: BTreeMap<String, FabricState>,
    /// APIs in front of fabrics, by the fabric's name.
    pub services: BTreeMap<String, CloudService>,
    /// The links between sites.
    pub underlay: Underlay,
    /// Nodes.
    pub nodes: Vec<NodeSpec>,
    /// Prefixes that must not be seen in clear on the underlay.
    pub inner: Vec<Ipv4Net>,
    /// Hosts whose conversations must not be seen in clear on the underlay.
    pub hosts: Vec<Ipv4Addr>,
}
