//! Flows over several tunnels between the same two routers, beside one tunnel: two namespaces with a veth pair, as many
//! processes of ours at each end as there are stripes, and routes with a next hop for each, as routerd makes them.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::sandbox::{output, sh};
use crate::{Row, median, tunnel};

const ENDS: [&str; 2] = ["stripes-a", "stripes-b"];
/// How many tunnels are compared with one.
const SEVERAL: [usize; 2] = [2, 4];
/// Enough for every stripe to get some.
const STREAMS: usize = 16;
const SECONDS: u64 = 2;
const ROUNDS: usize = 3;
/// The kernel gives each flow to a next hop by addresses and ports.
const BY_FLOW: &str = "net.ipv4.fib_multipath_hash_policy=1";

pub fn run() -> Result<Vec<Row>> {
    if sh("command -v iperf3 wg").is_err() {
        eprintln!("  skipped: iperf3 or wg is not installed");
        return Ok(Vec::new());
    }
    let counts: Vec<usize> = std::iter::once(1).chain(SEVERAL).collect();
    let mut samples = vec![Vec::new(); counts.len()];
    for round in 1..=ROUNDS {
        for (stripes, samples) in counts.iter().zip(&mut samples) {
            eprintln!("  round {round} of {ROUNDS}, {stripes} of a tunnel");
            samples.push(Bundle::start(*stripes)?.transfer()?);
        }
    }
    let mut rates = samples.into_iter().map(median);
    let single = rates.next().context("nothing was measured")?;
    let rows = SEVERAL.iter().zip(rates).map(|(stripes, rate)| {
        let name = format!("TCP, {STREAMS} streams, {stripes} stripes");
        Row::more(name, "Mbit/s", rate, ("one tunnel", single), 1.0)
    });
    Ok(rows.collect())
}

/// Tunnels side by side; gone when dropped, with what runs in them.
struct Bundle {
    stripes: usize,
    processes: Vec<Child>,
}

impl Drop for Bundle {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Already gone is fine: the namespaces go next.
            let _ = process.kill();
            let _ = process.wait();
        }
        let [a, b] = ENDS;
        let _ = sh(&format!("ip netns del {a}; ip netns del {b}"));
    }
}

impl Bundle {
    fn start(stripes: usize) -> Result<Self> {
        let [a, b] = ENDS;
        sh(&format!(
            "ip netns add {a} && ip netns add {b} && ip link add under netns {a} type veth peer name under netns {b}"
        ))?;
        let mut bundle = Self {
            stripes,
            processes: Vec::new(),
        };
        let keys = [output("wg genkey")?, output("wg genkey")?];
        for (end, ns) in ENDS.iter().enumerate() {
            let own = end + 1;
            sh(&format!(
                "ip -n {ns} link set lo up && ip -n {ns} addr add 10.9.0.{own}/32 dev lo && \
                 ip -n {ns} addr add 192.0.2.{own}/24 dev under && ip -n {ns} link set under up && \
                 ip netns exec {ns} sysctl -qw {BY_FLOW}"
            ))?;
            for stripe in 0..stripes {
                bundle.add(end, stripe, &keys)?;
            }
            bundle.route(end)?;
        }
        let ping = format!("ip netns exec {a} ping -c1 -W1 -I 10.9.0.1 10.9.0.2");
        tunnel::until("ping through the tunnel", || sh(&ping).is_ok())?;
        Ok(bundle)
    }

    fn add(&mut self, end: usize, stripe: usize, keys: &[String; 2]) -> Result<()> {
        let (ns, name, port) = (ENDS[end], device(end, stripe), 51_820 + stripe);
        let routerd = std::env::current_exe()?.with_file_name("routerd");
        let socket = format!("/run/wireguard/{name}.sock");
        // One that was killed leaves its socket behind.
        sh(&format!("rm -f {socket}"))?;
        let process = Command::new("ip")
            .args(["netns", "exec", ns])
            .arg(routerd)
            .args(["tunnel", "wireguard", "--interface", &name, "--foreground"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start routerd")?;
        self.processes.push(process);
        tunnel::until("socket of routerd", || {
            sh(&format!("test -S {socket}")).is_ok()
        })?;
        let public = output(&format!("echo '{}' | wg pubkey", keys[1 - end].trim()))?;
        sh(&format!(
            "echo {} > /run/{name}.key && ip netns exec {ns} wg set {name} private-key /run/{name}.key listen-port {port} \
             peer {} allowed-ips 0.0.0.0/0 endpoint 192.0.2.{}:{port} && ip -n {ns} link set {name} mtu 1440 up",
            keys[end].trim(),
            public.trim(),
            2 - end
        ))
    }

    fn route(&self, end: usize) -> Result<()> {
        let hops = (0..self.stripes).map(|stripe| format!("nexthop dev {}", device(end, stripe)));
        let hops = hops.collect::<Vec<_>>().join(" ");
        let (ns, own, other) = (ENDS[end], end + 1, 2 - end);
        sh(&format!(
            "ip -n {ns} route add 10.9.0.{other}/32 src 10.9.0.{own} {hops}"
        ))
    }

    /// Megabits a second of all streams, once every stripe is seen to have carried some of them.
    fn transfer(&self) -> Result<f64> {
        let [a, b] = ENDS;
        sh(&format!(
            "ip netns exec {b} iperf3 --server --one-off --daemon"
        ))?;
        let listening = format!("ip netns exec {b} ss -Hltn sport = :5201 | grep -q .");
        tunnel::until("iperf3 server", || sh(&listening).is_ok())?;
        let line = format!("iperf3 -c 10.9.0.2 -t {SECONDS} -P {STREAMS} -J");
        let result: Value = serde_json::from_str(&output(&format!("ip netns exec {a} {line}"))?)?;
        for stripe in 0..self.stripes {
            let name = device(0, stripe);
            let links = output(&format!("ip -n {a} -json -stats link show dev {name}"))?;
            let links: Value = serde_json::from_str(&links)?;
            let sent = links[0]["stats64"]["tx"]["bytes"].as_u64();
            ensure!(sent > Some(1 << 20), "{name} has sent {sent:?} bytes only");
        }
        let rate = result["end"]["sum_received"]["bits_per_second"].as_f64();
        Ok(rate.context("iperf3 gave no rate")? / 1e6)
    }
}

/// The same name cannot be at both ends: their configuration sockets are in one directory.
fn device(end: usize, stripe: usize) -> String {
    format!("wg-{}{stripe}", ["a", "b"][end])
}
