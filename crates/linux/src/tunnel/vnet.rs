//! The header that the kernel puts before every packet of a TUN device with `IFF_VNET_HDR`
//! (virtio specification 1.2, section 5.1.6).

/// Bytes of the header.
pub(crate) const LEN: usize = 10;

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// A flag in the type: the first segment alone may carry CWR.
const GSO_ECN: u8 = 0x80;

/// How a large packet is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gso {
    /// It is not.
    None,
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// UDP, each segment a datagram of its own.
    Udp,
}

/// The header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) gso: Gso,
    /// Payload bytes of every segment but the last.
    pub(crate) gso_size: u16,
    /// Bytes before the payload; a hint for the kernel.
    pub(crate) header_len: u16,
    /// Where the transport header starts and where in it the checksum stands, if the checksum so far only
    /// covers the pseudo header.
    pub(crate) partial_checksum: Option<(u16, u16)>,
}

impl Header {
    /// Of a complete packet.
    pub(crate) const PLAIN: Self = Self {
        gso: Gso::None,
        gso_size: 0,
        header_len: 0,
        partial_checksum: None,
    };

    /// Reads a header; absent for a type that was not asked for.
    pub(crate) fn parse(bytes: &[u8; LEN]) -> Option<Self> {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let gso = match bytes[1] & !GSO_ECN {
            GSO_NONE => Gso::None,
            GSO_TCPV4 | GSO_TCPV6 => Gso::Tcp,
            GSO_UDP_L4 => Gso::Udp,
            _ => return None,
        };
        let partial = bytes[0] & NEEDS_CSUM != 0;
        Some(Self {
            gso,
            header_len: word(2),
            gso_size: word(4),
            partial_checksum: partial.then(|| (word(6), word(8))),
        })
    }

    /// Writes a header before a packet of IP `version`.
    pub(crate) fn emit(&self, version: u8) -> [u8; LEN] {
        let kind = match (self.gso, version) {
            (Gso::None, _) => GSO_NONE,
            (Gso::Tcp, 4) => GSO_TCPV4,
            (Gso::Tcp, _) => GSO_TCPV6,
            (Gso::Udp, _) => GSO_UDP_L4,
        };
        let (start, offset) = self.partial_checksum.unwrap_or_default();
        let mut bytes = [0; LEN];
        bytes[0] = if self.partial_checksum.is_some() {
            NEEDS_CSUM
        } else {
            0
        };
        bytes[1] = kind;
        for (at, word) in [self.header_len, self.gso_size, start, offset]
            .into_iter()
            .enumerate()
        {
            bytes[2 + 2 * at..4 + 2 * at].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}
