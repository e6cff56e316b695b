//! The Internet checksum (RFC 1071).

/// A sum that is not folded yet, in the byte order of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds bytes that start at an even offset of what is summed.
    pub(crate) fn add(mut self, bytes: &[u8]) -> Self {
        // Independent accumulators of 32-bit words let the compiler use vector registers; 64 bits hold
        // 2^32 such words, far more than any packet.
        let mut lanes = [0_u64; 8];
        let mut chunks = bytes.chunks_exact(32);
        for chunk in &mut chunks {
            for (lane, word) in lanes.iter_mut().zip(chunk.chunks_exact(4)) {
                *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
            }
        }
        self.0 += lanes.iter().sum::<u64>();
        let mut words = chunks.remainder().chunks_exact(2);
        for word in &mut words {
            self.0 += u64::from(u16::from_ne_bytes([word[0], word[1]]));
        }
        if let [last] = words.remainder() {
            self.0 += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        self
    }

    /// Adds a number as it stands on the wire.
    pub(crate) fn add_u16(self, word: u16) -> Self {
        Self(self.0 + u64::from(word.to_be()))
    }

    /// The folded sum as bytes on the wire, not complemented.
    pub(crate) fn fold(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (sum as u16).to_ne_bytes()
    }

    /// The checksum as bytes on the wire.
    pub(crate) fn finish(self) -> [u8; 2] {
        let [a, b] = self.fold();
        [!a, !b]
    }

    /// Whether what was summed, its checksum field included, is intact.
    pub(crate) fn is_intact(self) -> bool {
        self.fold() == [0xff, 0xff]
    }
}

/// The pseudo header of TCP and UDP (RFC 9293, section 3.1; RFC 8200, section 8.1). `addresses` are source
/// and destination as they stand in the IP header.
pub(crate) fn pseudo_header(addresses: &[u8], protocol: u8, length: usize) -> Sum {
    Sum::default()
        .add(addresses)
        .add_u16(u16::from(protocol))
        .add_u16((length >> 16) as u16)
        .add_u16(length as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As RFC 1071 says it.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0_u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn as_the_rfc_says(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0..150_usize) {
            let whole = Sum::default().add(&bytes).finish();
            prop_assert_eq!(u16::from_be_bytes(whole), reference(&bytes));
            let (head, tail) = bytes.split_at((2 * cut).min(bytes.len()));
            prop_assert_eq!(Sum::default().add(head).add(tail).finish(), whole);
        }
    }
}
