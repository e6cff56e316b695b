//! Azure in the two-site topology: the subscription of the first field report, its names, and the node that its
//! API and metadata service listen in.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::two_site::{Names, default_route, link_net, link_router, mac, on};
use super::{CloudService, Interface, NodeSpec, Role, StaticRoute, Wire};
use crate::cloud::azure::Site as Subscription;
use crate::fabric::NicId;
use crate::fabric::decide::METADATA;

/// Where the API is on the underlay.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The engine's port of the API's node on the underlay.
pub(super) const UPLINK_PORT: &str = "azure-api/ens18";
/// The name that Resource Manager has everywhere: clients need no other endpoint.
const NAME: &str = "management.azure.com";
const NODE: &str = "azure-api";
/// The fabric answers ARP for it.
const FABRIC: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 1);

/// How long a change of a NIC or a route takes: long enough that clients have to follow the operation.
const OPERATION: Duration = Duration::from_millis(250);

pub(super) const NAMES: Names = Names {
    router_nic: "ce-router-nic",
    client_nic: "ce-client-nic",
    subnet: "ce-subnet",
    route_table: "ce-routes",
    rules: "ce-nsg",
};

/// The subscription.
pub(super) fn subscription() -> Subscription {
    let nics = [NAMES.router_nic, NAMES.client_nic].map(NicId::from);
    let mut site = Subscription::new("cloudedge-lab", "ce-vnet", nics);
    site.subscription = "26412fa4-cd3a-4128-9794-72ee01876d84".to_owned();
    site.tenant = "53a7de65-6b1f-4878-a424-acad5e25db4b".to_owned();
    site.operation_time = OPERATION;
    for (nic, name) in [
        (NAMES.router_nic, "routerd-cloud"),
        (NAMES.client_nic, "cloud-client"),
    ] {
        if let Some(machine) = site.machines.get_mut(&NicId::from(nic)) {
            machine.name = name.to_owned();
        }
    }
    site
}

pub(super) fn service() -> CloudService {
    CloudService {
        node: NODE.to_owned(),
        subscription: subscription(),
        name: NAME,
        address: ADDRESS,
    }
}

/// The node: one leg beside the fabric for the metadata service, one on the underlay for the API.
pub(super) fn node(fabric: &str, subnet: Ipv4Net) -> NodeSpec {
    let interface = |name: &str, number, address, wire| Interface {
        name: name.to_owned(),
        mac: mac(number),
        mtu: 1500,
        addresses: vec![address],
        wire,
    };
    let metadata = Wire::Metadata {
        fabric: fabric.to_owned(),
    };
    NodeSpec {
        name: NODE.to_owned(),
        role: Role::Host,
        interfaces: vec![
            interface("metadata", 41, Ipv4Net::new_assert(METADATA, 16), metadata),
            interface("ens18", 42, on(link_net(ADDRESS), ADDRESS), Wire::Underlay),
        ],
        routes: vec![
            StaticRoute {
                destination: subnet,
                via: FABRIC,
            },
            default_route(link_router(ADDRESS)),
        ],
    }
}
