//! What a plain tunnel puts before a packet, and what of a received one is the packet.

use routerd_core::encapsulation::Encapsulation;

/// GRE over IPv4 carries EtherTypes.
const ETHERTYPE_IPV4: u16 = 0x0800;
/// Key present (RFC 2890).
const GRE_KEY: u16 = 0x2000;
/// Checksum present (RFC 2784): four more bytes before the key.
const GRE_CHECKSUM: u16 = 0x8000;
/// Sequence number present (RFC 2890): four more bytes behind the key.
const GRE_SEQUENCE: u16 = 0x1000;
/// The flags that are understood; with any other the header cannot be read.
const GRE_KNOWN: u16 = GRE_KEY | GRE_CHECKSUM | GRE_SEQUENCE;
/// GUE variant 0, a data message, no optional fields.
const GUE_PLAIN: u8 = 0;
/// The longest header.
const MAX: usize = 8;

/// The header before every packet, without that of IP and UDP.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    encapsulation: Encapsulation,
    bytes: [u8; MAX],
    length: usize,
}

impl Header {
    /// For an encapsulation.
    pub(super) fn new(encapsulation: Encapsulation) -> Self {
        let mut bytes = [0; MAX];
        let length = match encapsulation {
            Encapsulation::Ipip | Encapsulation::Fou(_) => 0,
            Encapsulation::Gre { key } => {
                let flags = if key.is_some() { GRE_KEY } else { 0 };
                bytes[..2].copy_from_slice(&flags.to_be_bytes());
                bytes[2..4].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
                bytes[4..].copy_from_slice(&key.unwrap_or(0).to_be_bytes());
                if key.is_some() { 8 } else { 4 }
            }
            Encapsulation::Gue(_) => {
                bytes[1] = libc::IPPROTO_IPIP as u8;
                4
            }
        };
        Self {
            encapsulation,
            bytes,
            length,
        }
    }

    /// The bytes that go before a packet.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The IPv4 packet in what was received behind the outer IP or UDP header; absent if it is none, or not for
    /// this tunnel.
    pub(super) fn open<'p>(&self, payload: &'p [u8]) -> Option<&'p [u8]> {
        let inner = match self.encapsulation {
            Encapsulation::Ipip | Encapsulation::Fou(_) => payload,
            Encapsulation::Gre { key } => open_gre(key, payload)?,
            Encapsulation::Gue(_) => open_gue(payload)?,
        };
        // What follows the packet is padding of some link on the way.
        let length = usize::from(u16::from_be_bytes([*inner.get(2)?, *inner.get(3)?]));
        let header = usize::from(inner[0] & 0x0f) * 4;
        let sound = inner[0] >> 4 == 4 && header >= 20 && length >= header;
        inner.get(..length).filter(|_| sound)
    }
}

fn open_gre(key: Option<u32>, payload: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| {
        Some(u16::from_be_bytes([
            *payload.get(at)?,
            *payload.get(at + 1)?,
        ]))
    };
    let flags = word(0)?;
    if flags & !GRE_KNOWN != 0 || word(2)? != ETHERTYPE_IPV4 {
        return None;
    }
    let mut at = 4;
    if flags & GRE_CHECKSUM != 0 {
        at += 4;
    }
    let mut found = None;
    if flags & GRE_KEY != 0 {
        found = Some(u32::from_be_bytes(*payload.get(at..)?.first_chunk()?));
        at += 4;
    }
    if flags & GRE_SEQUENCE != 0 {
        at += 4;
    }
    payload.get(at..).filter(|_| found == key)
}

fn open_gue(payload: &[u8]) -> Option<&[u8]> {
    let head: &[u8; 4] = payload.first_chunk()?;
    // The low five bits count words of optional fields, which may be passed over; control messages may not.
    let words = usize::from(head[0] & 0x1f);
    let plain = head[0] & 0xe0 == GUE_PLAIN && head[1] == libc::IPPROTO_IPIP as u8;
    payload.get(4 + words * 4..).filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use routerd_core::encapsulation::UdpPorts;

    use super::*;

    const PORTS: UdpPorts = UdpPorts {
        source: 5555,
        destination: 5555,
    };
    const ALL: [Encapsulation; 5] = [
        Encapsulation::Ipip,
        Encapsulation::Gre { key: None },
        Encapsulation::Gre {
            key: Some(0xdead_beef),
        },
        Encapsulation::Fou(PORTS),
        Encapsulation::Gue(PORTS),
    ];

    fn packet(payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(20 + payload.len()).expect("short");
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0; 16]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn headers_are_as_long_as_the_mtu_allows_for() {
        for encapsulation in ALL {
            let outer = if encapsulation.ports().is_some() {
                28
            } else {
                20
            };
            let length = Header::new(encapsulation).bytes().len();
            assert_eq!(outer + length, encapsulation.overhead() as usize);
        }
    }

    #[test]
    fn a_key_that_is_missing_or_another_one_is_refused() {
        let packet = packet(b"x");
        let keys = [None, Some(0), Some(7)];
        for sent in keys {
            for expected in keys {
                let sender = Header::new(Encapsulation::Gre { key: sent });
                let receiver = Header::new(Encapsulation::Gre { key: expected });
                let wire = [sender.bytes(), &packet].concat();
                assert_eq!(receiver.open(&wire).is_some(), sent == expected);
            }
        }
    }

    #[test]
    fn optional_fields_of_gre_and_gue_are_passed_over() {
        let packet = packet(b"payload");
        let gre = Header::new(Encapsulation::Gre { key: Some(7) });
        let fields = [0xb0, 0, 8, 0, 1, 2, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1];
        assert_eq!(
            gre.open(&[&fields[..], &packet].concat()),
            Some(&packet[..])
        );
        let gue = Header::new(Encapsulation::Gue(PORTS));
        let fields = [0x01, 4, 0, 0, 9, 9, 9, 9];
        assert_eq!(
            gue.open(&[&fields[..], &packet].concat()),
            Some(&packet[..])
        );
        let control = [0x20, 4, 0, 0];
        assert_eq!(gue.open(&[&control[..], &packet].concat()), None);
    }

    proptest! {
        #[test]
        fn what_is_sent_is_received_without_padding(payload in prop::collection::vec(any::<u8>(), 0..200), pad in 0..30_usize) {
            let packet = packet(&payload);
            for encapsulation in ALL {
                let header = Header::new(encapsulation);
                let wire = [header.bytes(), &packet, &vec![0; pad]].concat();
                prop_assert_eq!(header.open(&wire), Some(&packet[..]));
            }
        }

        #[test]
        fn opening_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            for encapsulation in ALL {
                let _ = Header::new(encapsulation).open(&bytes);
            }
        }
    }
}
