//! The ICMP error for a packet that the path does not carry (RFC 1191).

use crate::tunnel::checksum::Sum;

const ICMP: u8 = 1;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const DONT_FRAGMENT: u8 = 0x40;
/// How much of the packet an error quotes, so that the error itself fits everywhere (RFC 1812, section 4.3.2.3).
const QUOTED: usize = 576 - 28;

/// Whether the packet does not forbid fragments.
pub(super) fn may_fragment(packet: &[u8]) -> bool {
    packet
        .get(6)
        .is_some_and(|flags| flags & DONT_FRAGMENT == 0)
}

/// "Fragmentation needed" for its sender. It comes in by the tunnel, so it speaks for what is behind it: the
/// destination of the packet, an address that the sender's network lets through because it sent there. `None` where
/// RFC 1122 (section 3.2.2) forbids an error.
pub(super) fn error(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let (source, destination) = (packet.get(12..16)?, packet.get(16..20)?);
    let later_fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff != 0;
    let about_icmp =
        packet[9] == ICMP && !matches!(packet.get(header), Some(&(ECHO_REPLY | ECHO_REQUEST)));
    // Unspecified, multicast, broadcast.
    let unusable = source[0] == 0 || source[0] >= 224 || destination[0] >= 224;
    if later_fragment || about_icmp || unusable {
        return None;
    }
    let quoted = &packet[..packet.len().min(QUOTED)];
    let total = u16::try_from(28 + quoted.len()).ok()?;
    let mut error = vec![0x45, 0xc0];
    error.extend(total.to_be_bytes());
    error.extend([0, 0, 0, 0, 64, ICMP, 0, 0]);
    error.extend(destination);
    error.extend(source);
    let checksum = Sum::default().add(&error).finish();
    error[10..12].copy_from_slice(&checksum);
    error.extend([3, 4, 0, 0, 0, 0]);
    error.extend(mtu.to_be_bytes());
    error.extend(quoted);
    let checksum = Sum::default().add(&error[20..]).finish();
    error[22..24].copy_from_slice(&checksum);
    Some(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(protocol: u8, first: u8) -> Vec<u8> {
        let mut packet = vec![
            0x45,
            0,
            0x05,
            0xdc,
            0,
            0,
            DONT_FRAGMENT,
            0,
            64,
            protocol,
            0,
            0,
        ];
        packet.extend([10, 77, 60, 9, 10, 77, 60, 7, first]);
        packet.resize(1500, 0);
        packet
    }

    #[test]
    fn the_sender_hears_the_mtu_from_its_destination() {
        let error = error(&packet(17, 0), 1280).expect("allowed");
        assert_eq!(error.len(), 576);
        assert_eq!(error[12..20], [10, 77, 60, 7, 10, 77, 60, 9]);
        assert_eq!(error[20..22], [3, 4]);
        assert_eq!(error[26..28], 1280_u16.to_be_bytes());
        assert!(Sum::default().add(&error[..20]).is_intact());
        assert!(Sum::default().add(&error[20..]).is_intact());
    }

    #[test]
    fn errors_about_errors_and_fragments_are_not_sent() {
        assert!(error(&packet(ICMP, ECHO_REQUEST), 1280).is_some());
        assert!(error(&packet(ICMP, 3), 1280).is_none());
        let mut fragment = packet(17, 0);
        fragment[7] = 1;
        assert!(error(&fragment, 1280).is_none());
        let mut multicast = packet(17, 0);
        multicast[16] = 224;
        assert!(error(&multicast, 1280).is_none());
    }

    proptest! {
        #[test]
        fn making_one_never_panics(bytes in prop::collection::vec(any::<u8>(), 20..700), mtu in any::<u16>()) {
            let _ = (may_fragment(&bytes), error(&bytes, mtu));
        }
    }
}
