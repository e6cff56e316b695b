//! Bytes of control packets.

use super::*;

/// As BIRD 2.0.12 sent it: up, 300 ms, three times.
const RECORDED: [u8; LENGTH] = [
    0x20, 0xc0, 0x03, 0x18, 0x3b, 0x1a, 0x5c, 0x77, 0x00, 0x00, 0x00, 0x2a, 0x00, 0x04, 0x93, 0xe0,
    0x00, 0x04, 0x93, 0xe0, 0x00, 0x00, 0x00, 0x00,
];

#[test]
fn a_packet_is_what_it_says() {
    let packet = Packet::parse(&RECORDED).expect("a packet");
    assert_eq!(packet.state, State::Up);
    assert_eq!(packet.detect_multiplier, 3);
    assert_eq!(packet.my_discriminator, 0x3b1a_5c77);
    assert_eq!(packet.your_discriminator, 42);
    assert_eq!(packet.desired_min_tx, ms(300));
    assert_eq!(packet.encode(), RECORDED);
}

#[test]
fn each_reason_to_discard_is_found() {
    let cases: [(&[(usize, u8)], Discard); 8] = [
        (&[(0, 0x40)], Discard::Version),
        (&[(3, 23)], Discard::Length),
        (&[(3, 25)], Discard::Truncated),
        (&[(2, 0)], Discard::Multiplier),
        (&[(1, 0xc1)], Discard::Multipoint),
        (&[(4, 0), (5, 0), (6, 0), (7, 0)], Discard::NoDiscriminator),
        (&[(11, 0)], Discard::NotAddressed),
        // The flag alone makes the packet longer.
        (&[(1, 0xc4)], Discard::Length),
    ];
    for (changes, reason) in cases {
        let mut bytes = RECORDED;
        for (at, value) in changes {
            bytes[*at] = *value;
        }
        assert_eq!(Packet::parse(&bytes), Err(reason));
    }
    assert_eq!(Packet::parse(&RECORDED[..23]), Err(Discard::Truncated));
    let mut authenticated = RECORDED.to_vec();
    authenticated.extend([1, 3, 7]);
    authenticated[1] |= 4;
    authenticated[3] = 27;
    assert_eq!(Packet::parse(&authenticated), Err(Discard::Authentication));
}
