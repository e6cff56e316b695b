//! A frame as a TAP device carries it: `virtio_net_hdr`, Ethernet header, payload.
//!
//! Reads what a decision needs and rewrites addresses with their checksums (RFC 1624). It decides nothing.

use std::net::Ipv4Addr;

use super::header::{Flow, Header, protocol};

/// Size of the `virtio_net_hdr` in front.
pub const VNET: usize = 10;
/// Size of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Where the network layer begins.
pub const NETWORK: usize = VNET + ETHERNET;
/// The largest frame that a TAP device hands over.
pub const MAX_FRAME: usize = NETWORK + 65_536;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum field holds the pseudo header's sum only.
const NEEDS_CHECKSUM: u8 = 1;

/// What the bytes after the Ethernet header are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ARP.
    Arp,
    /// IPv4 with a sound header.
    Ipv4,
    /// Anything else.
    Other,
    /// Too short or inconsistent.
    Malformed,
}

/// How a frame is to be cut into packets by whoever puts it on a real wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segments {
    /// It is one packet.
    One,
    /// TCP segments with this much payload each.
    Tcp(u16),
    /// UDP datagrams with this much payload each.
    Udp(u16),
}

/// A frame. The buffer may be longer than the frame is, so that it can be read into again.
#[derive(Debug, Clone)]
pub struct Frame {
    bytes: Vec<u8>,
    len: usize,
}

impl Frame {
    /// An empty one with room for the largest frame.
    pub fn buffer() -> Self {
        Self {
            bytes: vec![0; MAX_FRAME],
            len: 0,
        }
    }

    /// Takes bytes as a TAP device gives them.
    pub fn new(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        Self { bytes, len }
    }

    /// A frame around a network-layer packet; hardware addresses are not set.
    pub fn around(ethertype: u16, packet: &[u8]) -> Self {
        let mut bytes = vec![0; NETWORK];
        bytes[VNET + 12..NETWORK].copy_from_slice(&ethertype.to_be_bytes());
        bytes.extend_from_slice(packet);
        Self::new(bytes)
    }

    /// Fills itself through `read`, which says how many bytes it wrote.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn fill<E>(&mut self, read: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<(), E> {
        self.len = read(&mut self.bytes)?;
        Ok(())
    }

    /// The bytes to hand to a TAP device.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// A copy without the spare room.
    #[must_use]
    pub fn compact(&self) -> Self {
        Self::new(self.bytes().to_vec())
    }

    /// What it carries.
    pub fn kind(&self) -> Kind {
        if self.len < NETWORK {
            return Kind::Malformed;
        }
        match self.be16(VNET + 12) {
            0x0806 if self.len >= NETWORK + 28 => Kind::Arp,
            0x0800 => self.ipv4_kind(),
            0x0806 => Kind::Malformed,
            _ => Kind::Other,
        }
    }

    fn ipv4_kind(&self) -> Kind {
        let ip = self.network();
        let sound = ip.len() >= 20
            && ip[0] >> 4 == 4
            && self.ip_header_len() >= 20
            && self.total_len() >= self.ip_header_len()
            && self.total_len() <= ip.len();
        if sound { Kind::Ipv4 } else { Kind::Malformed }
    }

    /// Source hardware address.
    pub fn source_mac(&self) -> [u8; 6] {
        array(&self.bytes[VNET + 6..VNET + 12])
    }

    /// Sets both hardware addresses.
    pub fn set_macs(&mut self, destination: [u8; 6], source: [u8; 6]) {
        self.bytes[VNET..VNET + 6].copy_from_slice(&destination);
        self.bytes[VNET + 6..VNET + 12].copy_from_slice(&source);
    }

    /// Everything after the Ethernet header.
    pub fn network(&self) -> &[u8] {
        &self.bytes[NETWORK..self.len]
    }

    /// The IPv4 packet without padding behind it.
    pub fn packet(&self) -> &[u8] {
        &self.bytes[NETWORK..NETWORK + self.total_len()]
    }

    /// IPv4 header length in bytes.
    pub fn ip_header_len(&self) -> usize {
        usize::from(self.bytes[NETWORK] & 0x0f) * 4
    }

    /// IPv4 total length in bytes.
    pub fn total_len(&self) -> usize {
        usize::from(self.be16(NETWORK + 2))
    }

    /// Whether it may not be fragmented.
    pub fn dont_fragment(&self) -> bool {
        self.bytes[NETWORK + 6] & 0x40 != 0
    }

    /// Whether it is a fragment, and if so not the first.
    pub fn is_later_fragment(&self) -> bool {
        self.be16(NETWORK + 6) & 0x1fff != 0
    }

    /// Time to live.
    pub fn ttl(&self) -> u8 {
        self.bytes[NETWORK + 8]
    }

    /// IP protocol number.
    pub fn protocol(&self) -> u8 {
        self.bytes[NETWORK + 9]
    }

    /// Source address.
    pub fn source(&self) -> Ipv4Addr {
        self.address(NETWORK + 12)
    }

    /// Destination address.
    pub fn destination(&self) -> Ipv4Addr {
        self.address(NETWORK + 16)
    }

    /// How it is to be cut.
    pub fn segments(&self) -> Segments {
        let size = u16::from_ne_bytes(array(&self.bytes[4..6]));
        match self.bytes[1] & 0x7f {
            1 if size > 0 => Segments::Tcp(size),
            5 if size > 0 => Segments::Udp(size),
            _ => Segments::One,
        }
    }

    /// Whether the transport checksum is still to be completed.
    pub fn needs_checksum(&self) -> bool {
        self.bytes[0] & NEEDS_CHECKSUM != 0
    }

    /// Bytes of IP and transport header, if the transport is TCP or UDP and its header is there.
    pub fn headers_len(&self) -> Option<usize> {
        let ip = self.ip_header_len();
        let packet = self.packet();
        let transport = match self.protocol() {
            _ if self.is_later_fragment() => return None,
            protocol::TCP => usize::from(packet.get(ip + 12)? >> 4) * 4,
            protocol::UDP => 8,
            _ => return None,
        };
        (ip + transport <= packet.len()).then_some(ip + transport)
    }

    /// How many packets it is on a real wire.
    pub fn packets(&self) -> u64 {
        match (self.segments(), self.headers_len()) {
            (Segments::Tcp(size) | Segments::Udp(size), Some(headers)) => {
                let payload = self.total_len() - headers;
                payload.div_ceil(usize::from(size)).max(1) as u64
            }
            _ => 1,
        }
    }

    /// The length of its largest packet on a real wire, IP header included.
    pub fn largest_packet(&self) -> usize {
        match (self.segments(), self.headers_len()) {
            (Segments::Tcp(size) | Segments::Udp(size), Some(headers)) => {
                self.total_len().min(headers + usize::from(size))
            }
            _ => self.total_len(),
        }
    }

    /// What a decision needs to know of it.
    pub fn header(&self) -> Header {
        let packet = self.packet();
        let is_error = self.protocol() == protocol::ICMP
            && !self.is_later_fragment()
            && matches!(packet.get(self.ip_header_len()), Some(3 | 4 | 5 | 11 | 12));
        let quoted = is_error
            .then(|| packet.get(self.ip_header_len() + 8..))
            .flatten()
            .and_then(flow_of);
        let flow = flow_of(packet).unwrap_or(Flow {
            protocol: self.protocol(),
            source: self.source(),
            source_port: 0,
            destination: self.destination(),
            destination_port: 0,
        });
        Header { flow, quoted }
    }

    /// Takes one off the time to live.
    pub fn decrement_ttl(&mut self) {
        let before = self.be16(NETWORK + 8);
        self.bytes[NETWORK + 8] -= 1;
        let after = self.be16(NETWORK + 8);
        self.adjust(NETWORK + 10, &[before], &[after], false);
    }

    /// Replaces the source address; for an ICMP error also in the packet it quotes, where it was the
    /// destination.
    pub fn set_source(&mut self, new: Ipv4Addr) {
        let old = self.source();
        self.set_address(12, new);
        self.rewrite_quoted(16, old, new);
    }

    /// Replaces the destination address; for an ICMP error also in the packet it quotes, where it was the
    /// source.
    pub fn set_destination(&mut self, new: Ipv4Addr) {
        let old = self.destination();
        self.set_address(16, new);
        self.rewrite_quoted(12, old, new);
    }

    fn set_address(&mut self, offset: usize, new: Ipv4Addr) {
        let at = NETWORK + offset;
        let before = [self.be16(at), self.be16(at + 2)];
        self.bytes[at..at + 4].copy_from_slice(&new.octets());
        let after = [self.be16(at), self.be16(at + 2)];
        self.adjust(NETWORK + 10, &before, &after, false);
        if let Some(field) = self.transport_checksum() {
            let partial = self.needs_checksum();
            let absent = self.protocol() == protocol::UDP && !partial && self.be16(field) == 0;
            if !absent {
                self.adjust(field, &before, &after, partial);
            }
        }
    }

    fn rewrite_quoted(&mut self, offset: usize, old: Ipv4Addr, new: Ipv4Addr) {
        if self.header().quoted.is_none() {
            return;
        }
        let icmp = NETWORK + self.ip_header_len();
        let quoted = icmp + 8;
        let at = quoted + offset;
        if self.address(at) != old {
            return;
        }
        let end = NETWORK + self.total_len();
        self.bytes[at..at + 4].copy_from_slice(&new.octets());
        let header_end = quoted + usize::from(self.bytes[quoted] & 0x0f) * 4;
        fill_checksum(&mut self.bytes[quoted..header_end], 10);
        fill_checksum(&mut self.bytes[icmp..end], 2);
    }

    /// Where the transport checksum that covers the addresses is.
    fn transport_checksum(&self) -> Option<usize> {
        let field = match self.protocol() {
            _ if self.is_later_fragment() => return None,
            protocol::TCP => 16,
            protocol::UDP => 6,
            _ => return None,
        };
        let at = self.ip_header_len() + field;
        (at + 2 <= self.total_len()).then_some(NETWORK + at)
    }

    /// Updates a checksum for words that changed. A partial one is the plain sum, a complete one its
    /// complement.
    fn adjust(&mut self, field: usize, before: &[u16], after: &[u16], partial: bool) {
        let old = self.be16(field);
        let mut sum = u32::from(if partial { old } else { !old });
        sum += before.iter().map(|w| u32::from(!w)).sum::<u32>();
        sum += after.iter().map(|w| u32::from(*w)).sum::<u32>();
        let folded = fold(sum);
        let new = if partial { folded } else { !folded };
        self.bytes[field..field + 2].copy_from_slice(&new.to_be_bytes());
    }

    fn be16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::from(array::<4>(&self.bytes[at..at + 4]))
    }
}

/// Reads addresses and ports of an IPv4 packet, which may be cut short as in an ICMP error.
fn flow_of(packet: &[u8]) -> Option<Flow> {
    let header = packet.get(..20)?;
    let length = usize::from(header[0] & 0x0f) * 4;
    let number = header[9];
    let first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let (source_port, destination_port) = match number {
        protocol::TCP | protocol::UDP if first => (word(length)?, word(length + 2)?),
        // Echo request and reply carry an identifier.
        protocol::ICMP if first && matches!(packet.get(length), Some(0 | 8)) => {
            (word(length + 4)?, word(length + 4)?)
        }
        _ => (0, 0),
    };
    Some(Flow {
        protocol: number,
        source: Ipv4Addr::from(array::<4>(&header[12..16])),
        source_port,
        destination: Ipv4Addr::from(array::<4>(&header[16..20])),
        destination_port,
    })
}

/// Writes the internet checksum of `bytes` into the field at `at`.
pub(super) fn fill_checksum(bytes: &mut [u8], at: usize) {
    bytes[at..at + 2].fill(0);
    let sum = !fold(sum_words(bytes));
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The sum of 16-bit words, not yet folded; at most 64 KiB of them.
pub(super) fn sum_words(bytes: &[u8]) -> u32 {
    let mut chunks = bytes.chunks_exact(2);
    let whole: u32 = chunks
        .by_ref()
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let odd = chunks.remainder().first();
    whole + odd.map_or(0, |b| u32::from(*b) << 8)
}

/// Folds a sum to 16 bits.
pub(super) fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests;
