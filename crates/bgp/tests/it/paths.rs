//! Several paths, slow peers, refused routes, limits, changes of policy.

use std::collections::BTreeMap;
use std::time::Duration;

use bgp::{
    AddPath, Admission, Asn, Community, DynamicPeerConfig, EventKind, Family, GracefulRestart,
    Input, LocalRoute, NextHopState, NextHopTracking, PathState, PeerConfig, RejectReason,
    SessionState, Table,
};

use crate::fabric::{Fabric, client, config, internal, ip, leaf, prefix, route, star};
use crate::raw::{PEER, Raw, four_octet, message};

fn many(client: usize, count: u32) -> Input<'static> {
    let routes = (0..count).map(|n| {
        let [_, _, high, low] = n.to_be_bytes();
        route(&format!("20.0.{high}.{low}/32"), &leaf(client - 1))
    });
    Input::Originate(routes.collect())
}

#[test]
fn a_peer_that_takes_nothing_holds_up_nobody_and_hears_the_outcome_only() {
    let mut fabric = star(3);
    fabric.nodes[3].reads = false;
    // Twelve megabytes of updates for a peer that had to hear all of them.
    for round in 0u32..20 {
        let routes = (0..8_000u32).map(|n| {
            let [_, _, high, low] = n.to_be_bytes();
            let community = Community::Large(bgp::LargeCommunity([65000, n, round]));
            LocalRoute {
                communities: vec![community],
                ..route(&format!("20.0.{high}.{low}/32"), &leaf(0))
            }
        });
        fabric.input(1, Input::Originate(routes.collect()));
        fabric.settle();
    }
    let fast = fabric.routes(2, Table::In, Some(0));
    assert_eq!(fast.len(), 8_000);
    assert!(
        fast.iter()
            .all(|r| r.attributes.large_communities[0].0[2] == 19)
    );
    assert!(
        fabric.pending_max < 6 << 20,
        "{} octets waited",
        fabric.pending_max
    );
    fabric.resume(3);
    let slow = fabric.routes(3, Table::In, Some(0));
    assert_eq!(slow.len(), 8_000);
    assert!(
        slow.iter()
            .all(|r| r.attributes.large_communities[0].0[2] == 19)
    );
}

#[test]
fn several_paths_go_out_and_come_in() {
    let mut fabric = Fabric::new();
    let mut middle = config("10.0.0.1");
    let both = AddPath {
        receive: true,
        send: Some(2),
    };
    for n in 0..4 {
        let add_path = both;
        middle.peers.insert(
            ip(&leaf(n)),
            PeerConfig {
                add_path,
                ..client()
            },
        );
    }
    fabric.add("10.0.0.1", middle);
    for n in 0..4 {
        let mut config = config(&leaf(n));
        // The last one does not take several.
        let add_path = if n == 3 { AddPath::default() } else { both };
        config.peers.insert(
            ip("10.0.0.1"),
            PeerConfig {
                add_path,
                ..internal()
            },
        );
        fabric.add(&leaf(n), config);
    }
    fabric.pass(Duration::from_secs(5));
    for n in 1..=3 {
        fabric.input(
            n,
            Input::Originate(vec![route("10.9.0.1/32", &leaf(n - 1))]),
        );
    }
    fabric.settle();
    let hops = |fabric: &Fabric, at: usize| -> Vec<String> {
        let routes = fabric.routes(at, Table::In, Some(0));
        let mut hops: Vec<String> = routes
            .iter()
            .map(|r| r.attributes.next_hop.to_string())
            .collect();
        hops.sort();
        hops
    };
    // The two best are those of clients 1 and 2, and neither is told its own.
    assert_eq!(hops(&fabric, 3), [leaf(0), leaf(1)]);
    assert_eq!(hops(&fabric, 1), [leaf(1)]);
    assert_eq!(hops(&fabric, 4), [leaf(0)]);
    fabric.input(1, Input::Withdraw(vec![prefix("10.9.0.1/32")]));
    fabric.settle();
    assert_eq!(hops(&fabric, 3), [leaf(1)]);
    assert_eq!(hops(&fabric, 1), [leaf(1), leaf(2)]);
    assert_eq!(hops(&fabric, 4), [leaf(1)]);
}

#[test]
fn a_leaf_announces_what_its_claim_names_and_nothing_else() {
    let mut fabric = Fabric::new();
    let mut middle = config("10.0.0.1");
    let admission = Admission {
        allowed: [prefix("10.9.0.1/32")].into_iter().collect(),
        next_hop: Some(ip(&leaf(0))),
        claim: "leaf-a".to_owned(),
    };
    middle.dynamic.push(DynamicPeerConfig {
        name: "leaves".to_owned(),
        sources: vec![prefix("10.0.1.0/24")],
        template: client(),
        max_peers: 10,
        admissions: Some(BTreeMap::from([(ip(&leaf(0)), admission)])),
    });
    fabric.add("10.0.0.1", middle);
    for n in 0..2 {
        let mut config = config(&leaf(n));
        config.peers.insert(ip("10.0.0.1"), internal());
        fabric.add(&leaf(n), config);
    }
    let routes = [
        route("10.9.0.1/32", &leaf(0)),
        route("10.9.0.2/32", &leaf(0)),
        route("0.0.0.0/0", &leaf(0)),
    ];
    fabric.input(1, Input::Originate(routes.to_vec()));
    fabric.pass(Duration::from_secs(5));
    assert_ne!(
        fabric.state(2, 0),
        SessionState::Established,
        "not admitted"
    );
    let refused = fabric.routes(0, Table::Rejected, None);
    let refused: Vec<_> = refused
        .iter()
        .map(|r| (r.prefix.to_string(), r.rejected))
        .collect();
    let why = Some(RejectReason::NotClaimed);
    assert_eq!(
        refused,
        [
            ("0.0.0.0/0".to_owned(), why),
            ("10.9.0.2/32".to_owned(), why)
        ]
    );
    let peer = fabric.nodes[0].speaker.peer(ip(&leaf(0))).expect("peer");
    let family = &peer.families[&Family::Ipv4Unicast];
    assert_eq!((family.accepted, family.rejected), (1, 2));
    assert_eq!(family.reasons[&RejectReason::NotClaimed], 2);
    assert_eq!(peer.claim.as_deref(), Some("leaf-a"));
    // Another next hop than its own.
    fabric.input(1, Input::Originate(vec![route("10.9.0.1/32", "10.0.1.77")]));
    fabric.settle();
    let refused = fabric.routes(0, Table::Rejected, None);
    assert_eq!(refused[1].rejected, Some(RejectReason::NextHopNotAllowed));
    assert!(fabric.best(0).is_empty());
}

#[test]
fn too_many_prefixes_end_the_session_until_the_restart_time() {
    let mut fabric = Fabric::new();
    let mut middle = config("10.0.0.1");
    let limited = PeerConfig {
        max_prefixes: Some(10),
        max_prefixes_restart: Some(Duration::from_secs(300)),
        passive: true,
        ..client()
    };
    middle.peers.insert(ip(&leaf(0)), limited);
    fabric.add("10.0.0.1", middle);
    let mut leaf_config = config(&leaf(0));
    leaf_config.peers.insert(ip("10.0.0.1"), internal());
    fabric.add(&leaf(0), leaf_config);
    fabric.pass(Duration::from_secs(5));
    fabric.input(1, many(1, 10));
    fabric.settle();
    assert_eq!(fabric.state(0, 1), SessionState::Established);
    fabric.input(1, many(1, 11));
    fabric.settle();
    assert_ne!(fabric.state(0, 1), SessionState::Established);
    assert!(fabric.routes(0, Table::In, None).is_empty());
    fabric.input(1, Input::Withdraw(vec![prefix("20.0.0.10/32")]));
    fabric.pass(Duration::from_secs(290));
    assert_ne!(fabric.state(0, 1), SessionState::Established);
    fabric.pass(Duration::from_secs(60));
    assert_eq!(fabric.state(0, 1), SessionState::Established);
    assert_eq!(fabric.routes(0, Table::In, None).len(), 10);
}

#[test]
fn a_changed_policy_takes_effect_without_a_reset() {
    let mut fabric = star(2);
    fabric.input(1, many(1, 20));
    fabric.settle();
    assert_eq!(fabric.routes(2, Table::In, Some(0)).len(), 20);
    let mut changed = fabric.nodes[0].speaker.config().clone();
    let only = [prefix("20.0.0.3/32"), prefix("20.0.0.4/32")];
    changed
        .peers
        .get_mut(&ip(&leaf(1)))
        .expect("peer")
        .export
        .allowed = Some(only.into_iter().collect());
    let import = &mut changed.peers.get_mut(&ip(&leaf(0))).expect("peer").import;
    import.local_preference = Some(300);
    import
        .forbidden_communities
        .insert("65000:666".parse().expect("community"));
    fabric.input(0, Input::Configure(Box::new(changed)));
    fabric.settle();
    let told = fabric.routes(2, Table::In, Some(0));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.iter()
            .all(|r| r.attributes.local_preference == Some(300))
    );
    let bad = LocalRoute {
        communities: vec!["65000:666".parse().expect("community")],
        ..route("20.0.0.3/32", &leaf(0))
    };
    fabric.input(1, Input::Originate(vec![bad]));
    fabric.settle();
    assert_eq!(fabric.routes(2, Table::In, Some(0)).len(), 1);
    let downs = |kind: &EventKind| matches!(kind, EventKind::Down { .. });
    assert_eq!(fabric.happened(0, downs), 0);
}

#[test]
fn long_lived_stale_routes_are_kept_but_least_preferred() {
    let mut fabric = Fabric::new();
    let mut middle = config("10.0.0.1");
    let graceful_restart = GracefulRestart {
        long_lived: Some(Duration::from_secs(1000)),
        ..GracefulRestart::default()
    };
    for n in 0..3 {
        middle.peers.insert(
            ip(&leaf(n)),
            PeerConfig {
                graceful_restart,
                ..client()
            },
        );
    }
    fabric.add("10.0.0.1", middle);
    for n in 0..3 {
        let mut config = config(&leaf(n));
        config.peers.insert(
            ip("10.0.0.1"),
            PeerConfig {
                graceful_restart,
                ..internal()
            },
        );
        fabric.add(&leaf(n), config);
    }
    fabric.pass(Duration::from_secs(5));
    let preferred = LocalRoute {
        local_preference: Some(500),
        ..route("10.9.0.1/32", &leaf(0))
    };
    fabric.input(
        1,
        Input::Originate(vec![preferred, route("10.9.0.2/32", &leaf(0))]),
    );
    fabric.input(2, Input::Originate(vec![route("10.9.0.1/32", &leaf(1))]));
    fabric.settle();
    assert_eq!(fabric.best(3)["10.9.0.1/32"], leaf(0));
    fabric.cut.insert((0, 1));
    fabric.kill(1);
    fabric.pass(Duration::from_secs(130));
    assert_eq!(
        fabric.best(3)["10.9.0.1/32"],
        leaf(1),
        "a live path beats a long-lived stale one"
    );
    assert_eq!(
        fabric.best(3)["10.9.0.2/32"],
        leaf(0),
        "which is better than none"
    );
    fabric.pass(Duration::from_secs(1000));
    assert!(!fabric.best(3).contains_key("10.9.0.2/32"));
}

#[test]
fn an_external_peer_is_told_our_system_and_our_next_hop() {
    let mut fabric = Fabric::new();
    let mut ours = config("10.0.0.1");
    let asn = |n: u32| Asn::try_from(n).expect("asn");
    ours.peers
        .insert(ip("10.0.0.2"), PeerConfig::new(asn(200_000)));
    ours.peers.insert(ip("10.0.0.3"), internal());
    fabric.add("10.0.0.1", ours);
    let mut theirs = config("10.0.0.2");
    theirs.asn = asn(200_000);
    theirs
        .peers
        .insert(ip("10.0.0.1"), PeerConfig::new(asn(65000)));
    fabric.add("10.0.0.2", theirs);
    let mut inside = config("10.0.0.3");
    inside.peers.insert(ip("10.0.0.1"), internal());
    fabric.add("10.0.0.3", inside);
    fabric.pass(Duration::from_secs(5));
    fabric.input(2, Input::Originate(vec![route("10.9.0.1/32", "10.0.0.3")]));
    fabric.input(1, Input::Originate(vec![route("10.8.0.1/32", "10.0.0.2")]));
    fabric.settle();
    let out = fabric.routes(1, Table::In, Some(0));
    assert_eq!(out[0].attributes.next_hop, ip("10.0.0.1"));
    assert_eq!(
        out[0].attributes.as_path,
        [bgp::Segment::Sequence(vec![65000])]
    );
    assert_eq!(
        out[0].attributes.local_preference,
        Some(100),
        "set on import"
    );
    let inward = fabric.routes(2, Table::In, Some(0));
    assert_eq!(
        inward[0].attributes.next_hop,
        ip("10.0.0.2"),
        "kept between internal peers"
    );
    assert_eq!(
        inward[0].attributes.as_path,
        [bgp::Segment::Sequence(vec![200_000])]
    );
}

#[test]
fn a_route_counts_while_its_next_hop_is_reachable() {
    let mut fabric = Fabric::new();
    let mut middle = config("10.0.0.1");
    middle.next_hops = NextHopTracking::Track;
    middle.max_next_hops = 2;
    for n in 0..2 {
        middle.peers.insert(ip(&leaf(n)), client());
    }
    fabric.add("10.0.0.1", middle);
    for n in 0..2 {
        let mut config = config(&leaf(n));
        config.peers.insert(ip("10.0.0.1"), internal());
        fabric.add(&leaf(n), config);
    }
    fabric.pass(Duration::from_secs(5));
    for n in 0..2 {
        fabric.input(
            n + 1,
            Input::Originate(vec![route("10.9.0.1/32", &leaf(n))]),
        );
    }
    fabric.settle();
    assert!(
        fabric.nodes[0].fib.is_empty(),
        "nothing is known of either next hop"
    );
    let states = |a, b| Input::NextHops(vec![(ip(&leaf(0)), a), (ip(&leaf(1)), b)]);
    let near = NextHopState::Reachable(1);
    fabric.input(0, states(near, near));
    fabric.settle();
    let both = vec![ip(&leaf(0)), ip(&leaf(1))];
    assert_eq!(fabric.nodes[0].fib[&prefix("10.9.0.1/32")], both);
    fabric.input(0, states(NextHopState::Reachable(5), near));
    fabric.settle();
    assert_eq!(fabric.nodes[0].fib[&prefix("10.9.0.1/32")], [ip(&leaf(1))]);
    fabric.input(
        0,
        states(NextHopState::Reachable(5), NextHopState::Unreachable),
    );
    fabric.settle();
    assert_eq!(fabric.nodes[0].fib[&prefix("10.9.0.1/32")], [ip(&leaf(0))]);
}

#[test]
fn bfd_down_ends_the_session_and_what_graceful_restart_would_keep() {
    let mut fabric = star(2);
    let mut changed = fabric.nodes[0].speaker.config().clone();
    changed.peers.get_mut(&ip(&leaf(0))).expect("peer").bfd = true;
    fabric.input(0, Input::Configure(Box::new(changed)));
    fabric.input(1, many(1, 5));
    fabric.settle();
    let peer = ip(&leaf(0));
    for path in [PathState::Up, PathState::Silent] {
        fabric.input(0, Input::Bfd { peer, path });
    }
    fabric.settle();
    assert_eq!(fabric.nodes[2].fib.len(), 0);
}

#[test]
fn garbage_ends_the_session_with_the_right_words() {
    let cases: [(&[u8], &str); 4] = [
        (&[0; 19], "1/1"),
        (&message(9, &[]), "1/3"),
        (&message(2, &[0]), "1/2"),
        (&message(1, &[4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 2, 0]), "5/3"),
    ];
    for (octets, words) in cases {
        let mut raw = Raw::established(internal(), &four_octet(65000));
        raw.receive(octets);
        assert!(raw.log[0].contains(words), "{words}: {:?}", raw.log);
        assert!(raw.closed);
        let view = raw.speaker.peer(ip(PEER)).expect("peer");
        assert_ne!(view.state, SessionState::Established);
    }
}

#[test]
fn dumps_hold_every_path() {
    /// BMP messages in these octets, which they fill.
    fn messages(mut octets: &[u8]) -> usize {
        let mut count = 0;
        while let [3, a, b, c, d, ..] = *octets {
            octets = &octets[u32::from_be_bytes([a, b, c, d]) as usize..];
            count += 1;
        }
        assert!(octets.is_empty());
        count
    }

    let mut fabric = star(2);
    fabric.input(1, many(1, 7));
    fabric.settle();
    let speaker = &fabric.nodes[0].speaker;
    let wall = Duration::from_secs(1_700_000_000);
    let mut kinds = Vec::new();
    speaker.dump(wall, |record| {
        let length = u32::from_be_bytes(record[8..12].try_into().expect("four"));
        assert_eq!(record.len(), 12 + length as usize);
        assert_eq!(record[..4], 1_700_000_000u32.to_be_bytes());
        kinds.push((record[5], record[7]));
    });
    assert_eq!(kinds[0], (13, 1));
    assert_eq!(kinds[1..], [(13, 2); 7]);
    let mut up = Vec::new();
    assert!(speaker.monitor_up(&mut up, wall, ip(&leaf(0)), (179, 40000)));
    assert_eq!((up[0], up[5]), (3, 3));
    let both_opens = &up[6 + 42 + 20..];
    assert_eq!(
        (both_opens[18], both_opens[..16].iter().all(|o| *o == 0xff)),
        (1, true)
    );
    let (mut tour, mut routes, mut pieces) = (bgp::bmp::Tour::default(), 0, 1);
    let mut piece = Vec::new();
    while speaker.monitor_routes(&mut piece, wall, &mut tour, 200) {
        routes += messages(&piece);
        pieces += 1;
        piece.clear();
    }
    routes += messages(&piece);
    assert!(pieces > 1, "all at once");
    let sessions = speaker
        .peers()
        .iter()
        .filter(|peer| peer.router_id.is_some())
        .count();
    assert_eq!(
        routes,
        7 + sessions,
        "seven paths, and the end of each peer"
    );
}

#[test]
fn two_that_announce_one_host_without_a_rank_are_rivals() {
    let mut fabric = star(3);
    let claim = |fabric: &mut Fabric, node: usize, preference: Option<u32>| {
        let mut claim = route("10.9.0.1/32", &leaf(node - 1));
        claim.local_preference = preference;
        fabric.input(node, Input::Originate(vec![claim]));
        fabric.settle();
    };
    claim(&mut fabric, 1, None);
    assert_eq!(fabric.nodes[0].speaker.rivals(10), []);
    claim(&mut fabric, 2, None);
    let [rivals] = fabric.nodes[0].speaker.rivals(10).try_into().expect("one");
    assert_eq!(rivals.prefix, prefix("10.9.0.1/32"));
    assert_eq!(rivals.next_hops, [ip(&leaf(0)), ip(&leaf(1))]);
    // One of them is preferred: that is an owner and his standby.
    claim(&mut fabric, 2, Some(200));
    assert_eq!(fabric.nodes[0].speaker.rivals(10), []);
}
