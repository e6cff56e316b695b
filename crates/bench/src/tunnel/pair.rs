//! Two namespaces with a link between them, and a tunnel process in each.

use std::fmt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use linux::namespace::Namespaces;

use super::program::Program;
use crate::sandbox::{output, sh};

const NAMES: [&str; 2] = ["bench-a", "bench-b"];
const LINKS: [&str; 2] = ["under-a", "under-b"];

/// The first three bytes of the addresses outside and inside the tunnel; the last is 1 or 2.
pub(super) const UNDERLAY: [u8; 3] = [192, 0, 2];
pub(super) const OVERLAY: [u8; 3] = [10, 9, 0];

/// Whether the link takes large packets and cuts them, or is handed each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offload {
    On,
    Off,
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Offload::On => "on",
            Offload::Off => "off",
        })
    }
}

/// Gone when dropped, with what runs in it.
pub(super) struct Pair {
    processes: Vec<Child>,
    pub(super) namespaces: Vec<Namespaces>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Already gone is fine: the namespaces go next.
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = sh(&format!(
            "ip netns del {}; ip netns del {}",
            NAMES[0], NAMES[1]
        ));
    }
}

impl Pair {
    /// Starts both ends of a program and waits until they talk to each other.
    pub(super) fn start(program: &Program, offload: Offload) -> Result<Self> {
        let mut pair = Self {
            processes: Vec::new(),
            namespaces: Vec::new(),
        };
        let [(a, b), (link_a, link_b)] = [NAMES, LINKS].map(|[a, b]| (a, b));
        sh(&format!(
            "ip netns add {a} && ip netns add {b} && ip link add {link_a} netns {a} type veth peer name {link_b} netns {b}"
        ))?;
        let keys = [output("wg genkey")?, output("wg genkey")?];
        for (end, name) in NAMES.iter().enumerate() {
            bring_up(end, offload)?;
            let process = start(name, program)?;
            pair.namespaces.push(Namespaces::of_process(process.id())?);
            pair.processes.push(process);
            configure(end, &keys)?;
        }
        until("ping through the tunnel", || {
            sh(&format!("ip netns exec {a} ping -c1 -W1 10.9.0.2")).is_ok()
        })?;
        Ok(pair)
    }

    /// A program at the first end.
    pub(super) fn client(line: &str) -> String {
        format!("ip netns exec {} {line}", NAMES[0])
    }

    /// A program at the second end.
    pub(super) fn server(line: &str) -> String {
        format!("ip netns exec {} {line}", NAMES[1])
    }

    /// CPU time of both tunnel processes, user and system.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let mut ticks = 0.0;
        for process in &self.processes {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id()))?;
            let fields: Vec<&str> = stat
                .rsplit(')')
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect();
            // utime and stime are fields 14 and 15 of proc(5); two are before the last parenthesis.
            for field in &fields[11..13] {
                ticks += field.parse::<f64>()?;
            }
        }
        Ok(ticks / 100.0)
    }
}

fn bring_up(end: usize, offload: Offload) -> Result<()> {
    let (ns, link) = (NAMES[end], LINKS[end]);
    sh(&format!(
        "ip -n {ns} link set lo up && ip -n {ns} addr add 192.0.2.{}/24 dev {link} && ip -n {ns} link set {link} up && \
         ip netns exec {ns} ethtool -K {link} tso {offload} gso {offload} gro {offload} tx-udp-segmentation {offload}",
        end + 1
    ))?;
    let state = output(&format!("ip netns exec {ns} ethtool -k {link}"))?;
    for feature in [
        "tcp-segmentation-offload",
        "tx-udp-segmentation",
        "generic-receive-offload",
    ] {
        ensure!(
            state.contains(&format!("{feature}: {offload}")),
            "{feature} of the link cannot be switched {offload}"
        );
    }
    Ok(())
}

/// Each namespace gets its own directory of configuration sockets, since both interfaces are called `wg0`.
fn start(ns: &str, program: &Program) -> Result<Child> {
    let line = format!(
        "mkdir -p /run/{ns} && mount --bind /run/{ns} /run/wireguard && exec {}",
        program.line
    );
    let socket = format!("/run/{ns}/wg0.sock");
    // One that was killed leaves its socket behind.
    sh(&format!("rm -f {socket}"))?;
    let child = Command::new("ip")
        .args(["netns", "exec", ns, "sh", "-c", &line])
        .env("WG_PROCESS_FOREGROUND", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", program.name))?;
    until(&format!("socket of {}", program.name), || {
        sh(&format!("test -S {socket}")).is_ok()
    })?;
    Ok(child)
}

fn configure(end: usize, keys: &[String; 2]) -> Result<()> {
    let (ns, other) = (NAMES[end], 1 - end);
    let public = output(&format!("echo '{}' | wg pubkey", keys[other].trim()))?;
    sh(&format!(
        "ip netns exec {ns} sh -c 'mount --bind /run/{ns} /run/wireguard && echo {} > /run/{ns}/key && \
         wg set wg0 private-key /run/{ns}/key listen-port 51820 peer {} allowed-ips 10.9.0.0/24 endpoint 192.0.2.{}:51820' && \
         ip -n {ns} addr add 10.9.0.{}/24 dev wg0 && ip -n {ns} link set wg0 mtu 1440 up",
        keys[end].trim(),
        public.trim(),
        other + 1,
        end + 1
    ))
}

pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        if Instant::now() > deadline {
            bail!("{what}: not there after 10 s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
