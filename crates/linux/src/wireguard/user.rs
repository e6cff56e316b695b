//! User-space devices: a process of ours per device, spoken to through its configuration socket.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::IfName;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use routerd_core::observed::{Build, Driver, PeerState, WireGuardDevice};
use routerd_core::plan::PeerChange;

use super::pid::Process;
use super::socket::{Connection, LONG, SHORT};
use super::{Resolved, WireGuardError, process_error, socket_path};
use crate::tunnel::{READY, program, uapi};

/// How long a new process may take until its socket stands.
const START_LIMIT: Duration = Duration::from_secs(5);

/// How long a take-over may take: peers that do not answer are waited for.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(20);

/// Reads a device; absent if nobody answers. `rate` judges what its process runs.
pub(super) fn observe(path: &Path, rate: impl FnOnce(&str) -> Build) -> Option<WireGuardDevice> {
    let mut connection = Connection::open(path).ok()?;
    let mut device = read(&mut connection, SHORT).ok()?;
    // Another implementation has no build of ours.
    let answer = connection.request(program::REQUEST, SHORT);
    if let Some(build) = answer.ok().as_deref().and_then(program::parse) {
        device.build = rate(build);
    }
    Some(device)
}

fn read(connection: &mut Connection, limit: Duration) -> io::Result<WireGuardDevice> {
    let answer = connection.request(uapi::GET, limit)?;
    let state = uapi::parse_state(&answer).map_err(io::Error::other)?;
    let now = SystemTime::now();
    Ok(WireGuardDevice {
        driver: Driver::UserSpace,
        build: Build::Current,
        public_key: state.private_key.map(|key| key.public_key()),
        listen_port: state.listen_port,
        peers: state
            .peers
            .into_iter()
            .map(|peer| (peer.public_key, peer_state(peer, now)))
            .collect(),
    })
}

fn peer_state(peer: uapi::PeerState, now: SystemTime) -> PeerState {
    let age = |since_epoch: Duration| {
        let then = UNIX_EPOCH + since_epoch;
        now.duration_since(then).unwrap_or_default().as_secs()
    };
    PeerState {
        preshared_key: peer.preshared_key.map(|key| key.public_key()),
        allowed_ips: peer.allowed_ips,
        endpoint: peer.endpoint,
        persistent_keepalive: peer.persistent_keepalive,
        handshake_age: peer.last_handshake.map(age),
        rx_bytes: peer.rx_bytes,
        tx_bytes: peer.tx_bytes,
    }
}

/// The process behind a device, if one accepts connections.
pub(super) fn process(path: &Path) -> Option<Process> {
    Connection::open(path).and_then(|c| c.process()).ok()
}

/// Sees to it that a process answers for the device; one that hangs, or is about to end because its link is
/// gone, ends first.
pub(super) fn start(program: &Path, dir: &Path, ifname: &IfName) -> Result<(), WireGuardError> {
    let path = socket_path(dir, ifname);
    let answers = || Connection::open(&path).and_then(|mut c| read(&mut c, LONG));
    if answers().is_ok() && if_nametoindex(ifname.as_str()).is_ok() {
        return Ok(());
    }
    if let Some(useless) = process(&path) {
        useless
            .end()
            .map_err(|source| process_error("end the process of", ifname, source))?;
    }
    launch(&mut command(program, dir, ifname)).map_err(|reason| WireGuardError::Start {
        program: program.to_owned(),
        ifname: ifname.clone(),
        reason,
    })
}

/// Starts a process that takes the device over from the one that runs it.
pub(super) fn take_over(program: &Path, dir: &Path, ifname: &IfName) -> Result<(), String> {
    let mut command = command(program, dir, ifname);
    launch_within(command.arg("--take-over"), TAKE_OVER_LIMIT)
}

fn command(program: &Path, dir: &Path, ifname: &IfName) -> Command {
    let mut command = Command::new(program);
    command
        .args(["tunnel", "wireguard", "--interface", ifname.as_str()])
        .arg("--uapi-dir")
        .arg(dir);
    command
}

/// Runs a program that detaches itself and waits for its word.
pub(crate) fn launch(command: &mut Command) -> Result<(), String> {
    launch_within(command, START_LIMIT)
}

fn launch_within(command: &mut Command, limit: Duration) -> Result<(), String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let word = first_word(&mut child, limit);
    if word.is_err() {
        // It may be the parent that hangs; a detached child has another fate.
        child.kill().map_err(|error| error.to_string())?;
    }
    child.wait().map_err(|error| error.to_string())?;
    match word.map_err(|error| error.to_string())?.trim() {
        READY => Ok(()),
        "" => Err("it ended without a word; its log says why".to_owned()),
        reason => Err(reason.to_owned()),
    }
}

/// What the process says on standard output until it closes it.
fn first_word(child: &mut Child, limit: Duration) -> io::Result<String> {
    let mut stdout = child
        .stdout
        .take()
        .ok_or_else(|| io::Error::other("no standard output"))?;
    let deadline = Instant::now() + limit;
    let mut text = Vec::new();
    let mut buffer = [0; 512];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, timeout)? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "it did not get ready in time",
            ));
        }
        match stdout.read(&mut buffer)? {
            0 => return String::from_utf8(text).map_err(io::Error::other),
            n => text.extend_from_slice(&buffer[..n]),
        }
    }
}

/// Applies a change in one request, which the process applies as one.
pub(super) fn set(
    path: &Path,
    ifname: &IfName,
    change: &Resolved<'_>,
) -> Result<(), WireGuardError> {
    let request = uapi::format_set(&request(change));
    Connection::open(path)
        .and_then(|mut connection| connection.request(&request, LONG))
        .and_then(|answer| uapi::check_errno(&answer))
        .map_err(|source| process_error("configure", ifname, source))
}

fn request(resolved: &Resolved<'_>) -> uapi::SetDevice {
    let change = resolved.change;
    let (mut sets, mut removals) = (Vec::new(), Vec::new());
    for (public_key, peer) in &change.peers {
        let mut set = uapi::SetPeer::new(*public_key);
        match peer {
            PeerChange::Remove => {
                set.remove = true;
                removals.push(set);
            }
            PeerChange::Set {
                allowed_ips,
                endpoint,
                persistent_keepalive,
                ..
            } => {
                set.preshared_key = resolved.preshared_keys.get(public_key).cloned();
                set.endpoint = *endpoint;
                set.persistent_keepalive = *persistent_keepalive;
                if let Some(nets) = allowed_ips {
                    set.replace_allowed_ips = true;
                    set.allowed_ips = nets
                        .all
                        .iter()
                        .copied()
                        .map(uapi::AllowedIpChange::Add)
                        .collect();
                }
                sets.push(set);
            }
        }
    }
    sets.extend(removals);
    uapi::SetDevice {
        private_key: resolved.private_key.clone().map(Some),
        listen_port: change.listen_port,
        peers: sets,
        ..uapi::SetDevice::default()
    }
}
