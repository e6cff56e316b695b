//! Processes of user-space tunnels, seen from the daemon.

use std::path::Path;
use std::process::Command;

use api::IfName;
use nix::net::if_::if_nametoindex;
use routerd_core::encapsulation::{Encapsulation, PlainTunnel};

use super::{TunnelError, process, socket_path};
use crate::tunnel::program;
use crate::wireguard::{Connection, LONG, Process, SHORT, launch};

/// Reads a tunnel; absent if nobody answers.
pub(super) fn observe(path: &Path) -> Option<PlainTunnel> {
    read(path, SHORT)
}

fn read(path: &Path, limit: std::time::Duration) -> Option<PlainTunnel> {
    let mut connection = Connection::open(path).ok()?;
    let answer = connection.request(process::GET, limit).ok()?;
    serde_json::from_str(answer.trim()).ok()
}

/// What the process runs; absent if it does not say.
pub(super) fn build(path: &Path) -> Option<String> {
    let mut connection = Connection::open(path).ok()?;
    let answer = connection.request(program::REQUEST, SHORT).ok()?;
    program::parse(&answer).map(str::to_owned)
}

/// The process that listens, if one does.
pub(super) fn process(path: &Path) -> Option<Process> {
    Connection::open(path).and_then(|c| c.process()).ok()
}

/// Sees to it that a process carries exactly this tunnel; one that carries another one, or hangs, ends first. The
/// device stays in between.
pub(super) fn start(
    program: &Path,
    dir: &Path,
    ifname: &IfName,
    tunnel: &PlainTunnel,
) -> Result<(), TunnelError> {
    let path = socket_path(dir, ifname);
    let failed = |operation, reason| TunnelError::Process {
        operation,
        ifname: ifname.clone(),
        reason,
    };
    if path.exists() {
        let there = if_nametoindex(ifname.as_str()).is_ok();
        if there && read(&path, LONG).as_ref() == Some(tunnel) {
            return Ok(());
        }
        if let Some(useless) = process(&path) {
            let ended = useless.terminate();
            ended.map_err(|error| failed("end", error.to_string()))?;
        }
    }
    let mut command = command(program, dir, ifname, tunnel);
    launch(&mut command).map_err(|reason| failed("start", reason))
}

/// Starts a process that takes the tunnel over from the one that runs it.
pub(super) fn take_over(
    program: &Path,
    dir: &Path,
    ifname: &IfName,
    tunnel: &PlainTunnel,
) -> Result<(), String> {
    launch(command(program, dir, ifname, tunnel).arg("--take-over"))
}

fn command(program: &Path, dir: &Path, ifname: &IfName, tunnel: &PlainTunnel) -> Command {
    let mut command = Command::new(program);
    command.args(arguments(ifname, tunnel)).arg(dir);
    command
}

/// The command line up to the folder of the socket.
fn arguments(ifname: &IfName, tunnel: &PlainTunnel) -> Vec<String> {
    let mut words = vec!["tunnel", tunnel.encapsulation.word()];
    let (local, remote) = (tunnel.local.to_string(), tunnel.remote.to_string());
    let ttl = tunnel.ttl.to_string();
    words.extend(["--interface", ifname.as_str(), "--local", &local]);
    words.extend(["--remote", &remote, "--ttl", &ttl]);
    if let Some(underlay) = &tunnel.underlay {
        words.extend(["--underlay", underlay.as_str()]);
    }
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    if let Encapsulation::Gre { key: Some(key) } = tunnel.encapsulation {
        words.extend(["--key".to_owned(), key.to_string()]);
    }
    if let Some(ports) = tunnel.encapsulation.ports() {
        let (source, destination) = (ports.source.to_string(), ports.destination.to_string());
        words.extend(["--sport".to_owned(), source]);
        words.extend(["--dport".to_owned(), destination]);
    }
    words.push("--socket-dir".to_owned());
    words
}
