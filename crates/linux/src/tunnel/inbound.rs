//! From the network to the TUN device: find the peer, decrypt, check the source, join, write.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::device::{Device, Tables};
use super::handshake::Message;
use super::join::Joiner;
use super::mmsg::Inbox;
use super::outbox::Outbox;
use super::peer::{OVERHEAD, Opened};
use super::udp::Socket;

/// The largest message of several datagrams.
const MAX_MESSAGE: usize = 65_536;

/// A message of the protocol that carries data; all others are handshakes.
const DATA: [u8; 4] = [4, 0, 0, 0];

/// Carries messages of one socket until it is shut down. Handshake messages go to `handshakes`, so that a
/// flood of them does not hold up data.
pub(super) fn run(
    device: &Device,
    socket: &Socket,
    handshakes: &SyncSender<Message>,
) -> io::Result<()> {
    let mut inbox = Inbox::new(MAX_MESSAGE);
    let mut joiner = Joiner::new(device.tun.udp_offload());
    let mut outbox = Outbox::new();
    while socket.receive(&mut inbox)? {
        for (from, message, segment) in inbox.messages() {
            let tables = device.tables();
            for datagram in message.chunks(segment.max(1)) {
                if datagram.starts_with(&DATA) {
                    if joiner.is_full(datagram.len()) {
                        joiner.flush(&device.tun)?;
                    }
                    open(&tables, from, datagram, &mut joiner, &mut outbox);
                } else {
                    // Where there are more than can be looked at, senders repeat theirs.
                    let _ = handshakes.try_send(Message::new(from, datagram));
                }
            }
            drop(tables);
            joiner.flush(&device.tun)?;
        }
        outbox.flush(&device.udp);
    }
    Ok(())
}

/// Decrypts a data message; its packet goes on if its source is one of the peer's.
fn open(
    tables: &Tables,
    from: SocketAddr,
    message: &[u8],
    joiner: &mut Joiner,
    outbox: &mut Outbox,
) {
    let Some(receiver) = message.get(4..8) else {
        return;
    };
    let receiver = u32::from_le_bytes([receiver[0], receiver[1], receiver[2], receiver[3]]);
    let Some(peer) = tables.by_receiver(receiver) else {
        return;
    };
    let mut state = peer.lock();
    match state.open(receiver >> 8, from, message, joiner.space()) {
        Opened::Packet(packet, source) => {
            let owner = tables.by_address(source);
            if owner.is_some_and(|owner| Arc::ptr_eq(owner, peer)) {
                let length = packet.len();
                joiner.commit(length);
            }
        }
        // Nothing in a data message asks for an answer.
        Opened::Answer(_) | Opened::Nothing | Opened::Refused => {}
    }
    while !outbox.is_full(MAX_MESSAGE + OVERHEAD) {
        match state.unwait(outbox.space()) {
            Some(length) => outbox.commit(length, from),
            None => break,
        }
    }
}
