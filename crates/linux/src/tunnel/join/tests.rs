//! Joining and cutting undo each other.

use proptest::prelude::*;

use super::super::checksum::{Sum, pseudo_header};
use super::super::split::{SPARE, split};
use super::super::vnet;
use super::*;

/// A packet to be made.
#[derive(Debug, Clone)]
struct Spec {
    v6: bool,
    protocol: u8,
    port: u8,
    /// Instead of the next sequence number.
    gap: bool,
    flags: u8,
    payload: usize,
    corrupt: bool,
    options: bool,
}

fn spec() -> impl Strategy<Value = Spec> {
    let payload = prop_oneof![4 => Just(1_000_usize), 1 => 0..1_400_usize];
    let flags = prop_oneof![8 => Just(0x10_u8), 1 => Just(0x18_u8), 1 => any::<u8>()];
    (
        any::<bool>(),
        prop_oneof![4 => Just(TCP), 3 => Just(UDP), 1 => Just(1_u8)],
        0..2_u8,
        prop::bool::weighted(0.1),
        flags,
        payload,
        prop::bool::weighted(0.05),
        any::<bool>(),
    )
        .prop_map(
            |(v6, protocol, port, gap, flags, payload, corrupt, options)| Spec {
                v6,
                protocol,
                port,
                gap,
                flags,
                payload,
                corrupt,
                options,
            },
        )
}

/// Makes packets with sequence numbers that go on where the flow was.
#[derive(Default)]
struct Maker {
    sequences: std::collections::BTreeMap<(bool, u8), u32>,
    id: u16,
}

impl Maker {
    fn make(&mut self, spec: &Spec) -> Vec<u8> {
        let transport = self.transport(spec);
        let mut packet = if spec.v6 {
            ipv6(spec.protocol, transport.len())
        } else {
            self.id = self.id.wrapping_add(1);
            ipv4(spec.protocol, transport.len(), self.id)
        };
        let (start, addresses) = if spec.v6 { (40, 8..40) } else { (20, 12..20) };
        let addresses = packet[addresses].to_vec();
        packet.extend(transport);
        let field = start + if spec.protocol == TCP { 16 } else { 6 };
        if spec.protocol != 1 {
            let sum = pseudo_header(&addresses, spec.protocol, packet.len() - start);
            let checksum = sum.add(&packet[start..]).finish();
            packet[field..field + 2].copy_from_slice(&checksum);
        }
        if spec.corrupt {
            *packet.last_mut().expect("not empty") ^= 1;
        }
        packet
    }

    fn transport(&mut self, spec: &Spec) -> Vec<u8> {
        let payload = (0..spec.payload).map(|i| (i * 7) as u8);
        let mut bytes = vec![0, 80 + spec.port, 0, 90];
        match spec.protocol {
            TCP => {
                let sequence = self
                    .sequences
                    .entry((spec.v6, spec.port))
                    .or_insert(0xffff_f000);
                if spec.gap {
                    *sequence = sequence.wrapping_add(77);
                }
                bytes.extend(sequence.to_be_bytes());
                *sequence = sequence.wrapping_add(spec.payload as u32);
                let options: &[u8] = if spec.options {
                    &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]
                } else {
                    &[]
                };
                let offset = ((20 + options.len()) as u8 / 4) << 4;
                bytes.extend([0, 0, 0, 9, offset, spec.flags, 1, 0, 0, 0, 0, 0]);
                bytes.extend(options);
            }
            _ => {
                bytes.extend(((8 + spec.payload) as u16).to_be_bytes());
                bytes.extend([0, 0]);
            }
        }
        bytes.extend(payload);
        bytes
    }
}

fn ipv4(protocol: u8, transport: usize, id: u16) -> Vec<u8> {
    let mut ip = vec![0x45, 0];
    ip.extend(((20 + transport) as u16).to_be_bytes());
    ip.extend(id.to_be_bytes());
    // The flag that makes identifiers meaningless is off, so that they have to come back right.
    ip.extend([0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let checksum = Sum::default().add(&ip).finish();
    ip[10..12].copy_from_slice(&checksum);
    ip
}

fn ipv6(protocol: u8, transport: usize) -> Vec<u8> {
    let mut ip = vec![0x60, 0, 0, 0];
    ip.extend((transport as u16).to_be_bytes());
    ip.extend([protocol, 64]);
    ip.extend([0xfd; 16]);
    ip.extend([0xfc; 16]);
    ip
}

/// Joins packets and returns what the kernel would be given.
fn join(udp: bool, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut joiner = Joiner::new(udp);
    for packet in packets {
        assert!(!joiner.is_full(packet.len()));
        joiner.space()[..packet.len()].copy_from_slice(packet);
        joiner.commit(packet.len());
    }
    let mut written = Vec::new();
    joiner
        .drain(|_, parts| {
            written.push(parts.iter().flat_map(|part| part.iter().copied()).collect());
            Ok(())
        })
        .expect("drain");
    written
}

/// Cuts what was written.
fn cut(written: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for bytes in written {
        let (header, packet) = bytes.split_at(vnet::LEN);
        let header = Header::parse(header.try_into().expect("length")).expect("header");
        let mut buffer = [packet, &[0; SPARE]].concat();
        split(&header, &mut buffer, packet.len(), 0, |segment| {
            packets.push(segment.to_vec())
        })
        .expect("split");
    }
    packets
}

/// The packets of each flow in order; all that is no TCP or UDP is one flow.
fn by_flow(packets: &[Vec<u8>]) -> std::collections::BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut flows = std::collections::BTreeMap::<_, Vec<_>>::new();
    for packet in packets {
        let (start, protocol) = if packet[0] >> 4 == 4 {
            (20, packet[9])
        } else {
            (40, packet[6])
        };
        let mut key = vec![packet[0] >> 4, protocol];
        if protocol != 1 {
            key.extend(&packet[start..start + 4]);
        }
        flows.entry(key).or_default().push(packet.clone());
    }
    flows
}

proptest! {
    #[test]
    fn cutting_gives_back_what_was_joined(
        udp in any::<bool>(),
        specs in prop::collection::vec(spec(), 1..100),
    ) {
        let mut maker = Maker::default();
        let packets: Vec<_> = specs.iter().map(|spec| maker.make(spec)).collect();
        let written = join(udp, &packets);
        prop_assert_eq!(by_flow(&cut(&written)), by_flow(&packets));
    }

    #[test]
    fn no_packet_makes_it_panic(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..100), 1..20),
        start in prop::sample::select(vec![0x45_u8, 0x60, 0x46, 0]),
    ) {
        let mut packets = packets;
        for packet in &mut packets {
            packet[0] = start;
        }
        let written = join(true, &packets);
        prop_assert_eq!(written.len(), packets.len());
    }
}

#[test]
fn a_bulk_transfer_becomes_one_packet() {
    for (protocol, v6) in [(TCP, false), (TCP, true), (UDP, false), (UDP, true)] {
        let spec = Spec {
            v6,
            protocol,
            port: 0,
            gap: false,
            flags: 0x10,
            payload: 1_380,
            corrupt: false,
            options: true,
        };
        let mut maker = Maker::default();
        let mut packets: Vec<_> = (0..40).map(|_| maker.make(&spec)).collect();
        packets.push(maker.make(&Spec {
            payload: 100,
            flags: 0x18,
            ..spec
        }));
        let written = join(true, &packets);
        assert_eq!(written.len(), 1, "protocol {protocol}, IPv6 {v6}");
        assert_eq!(cut(&written), packets);
    }
}

#[test]
fn damage_is_passed_on_not_hidden() {
    let spec = Spec {
        v6: false,
        protocol: TCP,
        port: 0,
        gap: false,
        flags: 0x10,
        payload: 1_000,
        corrupt: false,
        options: false,
    };
    let mut maker = Maker::default();
    let good = maker.make(&spec);
    let bad = maker.make(&Spec {
        corrupt: true,
        ..spec
    });
    let written = join(true, &[good, bad.clone()]);
    assert_eq!(written.len(), 2);
    assert_eq!(written[1][vnet::LEN..], bad);
}
