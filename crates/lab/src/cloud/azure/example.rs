//! The subscription that the lab serves when nobody asks for another: that of the first field report.
//!
//! ```text
//! group cloudedge-lab, network ce-vnet 10.77.60.0/24, subnet ce-subnet (table ce-routes, group ce-nsg)
//!   .4 ce-router-nic of routerd-cloud     .5 ce-standby-nic of routerd-standby     .7 ce-client-nic of cloud-client
//! ```

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::site::Site;
use crate::fabric::security::{Access, Direction, SecurityRule};
use crate::fabric::state::{Cloud, Nic, NicAddress, Subnet};
use crate::fabric::{FabricState, NicId, StateError};

/// The router's NIC.
pub const ROUTER: &str = "ce-router-nic";
/// The NIC of a second router.
pub const STANDBY: &str = "ce-standby-nic";
/// A client's NIC.
pub const CLIENT: &str = "ce-client-nic";
/// The subnet.
pub const SUBNET: &str = "ce-subnet";
/// The subnet's route table.
pub const TABLE: &str = "ce-routes";
/// The security group of every NIC.
pub const GROUP: &str = "ce-nsg";

const PREFIX: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 77, 60, 0), 24);

/// The site and what its network holds.
///
/// # Errors
/// Never, unless the fabric's own rules change.
pub fn example() -> Result<(Site, FabricState), StateError> {
    let mut fabric = FabricState::new(Cloud::Azure, vec![PREFIX]);
    fabric.put_rule_set(
        GROUP.into(),
        vec![
            allow("from-mobility", PREFIX),
            allow("from-underlay", Ipv4Net::default()),
        ],
    );
    fabric.add_route_table(TABLE.into());
    fabric.add_subnet(
        SUBNET.into(),
        Subnet {
            prefix: PREFIX,
            route_table: Some(TABLE.into()),
            rules: Vec::new(),
            hybrid: false,
        },
    )?;
    for (name, host) in [(ROUTER, 4), (STANDBY, 5), (CLIENT, 7)] {
        fabric.add_nic(name.into(), nic(host))?;
    }
    let nics = [ROUTER, STANDBY, CLIENT].map(NicId::from);
    let mut site = Site::new("cloudedge-lab", "ce-vnet", nics);
    for (nic, machine) in [
        (ROUTER, "routerd-cloud"),
        (STANDBY, "routerd-standby"),
        (CLIENT, "cloud-client"),
    ] {
        if let Some(entry) = site.machines.get_mut(&NicId::from(nic)) {
            entry.name = machine.to_owned();
        }
    }
    Ok((site, fabric))
}

fn nic(host: u8) -> Nic {
    Nic {
        subnet: SUBNET.into(),
        mac: [0x00, 0x0d, 0x3a, 0x1b, 0xc7, host],
        addresses: vec![NicAddress {
            name: "ipconfig1".to_owned(),
            address: Ipv4Addr::new(10, 77, 60, host),
            public: None,
        }],
        forwarding: false,
        rules: vec![GROUP.into()],
    }
}

fn allow(name: &str, remote: Ipv4Net) -> SecurityRule {
    SecurityRule {
        name: name.to_owned(),
        priority: 100 + u32::from(remote.prefix_len()),
        direction: Direction::Inbound,
        access: Access::Allow,
        protocol: None,
        remote,
        ports: None,
    }
}
