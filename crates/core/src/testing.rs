//! The two sites of the seeds, built by hand, for tests.
//!
//! ```text
//! cloud 10.77.60.4 eth0 ─ wg-hybrid ═══ 192.0.2.0/24 ═══ wg-hybrid ─ ens21 10.77.60.2 on-prem
//! captures 10.77.60.9 (secondary IP)                       captures 10.77.60.7 (proxy ARP)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use api::control::{Config, SourceFile};
use api::{IfName, MobileAddress, ResourceId};
use ipnet::IpNet;

use crate::effective::*;
use crate::fake::FakeKernel;
use crate::kernel::Kernel;
use crate::key::{KeySource, PublicKey, SecretKey};
use crate::observed::{PeerState, Query};
use crate::plan::{self, Plan};
use crate::{Effective, Ledger, Observed};

pub(crate) const KEY_FILE: &str = "/var/lib/routerd/keys/wg-hybrid.key";

/// What a configuration means; it must be valid.
pub(crate) fn compile(text: &str) -> Effective {
    let file = SourceFile {
        name: "site.yaml".to_owned(),
        text: text.to_owned(),
    };
    let loaded = crate::config::load(&Config { files: vec![file] });
    loaded
        .effective
        .unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics))
}

pub(crate) fn name(text: &str) -> IfName {
    text.parse().expect("interface name")
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("prefix")
}

pub(crate) fn mobile(text: &str) -> MobileAddress {
    text.parse().expect("host address")
}

pub(crate) fn id(kind: &str, name: &str) -> ResourceId {
    ResourceId::new(kind, name)
}

pub(crate) fn peer_key(seed: u8) -> PublicKey {
    SecretKey::from_bytes([seed; 32]).public_key()
}

/// `dev X`.
pub(crate) fn via(device: &str) -> RouteTarget {
    RouteTarget::Unicast {
        device: Some(name(device)),
        gateway: None,
    }
}

pub(crate) fn route_key(destination: &str, metric: u32) -> RouteKey {
    RouteKey {
        table: 254,
        destination: destination.parse().expect("prefix"),
        metric,
    }
}

/// A captured address with its route, delivered through `wg-hybrid`.
pub(crate) fn claim(effective: &mut Effective, address: &str, method: CaptureMethod) {
    let owner = id(
        "RemoteAddressClaim",
        &format!("claim-{}", address.replace('.', "-")),
    );
    let address = mobile(address);
    let tunnel = name("wg-hybrid");
    let delivery = effective.delivery.entry(tunnel.clone()).or_default();
    delivery.insert(owner.clone());
    effective.routes.insert(
        route_key(&address.to_string(), 120),
        RouteIntent {
            owner: owner.clone(),
            target: via("wg-hybrid"),
            preferred_source: None,
        },
    );
    for peer in effective
        .wireguard
        .values_mut()
        .flat_map(|w| w.peers.values_mut())
    {
        peer.allowed_ips.insert(address.host_route().into());
    }
    effective.resources.insert(owner.clone(), declared());
    effective.captures.insert(
        address,
        CaptureIntent {
            owner,
            domain: "10.77.60.0/24".parse().expect("prefix"),
            interface: None,
            tunnel,
            delivery: DeliveryIntent::Route,
            method,
        },
    );
}

fn declared() -> Declared {
    Declared {
        api_version: "hybrid.routerd.net/v1alpha1".to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        spec: serde_json::Value::Null,
        place: None,
    }
}

fn overlay(endpoint: Option<&str>) -> Effective {
    let peer = WireGuardPeerIntent {
        owner: id("WireGuardPeer", "other-site"),
        preshared_key: None,
        allowed_ips: BTreeSet::from([net("10.99.0.0/30")]),
        endpoint: endpoint.map(|text| text.parse().expect("endpoint")),
        persistent_keepalive: Some(25),
    };
    let owner = id("WireGuardInterface", "wg-hybrid");
    let mut effective = Effective::default();
    for owner in [&owner, &peer.owner] {
        effective.resources.insert(owner.clone(), declared());
    }
    effective.wireguard.insert(
        name("wg-hybrid"),
        WireGuardIntent {
            owner,
            private_key: KeySource::File(KEY_FILE.into()),
            listen_port: Some(51820),
            mtu: None,
            peers: BTreeMap::from([(peer_key(7), peer)]),
        },
    );
    effective
}

fn tunnel_address(effective: &mut Effective, text: &str) {
    let owner = id("WireGuardInterface", "wg-hybrid");
    let place = (name("wg-hybrid"), net(text));
    effective.addresses.insert(place, AddressIntent { owner });
}

/// The cloud site's configuration.
pub(crate) fn cloud() -> Effective {
    let mut effective = overlay(Some("192.0.2.9:51820"));
    tunnel_address(&mut effective, "10.99.0.1/30");
    claim(&mut effective, "10.77.60.9", secondary_ip());
    effective
}

/// The on-prem site's configuration.
pub(crate) fn onprem() -> Effective {
    let mut effective = overlay(Some("192.0.2.4:51820"));
    tunnel_address(&mut effective, "10.99.0.2/30");
    claim(&mut effective, "10.77.60.7", proxy_arp());
    effective
}

pub(crate) fn secondary_ip() -> CaptureMethod {
    CaptureMethod::ProviderSecondaryIp {
        provider: None,
        nic_ref: None,
    }
}

pub(crate) fn proxy_arp() -> CaptureMethod {
    CaptureMethod::ProxyArp { gratuitous: true }
}

/// A router VM with one NIC in the shared subnet and a default route.
pub(crate) fn cloud_host() -> FakeKernel {
    host("eth0", "10.77.60.4/24", "eth0", "10.77.60.1")
}

/// A router with a LAN leg and an uplink.
pub(crate) fn onprem_host() -> FakeKernel {
    let mut kernel = host("ens21", "10.77.60.2/24", "ens18", "198.51.100.1");
    let added = kernel.add_address(&name("ens18"), net("198.51.100.2/24"), false);
    added.expect("uplink address");
    default_route(&mut kernel, "ens18", "198.51.100.1");
    kernel
}

fn host(lan: &str, address: &str, uplink: &str, gateway: &str) -> FakeKernel {
    let mut kernel = FakeKernel::new();
    kernel.add_link(lan, "", true);
    let added = kernel.add_address(&name(lan), net(address), false);
    added.expect("LAN address");
    if uplink == lan {
        default_route(&mut kernel, uplink, gateway);
    } else {
        kernel.add_link(uplink, "", true);
    }
    kernel
}

fn default_route(kernel: &mut FakeKernel, device: &str, gateway: &str) {
    let route = crate::observed::Route {
        key: route_key("0.0.0.0/0", 100),
        target: RouteTarget::Unicast {
            device: Some(name(device)),
            gateway: Some(gateway.parse().expect("gateway")),
        },
        preferred_source: None,
        protocol: 16,
    };
    kernel.add_route(&route).expect("default route");
}

/// A node: a host, what is in force on it, and its ledger; works as the daemon does.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kernel: FakeKernel,
    pub(crate) ledger: Ledger,
}

impl Node {
    pub(crate) fn new(kernel: FakeKernel) -> Self {
        let ledger = Ledger::default();
        Self { kernel, ledger }
    }

    pub(crate) fn look(&mut self, query: &Query) -> Observed {
        self.kernel.observe(query).expect("the fake always answers")
    }

    pub(crate) fn plan(&mut self, effective: &Effective) -> Plan {
        let observed = self.look(&plan::query(effective));
        plan::plan(effective, &observed, &self.ledger)
    }

    /// Plans, records and executes; the error names the step that failed.
    pub(crate) fn try_apply(&mut self, effective: &Effective) -> Result<Plan, String> {
        let observed = self.look(&plan::query(effective));
        let plan = plan::plan(effective, &observed, &self.ledger);
        self.ledger = plan::record(&self.ledger, &plan, &observed);
        let done = self.kernel.apply(&plan.steps);
        done.map_err(|error| error.to_string())?;
        let observed = self.look(&plan::query(effective));
        self.ledger = plan::settle(&self.ledger, effective, &observed);
        Ok(plan)
    }

    /// Works until nothing is left to do: where an endpoint is only reached by what a plan brought, the
    /// next one knows its path MTU.
    pub(crate) fn settle(&mut self, effective: &Effective) {
        let mut rounds = Vec::new();
        for _ in 0..3 {
            let plan = self.try_apply(effective).expect("all steps succeed");
            if plan.steps.is_empty() {
                return;
            }
            let lines = plan.view().steps;
            rounds.push(lines.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
        panic!("not settled: {rounds:#?}");
    }

    /// Brings the host to what is wanted; a second plan must be empty.
    pub(crate) fn apply(&mut self, effective: &Effective) -> Plan {
        let plan = self.try_apply(effective).expect("all steps succeed");
        let again = self.plan(effective);
        assert_eq!(again.steps, [], "second plan after {:#?}", plan.view());
        plan
    }
}

/// The on-prem site as it runs well.
pub(crate) fn healthy_onprem() -> Node {
    healthy(onprem_host(), &onprem())
}

/// The cloud site as it runs well.
pub(crate) fn healthy_cloud() -> Node {
    healthy(cloud_host(), &cloud())
}

fn healthy(kernel: FakeKernel, effective: &Effective) -> Node {
    let mut node = Node::new(kernel);
    node.settle(effective);
    peer_of(&mut node).handshake_age = Some(10);
    node
}

/// The one peer of `wg-hybrid`.
pub(crate) fn peer_of(node: &mut Node) -> &mut PeerState {
    let device = node.kernel.host.wireguard.get_mut(&name("wg-hybrid"));
    let peer = device.expect("device").peers.get_mut(&peer_key(7));
    peer.expect("peer")
}
