//! What a network itself says: ARP answers and ICMP errors.

use std::net::Ipv4Addr;

use super::frame::{Frame, fill_checksum};
use super::header::protocol;

/// An ICMP error (RFC 792, RFC 1191).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpError {
    /// Time to live exceeded in transit.
    TtlExceeded,
    /// Fragmentation needed, but may not be done; the next link's MTU.
    FragmentationNeeded(u16),
    /// No route.
    NetworkUnreachable,
}

/// Who asks for whom in an ARP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArpRequest {
    /// The asking station's hardware address.
    pub mac: [u8; 6],
    /// The asking station's protocol address; 0.0.0.0 in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// Who is looked for.
    pub target: Ipv4Addr,
}

/// Reads an ARP request for IPv4 over Ethernet.
pub fn arp_request(frame: &Frame) -> Option<ArpRequest> {
    let arp = frame.network().get(..28)?;
    let address = |at: usize| Ipv4Addr::new(arp[at], arp[at + 1], arp[at + 2], arp[at + 3]);
    let request = arp[..8] == [0, 1, 8, 0, 6, 4, 0, 1];
    request.then(|| ArpRequest {
        mac: frame.source_mac(),
        sender: address(14),
        target: address(24),
    })
}

/// The answer "`request.target` is at `mac`".
pub fn arp_answer(request: &ArpRequest, mac: [u8; 6]) -> Frame {
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 2];
    arp.extend(mac);
    arp.extend(request.target.octets());
    arp.extend(request.mac);
    arp.extend(request.sender.octets());
    let mut frame = Frame::around(0x0806, &arp);
    frame.set_macs(request.mac, mac);
    frame
}

/// The error from `router` about a packet, to its sender; `None` where RFC 1122 forbids one.
pub fn icmp_error(about: &Frame, router: Ipv4Addr, error: IcmpError) -> Option<Frame> {
    let packet = about.packet();
    let is_error = about.protocol() == protocol::ICMP
        && !matches!(packet.get(about.ip_header_len()), Some(0 | 8));
    let source = about.source();
    if is_error || about.is_later_fragment() || source.is_unspecified() || source.is_multicast() {
        return None;
    }
    let (kind, code, mtu) = match error {
        IcmpError::TtlExceeded => (11, 0, 0),
        IcmpError::FragmentationNeeded(mtu) => (3, 4, mtu),
        IcmpError::NetworkUnreachable => (3, 0, 0),
    };
    let quoted = &packet[..packet.len().min(548)];
    let mut icmp = vec![kind, code, 0, 0, 0, 0];
    icmp.extend(mtu.to_be_bytes());
    icmp.extend(quoted);
    fill_checksum(&mut icmp, 2);
    let total = (20 + icmp.len()) as u16;
    let mut ip = vec![0x45, 0xc0];
    ip.extend(total.to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, protocol::ICMP, 0, 0]);
    ip.extend(router.octets());
    ip.extend(source.octets());
    fill_checksum(&mut ip, 10);
    ip.extend(icmp);
    let frame = Frame::around(0x0800, &ip);
    Some(frame)
}
