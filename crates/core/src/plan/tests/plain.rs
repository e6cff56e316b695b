//! Plain tunnels: inside WireGuard, over a trusted underlay, of the kernel and in user space.

use std::collections::BTreeSet;

use super::{texts, waits};
use crate::Effective;
use crate::encapsulation::KernelTunnel;
use crate::observed::{Build, Driver, FouPort};
use crate::testing::*;

/// What carries the claim, around the tunnel under test.
const SITE: &str = "
apiVersion: hybrid.routerd.net/v1alpha1
kind: OverlayPeer
metadata: {name: onprem}
spec:
  underlay: {type: MODE, interface: t0}
  remote: {address: 10.255.1.2}
  pathMTU: {forceFragmentIPv4: FORCE}
---
apiVersion: hybrid.routerd.net/v1alpha1
kind: AddressMobilityDomain
metadata: {name: same-subnet}
spec: {prefix: 10.77.60.0/24, mode: selective-address, peerRef: onprem}
---
apiVersion: hybrid.routerd.net/v1alpha1
kind: RemoteAddressClaim
metadata: {name: app}
spec:
  domainRef: same-subnet
  address: 10.77.60.9/32
  ownerSide: onprem
  capture: {type: route-table, interface: eth0}
---
apiVersion: net.routerd.net/v1alpha1
kind: TunnelInterface
metadata: {name: t0}
spec:
  address: 10.255.1.1/30
";

const WIREGUARD: &str = "
---
apiVersion: net.routerd.net/v1alpha1
kind: WireGuardInterface
metadata: {name: wg0}
spec:
  privateKeyFile: /wg0.key
  listenPort: 51820
  addresses: [10.255.60.1/32]
---
apiVersion: net.routerd.net/v1alpha1
kind: WireGuardPeer
metadata: {name: onprem}
spec:
  interface: wg0
  publicKey: KTfySYEfSlCi6YhZz5WKuPOWGjQ0CVUp5hs6/c9F0Fc=
  allowedIPs: [10.255.60.2/32]
  endpoint: 192.0.2.9:51820
";

fn load(mode: &str, spec: &str, rest: &str) -> Effective {
    let site = SITE.replace("MODE", mode).replace("FORCE", "false");
    compile(&format!("{site}  mode: {mode}\n{spec}{rest}"))
}

const INSIDE: &str = "  underlayInterface: wg0\n  remote: 10.255.60.2\n";
const TRUSTED: &str = "  local: 10.77.60.4\n  remote: 192.0.2.9\n  trustedUnderlay: true\n";

fn inside_wireguard(mode: &str) -> Effective {
    load(mode, INSIDE, WIREGUARD)
}

fn with_modules(modules: &[KernelTunnel]) -> Node {
    let mut kernel = cloud_host();
    kernel.host.features.kernel_tunnels = BTreeSet::from_iter(modules.iter().copied());
    Node::new(kernel)
}

fn mtu(node: &Node) -> u32 {
    node.kernel.host.links[&name("t0")].mtu
}

fn mss(node: &Node) -> u16 {
    let clamps = node.kernel.host.mss.as_ref().expect("table");
    clamps[&name("t0")].v4
}

#[test]
fn inside_wireguard_from_scratch() {
    let mut node = Node::new(cloud_host());
    let plan = node.apply(&inside_wireguard("ipip"));
    let shown: Vec<_> = texts(&plan)
        .into_iter()
        .filter(|text| !text.starts_with("sysctl"))
        .collect();
    assert_eq!(
        shown,
        [
            "wg genkey > /wg0.key",
            "routerd tunnel wireguard --interface wg0",
            "routerd tunnel ipip --interface t0: local 10.255.60.1 remote 10.255.60.2 dev wg0 ttl 64",
            "wg set wg0 private-key /wg0.key listen-port 51820 peer KTfySYEfSlCi6YhZz5WKuPOWGjQ0CVUp5hs6/c9F0Fc= \
             endpoint 192.0.2.9:51820 allowed-ips +10.255.60.2/32",
            "ip link set wg0 mtu 1440 up",
            "ip link set t0 mtu 1420 up",
            "ip address add 10.255.1.1/30 dev t0",
            "ip address add 10.255.60.1/32 dev wg0",
            "nft table inet routerd_mss: maxseg of t0 1380 (IPv6 1360)",
            "ip route add 10.77.60.9/32 dev t0 metric 120 proto 82",
            "ip route add 10.255.60.2/32 dev wg0 metric 120 proto 82",
        ]
    );
    let away = node.apply(&Effective::default());
    assert!(texts(&away).contains(&"ip link delete t0".to_owned()));
    assert!(node.ledger.links.is_empty(), "{:?}", node.ledger);
}

#[test]
fn the_other_end_is_an_allowed_ip_even_where_nobody_listed_it() {
    let listed = "  allowedIPs: [10.255.60.2/32]\n";
    let wireguard = WIREGUARD.replace(listed, "");
    let effective = load("ipip", INSIDE, &wireguard);
    let peers = &effective.wireguard[&name("wg0")].peers;
    let allowed: Vec<_> = peers.values().flat_map(|peer| &peer.allowed_ips).collect();
    assert_eq!(allowed, [&net("10.255.60.2/32")]);
}

#[test]
fn every_overhead_is_subtracted_once() {
    let ports = "  encapSport: 5555\n  encapDport: 5555\n";
    let modes = [
        ("ipip", String::new(), 20),
        ("gre", String::new(), 24),
        ("gre", "  key: 7\n".to_owned(), 28),
        ("fou", ports.to_owned(), 28),
        ("gue", ports.to_owned(), 32),
    ];
    for (mode, settings, overhead) in modes {
        let places = [
            (INSIDE, WIREGUARD, 1500 - 60 - overhead),
            (TRUSTED, "", 1500 - overhead),
        ];
        for (ends, rest, expected) in places {
            let mut node = Node::new(cloud_host());
            node.settle(&load(mode, &format!("{settings}{ends}"), rest));
            assert_eq!(mtu(&node), expected, "{mode}");
            assert_eq!(u32::from(mss(&node)), expected - 40, "{mode}");
        }
    }
}

#[test]
fn mtu_and_clamp_follow_the_underlay() {
    for (ends, rest, less) in [(INSIDE, WIREGUARD, 80), (TRUSTED, "", 20)] {
        let wanted = load("ipip", ends, rest);
        let mut node = Node::new(cloud_host());
        let far = "192.0.2.9".parse().expect("address");
        for path in [1300, 1500, 1280] {
            node.kernel.path_mtu.insert(far, path);
            node.settle(&wanted);
            assert_eq!(
                (mtu(&node), mss(&node)),
                (path - less, (path - less - 40) as u16)
            );
        }
    }
}

#[test]
fn the_kernel_is_taken_where_it_has_the_mode_and_kept() {
    let wanted = load("ipip", TRUSTED, "");
    let mut node = with_modules(&[KernelTunnel::Ipip]);
    let plan = node.apply(&wanted);
    let expected = "ip link add t0 type ipip local 10.77.60.4 remote 192.0.2.9 ttl 64";
    assert!(
        texts(&plan).contains(&expected.to_owned()),
        "{:?}",
        texts(&plan)
    );

    // A module that appears later does not cut what runs.
    let mut node = Node::new(cloud_host());
    node.apply(&wanted);
    node.kernel
        .host
        .features
        .kernel_tunnels
        .insert(KernelTunnel::Ipip);
    assert_eq!(node.plan(&wanted).steps, []);
    let driver = node.kernel.host.plain_tunnels[&name("t0")].driver;
    assert_eq!(driver, Driver::UserSpace);
}

#[test]
fn ports_of_the_kernel_come_before_the_tunnel_and_go_after_it() {
    let ports = "  encapSport: 5555\n  encapDport: 5556\n";
    let wanted = load("fou", &format!("{ports}{TRUSTED}"), "");
    let mut node = with_modules(&[KernelTunnel::Fou]);
    let plan = node.apply(&wanted);
    assert_eq!(
        texts(&plan)[..2],
        [
            "ip fou add port 5555 ipproto 4",
            "ip link add t0 type ipip local 10.77.60.4 remote 192.0.2.9 ttl 64 \
             encap fou encap-sport 5555 encap-dport 5556"
        ]
    );
    let away = texts(&node.apply(&Effective::default()));
    let end = &away[away.len() - 2..];
    assert_eq!(
        end,
        ["ip link delete t0", "ip fou del port 5555"]
            .map(str::to_owned)
            .to_vec()
            .as_slice()
    );
    assert!(node.ledger.fou_ports.is_empty());

    // Somebody else's port is used, and left.
    let mut node = with_modules(&[KernelTunnel::Fou]);
    node.kernel.host.fou_ports.insert(5555, FouPort::Ipv4);
    node.apply(&wanted);
    node.apply(&Effective::default());
    assert!(node.kernel.host.fou_ports.contains_key(&5555));

    // One that feeds something else is not taken over.
    let mut node = with_modules(&[KernelTunnel::Fou]);
    node.kernel.host.fou_ports.insert(5555, FouPort::Gue);
    let plan = node.apply(&wanted);
    let reason =
        "… TunnelInterface/t0 waits: UDP port 5555 feeds another kind of tunnel: ip fou show";
    assert!(
        waits(&plan).contains(&reason.to_owned()),
        "{:?}",
        waits(&plan)
    );
}

#[test]
fn a_foreign_interface_is_never_adopted() {
    let mut kernel = cloud_host();
    kernel.add_link("t0", "ipip", true);
    let mut node = Node::new(kernel);
    let plan = node.apply(&load("ipip", TRUSTED, ""));
    let reason =
        "… TunnelInterface/t0 waits: interface t0 was not made by routerd: rename it or remove it";
    assert!(
        waits(&plan).contains(&reason.to_owned()),
        "{:?}",
        waits(&plan)
    );
    assert!(!texts(&plan).iter().any(|text| text.contains(" t0")));
}

#[test]
fn an_end_that_moves_keeps_the_link_and_another_type_of_link_does_not() {
    let mut node = with_modules(&[KernelTunnel::Ipip, KernelTunnel::Gre]);
    node.apply(&load("ipip", TRUSTED, ""));
    let moved = TRUSTED.replace("192.0.2.9", "192.0.2.10");
    let plan = node.apply(&load("ipip", &moved, ""));
    let change = "ip link change t0 type ipip local 10.77.60.4 remote 192.0.2.10 ttl 64";
    assert_eq!(texts(&plan), [change]);

    let plan = texts(&node.apply(&load("gre", &moved, "")));
    assert_eq!(plan[0], "ip link delete t0");
    assert!(plan.contains(&"ip route add 10.77.60.9/32 dev t0 metric 120 proto 82".to_owned()));
}

#[test]
fn a_tunnel_whose_process_died_is_started_again_and_nothing_else() {
    let wanted = load("ipip", TRUSTED, "");
    let mut node = Node::new(cloud_host());
    node.apply(&wanted);
    node.kernel.host.plain_tunnels.clear();
    let plan = node.apply(&wanted);
    let start = "routerd tunnel ipip --interface t0: local 10.77.60.4 remote 192.0.2.9 ttl 64";
    assert_eq!(texts(&plan), [start]);
}

#[test]
fn packets_lose_the_flag_where_that_is_asked_for() {
    let site = SITE.replace("MODE", "ipip").replace("FORCE", "true");
    let wanted = compile(&format!("{site}  mode: ipip\n{TRUSTED}"));
    let mut node = Node::new(cloud_host());
    let plan = node.apply(&wanted);
    let table =
        "nft table inet routerd_mss: maxseg of t0 1440 (IPv6 1420) and don't-fragment cleared";
    assert!(
        texts(&plan).contains(&table.to_owned()),
        "{:?}",
        texts(&plan)
    );
}

#[test]
fn a_process_of_another_build_is_taken_over_unless_another_one_starts_anyway() {
    let wanted = load("ipip", TRUSTED, "");
    let mut node = Node::new(cloud_host());
    node.apply(&wanted);
    let running = |node: &mut Node, build| {
        let device = node.kernel.host.plain_tunnels.get_mut(&name("t0"));
        device.expect("tunnel").build = build;
    };
    running(&mut node, Build::Other);
    let mut changed = node.clone();
    let take_over = "routerd tunnel ipip --interface t0 --take-over";
    assert_eq!(texts(&node.apply(&wanted)), [take_over]);

    running(&mut node, Build::Kept("no answer".to_owned()));
    let plan = node.apply(&wanted);
    assert_eq!(plan.steps, [], "it is left alone for a while");
    assert!(waits(&plan)[0].contains("runs on with another build of routerd: no answer"));

    let moved = load("ipip", &TRUSTED.replace("192.0.2.9", "192.0.2.10"), "");
    let plan = texts(&changed.apply(&moved));
    assert_eq!(plan.len(), 1, "{plan:?}");
    assert!(!plan[0].contains("take-over"), "{plan:?}");
}
