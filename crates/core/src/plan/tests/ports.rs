//! UDP ports that change hands between WireGuard, fou and gue, in the kernel and in user space.

use super::texts;
use crate::Effective;
use crate::effective::{LocalEnd, PlainTunnelIntent};
use crate::encapsulation::{Encapsulation, KernelTunnel, UdpPorts};
use crate::key::KeySource;
use crate::observed::{Driver, FouPort};
use crate::testing::*;

const A: u16 = 5555;
const B: u16 = 5556;

/// What a tunnel of the tests may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Absent,
    /// WireGuard on this port, or on any.
    WireGuard(Option<u16>),
    Fou(u16),
    Gue(u16),
    Ipip,
}

use Role::{Absent, Fou, Gue, Ipip, WireGuard};

/// WireGuard tunnels `wg-0` …, plain tunnels `t-0` … to 192.0.2.100 …; absent ones are skipped.
fn site(roles: &[Role]) -> Effective {
    let mut wanted = Effective::default();
    let mut template = cloud()
        .wireguard
        .remove(&name("wg-hybrid"))
        .expect("tunnel");
    template.peers.clear();
    for (number, role) in roles.iter().enumerate() {
        let ports = |source| UdpPorts {
            source,
            destination: 9999,
        };
        let encapsulation = match *role {
            Absent => continue,
            WireGuard(port) => {
                let mut tunnel = template.clone();
                tunnel.listen_port = port;
                tunnel.private_key = KeySource::File(format!("/keys/{number}").into());
                let ifname = name(&format!("wg-{number}"));
                wanted.wireguard.insert(ifname, tunnel);
                continue;
            }
            Fou(port) => Encapsulation::Fou(ports(port)),
            Gue(port) => Encapsulation::Gue(ports(port)),
            Ipip => Encapsulation::Ipip,
        };
        let ifname = name(&format!("t-{number}"));
        let tunnel = PlainTunnelIntent {
            owner: id("TunnelInterface", ifname.as_str()),
            encapsulation,
            local: LocalEnd::Address([10, 77, 60, 4].into()),
            remote: [192, 0, 2, 100 + number as u8].into(),
            underlay: None,
            mtu: None,
            ttl: 64,
        };
        wanted.plain_tunnels.insert(ifname, tunnel);
    }
    wanted
}

/// Whether validation lets the configuration through.
fn is_valid(roles: &[Role]) -> bool {
    let held = |role: &Role| match *role {
        WireGuard(port) => Some((port?, None)),
        Fou(port) => Some((port, Some(FouPort::Ipv4))),
        Gue(port) => Some((port, Some(FouPort::Gue))),
        Absent | Ipip => None,
    };
    let held: Vec<_> = roles.iter().filter_map(held).collect();
    let pairs = held.iter().enumerate();
    let mut pairs =
        pairs.flat_map(|(number, one)| held[..number].iter().map(move |two| (one, two)));
    pairs.all(|(one, two)| one.0 != two.0 || (one.1.is_some() && one.1 == two.1))
}

/// Which driver the tunnels of the first and of the second configuration find.
#[derive(Debug, Clone, Copy)]
enum Module {
    Never,
    Always,
    /// Loaded in between: processes stay, what is new is the kernel's.
    Later,
}

fn node(module: Module) -> Node {
    let mut kernel = cloud_host();
    if matches!(module, Module::Always) {
        load(&mut kernel);
    }
    Node::new(kernel)
}

fn load(kernel: &mut crate::fake::FakeKernel) {
    let modules = [KernelTunnel::Ipip, KernelTunnel::Fou];
    kernel.host.features.kernel_tunnels.extend(modules);
}

/// A node that runs the first of two configurations.
fn running(before: &[Role], module: Module) -> Node {
    let mut node = node(module);
    node.apply(&site(before));
    if matches!(module, Module::Later) {
        load(&mut node.kernel);
    }
    node
}

/// Every way to choose one role for each tunnel.
fn choices(each: &[&[Role]]) -> Vec<Vec<Role>> {
    let none = vec![Vec::new()];
    let all = each.iter().fold(none, |chosen, roles| {
        let longer = chosen.iter().flat_map(|head| {
            roles
                .iter()
                .map(|role| head.iter().copied().chain([*role]).collect::<Vec<_>>())
        });
        longer.collect()
    });
    all.into_iter().filter(|roles| is_valid(roles)).collect()
}

/// From every configuration to every other one.
fn try_all(each: &[&[Role]]) {
    let choices = choices(each);
    for module in [Module::Never, Module::Always, Module::Later] {
        for (from, before) in choices.iter().enumerate() {
            let start = running(before, module);
            for (to, after) in choices.iter().enumerate() {
                let mut node = start.clone();
                let done = node.try_apply(&site(after));
                let plan =
                    done.unwrap_or_else(|e| panic!("{module:?} {before:?} to {after:?}: {e}"));
                assert_eq!(node.plan(&site(after)).steps, [], "{before:?} to {after:?}");
                if (from + to) % 5 == 0 {
                    take_back(&start, before, after, plan.steps.len());
                    node.settle(&Effective::default());
                    assert!(node.kernel.host.fou_ports.is_empty());
                    assert_eq!(node.ledger, crate::Ledger::default());
                }
            }
        }
    }
}

/// Whichever step fails, what was there before can be had again.
fn take_back(start: &Node, before: &[Role], after: &[Role], steps: usize) {
    for at in 0..steps {
        let mut node = start.clone();
        node.kernel.fail_at = Some(node.kernel.executed + at);
        node.try_apply(&site(after)).expect_err("it fails");
        node.kernel.fail_at = None;
        let back = node.try_apply(&site(before));
        assert!(
            back.is_ok(),
            "{before:?} to {after:?} failed at {at}: {back:?}"
        );
        assert_eq!(node.plan(&site(before)).steps, []);
    }
}

#[test]
fn a_port_goes_from_anybody_to_anybody_and_back() {
    let wireguard = [Absent, WireGuard(Some(A)), WireGuard(Some(B))];
    let first = [Absent, Fou(A), Fou(B), Gue(A), Ipip];
    let second = [Absent, Fou(A), Gue(B)];
    try_all(&[&wireguard, &first, &second]);
}

#[test]
fn two_of_wireguard_and_a_plain_one_change_places() {
    let first = [
        Absent,
        WireGuard(None),
        WireGuard(Some(A)),
        WireGuard(Some(B)),
    ];
    let second = [Absent, WireGuard(Some(A)), WireGuard(Some(B))];
    try_all(&[&first, &second, &[Absent, Fou(A), Gue(B)]]);
}

/// The steps from one configuration to another that are about tunnels and ports.
fn steps(before: &[Role], after: &[Role], module: Module) -> Vec<String> {
    let plan = running(before, module).apply(&site(after));
    let words = ["wg set", "fou", "gue", "delete t-", "delete wg-"];
    let lines = texts(&plan).into_iter();
    let lines = lines.filter(|text| words.iter().any(|word| text.contains(word)));
    lines
        .map(|line| line.split(": local").next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn nothing_goes_early_where_nobody_waits_for_its_port() {
    assert_eq!(
        steps(&[Fou(A)], &[Absent, Fou(B)], Module::Never),
        ["routerd tunnel fou --interface t-1", "ip link delete t-0"]
    );
    assert_eq!(
        steps(&[Fou(A)], &[Absent, Fou(A)], Module::Never),
        ["routerd tunnel fou --interface t-1", "ip link delete t-0"],
        "processes share it"
    );
    let kernel = steps(&[Fou(A)], &[Absent, Fou(B)], Module::Always);
    assert_eq!(kernel[0], "ip fou add port 5556 ipproto 4");
    assert_eq!(kernel[2..], ["ip link delete t-0", "ip fou del port 5555"]);
}

#[test]
fn a_process_moves_before_wireguard_takes_its_port() {
    assert_eq!(
        steps(
            &[WireGuard(Some(A)), Fou(B)],
            &[WireGuard(Some(B)), Fou(A)],
            Module::Never
        ),
        [
            "wg set wg-0 listen-port 0",
            "routerd tunnel fou --interface t-1",
            "wg set wg-0 listen-port 5556",
        ]
    );
    assert_eq!(
        steps(&[Absent, Fou(A)], &[WireGuard(Some(A))], Module::Never),
        [
            "ip link delete t-1",
            "wg set wg-0 private-key /keys/0 listen-port 5555",
        ],
        "one that goes cannot move"
    );
}

#[test]
fn wireguard_on_its_way_out_moves_aside_for_a_plain_tunnel() {
    assert_eq!(
        steps(&[WireGuard(Some(A))], &[Absent, Fou(A)], Module::Never),
        [
            "wg set wg-0 listen-port 0",
            "routerd tunnel fou --interface t-1",
            "ip link delete wg-0",
        ]
    );
}

#[test]
fn the_kernel_closes_a_port_early_for_whoever_takes_it() {
    let closed = "ip fou del port 5555";
    let to_wireguard = steps(&[Absent, Fou(A)], &[WireGuard(Some(A))], Module::Always);
    assert_eq!(
        to_wireguard,
        [
            closed,
            "wg set wg-0 private-key /keys/0 listen-port 5555",
            "ip link delete t-1"
        ]
    );
    let other_kind = steps(&[Fou(A)], &[Gue(A)], Module::Always);
    assert_eq!(other_kind[..2], [closed, "ip fou add port 5555 gue"]);
}

#[test]
fn a_tunnel_of_the_kernel_with_another_name_waits_for_the_ends_of_the_old() {
    let mut node = node(Module::Always);
    let mut wanted = site(&[Fou(A), Ipip]);
    node.apply(&wanted);
    let tunnel = wanted.plain_tunnels.remove(&name("t-0")).expect("tunnel");
    wanted.plain_tunnels.insert(name("t-new"), tunnel);
    let plan = texts(&node.apply(&wanted));
    assert_eq!(plan[0], "ip link delete t-0");
    assert!(
        !plan.iter().any(|text| text.contains("fou del")),
        "{plan:?}"
    );
    // Two that change places.
    let [one, two] = ["t-new", "t-1"].map(|ifname| wanted.plain_tunnels[&name(ifname)].remote);
    for (ifname, remote) in [("t-new", two), ("t-1", one)] {
        let tunnel = wanted.plain_tunnels.get_mut(&name(ifname));
        tunnel.expect("tunnel").remote = remote;
    }
    node.apply(&wanted);
    let devices = node.kernel.host.plain_tunnels.values();
    assert!(
        devices
            .clone()
            .all(|device| device.driver == Driver::Kernel)
    );
    assert_eq!(devices.count(), 2);
}
