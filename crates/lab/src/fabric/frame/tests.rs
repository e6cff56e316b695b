use super::super::replies::{IcmpError, icmp_error};
use super::super::segment::{fragment, segment};
use super::*;

const A: Ipv4Addr = Ipv4Addr::new(10, 77, 60, 4);
const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(20, 46, 113, 237);

/// A packet with both checksums complete.
fn packet(number: u8, payload_len: usize) -> Frame {
    let transport = match number {
        protocol::TCP => {
            let mut tcp = vec![0x9c, 0x40, 0, 22, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 0x19, 1, 0];
            tcp.extend([0; 4]);
            tcp
        }
        _ => {
            let length = (8 + payload_len) as u16;
            [
                &[0x9c, 0x40, 0xca, 0x6c],
                &length.to_be_bytes()[..],
                &[0, 0],
            ]
            .concat()
        }
    };
    let total = (20 + transport.len() + payload_len) as u16;
    let mut ip = vec![0x45, 0];
    ip.extend(total.to_be_bytes());
    ip.extend([0, 9, 0x40, 0, 64, number, 0, 0]);
    ip.extend(A.octets());
    ip.extend(B.octets());
    ip.extend(transport);
    ip.extend((0..payload_len).map(|i| i as u8));
    let mut frame = Frame::around(0x0800, &ip);
    frame.bytes[0] = NEEDS_CHECKSUM;
    segment(&frame).remove(0)
}

/// The same as the kernel would hand it over: one large frame to be cut into `size`.
fn large(number: u8, payload_len: usize, kind: u8, size: u16) -> Frame {
    let mut frame = packet(number, payload_len);
    frame.bytes[0] = NEEDS_CHECKSUM;
    frame.bytes[1] = kind;
    frame.bytes[4..6].copy_from_slice(&size.to_ne_bytes());
    let field = frame.transport_checksum().expect("transport");
    let length = (frame.total_len() - 20) as u32;
    let pseudo = sum_words(&frame.packet()[12..20]) + u32::from(number) + length;
    frame.bytes[field..field + 2].copy_from_slice(&fold(pseudo).to_be_bytes());
    frame
}

fn assert_sound(frame: &Frame) {
    assert_eq!(frame.kind(), Kind::Ipv4);
    let packet = frame.packet();
    assert_eq!(fold(sum_words(&packet[..20])), 0xffff, "IP checksum");
    if !frame.is_later_fragment() && packet[6] & 0x20 == 0 && frame.protocol() != protocol::ICMP {
        let length = (packet.len() - 20) as u32;
        let pseudo = sum_words(&packet[12..20]) + u32::from(frame.protocol()) + length;
        let sum = fold(u32::from(fold(sum_words(&packet[20..]))) + pseudo);
        assert_eq!(sum, 0xffff, "transport checksum");
    }
}

#[test]
fn rewriting_keeps_checksums_right() {
    for number in [protocol::UDP, protocol::TCP] {
        let mut frame = packet(number, 333);
        assert_sound(&frame);
        frame.set_source(PUBLIC);
        frame.set_destination(A);
        frame.decrement_ttl();
        assert_sound(&frame);
        assert_eq!(
            (frame.source(), frame.destination(), frame.ttl()),
            (PUBLIC, A, 63)
        );
    }
}

#[test]
fn a_partial_checksum_survives_rewriting() {
    for (number, kind) in [(protocol::UDP, 5), (protocol::TCP, 1)] {
        let mut frame = large(number, 4000, kind, 1000);
        frame.set_source(PUBLIC);
        let field = frame.transport_checksum().expect("transport");
        let length = (frame.total_len() - 20) as u32;
        let pseudo = sum_words(&frame.packet()[12..20]) + u32::from(number) + length;
        assert_eq!(frame.be16(field), fold(pseudo));
    }
}

#[test]
fn large_frames_are_cut_as_a_device_would() {
    let tcp = large(protocol::TCP, 2500, 1, 1000);
    assert_eq!((tcp.packets(), tcp.largest_packet()), (3, 1040));
    let parts = segment(&tcp);
    let sequences: Vec<u8> = parts.iter().map(|p| p.packet()[26]).collect();
    assert_eq!(sequences, [0, 3, 7], "7, 1007, 2007");
    let flags: Vec<u8> = parts.iter().map(|p| p.packet()[33]).collect();
    assert_eq!(flags, [0x10, 0x10, 0x19], "FIN and PSH on the last");
    let udp = segment(&large(protocol::UDP, 2500, 5, 1000));
    let lengths: Vec<usize> = udp.iter().map(Frame::total_len).collect();
    assert_eq!(lengths, [1028, 1028, 528]);
    parts.iter().chain(&udp).for_each(assert_sound);
}

#[test]
fn fragments_cover_the_packet() {
    let whole = packet(protocol::UDP, 3000);
    let parts = fragment(&whole, 1500);
    let mut payload = Vec::new();
    for part in &parts {
        assert_sound(part);
        assert!(part.total_len() <= 1500);
        let offset = usize::from(part.be16(NETWORK + 6) & 0x1fff) * 8;
        assert_eq!(offset, payload.len());
        payload.extend_from_slice(&part.packet()[20..]);
    }
    assert_eq!(payload, whole.packet()[20..]);
    let more: Vec<bool> = parts.iter().map(|p| p.packet()[6] & 0x20 != 0).collect();
    assert_eq!(more, [true, true, false]);
    assert_eq!(parts[1].header().flow.source_port, 0);
}

#[test]
fn an_error_through_translation_quotes_what_its_receiver_sent() {
    let mut outside = packet(protocol::UDP, 100);
    let sent = outside.header().flow;
    outside.set_source(PUBLIC);
    let router = Ipv4Addr::new(203, 0, 113, 1);
    let error = IcmpError::FragmentationNeeded(1300);
    let mut error = icmp_error(&outside, router, error).expect("error");
    assert_eq!(error.destination(), PUBLIC);
    error.set_destination(A);
    assert_sound(&error);
    assert_eq!(error.header().quoted, Some(sent));
    assert_eq!(
        fold(sum_words(&error.packet()[20..])),
        0xffff,
        "ICMP checksum"
    );
}

#[test]
fn no_error_about_an_error() {
    let frame = packet(protocol::UDP, 100);
    let router = Ipv4Addr::new(203, 0, 113, 1);
    let error = icmp_error(&frame, router, IcmpError::TtlExceeded).expect("error");
    assert!(icmp_error(&error, router, IcmpError::TtlExceeded).is_none());
}

#[test]
fn nonsense_is_malformed() {
    assert_eq!(Frame::new(vec![0; 5]).kind(), Kind::Malformed);
    let mut short = packet(protocol::UDP, 10);
    short.len -= 1;
    assert_eq!(short.kind(), Kind::Malformed);
}
