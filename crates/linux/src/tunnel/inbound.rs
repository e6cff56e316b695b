//! From the network to the TUN device: find the peer, decrypt, check the source, join, write.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::device::{Device, Tables};
use super::handover::Neighbour;
use super::handshake::Message;
use super::join::Joiner;
use super::mmsg::{Endpoint, Inbox};
use super::outbox::Outbox;
use super::pace::Pace;
use super::peer::{OVERHEAD, Opened};
use super::tun::Tun;
use super::udp::Socket;
use super::urgency;

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
    urgency::go_first();
    let mut inbox = Inbox::new(MAX_MESSAGE);
    let mut joiner = Joiner::new(device.tun.udp_offload());
    let mut outbox = Outbox::new();
    let mut pace = Pace::new();
    loop {
        pace.nap();
        let Some(turn) = socket.receive(&mut inbox, &device.gate)? else {
            return Ok(());
        };
        pace.woke();
        for (from, message, segment) in inbox.messages() {
            let mut batch = Batch {
                tables: &device.tables(),
                neighbour: &device.neighbour,
                from,
                joiner: &mut joiner,
                outbox: &mut outbox,
            };
            let mut datagrams = message.chunks(segment.max(1)).peekable();
            while let Some(datagram) = datagrams.next() {
                let Some(receiver) = data_for(datagram) else {
                    Message::offer(handshakes, from, datagram);
                    continue;
                };
                let same = |next: &&[u8]| data_for(next) == Some(receiver);
                let run =
                    std::iter::once(datagram).chain(std::iter::from_fn(|| datagrams.next_if(same)));
                batch.open(receiver, run, &device.tun)?;
            }
        }
        joiner.flush(&device.tun)?;
        outbox.flush(&device.udp);
        drop(turn);
        pace.came(inbox.bytes());
    }
}

/// Takes one message that another process read from the socket.
pub(super) fn deliver(
    device: &Device,
    from: Endpoint,
    message: &[u8],
    joiner: &mut Joiner,
    outbox: &mut Outbox,
) -> io::Result<()> {
    let tables = device.tables();
    // What is not for a session of ours came from there, and is not sent back.
    let Some(receiver) = data_for(message).filter(|r| tables.by_receiver(*r).is_some()) else {
        return Ok(());
    };
    let mut batch = Batch {
        tables: &tables,
        neighbour: &device.neighbour,
        from,
        joiner,
        outbox,
    };
    batch.open(receiver, std::iter::once(message), &device.tun)?;
    joiner.flush(&device.tun)?;
    outbox.flush(&device.udp);
    Ok(())
}

/// The receiver index of a data message; absent for all other messages.
pub(super) fn data_for(message: &[u8]) -> Option<u32> {
    let (kind, rest) = message.split_first_chunk()?;
    let receiver = rest.first_chunk()?;
    (*kind == DATA).then(|| u32::from_le_bytes(*receiver))
}

/// What the messages of one sender are opened with.
struct Batch<'a> {
    tables: &'a Tables,
    neighbour: &'a Neighbour,
    from: Endpoint,
    joiner: &'a mut Joiner,
    outbox: &'a mut Outbox,
}

impl Batch<'_> {
    /// Decrypts data messages for one session; their packets go on if their sources are the peer's.
    fn open<'m>(
        &mut self,
        receiver: u32,
        messages: impl Iterator<Item = &'m [u8]>,
        tun: &Tun,
    ) -> io::Result<()> {
        let Some(peer) = self.tables.by_receiver(receiver) else {
            messages.for_each(|message| self.neighbour.pass(receiver, self.from, message));
            return Ok(());
        };
        self.joiner.set_lane(peer.lane);
        let mut state = peer.lock();
        for message in messages {
            if self.joiner.is_full(message.len()) {
                self.joiner.flush(tun)?;
            }
            let space = self.joiner.space();
            // Nothing in a data message asks for an answer.
            if let Opened::Packet(packet, source) =
                state.open(receiver >> 8, self.from, message, space)
            {
                let owner = self.tables.by_address(source);
                if owner.is_some_and(|owner| Arc::ptr_eq(owner, peer)) {
                    let length = packet.len();
                    self.joiner.commit(length);
                }
            }
        }
        while !self.outbox.is_full(MAX_MESSAGE + OVERHEAD) {
            match state.unwait(self.outbox.space()) {
                Some(length) => self.outbox.commit(length, self.from),
                None => break,
            }
        }
        Ok(())
    }
}
