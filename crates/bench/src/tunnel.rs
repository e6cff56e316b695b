//! The user-space tunnel against Debian's wireguard-go: two namespaces joined by a veth pair, iperf3 through
//! the tunnel, with segmentation offload on the underlay and without.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::sandbox::{output, sh};
use crate::{Row, median};

const SECONDS: u32 = 4;

pub fn run() -> Result<Vec<Row>> {
    if sh("command -v wireguard-go iperf3").is_err() {
        eprintln!("  skipped: wireguard-go or iperf3 is not installed");
        return Ok(Vec::new());
    }
    let mut rows = Vec::new();
    for (offload, goal) in [("on", 5.0), ("off", 1.0)] {
        let mut ours = Vec::new();
        let mut peer = Vec::new();
        for _ in 0..3 {
            ours.push(measure(&our_tunnel()?, offload)?);
            peer.push(measure("wireguard-go -f wg0", offload)?);
        }
        let name = format!("one TCP stream, offload {offload}");
        let column = |runs: &[Sample], f: fn(&Sample) -> f64| median(runs.iter().map(f).collect());
        let (mbit, cpu) = (|s: &Sample| s.mbit, |s: &Sample| s.cpu_per_gbit);
        rows.push(Row::more(
            name.clone(),
            "Mbit/s",
            column(&ours, mbit),
            ("wireguard-go", column(&peer, mbit)),
            goal,
        ));
        rows.push(Row::less(
            format!("{name}, CPU"),
            "s/Gbit",
            column(&ours, cpu),
            ("wireguard-go", column(&peer, cpu)),
            goal,
        ));
    }
    Ok(rows)
}

fn our_tunnel() -> Result<String> {
    let routerd: PathBuf = std::env::current_exe()?.with_file_name("routerd");
    Ok(format!(
        "{} tunnel wireguard --interface wg0 --foreground",
        routerd.display()
    ))
}

struct Sample {
    mbit: f64,
    cpu_per_gbit: f64,
}

/// Two namespaces with a tunnel process each; gone when dropped.
struct Pair {
    processes: Vec<Child>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Already gone is fine: the namespaces go next.
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = sh("ip netns del bench-a; ip netns del bench-b");
    }
}

fn measure(program: &str, offload: &str) -> Result<Sample> {
    let mut pair = Pair {
        processes: Vec::new(),
    };
    sh(
        "ip netns add bench-a && ip netns add bench-b && ip link add a netns bench-a type veth peer name b netns bench-b",
    )?;
    let keys = [output("wg genkey")?, output("wg genkey")?];
    for (me, other) in [(0usize, 1usize), (1, 0)] {
        let (ns, device) = (["bench-a", "bench-b"][me], ["a", "b"][me]);
        sh(&format!(
            "ip -n {ns} link set lo up; ip -n {ns} addr add 192.0.2.{}/24 dev {device}; ip -n {ns} link set {device} up; \
             ip netns exec {ns} ethtool -K {device} tso {offload} gso {offload} gro {offload} tx-udp-segmentation {offload} \
             >/dev/null 2>&1 || true",
            me + 1
        ))?;
        pair.processes.push(start(ns, program)?);
        configure(ns, &keys[me], &keys[other], me, other)?;
    }
    run_iperf(&mut pair)
}

/// Each namespace gets its own directory of configuration sockets, since both interfaces are called `wg0`.
fn start(ns: &str, program: &str) -> Result<Child> {
    let line =
        format!("mkdir -p /run/{ns} && mount --bind /run/{ns} /run/wireguard && exec {program}");
    let child = Command::new("ip")
        .args(["netns", "exec", ns, "sh", "-c", &line])
        .env("WG_PROCESS_FOREGROUND", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {program}"))?;
    until(&format!("socket of {program}"), || {
        sh(&format!("test -S /run/{ns}/wg0.sock")).is_ok()
    })?;
    Ok(child)
}

fn configure(ns: &str, mine: &str, other_key: &str, me: usize, other: usize) -> Result<()> {
    let public = output(&format!("echo '{}' | wg pubkey", other_key.trim()))?;
    sh(&format!(
        "ip netns exec {ns} sh -c 'mount --bind /run/{ns} /run/wireguard; echo {} > /run/{ns}/key; \
         wg set wg0 private-key /run/{ns}/key listen-port 51820 peer {} allowed-ips 10.9.0.0/24 endpoint 192.0.2.{}:51820'; \
         ip -n {ns} addr add 10.9.0.{}/24 dev wg0; ip -n {ns} link set wg0 mtu 1440 up",
        mine.trim(),
        public.trim(),
        other + 1,
        me + 1
    ))
}

fn run_iperf(pair: &mut Pair) -> Result<Sample> {
    until("ping through the tunnel", || {
        sh("ip netns exec bench-a ping -c1 -W1 10.9.0.2").is_ok()
    })?;
    let server = Command::new("ip")
        .args(["netns", "exec", "bench-b", "iperf3", "-s", "-1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    pair.processes.push(server);
    let listening = "ip netns exec bench-b ss -ltn | grep -q :5201";
    until("iperf3 server", || sh(listening).is_ok())?;
    let before = cpu_seconds(pair)?;
    let json = output(&format!(
        "ip netns exec bench-a iperf3 -c 10.9.0.2 -t {SECONDS} -J"
    ))?;
    let cpu = cpu_seconds(pair)? - before;
    let result: Value = serde_json::from_str(&json)?;
    let bits = result["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .context("iperf3 gave no rate")?;
    let bytes = result["end"]["sum_received"]["bytes"]
        .as_f64()
        .context("iperf3 gave no bytes")?;
    Ok(Sample {
        mbit: bits / 1e6,
        cpu_per_gbit: cpu / (bytes * 8.0 / 1e9),
    })
}

/// CPU time of both tunnel processes, user and system.
fn cpu_seconds(pair: &Pair) -> Result<f64> {
    let mut ticks = 0.0;
    for process in pair.processes.iter().take(2) {
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

fn until(what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        if Instant::now() > deadline {
            bail!("{what}: not there after 10 s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
