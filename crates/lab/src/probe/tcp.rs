//! TCP: a server that says whom it sees, echoes, and digests; a session that lives long; bulk.
//!
//! The server greets with `PEER LOCAL` in one line. Then the client says what it wants with one byte.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::MARKER;
use crate::node::Node;
use crate::slowness::slowed;

/// Where the server listens in every host.
pub const PORT: u16 = 7007;

const ECHO: u8 = b'E';
const DIGEST: u8 = b'D';
/// How long anything may take without progress.
const STALL: Duration = Duration::from_secs(15);

/// Starts the server of a node; it runs as long as the lab.
///
/// # Errors
/// When it cannot listen.
pub fn serve(node: &Node) -> Result<()> {
    let any = (Ipv4Addr::UNSPECIFIED, PORT);
    let listener = node.in_network(|| TcpListener::bind(any))?;
    let listener = listener.with_context(|| format!("{}: listen on {PORT}", node.name()))?;
    Builder::new().name("probe-tcp".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    })?;
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(slowed(STALL)))?;
    stream.set_nodelay(true)?;
    let greeting = format!("{} {}\n", stream.peer_addr()?, stream.local_addr()?);
    stream.write_all(greeting.as_bytes())?;
    let mut wish = [0];
    stream.read_exact(&mut wish)?;
    let mut buffer = vec![0; 256 << 10];
    let mut digest = Sha256::new();
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            n if wish[0] == ECHO => stream.write_all(&buffer[..n])?,
            n => digest.update(&buffer[..n]),
        }
    }
    if wish[0] == DIGEST {
        stream.write_all(hex(digest).as_bytes())?;
    }
    Ok(())
}

/// A connection and what the far end saw of it.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    /// This end, as the far end sees it.
    pub seen_peer: SocketAddr,
    /// This end, as it is.
    pub own: SocketAddr,
    /// The far end, as it sees itself.
    pub seen_local: SocketAddr,
}

/// Connects to another node's server.
///
/// # Errors
/// When there is no connection, or no greeting, within the limit.
pub fn connect(from: &Node, to: Ipv4Addr, limit: Duration) -> Result<Connection> {
    let target = SocketAddr::from((to, PORT));
    let stream = from.in_network(|| TcpStream::connect_timeout(&target, slowed(limit)))?;
    let stream = stream.with_context(|| format!("{}: connect to {target}", from.name()))?;
    stream.set_read_timeout(Some(slowed(limit)))?;
    stream.set_write_timeout(Some(slowed(STALL)))?;
    stream.set_nodelay(true)?;
    let own = stream.local_addr()?;
    let mut stream = BufReader::new(stream);
    let mut greeting = String::new();
    stream.read_line(&mut greeting).context("no greeting")?;
    let mut words = greeting.split_whitespace().map(str::parse);
    let (Some(Ok(seen_peer)), Some(Ok(seen_local))) = (words.next(), words.next()) else {
        bail!("{target} greets with {greeting:?}");
    };
    Ok(Connection {
        stream,
        seen_peer,
        own,
        seen_local,
    })
}

/// What became of a bulk transfer.
#[derive(Debug, Clone, PartialEq)]
pub struct Bulk {
    /// SHA-256 of what was sent.
    pub sent: String,
    /// SHA-256 of what arrived.
    pub arrived: String,
    /// Bytes.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Bulk {
    /// Megabits per second.
    pub fn mbit_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e6 / self.seconds.max(1e-9)
    }
}

/// Sends so many bytes to another node's server, which digests them.
///
/// # Errors
/// When the connection fails or stalls.
pub fn bulk(from: &Node, to: Ipv4Addr, bytes: u64) -> Result<Bulk> {
    let connection = connect(from, to, STALL)?;
    let mut reader = connection.stream;
    let begin = Instant::now();
    let mut digest = Sha256::new();
    let mut block = marked_block();
    reader.get_mut().write_all(&[DIGEST])?;
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left)?.min(block.len());
        // Every block differs, or a repeated segment would not be noticed.
        block[..8].copy_from_slice(&left.to_be_bytes());
        digest.update(&block[..length]);
        reader
            .get_mut()
            .write_all(&block[..length])
            .with_context(|| format!("stalled with {left} bytes left"))?;
        left -= length as u64;
    }
    reader.get_mut().shutdown(Shutdown::Write)?;
    reader.get_mut().set_read_timeout(Some(slowed(STALL)))?;
    let mut arrived = String::new();
    reader.read_to_string(&mut arrived).context("no digest")?;
    Ok(Bulk {
        sent: hex(digest),
        arrived,
        bytes,
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// 64 KiB in which the marker stands every 512 bytes.
pub fn marked_block() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut block: Vec<u8> = (0..64 << 10)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect();
    for chunk in block.chunks_mut(512) {
        chunk[16..16 + MARKER.len()].copy_from_slice(MARKER);
    }
    block
}

/// A session that exchanges a few bytes every 20 ms until it is finished.
#[derive(Debug)]
pub struct Session {
    stop: Arc<AtomicBool>,
    exchanges: Arc<AtomicU64>,
    thread: JoinHandle<Result<Duration>>,
}

impl Session {
    /// Opens it.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn open(from: &Node, to: Ipv4Addr) -> Result<Self> {
        let mut stream = connect(from, to, STALL)?.stream;
        stream.get_mut().set_read_timeout(Some(slowed(STALL)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let exchanges = Arc::new(AtomicU64::new(0));
        let (flag, counter) = (Arc::clone(&stop), Arc::clone(&exchanges));
        let thread = Builder::new()
            .name("probe-session".to_owned())
            .spawn(move || {
                stream.get_mut().write_all(&[ECHO])?;
                let mut worst = Duration::ZERO;
                while !flag.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    let mut back = [0; MARKER.len()];
                    stream.get_mut().write_all(MARKER)?;
                    stream.read_exact(&mut back)?;
                    worst = worst.max(begin.elapsed());
                    counter.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(worst)
            })?;
        Ok(Self {
            stop,
            exchanges,
            thread,
        })
    }

    /// Ends it: how many exchanges there were and how long the slowest took.
    ///
    /// # Errors
    /// When it broke.
    pub fn finish(self) -> Result<(u64, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        let Ok(outcome) = self.thread.join() else {
            bail!("the session's thread panicked");
        };
        Ok((self.exchanges.load(Ordering::Relaxed), outcome?))
    }
}

/// A digest as hexadecimal digits.
pub fn hex(digest: Sha256) -> String {
    digest
        .finalize()
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
