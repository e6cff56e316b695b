//! What is sent through a tunnel, and what is seen of it.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::pair::{OVERLAY, Pair, until};
use crate::sandbox::sh;

const TCP_SECONDS: u64 = 2;

const SMALL: usize = 64;
const SMALL_FOR: Duration = Duration::from_millis(1_500);
/// Small packets under way at most: what cannot be carried waits, as it does where there is congestion control, so
/// that the rate is what both ends can do, and not what a queue that overflows lets through.
const IN_FLIGHT: u64 = 256;
/// What is still under way after this long is lost.
const LOST: Duration = Duration::from_millis(20);

pub(super) const PROBES: usize = 1_000;
pub(super) const BARE_PROBES: usize = 300;
const PROBE_INTERVAL: Duration = Duration::from_micros(300);
/// A stream is at its speed by then.
const WARM_UP: Duration = Duration::from_millis(300);

const PORT: u16 = 7_000;
const PATIENCE: Duration = Duration::from_millis(500);

/// How much went through, and what the two tunnel processes needed for it.
pub(super) struct Transfer {
    /// Bits or packets.
    pub(super) amount: f64,
    /// The same, a second.
    pub(super) rate: f64,
    pub(super) cpu_seconds: f64,
}

/// Round trips in microseconds.
pub(super) struct RoundTrips {
    pub(super) median: f64,
    pub(super) p99: f64,
}

/// Streams of TCP by iperf3.
pub(super) fn tcp(pair: &Pair, streams: usize) -> Result<Transfer> {
    let before = pair.cpu_seconds()?;
    let client = start_tcp(streams)?;
    let output = client.wait_with_output()?;
    let cpu_seconds = pair.cpu_seconds()? - before;
    let result: Value = serde_json::from_slice(&output.stdout)?;
    let received = &result["end"]["sum_received"];
    let number = |name: &str| received[name].as_f64();
    Ok(Transfer {
        amount: number("bytes").context("iperf3 gave no bytes")? * 8.0,
        rate: number("bits_per_second").context("iperf3 gave no rate")?,
        cpu_seconds,
    })
}

/// A server that ends with its client, and the client.
fn start_tcp(streams: usize) -> Result<Child> {
    sh(&Pair::server("iperf3 --server --one-off --daemon"))?;
    let listening = Pair::server("ss -Hltn sport = :5201 | grep -q .");
    until("iperf3 server", || sh(&listening).is_ok())?;
    let line = format!("iperf3 -c 10.9.0.2 -t {TCP_SECONDS} -P {streams} -J");
    Command::new("sh")
        .args(["-c", &Pair::client(&line)])
        .stdout(Stdio::piped())
        .spawn()
        .context("start iperf3")
}

/// Small packets of UDP, each sent and received by itself.
pub(super) fn small_packets(pair: &Pair) -> Result<Transfer> {
    let (near, far) = sockets(pair, OVERLAY)?;
    let (received, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let before = pair.cpu_seconds()?;
    let (amount, cpu_seconds, elapsed) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; SMALL];
            while !done.load(Ordering::Relaxed) {
                if far.recv(&mut buffer).is_ok() {
                    received.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let elapsed = send_small(&near, &received);
        let amount = received.load(Ordering::Relaxed) as f64;
        let cpu_seconds = pair.cpu_seconds();
        done.store(true, Ordering::Relaxed);
        (amount, cpu_seconds, elapsed)
    });
    ensure!(amount > 0.0, "no packet arrived");
    Ok(Transfer {
        amount,
        rate: amount / elapsed.as_secs_f64(),
        cpu_seconds: cpu_seconds? - before,
    })
}

/// Sends for a while, and returns how long it was.
fn send_small(socket: &UdpSocket, received: &AtomicU64) -> Duration {
    let packet = [0; SMALL];
    let started = Instant::now();
    let (mut sent, mut lost) = (0, 0);
    let mut seen = (0, started);
    while started.elapsed() < SMALL_FOR {
        let arrived = received.load(Ordering::Relaxed);
        if sent - lost < arrived + IN_FLIGHT {
            // Refused is lost.
            let _ = socket.send(&packet);
            sent += 1;
            continue;
        }
        if arrived != seen.0 {
            seen = (arrived, Instant::now());
        } else if seen.1.elapsed() > LOST {
            lost = sent - arrived;
        }
        std::thread::sleep(Duration::from_micros(20));
    }
    started.elapsed()
}

/// One after the other, with a pause before each.
pub(super) fn round_trips(pair: &Pair, net: [u8; 3], count: usize) -> Result<RoundTrips> {
    let (near, far) = sockets(pair, net)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| echo(&far, &done));
        let mut times = Vec::with_capacity(count);
        for number in 0..count as u64 {
            std::thread::sleep(PROBE_INTERVAL);
            times.extend(probe(&near, number));
        }
        done.store(true, Ordering::Relaxed);
        summary(times, count)
    })
}

/// The same while a stream of TCP takes what it gets.
pub(super) fn round_trips_beside_tcp(pair: &Pair) -> Result<RoundTrips> {
    let (near, far) = sockets(pair, OVERLAY)?;
    let done = AtomicBool::new(false);
    let mut client = start_tcp(1)?;
    let started = Instant::now();
    let until = Duration::from_secs(TCP_SECONDS) - WARM_UP;
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| echo(&far, &done));
        std::thread::sleep(WARM_UP);
        let (mut times, mut count) = (Vec::new(), 0);
        while started.elapsed() < until {
            std::thread::sleep(PROBE_INTERVAL);
            times.extend(probe(&near, count));
            count += 1;
        }
        done.store(true, Ordering::Relaxed);
        summary(times, count as usize)
    });
    client.wait()?;
    seen
}

fn echo(socket: &UdpSocket, done: &AtomicBool) {
    let mut buffer = [0; 64];
    while !done.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // The probe counts as lost.
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}

/// The time until a probe is answered; absent when it is not.
fn probe(socket: &UdpSocket, number: u64) -> Option<f64> {
    let sent = Instant::now();
    socket.send(&number.to_be_bytes()).ok()?;
    let mut buffer = [0; 8];
    loop {
        let length = socket.recv(&mut buffer).ok()?;
        if buffer[..length] == number.to_be_bytes() {
            return Some(sent.elapsed().as_secs_f64() * 1e6);
        }
    }
}

fn summary(mut times: Vec<f64>, count: usize) -> Result<RoundTrips> {
    ensure!(
        times.len() * 100 >= count * 95 && times.len() >= 20,
        "{} of {count} probes were answered",
        times.len()
    );
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[(part * (times.len() - 1) as f64) as usize];
    Ok(RoundTrips {
        median: at(0.5),
        p99: at(0.99),
    })
}

/// A socket at each end; the first is connected to the second.
fn sockets(pair: &Pair, net: [u8; 3]) -> Result<(UdpSocket, UdpSocket)> {
    let [x, y, z] = net;
    let [near, far] = [1, 2].map(|end| SocketAddr::from(([x, y, z, end], PORT)));
    let bind = |end: usize, address: SocketAddr| -> Result<UdpSocket> {
        let socket = pair.namespaces[end].in_network(|| UdpSocket::bind(address))??;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    };
    let sockets = (bind(0, near)?, bind(1, far)?);
    sockets.0.connect(far)?;
    Ok(sockets)
}
