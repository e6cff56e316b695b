//! From a topology to a running lab: namespaces, devices, bridges, addresses, routes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use linux::namespace::Tap;

use crate::cloud::running::Running;
use crate::fabric::forward::{Engine, Port, PortRole, Wiring};
use crate::fabric::wiretap::Wiretap;
use crate::lab::Lab;
use crate::node::{Node, SHORT};
use crate::probe::MARKER;
use crate::process;
use crate::topology::{Interface, NodeSpec, Role, Topology, Wire};

/// Packets that wait in front of a device whose reader is not scheduled for a while: a second at 10 kHz.
const QUEUE: u32 = 10_000;

/// Builds it. Forwarding, captures and routes of the overlay are left to routerd.
///
/// # Errors
/// When the kernel refuses something; the message names the node.
pub fn build(topology: Topology) -> Result<Lab> {
    check_tun()?;
    let names = topology.nodes.iter().map(|n| n.name.clone());
    let nodes = Node::start_all(names)?;
    let nodes: BTreeMap<String, Node> = nodes
        .into_iter()
        .map(|n| (n.name().to_owned(), n))
        .collect();
    for spec in &topology.nodes {
        defaults(&nodes[&spec.name], spec.role)?;
    }
    let mut ports = BTreeMap::new();
    for spec in &topology.nodes {
        for interface in &spec.interfaces {
            plug(&nodes, spec, interface, &mut ports)?;
        }
    }
    for spec in &topology.nodes {
        configure(&nodes[&spec.name], spec)?;
    }
    let wiretap = Wiretap::new(topology.inner.clone(), &topology.hosts, MARKER);
    let engine = Engine::start(Wiring {
        fabrics: topology.fabrics.clone(),
        ports,
        underlay: topology.underlay.clone(),
        wiretap,
    })?;
    let clouds = serve_clouds(&topology, &nodes, &engine)?;
    Ok(Lab::new(topology, nodes, engine, clouds))
}

/// Starts the clouds' APIs, and tells each cloud's machines about its own.
fn serve_clouds(
    topology: &Topology,
    nodes: &BTreeMap<String, Node>,
    engine: &Arc<Engine>,
) -> Result<BTreeMap<String, Running>> {
    let mut clouds = BTreeMap::new();
    for (fabric, service) in &topology.services {
        let node = nodes.get(&service.node).context("no such node")?;
        let running = Running::start(fabric, service, node, engine)
            .with_context(|| format!("serve the API of {fabric}"))?;
        let inside = |interface: &Interface| matches!(&interface.wire, Wire::Nic { fabric: f, .. } if f == fabric);
        let machines = topology.nodes.iter();
        for machine in machines.filter(|spec| spec.interfaces.iter().any(inside)) {
            running.introduce(&nodes[&machine.name])?;
        }
        clouds.insert(fabric.clone(), running);
    }
    Ok(clouds)
}

/// User-space tunnels and the fabrics need TUN devices.
fn check_tun() -> Result<()> {
    let opened = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    opened.map(drop).context(
        "open /dev/net/tun\n\
         hint: load it with `modprobe tun`; for others than root `chmod 0666 /dev/net/tun`, which is \
         what udev does by default",
    )
}

/// What a fresh namespace must not inherit from this machine.
fn defaults(node: &Node, role: Role) -> Result<()> {
    // A router that is as strict as a distribution may make it: routerd has to see to it.
    let strict = if role == Role::Router { "1" } else { "0" };
    for scope in ["all", "default"] {
        node.set_sysctl(&format!("ipv4.conf.{scope}.rp_filter"), strict)?;
        node.set_sysctl(&format!("ipv4.conf.{scope}.send_redirects"), "1")?;
    }
    let forward = if role == Role::Gateway { "1" } else { "0" };
    node.set_sysctl("ipv4.ip_forward", forward)?;
    // The fabrics carry IPv4; a machine without IPv6 has no such setting.
    if std::path::Path::new("/proc/sys/net/ipv6").exists() {
        node.set_sysctl("ipv6.conf.all.disable_ipv6", "1")?;
        node.set_sysctl("ipv6.conf.default.disable_ipv6", "1")?;
    }
    if role == Role::Switch {
        ip(
            node,
            "link set lo up\nlink add br0 type bridge\nlink set br0 up\n",
        )?;
    }
    Ok(())
}

/// Makes an interface's device, in the node and at its other end.
fn plug(
    nodes: &BTreeMap<String, Node>,
    spec: &NodeSpec,
    interface: &Interface,
    ports: &mut BTreeMap<String, Port>,
) -> Result<()> {
    let node = &nodes[&spec.name];
    let role = match &interface.wire {
        Wire::Switch { node: switch } => {
            let switch = nodes.get(switch).context("no such switch")?;
            let port = switch_port(&spec.name);
            let (name, pid, mtu) = (&interface.name, node.pid(), interface.mtu);
            let script = format!(
                "link add {port} mtu {mtu} type veth peer name {name} netns {pid}\n\
                 link set {port} master br0 up\n"
            );
            return ip(switch, &script);
        }
        Wire::Nic { fabric, nic } => PortRole::Nic {
            fabric: fabric.clone(),
            nic: nic.clone(),
        },
        Wire::Underlay => PortRole::Underlay,
        Wire::Metadata { fabric } => PortRole::Metadata {
            fabric: fabric.clone(),
        },
    };
    let name = interface.name.parse()?;
    let tap = node
        .in_network(|| Tap::create(&name))?
        .with_context(|| format!("node {}", spec.name))?;
    let mac = interface.mac;
    let port = Port { role, tap, mac };
    ports.insert(format!("{}/{}", spec.name, interface.name), port);
    Ok(())
}

/// The name of a node's port on its switch, short enough for the kernel.
pub fn switch_port(node: &str) -> String {
    let short = node.strip_prefix("onprem-").unwrap_or(node);
    let name = format!("p-{short}");
    name.chars().take(15).collect()
}

/// Addresses and routes.
fn configure(node: &Node, spec: &NodeSpec) -> Result<()> {
    let mut script = "link set lo up\n".to_owned();
    for interface in &spec.interfaces {
        let name = &interface.name;
        let mac = interface.mac.map(|b| format!("{b:02x}")).join(":");
        let mtu = interface.mtu;
        writeln!(
            script,
            "link set {name} address {mac} mtu {mtu} txqueuelen {QUEUE}"
        )?;
        for address in &interface.addresses {
            writeln!(script, "addr add {address} dev {name}")?;
        }
        writeln!(script, "link set {name} up")?;
    }
    for route in &spec.routes {
        writeln!(script, "route add {} via {}", route.destination, route.via)?;
    }
    ip(node, &script)?;
    if let (Role::Gateway, Some(outside)) = (spec.role, spec.interfaces.last()) {
        let rules = format!(
            "table ip site-nat {{ chain post {{ type nat hook postrouting priority srcnat; \
             oifname \"{}\" masquerade; }}; }}",
            outside.name
        );
        node.expect(&["nft", &rules])?;
    }
    Ok(())
}

/// Runs a batch of `ip` commands in a node.
///
/// # Errors
/// With the words of `ip` when one fails.
pub fn ip(node: &Node, script: &str) -> Result<()> {
    let file = node.dir().join("ip-batch");
    std::fs::File::create(&file)?.write_all(script.as_bytes())?;
    let mut command = node.command("ip");
    command.arg("-batch").arg(&file).stdin(Stdio::null());
    let outcome = process::run(&mut command, SHORT)?;
    if !outcome.success() {
        bail!("{}: ip: {}\n{script}", node.name(), outcome.complaint());
    }
    Ok(())
}
