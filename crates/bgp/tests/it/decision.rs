//! Best path: whatever the order of arrival and whichever peer resets when, the outcome is the same.

use std::net::IpAddr;

use bgp::{Asn, ConnId, Input, PeerConfig, RouteQuery, Speaker, SpeakerConfig, Start, Table, Time};
use proptest::prelude::*;

use crate::fabric::{config, prefix};
use crate::raw::{four_octet, message, open_of};

const PEERS: u8 = 6;

/// What one peer says of the prefix.
#[derive(Debug, Clone)]
struct Said {
    /// Systems behind the peer's own.
    path: Vec<u32>,
    origin: u8,
    med: Option<u32>,
    local_preference: u32,
}

struct Peers {
    speaker: Speaker,
    next: u64,
    conns: Vec<Option<ConnId>>,
}

/// Peers 0 and 1 are internal, the others belong to two neighbouring systems.
fn asn(peer: u8) -> u32 {
    [65000, 65000, 65001, 65001, 65002, 65002][usize::from(peer)]
}

fn address(peer: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, 10 + peer])
}

impl Peers {
    fn new(change: impl FnOnce(&mut SpeakerConfig)) -> Self {
        let mut config = config("10.0.0.1");
        for peer in 0..PEERS {
            let passive = PeerConfig {
                passive: true,
                ..PeerConfig::new(Asn::try_from(asn(peer)).expect("asn"))
            };
            config.peers.insert(address(peer), passive);
        }
        change(&mut config);
        let start = Start {
            now: Time::default(),
            seed: 5,
            restarting: None,
        };
        Self {
            speaker: Speaker::new(config, start),
            next: 0,
            conns: vec![None; usize::from(PEERS)],
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.speaker.handle(Time::default(), input);
        while self.speaker.poll_output().is_some() {}
    }

    fn up(&mut self, peer: u8) -> ConnId {
        if let Some(conn) = self.conns[usize::from(peer)] {
            return conn;
        }
        let conn = ConnId(self.next);
        self.next += 1;
        self.conns[usize::from(peer)] = Some(conn);
        self.input(Input::Accepted {
            conn,
            local: "10.0.0.1".parse().expect("address"),
            remote: address(peer),
        });
        let asn = asn(peer);
        let short = u16::try_from(asn).expect("asn");
        // Not in the order of the addresses.
        let id = [10, 0, 0, 200 - peer];
        for bytes in [open_of(id, short, &four_octet(asn)), message(4, &[])] {
            let bytes = bytes.into();
            self.input(Input::Received { conn, bytes });
        }
        conn
    }

    fn down(&mut self, peer: u8) {
        if let Some(conn) = self.conns[usize::from(peer)].take() {
            let reason = String::new();
            self.input(Input::Closed { conn, reason });
        }
    }

    fn say(&mut self, peer: u8, said: &Said) {
        let conn = self.up(peer);
        let internal = asn(peer) == 65000;
        let mut path = Vec::new();
        if !internal {
            path.push(asn(peer));
        }
        path.extend(&said.path);
        let mut attributes = vec![0x40, 1, 1, said.origin];
        attributes.extend([0x40, 2, u8::try_from(path.len() * 4 + 2).expect("length")]);
        attributes.extend([2, u8::try_from(path.len()).expect("length")]);
        attributes.extend(path.iter().flat_map(|asn| asn.to_be_bytes()));
        if path.is_empty() {
            attributes.truncate(4);
            attributes.extend([0x40, 2, 0]);
        }
        attributes.extend([0x40, 3, 4, 10, 0, 0, 10 + peer]);
        if let Some(med) = said.med {
            attributes.extend([0x80, 4, 4]);
            attributes.extend(med.to_be_bytes());
        }
        if internal {
            attributes.extend([0x40, 5, 4]);
            attributes.extend(said.local_preference.to_be_bytes());
        }
        let mut body = vec![0, 0];
        body.extend(
            u16::try_from(attributes.len())
                .expect("length")
                .to_be_bytes(),
        );
        body.extend(attributes);
        body.extend([32, 10, 9, 0, 1]);
        let bytes = message(2, &body).into();
        self.input(Input::Received { conn, bytes });
    }

    fn withdraw(&mut self, peer: u8) {
        let conn = self.up(peer);
        let bytes = message(2, &[0, 5, 32, 10, 9, 0, 1, 0, 0]).into();
        self.input(Input::Received { conn, bytes });
    }

    fn best(&self) -> Option<IpAddr> {
        let query = RouteQuery {
            table: Table::Best,
            peer: None,
            prefix: Some(prefix("10.9.0.1/32")),
            limit: 10,
            after: None,
        };
        let best = self.speaker.routes(&query);
        assert!(best.len() <= 1);
        best.first().and_then(|route| route.peer)
    }
}

fn said() -> impl Strategy<Value = Said> {
    let path = prop::collection::vec(64512u32..64515, 0..3);
    let med = prop::option::of(0u32..3);
    (path, 0u8..2, med, 99u32..102).prop_map(|(path, origin, med, local_preference)| Said {
        path,
        origin,
        med,
        local_preference,
    })
}

/// Something that happens before the last word of each peer.
#[derive(Debug, Clone)]
enum Noise {
    Say(u8, Said),
    Withdraw(u8),
    Reset(u8),
}

fn noise() -> impl Strategy<Value = Noise> {
    prop_oneof![
        (0..PEERS, said()).prop_map(|(peer, said)| Noise::Say(peer, said)),
        (0..PEERS).prop_map(Noise::Withdraw),
        (0..PEERS).prop_map(Noise::Reset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn best_path_ignores_order_and_resets(
        last in prop::collection::vec(prop::option::of(said()), usize::from(PEERS)),
        order in Just((0..PEERS).collect::<Vec<u8>>()).prop_shuffle(),
        noises in prop::collection::vec(noise(), 0..12),
        always in any::<bool>(),
    ) {
        let change = |config: &mut SpeakerConfig| config.always_compare_med = always;
        let mut plain = Peers::new(change);
        for peer in 0..PEERS {
            if let Some(said) = &last[usize::from(peer)] {
                plain.say(peer, said);
            }
        }
        let mut noisy = Peers::new(change);
        for noise in &noises {
            match noise {
                Noise::Say(peer, said) => noisy.say(*peer, said),
                Noise::Withdraw(peer) => noisy.withdraw(*peer),
                Noise::Reset(peer) => noisy.down(*peer),
            }
        }
        for peer in order {
            match &last[usize::from(peer)] {
                Some(said) => noisy.say(peer, said),
                None => noisy.withdraw(peer),
            }
        }
        prop_assert_eq!(plain.best(), noisy.best());
        let eligible = last.iter().any(Option::is_some);
        prop_assert_eq!(plain.best().is_some(), eligible);
    }
}

#[test]
fn med_is_compared_within_one_neighbour_only() {
    let said = |med| Said {
        path: vec![64512],
        origin: 0,
        med: Some(med),
        local_preference: 100,
    };
    let mut peers = Peers::new(|_| ());
    peers.say(2, &said(20));
    peers.say(3, &said(10));
    assert_eq!(
        peers.best(),
        Some(address(3)),
        "lower MED of the same neighbour"
    );
    peers.say(5, &said(99));
    assert_eq!(
        peers.best(),
        Some(address(5)),
        "another neighbour's MED does not count, its id does"
    );
    let explained = peers
        .speaker
        .explain(prefix("10.9.0.1/32"))
        .expect("a route");
    let verdicts: Vec<&str> = explained.paths.iter().map(|p| p.verdict.as_str()).collect();
    assert_eq!(
        verdicts,
        [
            "best: lower router or originator id",
            "not best: the best has lower router or originator id",
            "not best: the best has lower router or originator id",
        ],
        "{explained:?}"
    );
    let mut peers = Peers::new(|config| config.always_compare_med = true);
    peers.say(3, &said(10));
    peers.say(5, &said(99));
    assert_eq!(peers.best(), Some(address(3)));
}
