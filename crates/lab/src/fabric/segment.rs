//! Cuts large frames into the packets that a real wire would carry: segmentation that was left to the
//! device (TCP, UDP) and IPv4 fragmentation (RFC 791).

use super::frame::{Frame, NETWORK, Segments, fill_checksum, fold, sum_words};
use super::header::protocol;

/// The packets that a frame stands for, checksums complete.
pub fn segment(frame: &Frame) -> Vec<Frame> {
    let (Segments::Tcp(size) | Segments::Udp(size), Some(headers)) =
        (frame.segments(), frame.headers_len())
    else {
        return vec![complete(frame)];
    };
    let packet = frame.packet();
    let (head, payload) = packet.split_at(headers);
    let count = payload.len().div_ceil(usize::from(size));
    payload
        .chunks(usize::from(size))
        .enumerate()
        .map(|(index, chunk)| {
            let last = index + 1 == count;
            let offset = index * usize::from(size);
            one_segment(frame, head, chunk, index as u16, offset as u32, last)
        })
        .collect()
}

fn one_segment(
    frame: &Frame,
    head: &[u8],
    chunk: &[u8],
    index: u16,
    offset: u32,
    last: bool,
) -> Frame {
    let ip = frame.ip_header_len();
    let mut packet = [head, chunk].concat();
    let total = packet.len() as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    let id = u16::from_be_bytes([head[4], head[5]]).wrapping_add(index);
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    if frame.protocol() == protocol::TCP {
        let at = ip + 4;
        let word = [head[at], head[at + 1], head[at + 2], head[at + 3]];
        let sequence = u32::from_be_bytes(word).wrapping_add(offset);
        packet[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
        if !last {
            // FIN and PSH belong to the last segment only.
            packet[ip + 13] &= !0x09;
        }
    } else {
        let length = (packet.len() - ip) as u16;
        packet[ip + 4..ip + 6].copy_from_slice(&length.to_be_bytes());
    }
    finish(frame, packet, ip)
}

/// A frame that is one packet, its checksum completed if that was left to the device.
fn complete(frame: &Frame) -> Frame {
    if frame.needs_checksum() {
        finish(frame, frame.packet().to_vec(), frame.ip_header_len())
    } else {
        frame.compact()
    }
}

/// Fills in both checksums and puts the frame's Ethernet header in front.
fn finish(frame: &Frame, mut packet: Vec<u8>, ip: usize) -> Frame {
    fill_checksum(&mut packet[..ip], 10);
    let field = match frame.protocol() {
        protocol::TCP => Some(16),
        protocol::UDP => Some(6),
        _ => None,
    };
    if let Some(field) = field.filter(|f| ip + f + 2 <= packet.len()) {
        let length = (packet.len() - ip) as u32;
        let pseudo = sum_words(&packet[12..20]) + u32::from(frame.protocol()) + length;
        packet[ip + field..ip + field + 2].fill(0);
        let sum = !fold(u32::from(fold(sum_words(&packet[ip..]))) + pseudo);
        // UDP has no way to say "the checksum is zero" but all ones (RFC 768).
        let sum = if sum == 0 { 0xffff } else { sum };
        packet[ip + field..ip + field + 2].copy_from_slice(&sum.to_be_bytes());
    }
    wrap(frame, &packet)
}

fn wrap(frame: &Frame, packet: &[u8]) -> Frame {
    let mut bytes = frame.bytes()[..NETWORK].to_vec();
    // Nothing is left to the device any more.
    bytes[..super::frame::VNET].fill(0);
    bytes.extend_from_slice(packet);
    Frame::new(bytes)
}

/// The fragments of a single packet whose checksum is complete, each at most `mtu` long.
pub fn fragment(frame: &Frame, mtu: usize) -> Vec<Frame> {
    let packet = frame.packet();
    if packet.len() <= mtu {
        return vec![frame.compact()];
    }
    let ip = frame.ip_header_len();
    let (head, payload) = packet.split_at(ip);
    let step = (mtu.saturating_sub(ip) & !7).max(8);
    let before = u16::from_be_bytes([head[6], head[7]]);
    let count = payload.len().div_ceil(step);
    let piece = |(index, chunk): (usize, &[u8])| {
        let mut part = [head, chunk].concat();
        let total = part.len() as u16;
        part[2..4].copy_from_slice(&total.to_be_bytes());
        let more = index + 1 < count || before & 0x2000 != 0;
        let offset = (before & 0x1fff) + (index * step / 8) as u16;
        let word = (before & 0xc000) | (u16::from(more) << 13) | offset;
        part[6..8].copy_from_slice(&word.to_be_bytes());
        fill_checksum(&mut part[..ip], 10);
        wrap(frame, &part)
    };
    payload.chunks(step).enumerate().map(piece).collect()
}
