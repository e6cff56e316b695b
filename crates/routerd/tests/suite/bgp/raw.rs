//! A peer made by hand: any octets at any time, from any address of the loopback network.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use linux::tcp::{Dial, Ttl, dial};
use nix::sys::socket::{setsockopt, sockopt};

pub const OPEN: u8 = 1;
pub const UPDATE: u8 = 2;
pub const NOTIFICATION: u8 = 3;
pub const KEEPALIVE: u8 = 4;
pub const REFRESH: u8 = 5;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A message with its header.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    let length = u16::try_from(19 + body.len()).expect("a message");
    out.extend_from_slice(&length.to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

/// An OPEN of AS 65000 with IPv4 unicast, route refresh, its borders, and four octets.
pub fn open(hold: u16, id: [u8; 4]) -> Vec<u8> {
    let mut body = vec![4, 0xfd, 0xe8];
    body.extend_from_slice(&hold.to_be_bytes());
    body.extend_from_slice(&id);
    let capabilities = [1, 4, 0, 1, 0, 1, 2, 0, 70, 0, 65, 4, 0, 0, 0xfd, 0xe8];
    body.extend_from_slice(&[18, 2, 16]);
    body.extend_from_slice(&capabilities);
    message(OPEN, &body)
}

/// ORIGIN, an empty AS_PATH, NEXT_HOP 10.99.0.2, LOCAL_PREF 100.
pub const ATTRIBUTES: [u8; 21] = [
    0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 10, 99, 0, 2, 0x40, 5, 4, 0, 0, 0, 100,
];

pub fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for section in [withdrawn, attributes] {
        let length = u16::try_from(section.len()).expect("a section");
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(section);
    }
    body.extend_from_slice(nlri);
    message(UPDATE, &body)
}

/// The host route with this number, in the network of our choice.
pub fn host(network: u8, number: u32) -> [u8; 5] {
    let [_, a, b, c] = number.to_be_bytes();
    assert_eq!(a, 0, "65,536 hosts a network");
    [32, 10, network, b, c]
}

/// A connection to the daemon.
pub struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    pub fn connect(from: Ipv4Addr) -> Self {
        let stream = dial(Dial {
            remote: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 179),
            local: Some(from),
            password: None,
            ttl: Ttl::default(),
        });
        let stream = stream.expect("the daemon listens");
        stream.set_nonblocking(false).expect("blocking");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// A session that is up, with a hold time in seconds (0: none).
    pub fn established(from: Ipv4Addr, hold: u16) -> Self {
        let mut raw = Self::connect(from);
        raw.send(&open(hold, from.octets()));
        raw.send(&message(KEEPALIVE, &[]));
        for expected in [OPEN, KEEPALIVE] {
            let (kind, body) = raw.receive().expect("an answer");
            assert_eq!(kind, expected, "{body:?}");
        }
        raw
    }

    /// Leaves the kernel little room for what is not read.
    pub fn take_little(&self) {
        setsockopt(&self.stream, sockopt::RcvBuf, &4096).expect("a buffer");
    }

    /// Writes what the daemon takes; it may have ended the connection.
    pub fn send(&mut self, octets: &[u8]) {
        let _ = self.stream.write_all(octets);
    }

    /// The next message; absent: the daemon ended the connection.
    pub fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(length) = self.buffer.get(16..18) {
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                if self.buffer.len() >= length {
                    let message: Vec<u8> = self.buffer.drain(..length).collect();
                    return Some((message[18], message[19..].to_vec()));
                }
            }
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the daemon neither answers nor ends the connection: {error}"),
            }
        }
    }

    /// Sends no more, and waits for the end. The NOTIFICATION that came before it, if one did.
    pub fn end(mut self) -> Option<(u8, u8)> {
        let _ = self.stream.shutdown(Shutdown::Write);
        self.outcome()
    }

    /// Waits for the end. The NOTIFICATION that came before it, if one did.
    pub fn outcome(&mut self) -> Option<(u8, u8)> {
        let mut notification = None;
        while let Some((kind, body)) = self.receive() {
            if kind == NOTIFICATION {
                notification = Some((body[0], body[1]));
            }
        }
        notification
    }

    /// Host routes that are told from now on.
    pub fn listen(&self) -> Arc<Mutex<Heard>> {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let mut raw = Self {
            stream: self.stream.try_clone().expect("clone"),
            buffer: Vec::new(),
        };
        raw.stream.set_read_timeout(None).expect("no timeout");
        let theirs = Arc::clone(&heard);
        std::thread::spawn(move || {
            while let Some((kind, body)) = raw.receive() {
                if kind == UPDATE {
                    theirs.lock().expect("lock").update(&body);
                }
            }
            theirs.lock().expect("lock").ended = true;
        });
        heard
    }
}

/// Host routes of one session.
#[derive(Default)]
pub struct Heard {
    pub routes: BTreeSet<[u8; 4]>,
    /// How many withdrawals there were, by the second octet.
    pub withdrawn: BTreeMap<u8, usize>,
    pub ended: bool,
}

impl Heard {
    fn update(&mut self, body: &[u8]) {
        let section = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
        let withdrawn = section(0);
        let attributes = section(2 + withdrawn);
        let hosts = |part: &[u8]| -> Vec<[u8; 4]> {
            let hosts = part.chunks_exact(5).filter(|host| host[0] == 32);
            hosts
                .map(|host| [host[1], host[2], host[3], host[4]])
                .collect()
        };
        for host in hosts(&body[2..2 + withdrawn]) {
            self.routes.remove(&host);
            *self.withdrawn.entry(host[1]).or_default() += 1;
        }
        self.routes
            .extend(hosts(&body[4 + withdrawn + attributes..]));
    }
}
