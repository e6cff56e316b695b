//! Joins packets of one flow that follow each other, so that the kernel handles them as one: what generic
//! receive offload does for hardware.

use std::io::{self, IoSlice};

use super::flow::{self, Packet, TCP, UDP};
use super::tun::Tun;
use super::vnet::{Gso, Header};

/// Bytes that are gathered at most.
const CAPACITY: usize = 192 * 1024;

/// Packets that are joined at most, in the kernel's own measure for UDP.
const MAX_SEGMENTS: usize = 64;

/// The largest IP packet.
const MAX_LENGTH: usize = 65_535;

/// How many flows are watched for a continuation: more than that rarely mix in one batch.
const WATCHED: usize = 8;

/// Where a packet or a payload lies.
type Piece = std::ops::Range<usize>;

/// Packets in the order in which they came.
pub(crate) struct Joiner {
    bytes: Vec<u8>,
    used: usize,
    groups: Vec<Group>,
    /// How many of `groups` are in use; the rest keeps its memory.
    live: usize,
    udp: bool,
    lane: usize,
}

/// A packet and those that continue it.
#[derive(Debug, Default)]
struct Group {
    head: Piece,
    /// Payloads that follow the head's.
    more: Vec<Piece>,
    transport: usize,
    headers: usize,
    protocol: u8,
    /// Payload of all but the last.
    size: usize,
    /// Of the whole joined packet.
    length: usize,
    next_sequence: u32,
    push: bool,
    /// Whether more may follow.
    open: bool,
    lane: usize,
}

impl Joiner {
    /// `udp` says whether the kernel takes joined datagrams, too.
    pub(crate) fn new(udp: bool) -> Self {
        Self {
            bytes: vec![0; CAPACITY],
            used: 0,
            groups: Vec::new(),
            live: 0,
            udp,
            lane: 0,
        }
    }

    /// The queue that packets are written to from now on.
    pub(crate) fn set_lane(&mut self, lane: usize) {
        self.lane = lane;
    }

    /// Whether there may be less than `length` bytes of room.
    pub(crate) fn is_full(&self, length: usize) -> bool {
        self.bytes.len() - self.used < length
    }

    /// Where the next packet is to be written.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[self.used..]
    }

    /// Takes the first `length` bytes of [`Joiner::space`] as a packet.
    pub(crate) fn commit(&mut self, length: usize) {
        let place = self.used..self.used + length;
        self.used = place.end;
        let Some(packet) = Packet::parse(&self.bytes[place.clone()]) else {
            // It may belong to any flow, a fragment for example: nothing may overtake it.
            self.groups[..self.live]
                .iter_mut()
                .for_each(|group| group.open = false);
            return self.begin(place, None);
        };
        let recent = self.live.saturating_sub(WATCHED)..self.live;
        let found = self.groups[recent].iter_mut().rev().find(|group| {
            group.open
                && Packet::parse(&self.bytes[group.head.clone()])
                    .is_some_and(|head| head.is_same_flow(&packet))
        });
        let joinable = packet.is_joinable() && (packet.protocol == TCP || self.udp);
        if let Some(group) = found {
            if joinable && group.is_continued_by(&self.bytes, &packet) {
                return group.append(&packet, place);
            }
            group.open = false;
        }
        let shape = joinable.then_some((packet.transport, packet.headers, packet.protocol));
        self.begin(place, shape);
    }

    /// Writes everything.
    pub(crate) fn flush(&mut self, tun: &Tun) -> io::Result<()> {
        self.drain(|lane, parts| match tun.lane(lane).write(parts) {
            Err(error) if error.raw_os_error() == Some(libc::EBADFD) => Err(error),
            // Not taken, for example while the link is down: lost, as any packet may be.
            _ => Ok(()),
        })
    }

    fn begin(&mut self, place: Piece, shape: Option<(usize, usize, u8)>) {
        if self.live == self.groups.len() {
            self.groups.push(Group::default());
        }
        let group = &mut self.groups[self.live];
        self.live += 1;
        group.lane = self.lane;
        group.more.clear();
        group.length = place.len();
        group.open = shape.is_some();
        if let Some((transport, headers, protocol)) = shape {
            let packet = &self.bytes[place.clone()];
            group.transport = transport;
            group.headers = headers;
            group.protocol = protocol;
            group.size = place.len() - headers;
            if let Some(packet) = Packet::parse(packet).filter(|packet| packet.protocol == TCP) {
                group.next_sequence = packet.sequence().wrapping_add(group.size as u32);
                group.push = packet.pushes();
                group.open = !group.push;
            }
        }
        group.head = place;
    }

    /// Gives everything to `write`, a packet at a time: its queue, its header for the kernel, then its bytes.
    pub(super) fn drain(
        &mut self,
        mut write: impl FnMut(usize, &[IoSlice<'_>]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut result = Ok(());
        for group in &self.groups[..self.live] {
            let header = group.finish(&mut self.bytes);
            let version = self.bytes[group.head.start] >> 4;
            let header = header.emit(version);
            let mut parts = [IoSlice::new(&[]); MAX_SEGMENTS + 1];
            parts[0] = IoSlice::new(&header);
            parts[1] = IoSlice::new(&self.bytes[group.head.clone()]);
            for (part, piece) in parts[2..].iter_mut().zip(&group.more) {
                *part = IoSlice::new(&self.bytes[piece.clone()]);
            }
            result = result.and(write(group.lane, &parts[..2 + group.more.len()]));
        }
        self.live = 0;
        self.used = 0;
        result
    }
}

impl Group {
    fn is_continued_by(&self, bytes: &[u8], packet: &Packet<'_>) -> bool {
        let payload = packet.payload_len();
        let next = packet.protocol != TCP || packet.sequence() == self.next_sequence;
        let same = |head: Packet<'_>| head.has_same_headers(packet, self.more.len() + 1);
        next && payload <= self.size
            && self.more.len() + 2 <= MAX_SEGMENTS
            && self.length + payload <= MAX_LENGTH
            && Packet::parse(&bytes[self.head.clone()]).is_some_and(same)
    }

    fn append(&mut self, packet: &Packet<'_>, place: Piece) {
        let payload = packet.payload_len();
        self.more.push(place.start + packet.headers..place.end);
        self.length += payload;
        self.next_sequence = self.next_sequence.wrapping_add(payload as u32);
        self.push = packet.pushes();
        self.open = payload == self.size && !self.push;
    }

    /// Rewrites the headers of what was joined and describes it to the kernel.
    fn finish(&self, bytes: &mut [u8]) -> Header {
        if self.more.is_empty() {
            return Header::PLAIN;
        }
        let head = &mut bytes[self.head.clone()];
        flow::enlarge(head, self.transport, self.protocol, self.length, self.push);
        let (gso, checksum_at) = match self.protocol {
            UDP => (Gso::Udp, 6),
            _ => (Gso::Tcp, 16),
        };
        Header {
            gso,
            gso_size: self.size as u16,
            header_len: self.headers as u16,
            partial_checksum: Some((self.transport as u16, checksum_at)),
        }
    }
}

#[cfg(test)]
mod tests;
