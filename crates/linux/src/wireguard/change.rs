//! A change as the messages that the kernel takes, in an order that never leaves a prefix without the owner
//! it has before or after.

use api::IfName;
use ipnet::IpNet;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute,
    WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};
use routerd_core::key::{PublicKey, SecretKey};
use routerd_core::plan::PeerChange;

use super::key_file::random;
use super::{Resolved, WireGuardError};

/// Allowed IPs in one message. Attribute lengths are 16 bits and one IPv6 prefix takes 44 bytes.
const NETS_PER_MESSAGE: usize = 512;

/// The messages, in order.
///
/// Prefixes are only ever added: the kernel takes one from the peer that holds it. A prefix that nobody is to
/// hold any more goes to a peer that is made for the purpose and removed again, since only kernels from 6.16
/// on can take a prefix away, and replacing a whole list would interrupt the rest of it.
pub(super) fn messages(
    ifname: &IfName,
    resolved: &Resolved<'_>,
) -> Result<Vec<Vec<WireguardAttribute>>, WireGuardError> {
    let change = resolved.change;
    let mut device = vec![WireguardAttribute::IfName(ifname.to_string())];
    if let Some(key) = &resolved.private_key {
        device.push(WireguardAttribute::PrivateKey(*key.expose()));
    }
    if let Some(port) = change.listen_port {
        device.push(WireguardAttribute::ListenPort(port));
    }

    let mut peers = Vec::new();
    let mut dropped = Vec::new();
    for (key, peer) in &change.peers {
        peers.extend(set_peer(*key, peer, resolved.preshared_keys.get(key)));
        if let PeerChange::Set {
            allowed_ips: Some(nets),
            ..
        } = peer
        {
            dropped.extend(nets.remove.iter().copied());
        }
    }
    if !dropped.is_empty() {
        peers.extend(drop_prefixes(
            PublicKey(random().map_err(WireGuardError::Random)?),
            &dropped,
        ));
    }
    for (key, peer) in &change.peers {
        if matches!(peer, PeerChange::Remove) {
            peers.push(remove_peer(*key));
        }
    }

    let mut messages = Vec::new();
    if device.len() > 1 {
        messages.push(device);
    }
    messages.extend(peers.into_iter().map(|peer| {
        vec![
            WireguardAttribute::IfName(ifname.to_string()),
            WireguardAttribute::Peers(vec![peer]),
        ]
    }));
    Ok(messages)
}

/// A peer in as many parts as its new prefixes need; nothing for one that goes.
fn set_peer(
    key: PublicKey,
    change: &PeerChange,
    preshared_key: Option<&Option<SecretKey>>,
) -> Vec<WireguardPeer> {
    let PeerChange::Set {
        allowed_ips: nets,
        endpoint,
        persistent_keepalive,
        ..
    } = change
    else {
        return Vec::new();
    };
    let added: Vec<IpNet> = nets
        .iter()
        .flat_map(|nets| nets.add.iter().copied())
        .collect();
    let mut chunks = added.chunks(NETS_PER_MESSAGE);
    let mut first = vec![WireguardPeerAttribute::PublicKey(key.0)];
    if let Some(secret) = preshared_key {
        // All zeros stand for none.
        let bytes = secret.as_ref().map_or([0; 32], |secret| *secret.expose());
        first.push(WireguardPeerAttribute::PresharedKey(bytes));
    }
    first.extend(endpoint.map(WireguardPeerAttribute::Endpoint));
    first.extend(persistent_keepalive.map(WireguardPeerAttribute::PersistentKeepalive));
    first.extend(chunks.next().map(allowed_ips));
    let mut parts = vec![WireguardPeer(first)];
    parts.extend(chunks.map(|nets| {
        WireguardPeer(vec![
            WireguardPeerAttribute::PublicKey(key.0),
            allowed_ips(nets),
        ])
    }));
    parts
}

/// Moves prefixes to a peer of this key, which nobody has, and removes it.
fn drop_prefixes(key: PublicKey, nets: &[IpNet]) -> Vec<WireguardPeer> {
    let mut parts: Vec<_> = nets
        .chunks(NETS_PER_MESSAGE)
        .map(|nets| {
            WireguardPeer(vec![
                WireguardPeerAttribute::PublicKey(key.0),
                allowed_ips(nets),
            ])
        })
        .collect();
    parts.push(remove_peer(key));
    parts
}

fn remove_peer(key: PublicKey) -> WireguardPeer {
    WireguardPeer(vec![
        WireguardPeerAttribute::PublicKey(key.0),
        WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe),
    ])
}

fn allowed_ips(nets: &[IpNet]) -> WireguardPeerAttribute {
    let nets = nets.iter().map(|net| {
        let family = match net {
            IpNet::V4(_) => WireguardAddressFamily::Ipv4,
            IpNet::V6(_) => WireguardAddressFamily::Ipv6,
        };
        WireguardAllowedIp(vec![
            WireguardAllowedIpAttr::Family(family),
            WireguardAllowedIpAttr::IpAddr(net.network()),
            WireguardAllowedIpAttr::Cidr(net.prefix_len()),
        ])
    });
    WireguardPeerAttribute::AllowedIps(nets.collect())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use ipnet::IpNet;
    use proptest::prelude::*;
    use routerd_core::plan::{AllowedIpsChange, WireGuardChange};

    use super::*;

    type Held = BTreeMap<PublicKey, BTreeSet<IpNet>>;

    /// The kernel's rules for allowed IPs, applied one message at a time.
    fn apply(held: &mut Held, message: &[WireguardAttribute]) {
        for attribute in message {
            let WireguardAttribute::Peers(peers) = attribute else {
                continue;
            };
            for peer in peers {
                apply_peer(held, peer);
            }
        }
    }

    fn apply_peer(held: &mut Held, peer: &WireguardPeer) {
        let WireguardPeerAttribute::PublicKey(key) = peer.0[0] else {
            panic!("the key comes first");
        };
        for attribute in peer.iter() {
            match attribute {
                WireguardPeerAttribute::Flags(flags) => {
                    assert_eq!(*flags, WireguardPeerFlags::RemoveMe);
                    held.remove(&PublicKey(key));
                    return;
                }
                WireguardPeerAttribute::AllowedIps(nets) => {
                    for net in nets {
                        let net = read(net);
                        held.values_mut().for_each(|nets| {
                            nets.remove(&net);
                        });
                        held.entry(PublicKey(key)).or_default().insert(net);
                    }
                }
                _ => {}
            }
        }
        held.entry(PublicKey(key)).or_default();
    }

    fn read(net: &WireguardAllowedIp) -> IpNet {
        match (&net.0[1], &net.0[2]) {
            (WireguardAllowedIpAttr::IpAddr(ip), WireguardAllowedIpAttr::Cidr(bits)) => {
                IpNet::new(*ip, *bits).expect("prefix")
            }
            other => panic!("{other:?}"),
        }
    }

    fn owner(held: &Held, net: &IpNet) -> Option<PublicKey> {
        let mut owners = held.iter().filter(|(_, nets)| nets.contains(net));
        let owner = owners.next().map(|(key, _)| *key);
        assert!(owners.next().is_none(), "one owner at most");
        owner
    }

    /// Who of three peers (or nobody) owns each of twelve prefixes; a peer may be absent.
    fn assignment() -> impl Strategy<Value = (Vec<Option<u8>>, [bool; 3])> {
        let owners = proptest::collection::vec(proptest::option::of(0..3_u8), 12);
        (owners, any::<[bool; 3]>())
    }

    fn table((owners, present): &(Vec<Option<u8>>, [bool; 3])) -> Held {
        (0..3_u8)
            .filter(|peer| present[usize::from(*peer)])
            .map(|peer| {
                let nets = owners.iter().enumerate().filter(|(_, o)| **o == Some(peer));
                let nets = nets.map(|(i, _)| format!("10.0.0.{i}/32").parse().expect("net"));
                (PublicKey([peer; 32]), nets.collect())
            })
            .collect()
    }

    fn delta(
        before: &Held,
        after: &Held,
        key: &PublicKey,
        nets: &BTreeSet<IpNet>,
    ) -> AllowedIpsChange {
        let held = before.get(key).cloned().unwrap_or_default();
        let ownerless = |net: &&IpNet| owner(after, net).is_none();
        AllowedIpsChange {
            all: nets.clone(),
            add: nets.difference(&held).copied().collect(),
            remove: held.iter().filter(ownerless).copied().collect(),
        }
    }

    fn change(before: &Held, after: &Held) -> WireGuardChange {
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
        let peers = keys.into_iter().filter_map(|key| {
            let change = match after.get(&key) {
                None => PeerChange::Remove,
                Some(nets) if before.get(&key) == Some(nets) => return None,
                Some(nets) => PeerChange::Set {
                    preshared_key: None,
                    allowed_ips: Some(delta(before, after, &key, nets)),
                    endpoint: None,
                    persistent_keepalive: None,
                },
            };
            Some((key, change))
        });
        WireGuardChange {
            peers: peers.collect(),
            ..WireGuardChange::default()
        }
    }

    proptest! {
        #[test]
        fn prefixes_go_straight_from_the_old_owner_to_the_new_one(
            before in assignment(),
            after in assignment(),
        ) {
            let (before, after) = (table(&before), table(&after));
            let change = change(&before, &after);
            let resolved = Resolved {
                private_key: None,
                preshared_keys: BTreeMap::new(),
                change: &change,
            };
            let ifname = "wg0".parse().expect("name");
            let mut held = before.clone();
            for message in messages(&ifname, &resolved).expect("messages") {
                apply(&mut held, &message);
                for net in (0..12).map(|i| format!("10.0.0.{i}/32").parse().expect("net")) {
                    let (old, new) = (owner(&before, &net), owner(&after, &net));
                    if old.is_some() && new.is_some() {
                        let now = owner(&held, &net);
                        prop_assert!(now == old || now == new, "{net}: {now:?}");
                    }
                }
            }
            prop_assert_eq!(held, after);
        }

        #[test]
        fn long_lists_are_cut_to_what_a_message_holds(count in 0..2_000_u16) {
            let nets: BTreeSet<IpNet> = (0..count)
                .map(|i| format!("10.0.{}.{}/32", i >> 8, i & 255).parse().expect("net"))
                .collect();
            let after = Held::from([(PublicKey([1; 32]), nets)]);
            let change = change(&Held::new(), &after);
            let resolved = Resolved {
                private_key: None,
                preshared_keys: BTreeMap::new(),
                change: &change,
            };
            let ifname = "wg0".parse().expect("name");
            let mut held = Held::new();
            for message in messages(&ifname, &resolved).expect("messages") {
                use netlink_packet_core::Emitable;
                prop_assert!(message.as_slice().buffer_len() < usize::from(u16::MAX));
                apply(&mut held, &message);
            }
            prop_assert_eq!(held, after);
        }
    }
}
