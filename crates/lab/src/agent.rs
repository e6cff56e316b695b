//! Guest agents: what a cloud's image does to a VM behind routerd's back.

use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::Ipv4Net;

use crate::node::Node;

/// Starts an agent like cloud-init's hotplug hook or Azure's network scripts: it reads the NIC's secondary
/// addresses and puts them on the OS, again and again.
///
/// # Errors
/// When it cannot be started.
pub fn start(node: &Node, interface: &str, address: Ipv4Net, period: Duration) -> Result<Child> {
    let period = period.as_millis().to_string();
    node.command("/proc/self/exe")
        .args([
            "internal",
            "agent",
            interface,
            &address.to_string(),
            &period,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("start the guest agent")
}

/// The agent's own loop.
///
/// # Errors
/// When `ip` cannot be run.
pub fn insist(interface: &str, address: &str, period_ms: u64) -> Result<ExitCode> {
    loop {
        Command::new("ip")
            .args(["address", "replace", address, "dev", interface])
            .status()
            .context("run ip")?;
        sleep(Duration::from_millis(period_ms));
    }
}

/// The rules that stock Ubuntu images of OCI come with: everything but SSH and answers is rejected, and
/// nothing is forwarded.
///
/// # Errors
/// When `iptables` fails.
pub fn reject_all(node: &Node) -> Result<()> {
    for rule in [
        "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A INPUT -p icmp -j ACCEPT",
        "-A INPUT -i lo -j ACCEPT",
        "-A INPUT -p tcp --dport 22 -j ACCEPT",
        "-A INPUT -j REJECT --reject-with icmp-host-prohibited",
        "-A FORWARD -j REJECT --reject-with icmp-host-prohibited",
    ] {
        let mut argv = vec!["iptables", "-w"];
        argv.extend(rule.split(' '));
        node.expect(&argv)?;
    }
    Ok(())
}
