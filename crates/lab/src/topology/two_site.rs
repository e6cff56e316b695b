//! Two sites, one subnet: a cloud and an on-prem site (PVE) with the same 10.77.60.0/24.
//!
//! ```text
//!        cloud (fabric, no broadcast domain)                 on-prem (one bridge)
//!
//!  cloud-client .7 ──┐                                 ┌── onprem-client .9   default via .1
//!                    ├─ fabric ═ underlay ═ [NAT] ── onprem-router .2
//!  cloud-router .4 ──┘  203.0.113.10    198.51.100.22  └── onprem-gw .1 ═ underlay 198.51.100.10
//! ```
//!
//! The captured address .9 is a secondary address of the cloud router's NIC; .7 is answered for by
//! proxy ARP on the on-prem LAN. Where the lab has the cloud's API, it stands behind the underlay as
//! `azure-api` 192.0.2.10, and its metadata service at 169.254.169.254 beside the fabric.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Interface, NodeSpec, Role, StaticRoute, Topology, Wire, azure};
use crate::fabric::header::protocol;
use crate::fabric::quality::LinkQuality;
use crate::fabric::routes::{Route, RouteTarget};
use crate::fabric::security::{Access, Direction, SecurityRule};
use crate::fabric::state::{Nic, NicAddress, Subnet};
use crate::fabric::underlay::{Attachment, Impairment, Link, Underlay};
use crate::fabric::{Cloud, FabricState, StateError};

/// The subnet that both sites share.
pub const SUBNET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 77, 60, 0), 24);
/// The cloud client.
pub const CLOUD_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 60, 7);
/// The on-prem client.
pub const ONPREM_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 60, 9);
/// The default gateway of either site: the fabric's router here, `onprem-gw` there.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 60, 1);
/// The UDP port of the routers' WireGuard.
pub const WIREGUARD_PORT: u16 = 51820;

const CLOUD_ROUTER: Ipv4Addr = Ipv4Addr::new(10, 77, 60, 4);
const ONPREM_ROUTER: Ipv4Addr = Ipv4Addr::new(10, 77, 60, 2);
const CLOUD_PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const ONPREM_PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 22);
const ONPREM_GATEWAY_PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const HOME_LAN: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 1, 0), 24);
const HOME_ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 43);
const HOME_GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

/// One of the two sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Site {
    /// The cloud.
    Cloud,
    /// On-prem.
    Onprem,
}

impl Site {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Cloud, Self::Onprem];

    /// `cloud` or `onprem`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Onprem => "onprem",
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Cloud => Self::Onprem,
            Self::Onprem => Self::Cloud,
        }
    }

    /// Its client node.
    pub fn client(self) -> String {
        format!("{}-client", self.label())
    }

    /// Its router node.
    pub fn router(self) -> String {
        format!("{}-router", self.label())
    }

    /// Its client's address.
    pub fn client_address(self) -> Ipv4Addr {
        match self {
            Self::Cloud => CLOUD_CLIENT,
            Self::Onprem => ONPREM_CLIENT,
        }
    }
}

/// Names in a fabric's table.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// The router's NIC.
    pub router_nic: &'static str,
    /// The client's NIC.
    pub client_nic: &'static str,
    /// The subnet.
    pub subnet: &'static str,
    /// The subnet's route table.
    pub route_table: &'static str,
    /// The rules of both NICs.
    pub rules: &'static str,
}

/// The parameters of the topology.
#[derive(Debug, Clone, Copy)]
pub struct TwoSite {
    /// Whose cloud.
    pub cloud: Cloud,
    /// Whether a NAT stands in front of the on-prem router.
    pub nat: bool,
    /// MTU of both underlay links.
    pub underlay_mtu: u16,
}

impl TwoSite {
    /// The cloud's usual interface name.
    pub fn nic_name(&self) -> &'static str {
        match self.cloud {
            Cloud::Aws => "ens5",
            Cloud::Azure => "eth0",
            Cloud::Oci => "ens3",
            Cloud::Gcp => "ens4",
        }
    }

    /// The cloud's usual interface MTU.
    fn nic_mtu(&self) -> u16 {
        match self.cloud {
            Cloud::Aws => 9001,
            Cloud::Azure => 1500,
            Cloud::Oci => 9000,
            Cloud::Gcp => 1460,
        }
    }

    /// The fabric's name.
    pub fn fabric(&self) -> String {
        self.cloud.to_string()
    }

    /// What the fabric's table calls the parts of the cloud's network.
    pub fn names(&self) -> Names {
        match self.cloud {
            Cloud::Azure => azure::NAMES,
            cloud => Names {
                router_nic: match cloud {
                    Cloud::Aws => "eni-0c0ffee0000000004",
                    Cloud::Oci => "ocid1.vnic.oc1.ap-tokyo-1.abxhiljrcloudedgerouter",
                    _ => {
                        "projects/cloudedge-lab/zones/asia-northeast1-a/instances/routerd-cloud/nic0"
                    }
                },
                client_nic: "client-nic",
                subnet: "subnet",
                route_table: "main",
                rules: "members",
            },
        }
    }

    /// The router's NIC in the form that its cloud's API has for it.
    pub fn nic_ref(&self) -> String {
        match self.cloud {
            Cloud::Azure => azure::subscription().nic_id(&self.names().router_nic.into()),
            _ => self.names().router_nic.to_owned(),
        }
    }

    /// The address that a router sends from on the underlay: the cloud translates its own.
    pub fn underlay_address(&self, site: Site) -> Ipv4Addr {
        match site {
            Site::Cloud => CLOUD_ROUTER,
            Site::Onprem => ONPREM_PUBLIC,
        }
    }

    /// The address of a router among its site's clients.
    pub fn lan_address(&self, site: Site) -> Ipv4Addr {
        match site {
            Site::Cloud => CLOUD_ROUTER,
            Site::Onprem => ONPREM_ROUTER,
        }
    }

    /// The address that the other site reaches a router at.
    pub fn public_address(&self, site: Site) -> Ipv4Addr {
        match site {
            Site::Cloud => CLOUD_PUBLIC,
            Site::Onprem => ONPREM_PUBLIC,
        }
    }

    /// Where the other site's WireGuard sends to: absent for an on-prem router behind NAT.
    pub fn endpoint(&self, site: Site) -> Option<String> {
        let address = match site {
            Site::Cloud => CLOUD_PUBLIC,
            Site::Onprem if self.nat => return None,
            Site::Onprem => ONPREM_PUBLIC,
        };
        Some(format!("{address}:{WIREGUARD_PORT}"))
    }

    /// The router's interface towards its site's clients.
    pub fn capture_interface(&self, site: Site) -> &'static str {
        match site {
            Site::Cloud => self.nic_name(),
            Site::Onprem => "ens21",
        }
    }

    /// The router's interface towards the underlay.
    pub fn underlay_interface(&self, site: Site) -> &'static str {
        match site {
            Site::Cloud => self.nic_name(),
            Site::Onprem => "ens18",
        }
    }

    /// The whole topology.
    ///
    /// # Errors
    /// When the cloud would refuse the state that it starts from.
    pub fn topology(&self, name: &str) -> Result<Topology, StateError> {
        let mut nodes = self.cloud_nodes();
        nodes.extend(self.onprem_nodes());
        let mut services = BTreeMap::new();
        if self.cloud == Cloud::Azure {
            nodes.push(azure::node(&self.fabric(), SUBNET));
            services.insert(self.fabric(), azure::service());
        }
        Ok(Topology {
            name: name.to_owned(),
            fabrics: BTreeMap::from([(self.fabric(), self.fabric_state()?)]),
            services,
            underlay: self.underlay(),
            nodes,
            inner: vec![SUBNET],
            hosts: vec![CLOUD_CLIENT, ONPREM_CLIENT],
        })
    }

    /// What a person has set up in the cloud by hand before routerd comes: forwarding on, the captured
    /// address assigned, the rules open for the subnet, for SSH and for WireGuard.
    fn fabric_state(&self) -> Result<FabricState, StateError> {
        let mut state = FabricState::new(self.cloud, vec![SUBNET]);
        let allow = |name: &str, protocol, remote, ports| SecurityRule {
            name: name.to_owned(),
            priority: 100,
            direction: Direction::Inbound,
            access: Access::Allow,
            protocol,
            remote,
            ports,
        };
        let any = Ipv4Net::default();
        let port = (WIREGUARD_PORT, WIREGUARD_PORT);
        let rules = vec![
            allow("subnet", None, SUBNET, None),
            allow("wireguard", Some(protocol::UDP), any, Some(port)),
        ];
        let names = self.names();
        state.put_rule_set(names.rules.into(), rules);
        state.add_route_table(names.route_table.into());
        let subnet = Subnet {
            prefix: SUBNET,
            route_table: Some(names.route_table.into()),
            rules: Vec::new(),
            hybrid: false,
        };
        state.add_subnet(names.subnet.into(), subnet)?;
        let internet = Route {
            prefix: any,
            target: RouteTarget::Internet,
            priority: 1000,
        };
        state.put_route(&names.route_table.into(), "default", internet)?;
        let address = |name: &str, address, public| NicAddress {
            name: name.to_owned(),
            address,
            public,
        };
        let nic = |mac, addresses, forwarding| Nic {
            subnet: names.subnet.into(),
            mac,
            addresses,
            forwarding,
            rules: vec![names.rules.into()],
        };
        let router = vec![
            address("ipconfig1", CLOUD_ROUTER, Some(CLOUD_PUBLIC)),
            address("ipconfig-onprem-capture", ONPREM_CLIENT, None),
        ];
        let client = vec![address("ipconfig1", CLOUD_CLIENT, None)];
        state.add_nic(names.router_nic.into(), nic(mac(4), router, true))?;
        state.add_nic(names.client_nic.into(), nic(mac(7), client, false))?;
        Ok(state)
    }

    fn cloud_nodes(&self) -> Vec<NodeSpec> {
        let vm = |name: String, role, nic: &str, address, mac| NodeSpec {
            name,
            role,
            interfaces: vec![Interface {
                name: self.nic_name().to_owned(),
                mac,
                mtu: self.nic_mtu(),
                addresses: vec![on(SUBNET, address)],
                wire: Wire::Nic {
                    fabric: self.fabric(),
                    nic: nic.into(),
                },
            }],
            routes: vec![default_route(GATEWAY)],
        };
        let (router, client) = (Site::Cloud.router(), Site::Cloud.client());
        let names = self.names();
        vec![
            vm(router, Role::Router, names.router_nic, CLOUD_ROUTER, mac(4)),
            vm(client, Role::Host, names.client_nic, CLOUD_CLIENT, mac(7)),
        ]
    }

    fn onprem_nodes(&self) -> Vec<NodeSpec> {
        let switched = |name: &str, number, address, switch: &str| Interface {
            name: name.to_owned(),
            mac: mac(number),
            mtu: self.underlay_mtu.max(1500),
            addresses: vec![address],
            wire: Wire::Switch {
                node: switch.to_owned(),
            },
        };
        let outside = |number, address: Ipv4Addr| Interface {
            name: "ens18".to_owned(),
            mac: mac(number),
            mtu: self.underlay_mtu,
            addresses: vec![on(link_net(address), address)],
            wire: Wire::Underlay,
        };
        let node = |name: &str, role, interfaces, gateway| NodeSpec {
            name: name.to_owned(),
            role,
            interfaces,
            routes: vec![default_route(gateway)],
        };
        let switch = |name: &str| NodeSpec {
            name: name.to_owned(),
            role: Role::Switch,
            interfaces: Vec::new(),
            routes: Vec::new(),
        };
        let lan = "onprem-lan";
        let client = switched("ens19", 9, on(SUBNET, ONPREM_CLIENT), lan);
        let inside = |number, address| switched("ens21", number, on(SUBNET, address), lan);
        let gateway = vec![inside(1, GATEWAY), outside(11, ONPREM_GATEWAY_PUBLIC)];
        let upstream = link_router(ONPREM_GATEWAY_PUBLIC);
        let mut nodes = vec![
            switch(lan),
            node(&Site::Onprem.client(), Role::Host, vec![client], GATEWAY),
            node("onprem-gw", Role::Gateway, gateway, upstream),
        ];
        let router = Site::Onprem.router();
        let upstream = link_router(ONPREM_PUBLIC);
        if self.nat {
            let home = "onprem-home";
            let first = switched("ens18", 2, on(HOME_LAN, HOME_ROUTER), home);
            let members = vec![first, inside(22, ONPREM_ROUTER)];
            let lan_side = switched("ens21", 31, on(HOME_LAN, HOME_GATEWAY), home);
            let nat = vec![lan_side, outside(32, ONPREM_PUBLIC)];
            nodes.push(switch(home));
            nodes.push(node("onprem-nat", Role::Gateway, nat, upstream));
            nodes.push(node(&router, Role::Router, members, HOME_GATEWAY));
        } else {
            let members = vec![outside(2, ONPREM_PUBLIC), inside(22, ONPREM_ROUTER)];
            nodes.push(node(&router, Role::Router, members, upstream));
        }
        nodes
    }

    fn underlay(&self) -> Underlay {
        let link = |attachment, address| Link {
            attachment,
            prefixes: vec![Ipv4Net::from(address)],
            router: link_router(address),
            mtu: self.underlay_mtu,
            quality: LinkQuality::default(),
            impairment: Impairment::default(),
        };
        let port = |node: &str| Attachment::Port(format!("{node}/ens18"));
        let edge = match self.nat {
            true => "onprem-nat".to_owned(),
            false => Site::Onprem.router(),
        };
        let cloud = link(Attachment::Fabric(self.fabric()), CLOUD_PUBLIC);
        let onprem = link(port(&edge), ONPREM_PUBLIC);
        let gateway = link(port("onprem-gw"), ONPREM_GATEWAY_PUBLIC);
        let mut links = BTreeMap::from([
            ("cloud-uplink".to_owned(), cloud),
            ("onprem-uplink".to_owned(), onprem),
            ("onprem-gw-uplink".to_owned(), gateway),
        ]);
        if self.cloud == Cloud::Azure {
            let api = link(
                Attachment::Port(azure::UPLINK_PORT.to_owned()),
                azure::ADDRESS,
            );
            links.insert("azure-api-uplink".to_owned(), api);
        }
        Underlay { links }
    }
}

/// The `/30` that an underlay link consists of, seen from the site's address.
pub(super) fn link_net(address: Ipv4Addr) -> Ipv4Net {
    on(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 30), address).trunc()
}

/// The underlay router's address on the link: the other host of the `/30`.
pub(super) fn link_router(address: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(address) ^ 3)
}

pub(super) fn on(net: Ipv4Net, address: Ipv4Addr) -> Ipv4Net {
    Ipv4Net::new_assert(address, net.prefix_len())
}

pub(super) fn default_route(via: Ipv4Addr) -> StaticRoute {
    StaticRoute {
        destination: Ipv4Net::default(),
        via,
    }
}

pub(super) fn mac(number: u8) -> [u8; 6] {
    [0x02, 0, 0, 0x77, 0x60, number]
}
