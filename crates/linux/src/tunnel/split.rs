//! Cuts a large packet of the kernel into the segments that go on the wire.

use super::checksum::{Sum, pseudo_header};
use super::flow::{PSH, TCP, UDP};
use super::vnet::{Gso, Header};

/// The longest headers that are cut off: IPv6 with extension headers, and TCP with options.
const MAX_HEADERS: usize = 512;

/// Free bytes that have to follow a packet in its buffer.
pub(crate) const SPARE: usize = 16;

const FIN: u8 = 0x01;
const CWR: u8 = 0x80;

/// The packet is not what its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Calls `each` with every segment of the packet in the first `length` bytes of `buffer`, in order, complete
/// with lengths and checksums and padded with zeros to a multiple of 16 bytes, but not beyond `mtu`, as the
/// protocol wants it before encryption.
///
/// Segments are made where they lie: the headers of the next one overwrite the end of the one before, which
/// `each` is done with. `buffer` holds [`SPARE`] bytes after the packet.
pub(crate) fn split(
    header: &Header,
    buffer: &mut [u8],
    length: usize,
    mtu: usize,
    mut each: impl FnMut(&[u8]),
) -> Result<(), Malformed> {
    if buffer.len() < length + SPARE {
        return Err(Malformed);
    }
    if header.gso == Gso::None {
        if let Some((start, offset)) = header.partial_checksum {
            complete_checksum(&mut buffer[..length], start.into(), offset.into())?;
        }
        padded(buffer, 0, length, mtu, &mut each);
        return Ok(());
    }
    let plan = Plan::new(header, &buffer[..length])?;
    let mut headers = [0; MAX_HEADERS];
    let headers = &mut headers[..plan.headers];
    headers.copy_from_slice(&buffer[..plan.headers]);

    let mut from = plan.headers;
    let mut number = 0;
    while from < length || number == 0 {
        let until = length.min(from + plan.size);
        let start = from - plan.headers;
        buffer[start..from].copy_from_slice(headers);
        plan.finish(&mut buffer[start..until], number, until == length);
        padded(buffer, start, until, mtu, &mut each);
        from = until;
        number += 1;
    }
    Ok(())
}

/// What all segments of a packet have in common.
struct Plan {
    udp: bool,
    /// Where the transport header starts.
    transport: usize,
    /// Bytes before the payload.
    headers: usize,
    /// Payload bytes of a segment.
    size: usize,
    sequence: u32,
    ip_id: u16,
}

impl Plan {
    fn new(header: &Header, packet: &[u8]) -> Result<Self, Malformed> {
        let (transport, _) = header.partial_checksum.ok_or(Malformed)?;
        let transport = usize::from(transport);
        let ip = match packet.first().map(|byte| byte >> 4) {
            Some(4) => 20,
            Some(6) => 40,
            _ => return Err(Malformed),
        };
        let udp = header.gso == Gso::Udp;
        let fixed = transport + if udp { 8 } else { 20 };
        if transport < ip || packet.len() < fixed || header.gso_size == 0 {
            return Err(Malformed);
        }
        let headers = if udp {
            fixed
        } else {
            transport + usize::from(packet[transport + 12] >> 4) * 4
        };
        if headers < fixed || headers > packet.len().min(MAX_HEADERS) {
            return Err(Malformed);
        }
        let sequence = &packet[transport + 4..transport + 8];
        Ok(Self {
            udp,
            transport,
            headers,
            size: header.gso_size.into(),
            sequence: u32::from_be_bytes([sequence[0], sequence[1], sequence[2], sequence[3]]),
            ip_id: u16::from_be_bytes([packet[4], packet[5]]),
        })
    }

    /// Makes a copy of the headers before a part of the payload those of segment `number`.
    fn finish(&self, segment: &mut [u8], number: usize, last: bool) {
        let length = segment.len();
        let transport_len = length - self.transport;
        let (ip, rest) = segment.split_at_mut(self.transport);
        let addresses = if ip[0] >> 4 == 4 {
            ip[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            let id = self.ip_id.wrapping_add(number as u16);
            ip[4..6].copy_from_slice(&id.to_be_bytes());
            ip[10..12].fill(0);
            let checksum = Sum::default().add(ip).finish();
            ip[10..12].copy_from_slice(&checksum);
            &ip[12..20]
        } else {
            ip[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
            &ip[8..40]
        };
        if self.udp {
            rest[4..6].copy_from_slice(&(transport_len as u16).to_be_bytes());
            rest[6..8].fill(0);
            let sum = pseudo_header(addresses, UDP, transport_len).add(rest);
            rest[6..8].copy_from_slice(&nonzero(sum.finish()));
        } else {
            let sequence = self.sequence.wrapping_add((number * self.size) as u32);
            rest[4..8].copy_from_slice(&sequence.to_be_bytes());
            if !last {
                rest[13] &= !(FIN | PSH);
            }
            if number > 0 {
                rest[13] &= !CWR;
            }
            rest[16..18].fill(0);
            let sum = pseudo_header(addresses, TCP, transport_len).add(rest);
            rest[16..18].copy_from_slice(&sum.finish());
        }
    }
}

/// Completes a checksum whose field holds the sum of the pseudo header.
fn complete_checksum(packet: &mut [u8], start: usize, offset: usize) -> Result<(), Malformed> {
    let field = start + offset;
    if field + 2 > packet.len() {
        return Err(Malformed);
    }
    let checksum = nonzero(Sum::default().add(&packet[start..]).finish());
    packet[field..field + 2].copy_from_slice(&checksum);
    Ok(())
}

/// For UDP a checksum of zero means none; the other zero of one's complement says the same for TCP.
fn nonzero(checksum: [u8; 2]) -> [u8; 2] {
    if checksum == [0, 0] {
        [0xff, 0xff]
    } else {
        checksum
    }
}

/// Shows a segment with zeros after it and puts back what stood there.
fn padded(buffer: &mut [u8], start: usize, end: usize, mtu: usize, each: &mut impl FnMut(&[u8])) {
    let length = end - start;
    let padding = length.next_multiple_of(16).min(mtu).saturating_sub(length);
    let mut kept = [0; SPARE];
    kept[..padding].copy_from_slice(&buffer[end..end + padding]);
    buffer[end..end + padding].fill(0);
    each(&buffer[start..end + padding]);
    buffer[end..end + padding].copy_from_slice(&kept[..padding]);
}

#[cfg(test)]
mod tests;
