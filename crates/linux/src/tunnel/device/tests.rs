//! Requests against a plain model of what the protocol says they do.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

/// What `get=1` would show of each peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    peers: BTreeMap<PublicKey, ModelPeer>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ModelPeer {
    allowed_ips: BTreeSet<IpNet>,
    preshared_key: Option<SecretKey>,
    endpoint: Option<std::net::SocketAddr>,
    keepalive: u16,
}

impl Model {
    fn apply(&mut self, request: &SetDevice) {
        if request.replace_peers {
            self.peers.clear();
        }
        for change in &request.peers {
            if change.remove {
                self.peers.remove(&change.public_key);
            } else if !change.update_only || self.peers.contains_key(&change.public_key) {
                self.apply_peer(change);
            }
        }
    }

    fn apply_peer(&mut self, change: &SetPeer) {
        let key = change.public_key;
        let peer = self.peers.entry(key).or_default();
        if let Some(preshared_key) = &change.preshared_key {
            peer.preshared_key.clone_from(preshared_key);
        }
        peer.endpoint = change.endpoint.or(peer.endpoint);
        peer.keepalive = change.persistent_keepalive.unwrap_or(peer.keepalive);
        if change.replace_allowed_ips {
            peer.allowed_ips.clear();
        }
        for net in &change.allowed_ips {
            match net {
                AllowedIpChange::Remove(net) => {
                    self.peers.entry(key).or_default().allowed_ips.remove(net);
                }
                AllowedIpChange::Add(net) => {
                    for peer in self.peers.values_mut() {
                        peer.allowed_ips.remove(net);
                    }
                    self.peers.entry(key).or_default().allowed_ips.insert(*net);
                }
            }
        }
    }
}

fn shown(tables: &Tables) -> Model {
    let peers = tables.peers.values().map(|entry| {
        let state = peer_state(entry);
        let peer = ModelPeer {
            allowed_ips: state.allowed_ips,
            preshared_key: state.preshared_key,
            endpoint: state.endpoint,
            keepalive: state.persistent_keepalive,
        };
        (state.public_key, peer)
    });
    Model {
        peers: peers.collect(),
    }
}

/// A public key that a peer can have: few, so that requests meet.
fn key(number: u8) -> PublicKey {
    SecretKey::from_bytes([number + 1; 32]).public_key()
}

fn net(number: u8) -> IpNet {
    let text = format!(
        "10.{}.0.0/{}",
        number % 4,
        [8, 16, 24, 32][usize::from(number / 4 % 4)]
    );
    text.parse::<IpNet>().expect("prefix").trunc()
}

fn request() -> impl Strategy<Value = SetDevice> {
    let net = prop_oneof![
        3 => (0..16_u8).prop_map(|n| AllowedIpChange::Add(net(n))),
        1 => (0..16_u8).prop_map(|n| AllowedIpChange::Remove(net(n))),
    ];
    let peer = (
        0..4_u8,
        prop::array::uniform3(prop::bool::weighted(0.2)),
        option::of(option::of(
            (1..4_u8).prop_map(|n| SecretKey::from_bytes([n; 32])),
        )),
        option::of(any::<u16>()),
        option::of(any::<u16>()),
        vec(net, 0..6),
    );
    let peer = peer.prop_map(
        |(number, flags, preshared_key, port, keepalive, nets)| SetPeer {
            public_key: key(number),
            remove: flags[0],
            update_only: flags[1],
            replace_allowed_ips: flags[2],
            preshared_key,
            endpoint: port.map(|port| ([192, 0, 2, 1], port).into()),
            persistent_keepalive: keepalive,
            allowed_ips: nets,
        },
    );
    (prop::bool::weighted(0.1), vec(peer, 0..4)).prop_map(|(replace_peers, peers)| SetDevice {
        replace_peers,
        peers,
        ..SetDevice::default()
    })
}

fn tables() -> Tables {
    Tables::new(SecretKey::from_bytes([200; 32]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn requests_do_what_the_protocol_says(requests in vec(request(), 1..8)) {
        let mut tables = tables();
        let mut model = Model::default();
        for request in requests {
            model.apply(&request);
            tables.apply(request);
            prop_assert_eq!(&shown(&tables), &model);
            // What packets are looked up in says the same as what is shown.
            for (key, peer) in &model.peers {
                for net in &peer.allowed_ips {
                    prop_assert_eq!(tables.allowed_ips.owner(*net).map(|peer| peer.key), Some(*key));
                }
            }
            for (index, peer) in &tables.by_index {
                prop_assert!(tables.peers.get(&peer.key).is_some_and(|e| Arc::ptr_eq(&e.peer, peer)));
                prop_assert!(peer.lock().indices().any(|live| live == *index));
            }
            let prefixes = model.peers.values().map(|peer| peer.allowed_ips.len()).sum::<usize>();
            let found = (0..16).filter(|n| tables.allowed_ips.owner(net(*n)).is_some());
            let found: BTreeSet<_> = found.map(net).collect();
            prop_assert_eq!(found.len(), prefixes);
        }
    }
}

#[test]
fn a_device_is_never_its_own_peer() {
    let mut tables = tables();
    let add = |number| SetDevice {
        peers: vec![SetPeer::new(key(number))],
        ..SetDevice::default()
    };
    let become_it = |number: u8| SetDevice {
        private_key: Some(Some(SecretKey::from_bytes([number + 1; 32]))),
        ..SetDevice::default()
    };
    tables.apply(add(0));
    tables.apply(become_it(0));
    assert!(
        tables.peers.is_empty(),
        "what we become is no peer any more"
    );
    tables.apply(add(0));
    assert!(tables.peers.is_empty());
    tables.apply(add(1));
    assert_eq!(tables.peers.len(), 1);
    assert!(tables.identity().is_some());
    tables.apply(SetDevice {
        private_key: Some(None),
        ..SetDevice::default()
    });
    assert!(tables.identity().is_none());
}
