use proptest::prelude::*;

use super::*;

fn header() -> impl Strategy<Value = Header> {
    (
        prop::sample::select(vec![Gso::None, Gso::Tcp, Gso::Udp]),
        any::<u16>(),
        prop_oneof![Just(20_u16), Just(40_u16), any::<u16>()],
        prop_oneof![Just(16_u16), Just(6_u16), any::<u16>()],
        any::<bool>(),
    )
        .prop_map(|(gso, gso_size, start, offset, partial)| Header {
            gso,
            gso_size,
            header_len: 0,
            partial_checksum: partial.then_some((start, offset)),
        })
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(
        header in header(),
        first in prop::sample::select(vec![0x45_u8, 0x60, 0x4f, 0x12]),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        mtu in 0..2_000_usize,
    ) {
        let mut buffer = bytes;
        if let Some(byte) = buffer.first_mut() {
            *byte = first;
        }
        let length = buffer.len();
        buffer.extend([0; SPARE]);
        let _ = split(&header, &mut buffer, length, mtu, |_| {});
    }

    #[test]
    fn padding_reaches_a_multiple_of_16_but_not_beyond_the_mtu(
        length in 1..200_usize,
        mtu in 1..200_usize,
    ) {
        let mut buffer = vec![0xaa; length + SPARE];
        let mut seen = Vec::new();
        split(&Header::PLAIN, &mut buffer, length, mtu, |packet| seen = packet.to_vec())
            .expect("plain");
        prop_assert!(seen[..length].iter().all(|byte| *byte == 0xaa));
        prop_assert!(seen[length..].iter().all(|byte| *byte == 0));
        prop_assert_eq!(seen.len(), length.max(length.next_multiple_of(16).min(mtu)));
        prop_assert!(buffer.iter().all(|byte| *byte == 0xaa), "what follows stays");
    }
}
