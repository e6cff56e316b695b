//! Checksums that nobody has completed yet.
//!
//! Between virtual machines and namespaces of one host the kernel leaves TCP and UDP checksums to hardware that is not
//! there: the field holds the sum of the pseudo header alone. The kernel's own tunnels know that of a packet; a socket
//! does not say it, so it is recognised by its value.

use crate::tunnel::checksum::pseudo_header;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Completes the checksum of an IPv4 packet if it is a partial one.
pub(super) fn complete(packet: &mut [u8]) {
    let header = usize::from(packet[0] & 0x0f) * 4;
    let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
    let protocol = packet[9];
    let field = match protocol {
        TCP => header + 16,
        UDP => header + 6,
        _ => return,
    };
    if fragment || packet.len() < field + 2 {
        return;
    }
    let pseudo = pseudo_header(&packet[12..20], protocol, packet.len() - header);
    let present = [packet[field], packet[field + 1]];
    // A complete checksum may happen to have the same value.
    if present != pseudo.fold() || pseudo.add(&packet[header..]).is_intact() {
        return;
    }
    packet[field..field + 2].fill(0);
    let complete = match pseudo.add(&packet[header..]).finish() {
        [0, 0] => [0xff, 0xff],
        complete => complete,
    };
    packet[field..field + 2].copy_from_slice(&complete);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tunnel::checksum::Sum;

    fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header = if protocol == TCP { 20 } else { 8 };
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        packet.extend([10, 77, 60, 9, 10, 77, 60, 7]);
        packet.resize(20 + header, 3);
        packet.extend(payload);
        packet
    }

    fn field(protocol: u8) -> usize {
        20 + if protocol == TCP { 16 } else { 6 }
    }

    fn sum(packet: &[u8]) -> Sum {
        pseudo_header(&packet[12..20], packet[9], packet.len() - 20).add(&packet[20..])
    }

    proptest! {
        #[test]
        fn a_partial_checksum_is_completed_and_others_are_left(
            payload in prop::collection::vec(any::<u8>(), 0..100),
            protocol in prop::sample::select(vec![TCP, UDP]),
            other in any::<[u8; 2]>(),
        ) {
            let at = field(protocol);
            let mut partial = packet(protocol, &payload);
            let pseudo = pseudo_header(&partial[12..20], protocol, partial.len() - 20).fold();
            partial[at..at + 2].copy_from_slice(&pseudo);
            complete(&mut partial);
            prop_assert!(sum(&partial).is_intact());
            let whole = partial.clone();
            complete(&mut partial);
            prop_assert_eq!(&partial, &whole);
            if other != pseudo {
                partial[at..at + 2].copy_from_slice(&other);
                let wrong = partial.clone();
                complete(&mut partial);
                prop_assert_eq!(partial, wrong, "what is broken on the way stays broken");
            }
        }

        #[test]
        fn nothing_panics(mut bytes in prop::collection::vec(any::<u8>(), 20..80)) {
            complete(&mut bytes);
        }
    }
}
