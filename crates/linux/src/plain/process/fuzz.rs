//! Ways into the packet path for coverage-guided fuzzing.

use routerd_core::encapsulation::{Encapsulation, UdpPorts};

use super::super::header::Header;
use super::{joined, partial, too_big};
use crate::tunnel::checksum::Sum;

const PORTS: UdpPorts = UdpPorts {
    source: 5555,
    destination: 5555,
};

/// A datagram for a tunnel of each kind. The first three bytes choose kind and MTU.
///
/// # Panics
/// Where an ICMP error that is made of it is not sound.
pub fn datagram(data: &[u8]) {
    let Some(([kind, mtu @ ..], payload)) = data.split_first_chunk::<3>() else {
        return;
    };
    let mtu = u16::from_be_bytes(*mtu);
    let encapsulation = match kind % 5 {
        0 => Encapsulation::Ipip,
        1 => Encapsulation::Gre { key: None },
        2 => Encapsulation::Gre { key: Some(7) },
        3 => Encapsulation::Fou(PORTS),
        _ => Encapsulation::Gue(PORTS),
    };
    let Some(packet) = Header::new(encapsulation).open(payload) else {
        return;
    };
    if !too_big::may_fragment(packet)
        && let Some(error) = too_big::error(packet, mtu)
    {
        assert!(error.len() <= 576 && error[12..16] == packet[16..20]);
        assert!(Sum::default().add(&error[..20]).is_intact());
        assert!(Sum::default().add(&error[20..]).is_intact());
    }
    let mut packet = packet.to_vec();
    let length = packet.len();
    let _ = joined::describe(&mut packet, mtu.into());
    partial::complete(&mut packet);
    assert_eq!(packet.len(), length);
}
