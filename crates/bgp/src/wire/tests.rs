use std::net::IpAddr;

use proptest::prelude::*;

use super::attributes::{self, Context};
use super::encode;
use super::nlri::{Address, Net, Nlri};
use super::update::Sections;
use super::{AddPathModes, Capabilities, Kind, LongLivedFamily, Open, Restart, RestartFamily};
use crate::attr::{Origin, PathAttributes, Segment, UnknownAttribute};
use crate::types::{Asn, ExtendedCommunity, Family, LargeCommunity, StandardCommunity};

const CONTEXT: Context = Context {
    four_octet: true,
    internal: true,
    nlri: true,
};

fn segment() -> impl Strategy<Value = Segment> {
    let numbers = prop::collection::vec(1u32.., 1..255);
    (any::<bool>(), numbers).prop_map(|(set, numbers)| {
        if set {
            Segment::Set(numbers)
        } else {
            Segment::Sequence(numbers)
        }
    })
}

fn unknown() -> impl Strategy<Value = Vec<UnknownAttribute>> {
    let value = prop::collection::vec(any::<u8>(), 0..300);
    prop::collection::btree_map(100u8..110, value, 0..3).prop_map(|all| {
        let attribute = |(code, value)| UnknownAttribute {
            // Optional, transitive, partial: as whoever passes it on marks it.
            flags: 0xe0,
            code,
            value,
        };
        all.into_iter().map(attribute).collect()
    })
}

prop_compose! {
    fn path()(
        origin in prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)],
        as_path in prop::collection::vec(segment(), 0..3),
        med in prop::option::of(any::<u32>()),
        local_preference in any::<u32>(),
        atomic_aggregate in any::<bool>(),
        aggregator in prop::option::of((1u32.., any::<u32>())),
        communities in prop::collection::vec(any::<u32>(), 0..80),
        extended in prop::collection::vec(any::<[u8; 8]>(), 0..4),
        large in prop::collection::vec(any::<[u32; 3]>(), 0..30),
        originator in prop::option::of(1u32..),
        clusters in prop::collection::vec(any::<u32>(), 0..4),
        unknown in unknown(),
    ) -> PathAttributes {
        PathAttributes {
            origin,
            as_path,
            med,
            local_preference: Some(local_preference),
            atomic_aggregate,
            aggregator: aggregator.map(|(asn, address)| (asn, address.into())),
            communities: communities.into_iter().map(StandardCommunity).collect(),
            extended_communities: extended.into_iter().map(ExtendedCommunity).collect(),
            large_communities: large.into_iter().map(LargeCommunity).collect(),
            originator_id: originator.map(|id| id.try_into().expect("id")),
            cluster_list: clusters.into_iter().map(Into::into).collect(),
            unknown,
            ..PathAttributes::local(IpAddr::from([10, 0, 0, 1]))
        }
    }
}

fn nets<A: Address>(raw: &[(Vec<u8>, u8)]) -> Vec<Net<A>> {
    raw.iter()
        .map(|(octets, length)| {
            let length = length % (A::BITS + 1);
            let bits = A::from_octets(&octets[..usize::from(length.div_ceil(8))], length);
            Net { bits, length }
        })
        .collect()
}

/// Announces, splits, decodes; all prefixes with their identifiers come out in order, with the same attributes.
fn round_trip<A: Address>(path: &PathAttributes, next_hop: IpAddr, nets: &[Net<A>], ids: bool) {
    let items: Vec<encode::Item<A>> = (7..)
        .zip(nets)
        .map(|(id, net)| (*net, ids.then_some(id)))
        .collect();
    let mut section = Vec::new();
    path.encode(&mut section);
    let mut out = Vec::new();
    assert!(encode::announce(
        &mut out, &section, next_hop, &items, 65535
    ));
    let mut rest = &out[..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (kind, length) = super::frame(rest, true).expect("framed").expect("whole");
        assert_eq!(kind, Kind::Update);
        let sections = Sections::split(&rest[super::HEADER..length]).expect("sections");
        let context = Context {
            nlri: !sections.nlri.is_empty(),
            ..CONTEXT
        };
        let mut canonical = Vec::new();
        let decoded =
            attributes::decode(sections.attributes, context, &mut canonical).expect("decoded");
        assert!(decoded.flaws.is_empty(), "{:?}", decoded.flaws);
        assert_eq!(canonical, section);
        let hop = decoded
            .next_hop
            .map(IpAddr::V4)
            .or(decoded.reach.map(|r| r.next_hop));
        let hop = hop.expect("a next hop");
        assert_eq!(hop, next_hop);
        let again = PathAttributes::decode(&canonical, path.next_hop);
        assert_eq!(&again, path);
        let nlri = decoded.reach.map_or(sections.nlri, |reach| reach.nlri);
        for item in Nlri::<A>::new(nlri, ids) {
            let (id, net) = item.expect("a prefix");
            found.push((net, ids.then_some(id)));
        }
        rest = &rest[length..];
    }
    assert_eq!(found, items);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn updates_survive_the_wire(
        path in path(),
        raw in prop::collection::vec((prop::collection::vec(any::<u8>(), 16), any::<u8>()), 1..300),
        ids in any::<bool>(),
    ) {
        round_trip::<u32>(&path, IpAddr::from([10, 0, 0, 1]), &nets(&raw), ids);
        round_trip::<u128>(&path, IpAddr::from([1u16; 8]), &nets(&raw), ids);
    }

    #[test]
    fn no_section_harms(section in prop::collection::vec(any::<u8>(), 0..200), internal in any::<bool>(), four_octet in any::<bool>()) {
        let mut canonical = Vec::new();
        let context = Context { four_octet, internal, nlri: true };
        if attributes::decode(&section, context, &mut canonical).is_ok() {
            // What is canonical is read the same by everybody.
            let path = PathAttributes::decode(&canonical, IpAddr::from([10, 0, 0, 1]));
            let _ = format!("{path:?}");
        }
        let _ = Open::decode(&section);
        let _ = super::refresh::decode(&section);
        let _ = super::Notification::decode(&section).notice();
        let _ = Nlri::<u128>::new(&section, four_octet).count();
    }

    #[test]
    fn two_octet_speakers_get_back_what_they_passed_on(path in path()) {
        let mut wide = Vec::new();
        path.encode(&mut wide);
        let mut narrow = Vec::new();
        encode::narrow(&wide, &mut narrow);
        attributes::put(&mut narrow, 0x40, attributes::NEXT_HOP, &[10, 0, 0, 1]);
        let mut canonical = Vec::new();
        let context = Context { four_octet: false, ..CONTEXT };
        let decoded = attributes::decode(&narrow, context, &mut canonical).expect("decoded");
        prop_assert!(decoded.flaws.is_empty(), "{:?}", decoded.flaws);
        let again = PathAttributes::decode(&canonical, path.next_hop);
        // RFC 6793, section 4.2.3: a path whose aggregator is not the newer one's is taken as it is.
        let fits = path.aggregator.is_some_and(|(asn, _)| asn <= 0xffff);
        if !fits {
            prop_assert_eq!(again, path);
        }
    }
}

#[test]
fn an_open_survives_the_wire() {
    let families = || Family::ALL.into_iter();
    let open = Open {
        asn: Asn::try_from(4_200_000_000).expect("asn"),
        hold: 90,
        router_id: 0x0a00_0001.try_into().expect("id"),
        capabilities: Capabilities {
            families: families().collect(),
            route_refresh: true,
            enhanced_refresh: true,
            extended_messages: true,
            four_octet_asn: Some(4_200_000_000),
            restart: Some(Restart {
                restarted: true,
                time: 120,
                families: families()
                    .map(|f| (f, RestartFamily { forwarding: true }))
                    .collect(),
            }),
            long_lived: families()
                .map(|f| {
                    let (forwarding, stale_time) = (true, 70_000);
                    (
                        f,
                        LongLivedFamily {
                            forwarding,
                            stale_time,
                        },
                    )
                })
                .collect(),
            add_path: families()
                .map(|f| {
                    let (receive, send) = (true, true);
                    (f, AddPathModes { receive, send })
                })
                .collect(),
        },
    };
    let mut out = Vec::new();
    open.encode(&mut out);
    let (kind, length) = super::frame(&out, false).expect("framed").expect("whole");
    assert_eq!((kind, length), (Kind::Open, out.len()));
    assert_eq!(Open::decode(&out[super::HEADER..]), Ok(open));
}

#[test]
fn words_of_a_shutdown_are_cut_between_characters() {
    let words = "ü".repeat(200);
    let notification =
        super::Notification::cease_saying(super::Notification::ADMIN_SHUTDOWN, &words);
    assert_eq!(notification.data.len(), 255);
    assert_eq!(notification.notice().text, "ü".repeat(127));
}
