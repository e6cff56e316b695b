//! Handshakes, on a thread of their own: each costs as much as a hundred packets.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Instant;

use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::{HandshakeResponse, Packet, PacketCookieReply, TunnResult};
use routerd_core::key::PublicKey;

use super::bucket::Buckets;
use super::device::{Device, Tables};
use super::mmsg::Endpoint;
use super::peer::{HANDSHAKE_SPACE, Opened, Peer};

/// Messages that wait at most; beyond that they are dropped.
pub(super) const BACKLOG: usize = 1024;

/// The largest message that is not data.
const MAX_MESSAGE: usize = HANDSHAKE_SPACE;

/// Room for a packet that waited for its session, encrypted.
const MAX_WAITING: usize = 65_536;

/// A message that is not data.
pub(super) struct Message {
    from: Endpoint,
    length: usize,
    bytes: [u8; MAX_MESSAGE],
    /// Whether another process read it.
    passed_on: bool,
}

impl Message {
    /// Queues a message for the thread of handshakes, if it can be one. What is garbage at first sight must not keep
    /// others from the queue; where there are more than can be looked at, senders repeat theirs.
    pub(super) fn offer(queue: &SyncSender<Self>, from: Endpoint, message: &[u8]) {
        let expected = match message.first_chunk() {
            Some([1, 0, 0, 0]) => 148,
            Some([2, 0, 0, 0]) => 92,
            Some([3, 0, 0, 0]) => 64,
            _ => return,
        };
        if message.len() == expected {
            let _ = queue.try_send(Self::new(from, message));
        }
    }

    /// Copies a message; of one that is too long for any handshake only so much that it stays too long.
    fn new(from: Endpoint, message: &[u8]) -> Self {
        let mut bytes = [0; MAX_MESSAGE];
        let kept = message.len().min(MAX_MESSAGE);
        bytes[..kept].copy_from_slice(&message[..kept]);
        Self {
            from,
            length: message.len(),
            bytes,
            passed_on: false,
        }
    }

    /// A message that another process read and passed on.
    pub(super) fn passed_on(from: Endpoint, message: &[u8]) -> Self {
        Self {
            passed_on: true,
            ..Self::new(from, message)
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length)
    }
}

/// Works until nobody sends messages any more.
pub(super) fn run(device: &Device, messages: &Receiver<Message>) {
    let mut dst = vec![0; MAX_WAITING];
    let mut initiations = Buckets::default();
    while let Ok(message) = messages.recv() {
        if let Some(bytes) = message.bytes() {
            process(device, &message, bytes, &mut initiations, &mut dst);
        }
    }
}

fn process(
    device: &Device,
    message: &Message,
    bytes: &[u8],
    initiations: &mut Buckets,
    dst: &mut [u8],
) {
    let from = message.from;
    let tables = device.tables();
    let Some(peer) = sender(&tables, device, message, bytes, initiations, dst) else {
        return;
    };
    drop(tables);
    let mut state = peer.lock();
    // The receiver index tells sessions of one peer apart; an initiation has none, and is for the latest.
    let index = state.index_of(bytes);
    match state.open(index, from, bytes, dst) {
        Opened::Answer(answer) => device.answer(answer, from),
        Opened::Refused => {
            tracing::debug!(peer = %peer.key, from = %from.remote, "handshake message refused");
            return;
        }
        Opened::Nothing | Opened::Packet(..) => {}
    }
    while let Some(length) = state.unwait(dst) {
        device.udp.send(&dst[..length], from);
    }
}

/// Who sent a message, if it passes the gate; one that has to prove its address is told so.
fn sender(
    tables: &Tables,
    device: &Device,
    message: &Message,
    bytes: &[u8],
    initiations: &mut Buckets,
    dst: &mut [u8],
) -> Option<Arc<Peer>> {
    let from = message.from;
    let identity = tables.identity()?;
    let packet = match identity
        .gate
        .verify_packet(Some(from.remote.ip()), bytes, dst)
    {
        Ok(packet) => packet,
        Err(TunnResult::WriteToNetwork(cookie)) => {
            device.udp.send(cookie, from);
            return None;
        }
        Err(_) => return None,
    };
    let peer = match &packet {
        Packet::HandshakeInit(init) => {
            if !initiations.take(from.remote.ip(), Instant::now()) {
                return None;
            }
            let half = parse_handshake_anon(&identity.secret, &identity.public, init).ok()?;
            tables.peer(&PublicKey(half.peer_static_public))
        }
        Packet::HandshakeResponse(HandshakeResponse { receiver_idx, .. })
        | Packet::PacketCookieReply(PacketCookieReply { receiver_idx, .. }) => {
            let peer = tables.by_receiver(*receiver_idx);
            if peer.is_none() && !message.passed_on {
                device.neighbour.pass(*receiver_idx, from, bytes);
            }
            peer
        }
        Packet::PacketData(_) => None,
    };
    peer.map(Arc::clone)
}
