//! Plain tunnels: their other end, what their underlay has to carry for them, and that no two of them are one.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use api::{Diagnostic, IfName, ResourceId};

use super::Context;
use crate::config::draft::{Delivery, Draft, PlainPath, RemoteEnd};
use crate::config::sink::Sink;
use crate::effective::{LocalEnd, PlainTunnelIntent};
use crate::encapsulation::Encapsulation;

pub(super) fn derive(draft: &mut Draft, _: &Context<'_>, sink: &mut Sink<'_>) {
    let mut seen = BTreeMap::new();
    for plain in std::mem::take(&mut draft.plain_paths) {
        let Some(remote) = remote(draft, &plain, sink) else {
            continue;
        };
        let mut intent = plain.intent.clone();
        intent.remote = remote;
        if is_own(draft, &plain, remote, sink) || is_second(&plain, &intent, &mut seen, sink) {
            continue;
        }
        let underlay = intent.underlay.clone();
        if let Some(device) = underlay.filter(|device| draft.is_wireguard(device)) {
            draft.deliveries.push(Delivery {
                owner: plain.intent.owner.clone(),
                mark: plain.remote_mark,
                device,
                destination: remote.into(),
                path: None,
                gateway: None,
            });
        }
        let tunnels = &mut draft.effective.plain_tunnels;
        tunnels.insert(plain.ifname, intent);
    }
}

/// The address of the other end; reported where it is not known.
fn remote(draft: &Draft, plain: &PlainPath, sink: &mut Sink<'_>) -> Option<Ipv4Addr> {
    let reference = match &plain.remote {
        RemoteEnd::Address(address) => return Some(*address),
        RemoteEnd::Peer(reference) => reference,
    };
    // A peer that was refused was reported.
    let path = draft.paths.get(&reference.name)?;
    let (message, hint) = if path.device == plain.ifname {
        (
            format!("{} is reached through this very tunnel", path.id),
            "write the address of the other end as `remote`",
        )
    } else if path.remote_address.is_none() {
        (
            format!("{} has no `remote.address`", path.id),
            "set it there, or write `remote` here",
        )
    } else {
        return path.remote_address;
    };
    let found = Diagnostic::error("remote-unknown", message)
        .about(&plain.intent.owner)
        .hint(hint);
    sink.push(plain.mark, found);
    None
}

fn is_own(draft: &Draft, plain: &PlainPath, remote: Ipv4Addr, sink: &mut Sink<'_>) -> bool {
    let own = draft.owner_of(remote);
    let local = plain.intent.local == LocalEnd::Address(remote);
    if own.is_none() && !local {
        return false;
    }
    let whose = own.map_or(String::new(), |own| format!(" ({own})"));
    let message = format!("{remote} is an address of this router{whose}");
    let found = Diagnostic::error("peer-is-self", message)
        .about(&plain.intent.owner)
        .hint("write the address of the other router");
    sink.push(plain.remote_mark, found);
    true
}

/// What tells tunnels apart on the wire.
type Wire = (
    &'static str,
    LocalEnd,
    Ipv4Addr,
    Option<IfName>,
    Option<u32>,
);

/// The kernel, too, refuses a second tunnel with the same ends: packets could not be told apart.
fn is_second(
    plain: &PlainPath,
    intent: &PlainTunnelIntent,
    seen: &mut BTreeMap<Wire, ResourceId>,
    sink: &mut Sink<'_>,
) -> bool {
    let key = match intent.encapsulation {
        Encapsulation::Gre { key } => key,
        Encapsulation::Ipip | Encapsulation::Fou(_) | Encapsulation::Gue(_) => None,
    };
    let wire = (
        intent.encapsulation.link_kind(),
        intent.local.clone(),
        intent.remote,
        intent.underlay.clone(),
        key,
    );
    let Some(first) = seen.get(&wire) else {
        seen.insert(wire, intent.owner.clone());
        return false;
    };
    let message = format!("{first} goes from here to {} already", intent.remote);
    let found = Diagnostic::error("duplicate-tunnel", message)
        .about(&intent.owner)
        .hint("one of each mode goes between two addresses; several gre tunnels differ by `key`");
    sink.push(plain.mark, found);
    true
}
