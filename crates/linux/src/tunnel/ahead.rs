//! Packets that are read ahead, and the order in which they go on.
//!
//! A flow that fills the queue delays every other: what it sends next waits behind what it sent before, and so does all
//! else. Here packets are read while there are any, which is quick, before the first is encrypted, which is not. Those of
//! flows that have little there overtake those of flows that have much, so that a lone packet does not wait for
//! megabytes. Within a flow nothing ever changes places.

use std::io;

use super::flow;
use super::split::SPARE;
use super::tun::Lane;
use super::vnet::Header;

/// The largest packet that the kernel hands over.
const MAX_PACKET: usize = 65_535;

/// Bytes that are read ahead: what the second level of a cache holds.
const CAPACITY: usize = 8 * (MAX_PACKET + 1);

/// Packets that are read ahead: enough to spread the cost of system calls, few enough to delay nobody.
const MAX_PACKETS: usize = 64;

/// A flow with more bytes than this has much.
const LITTLE: usize = 3_000;

/// Flows are told apart by so many marks; those that share one count as one.
const MARKS: usize = 256;

/// Packets of one queue.
pub(super) struct Ahead {
    bytes: Vec<u8>,
    used: usize,
    packets: Vec<Packet>,
    /// Bytes of the flows of a mark.
    weights: [usize; MARKS],
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    header: Header,
    start: usize,
    length: usize,
    /// Absent if its flow cannot be told.
    mark: Option<usize>,
}

impl Ahead {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; CAPACITY],
            used: 0,
            packets: Vec::with_capacity(MAX_PACKETS),
            weights: [0; MARKS],
        }
    }

    /// Reads what is there, in the place of what was read before. False if more may be there.
    pub(super) fn fill(&mut self, lane: Lane<'_>) -> io::Result<bool> {
        self.clear();
        while !self.is_full() {
            let space = &mut self.bytes[self.used..self.used + MAX_PACKET];
            let Some((header, length)) = lane.read(space)? else {
                return Ok(true);
            };
            self.take(header, length);
        }
        Ok(false)
    }

    /// Calls `each` with the packets that are to go first, in order: the header of each, and a buffer whose first bytes it
    /// is, as many as the number says, with [`SPARE`] more.
    pub(super) fn each_light(&mut self, each: impl FnMut(&Header, &mut [u8], usize)) {
        self.each(true, each);
    }

    /// The same with all others.
    pub(super) fn each_heavy(&mut self, each: impl FnMut(&Header, &mut [u8], usize)) {
        self.each(false, each);
    }

    fn each(&mut self, light: bool, mut each: impl FnMut(&Header, &mut [u8], usize)) {
        // One whose flow cannot be told, a fragment for example, may belong to any: nothing may overtake it.
        let told = self.packets.iter().all(|packet| packet.mark.is_some());
        for packet in &self.packets {
            let weight = packet.mark.map_or(usize::MAX, |mark| self.weights[mark]);
            if (told && weight <= LITTLE) == light {
                let end = packet.start + packet.length + SPARE;
                let buffer = &mut self.bytes[packet.start..end];
                each(&packet.header, buffer, packet.length);
            }
        }
    }

    /// What was read, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.packets.iter().map(|packet| packet.length).sum()
    }

    fn clear(&mut self) {
        self.used = 0;
        for mark in self.packets.drain(..).filter_map(|packet| packet.mark) {
            self.weights[mark] = 0;
        }
    }

    fn is_full(&self) -> bool {
        self.packets.len() == MAX_PACKETS || self.bytes.len() - self.used < MAX_PACKET + SPARE
    }

    /// Takes the first `length` bytes that are free as a packet.
    fn take(&mut self, header: Header, length: usize) {
        let start = self.used;
        let mark = flow::hash(&self.bytes[start..start + length]);
        let mark = mark.map(|hash| hash as usize % MARKS);
        if let Some(mark) = mark {
            self.weights[mark] += length;
        }
        self.used += (length + SPARE).next_multiple_of(64);
        self.packets.push(Packet {
            header,
            start,
            length,
            mark,
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A datagram of a flow, numbered.
    fn packet(flow: u8, number: usize, length: usize, fragment: bool) -> Vec<u8> {
        let mut bytes = vec![0; length.max(30)];
        bytes[0] = 0x45;
        bytes[6] = if fragment { 0x20 } else { 0 };
        bytes[9] = flow::UDP;
        bytes[12..20].copy_from_slice(&[10, 9, 0, 1, 10, 9, 0, 2]);
        bytes[20..24].copy_from_slice(&[4, flow, 8, 0]);
        bytes[28..30].copy_from_slice(&(number as u16).to_be_bytes());
        bytes
    }

    fn order(packets: &[Vec<u8>]) -> Vec<(u8, usize)> {
        let mut ahead = Ahead::new();
        for packet in packets {
            assert!(!ahead.is_full());
            let used = ahead.used;
            ahead.bytes[used..used + packet.len()].copy_from_slice(packet);
            ahead.take(Header::PLAIN, packet.len());
        }
        let mut seen = Vec::new();
        let mut see = |_: &Header, buffer: &mut [u8], length: usize| {
            assert_eq!(buffer.len(), length + SPARE);
            let number = u16::from_be_bytes([buffer[28], buffer[29]]);
            seen.push((buffer[21], usize::from(number)));
        };
        ahead.each_light(&mut see);
        ahead.each_heavy(&mut see);
        ahead.clear();
        assert_eq!(ahead.weights, [0; MARKS]);
        seen
    }

    #[test]
    fn a_lone_packet_overtakes_a_bulk_of_others() {
        let mut packets: Vec<_> = (0..6).map(|n| packet(1, n, 60_000, false)).collect();
        packets.push(packet(2, 0, 60, false));
        let seen = order(&packets);
        assert_eq!(seen[0], (2, 0));
        assert_eq!(seen[1..], [0, 1, 2, 3, 4, 5].map(|n| (1, n)));
    }

    #[test]
    fn nothing_overtakes_a_fragment() {
        let mut packets: Vec<_> = (0..6).map(|n| packet(1, n, 60_000, n == 3)).collect();
        packets.push(packet(2, 0, 60, false));
        assert_eq!(order(&packets)[6], (2, 0));
    }

    proptest! {
        #[test]
        fn within_a_flow_order_stays(
            packets in proptest::collection::vec((0..6_u8, 30..4_000_usize, proptest::bool::weighted(0.01)), 1..64),
        ) {
            let bytes: Vec<_> = packets.iter().enumerate()
                .map(|(n, (flow, length, fragment))| packet(*flow, n, *length, *fragment)).collect();
            let seen = order(&bytes);
            prop_assert_eq!(seen.len(), packets.len());
            for flow in 0..6 {
                let of = |list: &mut dyn Iterator<Item = (u8, usize)>| -> Vec<usize> {
                    list.filter(|(f, _)| *f == flow).map(|(_, n)| n).collect()
                };
                let sent = of(&mut packets.iter().enumerate().map(|(n, (f, ..))| (*f, n)));
                prop_assert_eq!(of(&mut seen.iter().copied()), sent);
            }
        }
    }
}
