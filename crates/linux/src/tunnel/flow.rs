//! What of a packet decides whether it continues another: its flow, its place in it, its headers.

use super::checksum::{Sum, pseudo_header};

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Flags of TCP that only the last segment may carry.
pub(super) const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// An IP packet of TCP or UDP that is not a fragment and has no extension headers or IP options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    bytes: &'a [u8],
    /// Where the transport header starts.
    pub(super) transport: usize,
    /// Bytes before the payload.
    pub(super) headers: usize,
    pub(super) protocol: u8,
}

impl<'a> Packet<'a> {
    /// Reads a packet; absent if it is none of those that are ever joined.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let word = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let (transport, protocol, length) = match bytes.first()? {
            0x45 if bytes.len() >= 20 && word(6) & 0x3fff == 0 => (20, bytes[9], word(2)),
            first if first >> 4 == 6 && bytes.len() >= 40 => (40, bytes[6], 40 + word(4)),
            _ => return None,
        };
        let headers = match protocol {
            TCP if bytes.len() >= transport + 20 => {
                transport + usize::from(bytes[transport + 12] >> 4) * 4
            }
            UDP if bytes.len() >= transport + 8 => transport + 8,
            _ => return None,
        };
        let sound = length == bytes.len()
            && headers <= length
            && (protocol == UDP || headers >= transport + 20)
            && (protocol == TCP || word(transport + 4) == length - transport);
        sound.then_some(Self {
            bytes,
            transport,
            headers,
            protocol,
        })
    }

    pub(super) fn payload_len(&self) -> usize {
        self.bytes.len() - self.headers
    }

    /// Whether others may be joined to it, if its checksum holds: joining hides what was wrong.
    pub(super) fn is_joinable(&self) -> bool {
        let plain = match self.protocol {
            TCP => self.bytes[self.transport + 13] & !PSH == ACK,
            _ => self.bytes[self.transport + 6..self.transport + 8] != [0, 0],
        };
        plain && self.payload_len() > 0 && self.is_intact()
    }

    /// Whether it is of the same protocol, addresses and ports.
    pub(super) fn is_same_flow(&self, other: &Packet<'_>) -> bool {
        let ports = self.transport..self.transport + 4;
        self.transport == other.transport
            && self.protocol == other.protocol
            && self.bytes[ports.clone()] == other.bytes[ports]
            && self.addresses() == other.addresses()
    }

    /// Whether cutting a joined packet with the headers of `self` gives back those of `other`, the
    /// `number`th one after it.
    pub(super) fn has_same_headers(&self, other: &Packet<'_>, number: usize) -> bool {
        let (a, b) = (self.bytes, other.bytes);
        let ip = if self.transport == 20 {
            let dont_fragment = a[6] & 0x40 != 0;
            let id = |p: &[u8]| u16::from_be_bytes([p[4], p[5]]);
            let counted = id(b) == id(a).wrapping_add(number as u16);
            a[1] == b[1] && a[6..9] == b[6..9] && (dont_fragment || counted)
        } else {
            a[..4] == b[..4] && a[7] == b[7]
        };
        // Acknowledgement and data offset, window, options; of the flags only PSH may differ.
        let t = self.transport;
        let tcp = self.protocol != TCP
            || (a[t + 8..t + 13] == b[t + 8..t + 13]
                && a[t + 14..t + 16] == b[t + 14..t + 16]
                && a[t + 20..self.headers] == b[t + 20..other.headers]);
        ip && self.headers == other.headers && tcp
    }

    /// The sequence number; only of TCP.
    pub(super) fn sequence(&self) -> u32 {
        let at = self.transport + 4;
        let bytes = &self.bytes[at..at + 4];
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    /// Whether TCP asks to hand over what there is.
    pub(super) fn pushes(&self) -> bool {
        self.protocol == TCP && self.bytes[self.transport + 13] & PSH != 0
    }

    fn addresses(&self) -> &[u8] {
        addresses(self.bytes, self.transport)
    }

    fn is_intact(&self) -> bool {
        let segment = &self.bytes[self.transport..];
        let ip_intact = self.transport == 40 || Sum::default().add(&self.bytes[..20]).is_intact();
        let sum = pseudo_header(self.addresses(), self.protocol, segment.len());
        ip_intact && sum.add(segment).is_intact()
    }
}

/// A number that all packets of a flow have in common: of the same addresses, and ports where the protocol has some.
/// Absent for those of which it cannot be told: fragments, and what hides its protocol behind extension headers.
pub(super) fn hash(packet: &[u8]) -> Option<u32> {
    let (addresses, protocol, transport) = match packet.first()? >> 4 {
        4 => {
            let whole = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff == 0;
            let transport = usize::from(packet[0] & 0x0f) * 4;
            (packet.get(12..20).filter(|_| whole)?, packet[9], transport)
        }
        6 if packet
            .get(6)
            .is_some_and(|next| [TCP, UDP, ICMPV6].contains(next)) =>
        {
            (packet.get(8..40)?, packet[6], 40)
        }
        _ => return None,
    };
    let ports = match protocol {
        TCP | UDP => packet.get(transport..transport + 4)?,
        _ => &[],
    };
    let words = addresses.chunks_exact(4).chain(ports.chunks_exact(4));
    let mixed = words.fold(u32::from(protocol), |hash, word| {
        let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b1)
    });
    Some(mixed ^ (mixed >> 16))
}

/// Makes the headers at the start of `head` those of a packet of `length` bytes whose transport checksum is
/// still to be completed.
pub(super) fn enlarge(head: &mut [u8], transport: usize, protocol: u8, length: usize, push: bool) {
    let segment = length - transport;
    if transport == 20 {
        head[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        head[10..12].fill(0);
        let checksum = Sum::default().add(&head[..20]).finish();
        head[10..12].copy_from_slice(&checksum);
    } else {
        head[4..6].copy_from_slice(&(segment as u16).to_be_bytes());
    }
    let partial = pseudo_header(addresses(head, transport), protocol, segment).fold();
    if protocol == TCP {
        if push {
            head[transport + 13] |= PSH;
        }
        head[transport + 16..transport + 18].copy_from_slice(&partial);
    } else {
        head[transport + 4..transport + 6].copy_from_slice(&(segment as u16).to_be_bytes());
        head[transport + 6..transport + 8].copy_from_slice(&partial);
    }
}

fn addresses(packet: &[u8], transport: usize) -> &[u8] {
    if transport == 20 {
        &packet[12..20]
    } else {
        &packet[8..40]
    }
}
