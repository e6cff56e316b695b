//! WireGuard interfaces that are several: each stripe is the first one with another name and other ports.

use std::net::SocketAddr;

use api::{Diagnostic, IfName};

use super::Context;
use crate::config::draft::{Draft, Stripes};
use crate::config::sink::Sink;
use crate::effective::WireGuardIntent;

/// Seconds between packets that show that a stripe's other end is there, where the peer has no keepalive: a stripe that
/// does not answer is left out.
const KEEPALIVE: u16 = 25;

pub(super) fn derive(draft: &mut Draft, _: &Context<'_>, sink: &mut Sink<'_>) {
    for (first, stripes) in std::mem::take(&mut draft.stripes) {
        let Some(intent) = draft.effective.wireguard.get(&first).cloned() else {
            continue;
        };
        match (1..stripes.count)
            .map(|number| stripe(draft, &first, &intent, number))
            .collect()
        {
            Ok(all) => add(draft, &first, all),
            Err(found) => report(&intent, stripes, *found, sink),
        }
    }
}

type Stripe = (IfName, WireGuardIntent);

fn stripe(
    draft: &Draft,
    first: &IfName,
    intent: &WireGuardIntent,
    number: u8,
) -> Result<Stripe, Box<Diagnostic>> {
    let text = format!("{first}-{number}");
    let name: IfName = text.parse().map_err(|_| {
        let message = format!("`{text}` is too long to be the name of a stripe");
        let hint = "set `ifname` to a name of at most 13 characters";
        Diagnostic::error("bad-interface-name", message).hint(hint)
    })?;
    if draft.device_of(&name).is_some() || draft.effective.makes(&name) {
        let message = format!("{name} would be a stripe of {first}, and is declared already");
        let hint = "rename one of them";
        return Err(Box::new(
            Diagnostic::error("duplicate-interface", message).hint(hint),
        ));
    }
    let Some(port) = intent.listen_port else {
        let message = "`spec.listenPort` is missing: stripes listen on it and the ports behind it";
        let hint = "write the same `listenPort` and `stripes` at both ends";
        return Err(Box::new(
            Diagnostic::error("missing-field", message).hint(hint),
        ));
    };
    let beyond = |port: u16| {
        let message =
            format!("stripe {number} would use a port beyond 65535, {number} after {port}");
        let found = Diagnostic::error("out-of-range", message);
        Box::new(found.hint("write a lower port, or fewer stripes"))
    };
    let after = |port: u16| port.checked_add(number.into()).ok_or_else(|| beyond(port));
    let mut stripe = intent.clone();
    stripe.listen_port = Some(after(port)?);
    for peer in stripe.peers.values_mut() {
        if let Some(endpoint) = peer.endpoint {
            let port = after(endpoint.port())?;
            peer.endpoint = Some(SocketAddr::new(endpoint.ip(), port));
        }
        let keepalive = peer.persistent_keepalive.filter(|seconds| *seconds != 0);
        peer.persistent_keepalive = Some(keepalive.unwrap_or(KEEPALIVE));
    }
    Ok((name, stripe))
}

fn add(draft: &mut Draft, first: &IfName, all: Vec<Stripe>) {
    let effective = &mut draft.effective;
    for (name, intent) in all {
        if let Some(owners) = effective.delivery.get(first).cloned() {
            effective.delivery.insert(name.clone(), owners);
        }
        if effective.force_fragment.contains(first) {
            effective.force_fragment.insert(name.clone());
        }
        let stripes = effective.stripes.entry(first.clone()).or_default();
        stripes.push(name.clone());
        effective.wireguard.insert(name, intent);
    }
}

fn report(intent: &WireGuardIntent, stripes: Stripes, found: Diagnostic, sink: &mut Sink<'_>) {
    sink.push(stripes.mark, found.about(&intent.owner));
}
