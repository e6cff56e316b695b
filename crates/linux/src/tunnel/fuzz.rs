//! Ways into the packet path and the configuration socket for coverage-guided fuzzing.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::x25519;
use routerd_core::key::SecretKey;

use super::join::Joiner;
use super::mmsg::Endpoint;
use super::peer::{HANDSHAKE_SPACE, OVERHEAD, Opened, Peer, Sealed, Seed};
use super::server::next_request;
use super::split::{SPARE, split};
use super::uapi::{self, Request};
use super::vnet::Header;

/// The largest packet of the kernel.
const MAX_PACKET: usize = 65_535;

/// Two peers with a session between them, and what joins the packets of one.
struct Tunnel {
    near: Peer,
    far: Peer,
    joiner: Joiner,
    buffer: Vec<u8>,
}

fn peer(own: u8, other: u8) -> Peer {
    let private_key = SecretKey::from_bytes([own; 32]);
    let public = x25519::PublicKey::from(private_key.public_key().0);
    let seed = Seed {
        private_key,
        index: own.into(),
        limiter: Arc::new(RateLimiter::new(&public, u64::MAX)),
    };
    Peer::new(SecretKey::from_bytes([other; 32]).public_key(), &seed)
}

impl Tunnel {
    fn new() -> Self {
        let tunnel = Self {
            near: peer(1, 2),
            far: peer(2, 1),
            joiner: Joiner::new(true),
            buffer: vec![0; MAX_PACKET + OVERHEAD + HANDSHAKE_SPACE],
        };
        let mut space = [0; HANDSHAKE_SPACE];
        let mut message = {
            let length = tunnel.far.lock().initiate(&mut space);
            space[..length.unwrap_or_default()].to_vec()
        };
        for receiver in [&tunnel.near, &tunnel.far, &tunnel.near] {
            message = open(receiver, &message, &mut [0; HANDSHAKE_SPACE]).unwrap_or_default();
        }
        assert!(tunnel.near.lock().is_live() && tunnel.far.lock().is_live());
        tunnel
    }

    /// Whatever the other end sends: its packets are encrypted by it, so that they get past decryption.
    fn carry(&mut self, packet: &[u8]) {
        let mut message = vec![0; packet.len() + OVERHEAD + HANDSHAKE_SPACE];
        let Sealed::Send(length) = self.far.lock().seal(packet, &mut message) else {
            panic!("there is a session");
        };
        if self.joiner.is_full(length) {
            self.flush();
        }
        let (from, mut near) = (sender(), self.near.lock());
        let index = near.index_of(&message);
        let space = self.joiner.space();
        if let Opened::Packet(opened, _) = near.open(index, from, &message[..length], space) {
            let length = opened.len();
            assert!(length <= packet.len());
            drop(near);
            self.joiner.commit(length);
        }
    }

    /// What was joined is cut again.
    fn flush(&mut self) {
        let buffer = &mut self.buffer;
        let drained = self.joiner.drain(|_, parts| {
            let (header, packet) = parts.split_first().ok_or(std::io::ErrorKind::InvalidData)?;
            let header = header.first_chunk().and_then(Header::parse);
            let header = header.ok_or(std::io::ErrorKind::InvalidData)?;
            let mut length = 0;
            for part in packet {
                buffer[length..length + part.len()].copy_from_slice(part);
                length += part.len();
            }
            let mut pieces = 0;
            let cut = split(&header, &mut buffer[..length + SPARE], length, 1420, |_| {
                pieces += 1
            });
            assert!(cut.is_ok() && pieces > 0, "{header:?}");
            Ok(())
        });
        assert!(drained.is_ok());
    }
}

fn sender() -> Endpoint {
    SocketAddr::from(([192, 0, 2, 1], 51_820)).into()
}

fn open(peer: &Peer, message: &[u8], space: &mut [u8]) -> Option<Vec<u8>> {
    let mut state = peer.lock();
    let index = state.index_of(message);
    match state.open(index, sender(), message, space) {
        Opened::Answer(answer) => Some(answer.to_vec()),
        _ => None,
    }
}

thread_local! {
    static TUNNEL: RefCell<Tunnel> = RefCell::new(Tunnel::new());
}

/// Datagrams of strangers, packets of a peer, packets of the kernel: each a length of two bytes and so many bytes.
///
/// # Panics
/// Where what was joined cannot be cut again.
pub fn packets(data: &[u8]) {
    TUNNEL.with_borrow_mut(|tunnel| {
        let mut rest = data;
        while let Some((head, tail)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*head) & 0x7ff).min(tail.len());
            let (packet, tail) = tail.split_at(length);
            rest = tail;
            tunnel.carry(packet);
            match head[0] >> 5 {
                0 => {
                    let mut space = vec![0; length + HANDSHAKE_SPACE];
                    let _ = open(&tunnel.near, packet, &mut space);
                }
                1 => of_the_kernel(packet),
                _ => {}
            }
        }
        tunnel.flush();
    });
}

/// A header and a packet as the TUN device gives them: it belongs to the kernel, but describes what others sent.
fn of_the_kernel(bytes: &[u8]) {
    let Some((header, packet)) = bytes.split_first_chunk() else {
        return;
    };
    let Some(header) = Header::parse(header) else {
        return;
    };
    let mut buffer = packet.to_vec();
    buffer.extend([0; SPARE]);
    let mut bytes = 0;
    let _ = split(&header, &mut buffer, packet.len(), 1420, |piece| {
        bytes += piece.len()
    });
    assert!(
        bytes <= (packet.len() + 1) * 600,
        "{bytes} bytes of {}",
        packet.len()
    );
}

/// What a client of the configuration socket may write: requests are cut out, and one that is taken says the same when
/// it is written again.
///
/// # Panics
/// Where it does not.
pub fn configuration(data: &[u8]) {
    let (mut reader, mut pending) = (data, Vec::new());
    while let Ok(Some(request)) = next_request(&mut reader, &mut pending) {
        if let Ok(Request::Set(set)) = uapi::parse_request(&request) {
            let again = uapi::parse_request(&uapi::format_set(&set));
            assert_eq!(again, Ok(Request::Set(set)));
        }
        if let Ok(state) = uapi::parse_state(&request) {
            let again = uapi::parse_state(&uapi::format_state(&state));
            assert!(again.is_ok());
        }
    }
}
