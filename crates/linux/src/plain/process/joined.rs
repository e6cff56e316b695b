//! TCP packets that the kernel joined on their way in (generic receive offload looks into ipip and gre), or never cut
//! (between namespaces of one host): longer than any that went through the tunnel. Handed back with the size to cut
//! them at, they go on as one.

use crate::tunnel::checksum::pseudo_header;
use crate::tunnel::vnet::{Gso, Header};

const TCP: u8 = 6;
/// Where the checksum stands in a TCP header.
const CHECKSUM: usize = 16;

/// Makes an IPv4 packet one that the kernel cuts to `mtu`; absent if it is none of these.
pub(super) fn describe(packet: &mut [u8], mtu: usize) -> Option<Header> {
    let ip = usize::from(packet[0] & 0x0f) * 4;
    let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
    if packet[9] != TCP || fragment {
        return None;
    }
    let headers = ip + usize::from(packet.get(ip + 12)? >> 4) * 4;
    let size = mtu.checked_sub(headers).filter(|size| *size > 0)?;
    let field = ip + CHECKSUM;
    let pseudo = pseudo_header(&packet[12..20], TCP, packet.len() - ip);
    let partial = pseudo.fold();
    let present = [*packet.get(field)?, *packet.get(field + 1)?];
    if present != partial {
        let intact = pseudo.add(&packet[ip..]).is_intact();
        intact.then_some(())?;
        packet[field..field + 2].copy_from_slice(&partial);
    }
    Some(Header {
        gso: Gso::Tcp,
        gso_size: size.try_into().ok()?,
        header_len: headers.try_into().ok()?,
        partial_checksum: Some((ip.try_into().ok()?, CHECKSUM as u16)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tunnel::split::{SPARE, split};

    fn segment(payload: usize) -> Vec<u8> {
        let length = u16::try_from(40 + payload).expect("short");
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, TCP, 0, 0, 10, 77, 60, 9, 10, 77, 60, 7]);
        packet.resize(32, 1);
        packet.extend([0x50, 0x10]);
        packet.resize(40, 0);
        packet.resize(40 + payload, 0xab);
        let pseudo = pseudo_header(&packet[12..20], TCP, packet.len() - 20).fold();
        packet[36..38].copy_from_slice(&pseudo);
        packet
    }

    #[test]
    fn what_was_joined_is_cut_to_the_size_of_the_device() {
        let mut packet = segment(5000);
        let header = describe(&mut packet, 1480).expect("TCP");
        let length = packet.len();
        packet.resize(length + SPARE, 0);
        let mut lengths = Vec::new();
        split(&header, &mut packet, length, 0, |piece| {
            let sum = pseudo_header(&piece[12..20], TCP, piece.len() - 20);
            assert!(sum.add(&piece[20..]).is_intact());
            lengths.push(piece.len());
        })
        .expect("sound");
        assert_eq!(lengths, [1480, 1480, 1480, 720]);
    }

    proptest! {
        #[test]
        fn nothing_panics(mut bytes in prop::collection::vec(any::<u8>(), 20..120), mtu in 0..2000_usize) {
            let _ = describe(&mut bytes, mtu);
        }
    }
}
