//! Breaking things in a running lab.

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use crate::build::{ip, switch_port};
use crate::control::Fault;
use crate::fabric::underlay::Impairment;
use crate::lab::Lab;
use crate::node::SHORT;
use crate::topology::{NodeSpec, Wire};

/// Does it, and says what was done.
///
/// # Errors
/// When there is no such node or link, or the fault makes no sense for it.
pub fn inject(lab: &Lab, target: &str, fault: Fault) -> Result<String> {
    let node = lab.topology().nodes.iter().find(|n| n.name == target);
    match (node, fault) {
        (Some(node), Fault::Kill) => power_off(lab, node),
        (Some(node), Fault::Freeze) if serves(lab, node) => bail!(
            "what {target} serves runs in the lab itself and cannot be frozen\n\
             hint: cut or blackhole it"
        ),
        (Some(node), Fault::Freeze) => {
            let count = lab.node(&node.name)?.signal_all(Signal::SIGSTOP)?;
            Ok(format!("{target}: {count} processes frozen"))
        }
        (Some(node), Fault::Repair) => {
            lab.node(&node.name)?.signal_all(Signal::SIGCONT)?;
            links(lab, node, Fault::Repair)?;
            Ok(format!("{target}: links whole, processes go on"))
        }
        (Some(node), fault) => {
            links(lab, node, fault)?;
            Ok(format!("{target}: {fault:?} on all its links"))
        }
        (None, Fault::Kill | Fault::Freeze) => bail!("{target} is not a node"),
        (None, fault) => {
            link(lab, target, fault)?;
            Ok(format!("{target}: {fault:?}"))
        }
    }
}

/// Whether a cloud's API listens in a node.
fn serves(lab: &Lab, node: &NodeSpec) -> bool {
    let mut services = lab.topology().services.values();
    services.any(|service| service.node == node.name)
}

fn power_off(lab: &Lab, node: &NodeSpec) -> Result<String> {
    links(lab, node, Fault::Cut)?;
    let count = lab.node(&node.name)?.signal_all(Signal::SIGKILL)?;
    Ok(format!("{}: off, {count} processes gone", node.name))
}

fn links(lab: &Lab, node: &NodeSpec, fault: Fault) -> Result<()> {
    for interface in &node.interfaces {
        link(lab, &format!("{}/{}", node.name, interface.name), fault)?;
    }
    Ok(())
}

/// A link of the underlay by its name, or `NODE/INTERFACE`.
fn link(lab: &Lab, name: &str, fault: Fault) -> Result<()> {
    if let Some((node, switch)) = switched(lab, name) {
        return switched_link(lab, node, switch, fault);
    }
    let impairment = match fault {
        Fault::Cut => Impairment {
            cut: true,
            ..Impairment::default()
        },
        Fault::Blackhole => Impairment {
            blackhole: true,
            ..Impairment::default()
        },
        Fault::Delay(ms) => Impairment {
            delay: std::time::Duration::from_millis(ms.into()),
            ..Impairment::default()
        },
        Fault::Loss(percent) if (0.0..=100.0).contains(&percent) => Impairment {
            loss: percent / 100.0,
            ..Impairment::default()
        },
        Fault::Loss(percent) => bail!("{percent} is not a percentage"),
        Fault::Repair => Impairment::default(),
        Fault::Kill | Fault::Freeze => bail!("a link cannot be killed or frozen"),
    };
    if lab.engine().impair(name, impairment) {
        return Ok(());
    }
    let underlay = lab.engine().underlay();
    let names: Vec<&str> = underlay.links.keys().map(String::as_str).collect();
    bail!(
        "no node or link `{name}`\nhint: links are {}, and NODE/INTERFACE",
        names.join(", ")
    )
}

/// The node and its switch, if this names a port of an on-prem bridge.
fn switched<'a>(lab: &'a Lab, name: &str) -> Option<(&'a str, &'a str)> {
    let (node, interface) = name.split_once('/')?;
    let spec = lab.topology().nodes.iter().find(|n| n.name == node)?;
    let found = spec.interfaces.iter().find(|i| i.name == interface)?;
    match &found.wire {
        Wire::Switch { node } => Some((&spec.name, node)),
        _ => None,
    }
}

/// An on-prem cable is the kernel's: it can be pulled, or plugged into nothing.
fn switched_link(lab: &Lab, node: &str, switch: &str, fault: Fault) -> Result<()> {
    let port = switch_port(node);
    let script = match fault {
        Fault::Cut => format!("link set {port} down\n"),
        Fault::Blackhole => format!("link set {port} nomaster\n"),
        Fault::Repair => {
            // There is no qdisc to remove unless netem was put there.
            lab.node(switch)?
                .run(&["tc", "qdisc", "del", "dev", &port, "root"], SHORT)?;
            format!("link set {port} master br0 up\n")
        }
        Fault::Delay(_) | Fault::Loss(_) => {
            return netem(lab, switch, &port, fault);
        }
        Fault::Kill | Fault::Freeze => bail!("a link cannot be killed or frozen"),
    };
    ip(lab.node(switch)?, &script)
}

fn netem(lab: &Lab, switch: &str, port: &str, fault: Fault) -> Result<()> {
    let (what, value) = match fault {
        Fault::Delay(ms) => ("delay", format!("{ms}ms")),
        Fault::Loss(percent) => ("loss", format!("{percent}%")),
        _ => return Ok(()),
    };
    let node = lab.node(switch)?;
    let argv = [
        "tc", "qdisc", "replace", "dev", port, "root", "netem", what, &value,
    ];
    let outcome = node.run(&argv, SHORT)?;
    if !outcome.success() {
        bail!(
            "{what} on an on-prem cable needs the kernel's netem: {}\n\
             hint: break the underlay link instead; the lab carries those packets itself",
            outcome.complaint()
        );
    }
    Ok(())
}
