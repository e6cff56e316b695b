//! What is measured of one speaker: a table told in bulk, taken over by a better path to everything, the better owner's
//! end, and a single route's way through.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::clients::{Audience, Clients, Goal, address};
use super::device::{Device, Running};
use super::wire::{self, Saying};

/// The table and who is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub routes: u32,
    pub clients: usize,
    /// Attributes of its own for every route.
    pub own: bool,
}

impl Load {
    pub fn name(self) -> String {
        let attributes = if self.own { "own" } else { "shared" };
        format!(
            "{}k {attributes}, {} clients",
            self.routes / 1000,
            self.clients
        )
    }
}

/// One run. Times in seconds, memory in MB, propagation in milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Run {
    pub bulk: f64,
    pub takeover: f64,
    pub death: f64,
    pub loaded: f64,
    pub both: f64,
    /// Of it what is not a page of a file.
    pub own: f64,
    pub propagation: f64,
    pub slowest: f64,
    /// Processor seconds of the speaker for bulk, takeover and death.
    pub cpu: [f64; 3],
}

/// How long one phase may take, and which of them are measured.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub phase: Duration,
    /// Only how long the bulk takes.
    pub bulk_only: bool,
}

/// Measures a speaker.
pub fn measure(device: Device, load: Load, bounds: Bounds) -> Result<Run> {
    let running = Running::start(device)?;
    let audience = Audience {
        receivers: load.clients,
        kernel: false,
        // One more, for the probe.
        routes: load.routes as usize + 1,
        next_hops: [address(0), address(1)],
    };
    let mut clients = Clients::connect(audience, Duration::from_secs(20))?;
    let [first, second] = [(0, 100), (1, 200)]
        .map(|(sender, preference)| saying(sender, preference, load.own).announce(0..load.routes));
    // Some speakers wait a second with the first updates of a session.
    std::thread::sleep(Duration::from_millis(1500));
    let mut run = Run::default();
    let routes = load.routes as usize;
    let all = |sender| Goal::Count { sender, routes };
    let mut before = running.cpu();
    let mut spent = || {
        let now = running.cpu();
        now - std::mem::replace(&mut before, now)
    };
    let times = clients.send(0, &first, all(1), bounds.phase);
    run.bulk = last(&times.context("bulk")?);
    run.cpu[0] = spent();
    run.loaded = running.memory().0;
    if bounds.bulk_only {
        return Ok(run);
    }
    (run.propagation, run.slowest) = propagation(&mut clients, load.routes)?;
    clients.keep_alive()?;
    spent();
    let times = clients.send(1, &second, all(2), bounds.phase);
    run.takeover = last(&times.context("takeover")?);
    run.cpu[1] = spent();
    (run.both, run.own) = running.memory();
    spent();
    let times = clients.end(1, all(1), bounds.phase);
    run.death = last(&times.context("owner's death")?);
    run.cpu[2] = spent();
    Ok(run)
}

pub fn saying(sender: usize, preference: u32, own: bool) -> Saying {
    Saying {
        next_hop: address(sender),
        preference,
        own,
    }
}

/// The last client's time in seconds.
pub fn last(times: &[Duration]) -> f64 {
    times
        .iter()
        .max()
        .copied()
        .unwrap_or_default()
        .as_secs_f64()
}

/// Median and the hundredth part's bound, in milliseconds, of one route announced and withdrawn while the table is
/// loaded: until each client knows.
fn propagation(clients: &mut Clients, route: u32) -> Result<(f64, f64)> {
    /// So many times, or so long.
    const ROUNDS: u32 = 200;
    const LONG: Duration = Duration::from_secs(3);
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut times = Vec::new();
    let start = Instant::now();
    for round in 0..ROUNDS {
        let sender = u8::from(round % 2 == 0);
        let stream = match sender {
            0 => wire::withdraw(route..route + 1),
            _ => saying(0, 100, true).announce(route..route + 1),
        };
        let route = route as usize;
        let told = clients.send(0, &stream, Goal::Route { route, sender }, PATIENCE);
        times.extend(told.context("one route")?);
        // It ends as it began: without the route.
        if sender == 0 && start.elapsed() > LONG {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok((percentile(&mut times, 50), percentile(&mut times, 99)))
}

/// In milliseconds.
pub fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let at = times.len().saturating_sub(1) * percent / 100;
    times.get(at).copied().unwrap_or_default().as_secs_f64() * 1000.0
}
