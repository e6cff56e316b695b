//! A UDP stream with sequence numbers: what is lost, counted in packets and in time.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{setsockopt, sockopt};
use serde::Serialize;

use super::MARKER;
use crate::node::Node;
use crate::slowness::slowed;

/// Time between two packets: 1 kHz.
pub const INTERVAL: Duration = Duration::from_millis(1);
/// Room for a receiver that is not scheduled for a while.
const RECEIVE_BUFFER: usize = 8 << 20;
/// How long the last packets may take.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamReport {
    /// Packets sent.
    pub sent: u64,
    /// Packets that arrived, duplicates not counted.
    pub received: u64,
    /// Packets that did not arrive.
    pub lost: u64,
    /// Packets that arrived more than once.
    pub duplicates: u64,
    /// The longest run of lost packets, in milliseconds of the stream.
    pub longest_gap_ms: u64,
    /// Packets that arrived from another address than the sender's.
    pub foreign_source: u64,
    /// The 99th percentile of the one-way time, in milliseconds.
    pub p99_ms: f64,
}

#[derive(Debug, Default)]
struct Progress {
    /// The sender is to stop.
    stop: AtomicBool,
    /// The sender has stopped: `sent` is final.
    stopped: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
}

/// A stream that runs until [`Stream::finish`].
#[derive(Debug)]
pub struct Stream {
    progress: Arc<Progress>,
    sender: JoinHandle<Result<()>>,
    receiver: JoinHandle<Result<Arrivals>>,
}

#[derive(Debug, Default)]
struct Arrivals {
    /// One-way time of each packet in microseconds by sequence number; `None` where it is missing.
    delays: Vec<Option<u32>>,
    unique: u64,
    duplicates: u64,
    foreign_source: u64,
}

impl Stream {
    /// Starts sending from one node to another.
    ///
    /// # Errors
    /// When a socket cannot be made.
    pub fn start(from: (&Node, Ipv4Addr), to: (&Node, Ipv4Addr), port: u16) -> Result<Self> {
        let bind = |node: &Node, address, port| {
            let socket = node.in_network(|| UdpSocket::bind((address, port)))?;
            socket.with_context(|| format!("{}: bind {address}:{port}", node.name()))
        };
        let output = bind(from.0, from.1, 0)?;
        let input = bind(to.0, to.1, port)?;
        // Forcing needs a privilege that a user namespace does not give; the limit is better than nothing.
        if setsockopt(&input, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&input, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        input.set_read_timeout(Some(Duration::from_millis(50)))?;
        output.set_write_timeout(Some(Duration::from_millis(50)))?;
        let progress = Arc::new(Progress::default());
        let clock = Instant::now();
        let target = SocketAddrV4::new(to.1, port);
        let (p, q) = (Arc::clone(&progress), Arc::clone(&progress));
        let sender = Builder::new()
            .name("probe-send".to_owned())
            .spawn(move || send(&output, target, clock, &p))?;
        let source = from.1;
        let receiver = Builder::new()
            .name("probe-receive".to_owned())
            .spawn(move || receive(&input, source, clock, &q))?;
        Ok(Self {
            progress,
            sender,
            receiver,
        })
    }

    /// How many packets were sent so far.
    pub fn sent(&self) -> u64 {
        self.progress.sent.load(Ordering::Relaxed)
    }

    /// How many packets have arrived so far.
    pub fn received(&self) -> u64 {
        self.progress.received.load(Ordering::Relaxed)
    }

    /// Finishes streams that run side by side. None goes on sending while the last packets of another are waited for.
    ///
    /// # Errors
    /// When a socket failed in between.
    pub fn finish_all(streams: impl IntoIterator<Item = Self>) -> Result<Vec<StreamReport>> {
        let streams: Vec<Self> = streams.into_iter().collect();
        streams.iter().for_each(Self::stop);
        streams.into_iter().map(Self::finish).collect()
    }

    fn stop(&self) {
        self.progress.stop.store(true, Ordering::Relaxed);
    }

    /// Stops sending, waits for what is under way and counts.
    ///
    /// # Errors
    /// When a socket failed in between.
    pub fn finish(self) -> Result<StreamReport> {
        self.stop();
        join(self.sender)?;
        self.progress.stopped.store(true, Ordering::Release);
        let sent = self.progress.sent.load(Ordering::Relaxed);
        let arrivals = join(self.receiver)?;
        Ok(count(&arrivals, sent))
    }
}

fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(outcome) => outcome,
        Err(_) => bail!("a probe's thread panicked"),
    }
}

fn send(socket: &UdpSocket, to: SocketAddrV4, clock: Instant, progress: &Progress) -> Result<()> {
    let begin = Instant::now();
    let mut payload = vec![0; 16];
    payload.extend_from_slice(MARKER);
    for sequence in 0_u64.. {
        if progress.stop.load(Ordering::Relaxed) {
            break;
        }
        let due = begin + INTERVAL * u32::try_from(sequence)?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = clock.elapsed().as_micros() as u64;
        payload[..8].copy_from_slice(&sequence.to_be_bytes());
        payload[8..16].copy_from_slice(&now.to_be_bytes());
        // A sender that is told "no route" has sent nothing, but the packet is lost all the same.
        drop(socket.send_to(&payload, to));
        progress.sent.store(sequence + 1, Ordering::Relaxed);
    }
    Ok(())
}

fn receive(
    socket: &UdpSocket,
    source: Ipv4Addr,
    clock: Instant,
    progress: &Progress,
) -> Result<Arrivals> {
    let mut arrivals = Arrivals::default();
    let mut buffer = [0; 256];
    let mut last_news = Instant::now();
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) if length >= 16 => {
                last_news = Instant::now();
                arrivals.foreign_source += u64::from(from.ip() != source);
                let now = clock.elapsed().as_micros() as u64;
                arrivals.note(&buffer, now);
                progress.received.store(arrivals.unique, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error).context("receive a probe"),
        }
        if progress.stopped.load(Ordering::Acquire) {
            let all =
                progress.received.load(Ordering::Relaxed) >= progress.sent.load(Ordering::Relaxed);
            if all || last_news.elapsed() > slowed(STRAGGLERS) {
                return Ok(arrivals);
            }
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

impl Arrivals {
    fn note(&mut self, packet: &[u8], now: u64) {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&packet[at..at + 8]);
            u64::from_be_bytes(bytes)
        };
        let (Ok(index), sent) = (usize::try_from(word(0)), word(8)) else {
            return;
        };
        if self.delays.len() <= index {
            self.delays.resize(index + 1, None);
        }
        match &mut self.delays[index] {
            Some(_) => self.duplicates += 1,
            slot => {
                self.unique += 1;
                *slot = Some(now.saturating_sub(sent).min(u64::from(u32::MAX)) as u32);
            }
        }
    }
}

fn count(arrivals: &Arrivals, sent: u64) -> StreamReport {
    let mut delays: Vec<u32> = arrivals.delays.iter().flatten().copied().collect();
    let received = delays.len() as u64;
    delays.sort_unstable();
    let p99 = delays.get((delays.len() * 99 / 100).min(delays.len().saturating_sub(1)));
    let present = |i: u64| matches!(arrivals.delays.get(i as usize), Some(Some(_)));
    let (mut longest, mut run) = (0, 0);
    for sequence in 0..sent {
        run = if present(sequence) { 0 } else { run + 1 };
        longest = longest.max(run);
    }
    StreamReport {
        sent,
        received,
        lost: sent.saturating_sub(received),
        duplicates: arrivals.duplicates,
        longest_gap_ms: longest * INTERVAL.as_millis() as u64,
        foreign_source: arrivals.foreign_source,
        p99_ms: p99.map_or(0.0, |us| f64::from(*us) / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_counted_in_packets_and_in_time() {
        let mut arrivals = Arrivals::default();
        for sequence in [0_u64, 1, 5, 6, 6, 8] {
            let packet = [sequence.to_be_bytes(), 100_u64.to_be_bytes()].concat();
            arrivals.note(&packet, 2100);
        }
        let report = count(&arrivals, 12);
        assert_eq!((report.received, report.lost, report.duplicates), (5, 7, 1));
        assert_eq!(report.longest_gap_ms, 3, "2..4 and 9..11");
        assert!((report.p99_ms - 2.0).abs() < f64::EPSILON);
    }
}
