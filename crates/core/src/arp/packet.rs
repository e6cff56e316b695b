//! ARP for IPv4 over Ethernet (RFC 826), as frames.

use std::net::Ipv4Addr;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// The Ethernet broadcast address.
pub const BROADCAST: Mac = [0xff; 6];

/// Length of a frame without the padding that Ethernet adds.
pub const FRAME: usize = 42;

/// Ethernet type ARP, then hardware type Ethernet, protocol type IPv4, address lengths 6 and 4.
const CONSTANT: [u8; 8] = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4];

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// An ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub operation: Operation,
    /// Hardware address of the sender.
    pub sender_mac: Mac,
    /// Address of the sender; unspecified in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// Hardware address of the target; zero where it is asked for.
    pub target_mac: Mac,
    /// Address of the target.
    pub target: Ipv4Addr,
}

impl Packet {
    /// Reads a frame. Absent if it is anything but a well-formed request or reply of a unicast sender.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let frame: &[u8; FRAME] = frame.first_chunk()?;
        if frame[12..20] != CONSTANT {
            return None;
        }
        let operation = match frame[20..22] {
            [0, 1] => Operation::Request,
            [0, 2] => Operation::Reply,
            _ => return None,
        };
        let sender_mac: Mac = *frame[22..].first_chunk()?;
        if sender_mac[0] & 1 == 1 || sender_mac == [0; 6] {
            return None;
        }
        Some(Self {
            operation,
            sender_mac,
            sender: address(&frame[28..])?,
            target_mac: *frame[32..].first_chunk()?,
            target: address(&frame[38..])?,
        })
    }

    /// The frame that carries it to `destination`.
    pub fn frame(&self, destination: Mac) -> [u8; FRAME] {
        let mut frame = [0; FRAME];
        frame[..6].copy_from_slice(&destination);
        frame[6..12].copy_from_slice(&self.sender_mac);
        frame[12..20].copy_from_slice(&CONSTANT);
        frame[21] = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        frame[22..28].copy_from_slice(&self.sender_mac);
        frame[28..32].copy_from_slice(&self.sender.octets());
        frame[32..38].copy_from_slice(&self.target_mac);
        frame[38..].copy_from_slice(&self.target.octets());
        frame
    }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    bytes.first_chunk::<4>().copied().map(Ipv4Addr::from)
}
