//! BFD: how long after a peer stops its death is seen, and how often a living peer is taken for dead, while both cores have
//! more to do than they can; ours, BIRD's and FRR's at once, each against itself.
//!
//! ```text
//! namespace IMPL-0                    namespaces IMPL-1 …
//! one process, all sessions ──────── a process each: a link for every interval
//! ```
//!
//! The last peer of each is never stopped. `BFD_SECONDS=600` makes the busy time longer than 90 s.

mod ends;
mod log;

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use ends::our_end;
use ends::{End, Kind};
use log::Change;

use crate::Row;
use crate::sandbox::sh;

/// Milliseconds, three times each.
const INTERVALS: [u64; 3] = [300, 50, 10];
/// Peers of each implementation that are stopped now and then,
const STOPPED: usize = 2;
/// and all of them.
const PEERS: usize = STOPPED + 1;
const BUSY: Duration = Duration::from_secs(90);
/// Twice the cores of the machine that this was made on.
const LOOPS: usize = 4;
/// A session that came up has its final intervals after this.
const SETTLED: Duration = Duration::from_millis(2_500);
/// A stopped peer stays stopped for so long: heard again earlier, it would be a false alarm to us, and make us patient.
const SILENCE: Duration = Duration::from_secs(5);
/// If stopping a process took longer, nobody knows when it was stopped.
const SHARP: Duration = Duration::from_millis(2);

/// Runs one end of ours, as a process of its own; see [`our_end`].
pub const OUR_END: &str = "bfd-end";

pub fn run() -> Result<Vec<Row>> {
    let busy = match std::env::var("BFD_SECONDS") {
        Ok(text) => Duration::from_secs(text.parse().context("BFD_SECONDS")?),
        Err(_) => BUSY,
    };
    let fabrics: Vec<Fabric> = Kind::ALL
        .into_iter()
        .map(Fabric::build)
        .collect::<Result<_>>()?;
    for fabric in &fabrics {
        fabric.wait_for_all()?;
    }
    let loops: Vec<Loop> = (0..LOOPS).map(|_| Loop::start()).collect::<Result<_>>()?;
    eprintln!(
        "all sessions are up; {} s with {LOOPS} busy loops …",
        busy.as_secs()
    );
    let begin = seconds();
    let until = Instant::now() + busy;
    let stops = std::thread::scope(|scope| {
        let each = fabrics
            .iter()
            .flat_map(|fabric| (0..STOPPED).map(move |peer| (fabric, peer)));
        let working: Vec<_> = each
            .map(|(fabric, peer)| scope.spawn(move || fabric.stop_again_and_again(peer, until)))
            .collect();
        let joined = working.into_iter().map(|thread| thread.join());
        joined
            .map(|stops| stops.unwrap_or_else(|_| bail!("a thread panicked")))
            .collect::<Result<Vec<_>>>()
    })?;
    drop(loops);
    let mut seen = Vec::new();
    for (fabric, stops) in fabrics.iter().zip(stops.chunks(STOPPED)) {
        seen.push(fabric.evaluate(begin, stops)?);
    }
    print(&seen);
    Ok(rows(&seen))
}

/// Seconds since the epoch.
fn seconds() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// A process that does nothing, all the time.
struct Loop(Child);

impl Loop {
    fn start() -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        Ok(Self(
            command
                .stdin(Stdio::null())
                .spawn()
                .context("start a loop")?,
        ))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A time at which a peer was silent: from being stopped until its sessions had settled again.
#[derive(Debug, Clone, Copy)]
struct Stop {
    at: f64,
    over: f64,
    /// Whether it is known well enough when it stopped.
    sharp: bool,
}

/// The processes of one implementation.
struct Fabric {
    kind: Kind,
    near: End,
    far: Vec<End>,
}

/// The address of a peer on the link for an interval; `.1` is the near end.
fn address(peer: usize, interval: usize, end: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 98, (peer * INTERVALS.len() + interval) as u8, end)
}

/// A session of an end: interface, address of the other end, milliseconds.
type Session = (String, Ipv4Addr, u64);

impl Fabric {
    fn build(kind: Kind) -> Result<Self> {
        let name = |end: usize| format!("{}-{end}", kind.name());
        for end in 0..=PEERS {
            let ns = name(end);
            sh(&format!("ip netns add {ns} && ip -n {ns} link set lo up"))?;
        }
        let mut near = Vec::new();
        let mut far = Vec::new();
        for peer in 0..PEERS {
            let mut sessions = Vec::new();
            for (index, interval) in INTERVALS.into_iter().enumerate() {
                let (a, b) = (format!("a{peer}{index}"), format!("b{peer}{index}"));
                let (here, there) = (name(0), name(peer + 1));
                let (ours, theirs) = (address(peer, index, 1), address(peer, index, 2));
                sh(&format!(
                    "ip link add {a} netns {here} type veth peer name {b} netns {there} && \
                     ip -n {here} addr add {ours}/24 dev {a} && ip -n {here} link set {a} up && \
                     ip -n {there} addr add {theirs}/24 dev {b} && ip -n {there} link set {b} up"
                ))?;
                near.push((a, theirs, interval));
                sessions.push((b, ours, interval));
            }
            far.push(End::start(kind, &name(peer + 1), &sessions)?);
        }
        let near = End::start(kind, &name(0), &near)?;
        Ok(Self { kind, near, far })
    }

    fn wait_for_all(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        for peer in 0..PEERS {
            self.wait_until_settled(peer, deadline)?;
        }
        Ok(())
    }

    /// Until all sessions of a peer have been up for a while.
    fn wait_until_settled(&self, peer: usize, deadline: Instant) -> Result<()> {
        loop {
            let changes = self.near.changes()?;
            let ups = (0..INTERVALS.len()).map(|index| {
                let remote = address(peer, index, 2);
                let last = changes.iter().rfind(|change| change.remote == remote);
                last.filter(|change| change.up).map(|change| change.at)
            });
            let ups: Option<Vec<f64>> = ups.collect();
            let latest = ups.map(|ups| ups.into_iter().fold(0.0, f64::max));
            if latest.is_some_and(|at| seconds() - at >= SETTLED.as_secs_f64()) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "{}: sessions with peer {peer} do not come up",
                    self.kind.name()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn stop_again_and_again(&self, peer: usize, until: Instant) -> Result<Vec<Stop>> {
        let pid = Pid::from_raw(self.far[peer].pid.cast_signed());
        let mut stops = Vec::new();
        while Instant::now() < until {
            let before = seconds();
            kill(pid, Signal::SIGSTOP)?;
            let after = seconds();
            std::thread::sleep(SILENCE);
            kill(pid, Signal::SIGCONT)?;
            self.wait_until_settled(peer, Instant::now() + Duration::from_secs(60))?;
            stops.push(Stop {
                at: (before + after) / 2.0,
                over: seconds(),
                sharp: after - before < SHARP.as_secs_f64(),
            });
            // So that it does not keep step with the intervals.
            let odd = Duration::from_millis(37 * (stops.len() as u64 % 8));
            std::thread::sleep(odd);
        }
        Ok(stops)
    }

    fn evaluate(&self, begin: f64, stops: &[Vec<Stop>]) -> Result<Seen> {
        let changes = self.near.changes()?;
        let mut seen = Seen {
            kind: self.kind,
            detection: Default::default(),
            false_alarms: [0; INTERVALS.len()],
        };
        for peer in 0..PEERS {
            let stops = stops.get(peer).map_or(&[][..], Vec::as_slice);
            for index in 0..INTERVALS.len() {
                let remote = address(peer, index, 2);
                let own = changes
                    .iter()
                    .filter(|c| c.remote == remote && c.at >= begin);
                let downs: Vec<&Change> =
                    own.filter(|change| change.from_up && !change.up).collect();
                for stop in stops.iter().filter(|stop| stop.sharp) {
                    let first = downs.iter().find(|c| c.at >= stop.at && c.at <= stop.over);
                    seen.detection[index].extend(first.map(|change| (change.at - stop.at) * 1e3));
                }
                let expected = |c: &&&Change| stops.iter().any(|s| s.at <= c.at && c.at <= s.over);
                seen.false_alarms[index] += downs.len() - downs.iter().filter(expected).count();
            }
        }
        for detection in &mut seen.detection {
            detection.sort_by(f64::total_cmp);
        }
        Ok(seen)
    }
}

/// What was seen of one implementation.
struct Seen {
    kind: Kind,
    /// Milliseconds, sorted, by interval.
    detection: [Vec<f64>; INTERVALS.len()],
    false_alarms: [usize; INTERVALS.len()],
}

/// The value that this part of all does not exceed.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part).ceil() as usize;
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(at.saturating_sub(1).min(last))
        .copied()
        .unwrap_or(f64::NAN)
}

fn print(seen: &[Seen]) {
    println!(
        "{:<8} {:<8} {:>6} {:>9} {:>9} {:>9} {:>9} {:>13}",
        "BFD", "interval", "stops", "min ms", "p50 ms", "p99 ms", "max ms", "false alarms"
    );
    for (index, interval) in INTERVALS.into_iter().enumerate() {
        for one in seen {
            let all = &one.detection[index];
            let [least, half, most, last] = [0.0, 0.5, 0.99, 1.0].map(|part| quantile(all, part));
            println!(
                "{:<8} {:<8} {:>6} {least:>9.1} {half:>9.1} {most:>9.1} {last:>9.1} {:>13}",
                one.kind.name(),
                format!("{interval}x3"),
                all.len(),
                one.false_alarms[index]
            );
        }
    }
}

fn rows(seen: &[Seen]) -> Vec<Row> {
    let [ours, peers @ ..] = seen else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    for (index, interval) in INTERVALS.into_iter().enumerate() {
        for peer in peers {
            let values =
                |of: fn(&[f64]) -> f64| (of(&ours.detection[index]), of(&peer.detection[index]));
            let name = peer.kind.name();
            // The protocol gives both the same time; what differs is how late they are, and chance.
            let (mine, theirs) = values(|all| quantile(all, 0.5));
            let what = format!("BFD {interval}x3 detection p50");
            rows.push(Row::less(what, "ms", mine, (name, theirs), 0.9));
            let (mine, theirs) = values(|all| quantile(all, 0.99));
            let what = format!("BFD {interval}x3 detection p99");
            rows.push(Row::less(what, "ms", mine, (name, theirs), 0.95));
            let what = format!("BFD {interval}x3 false alarms + 1");
            let count = |one: &Seen| one.false_alarms[index] as f64 + 1.0;
            rows.push(Row::less(
                what,
                "alarms",
                count(ours),
                (name, count(peer)),
                1.0,
            ));
        }
    }
    rows
}
