//! Resources that are declared and do nothing. Only said when nothing is wrong: else what uses them may be
//! what was refused.

use std::collections::BTreeMap;

use api::{Diagnostic, ResourceId};

use super::Context;
use crate::config::draft::Draft;
use crate::config::sink::Sink;
use crate::config::tree::Mark;

pub(super) fn check(draft: &mut Draft, context: &Context<'_>, sink: &mut Sink<'_>) {
    if sink.errors() > 0 {
        return;
    }
    // What plugins add while the daemon runs may name what nothing names yet.
    let effective = &draft.effective;
    if effective.sources.is_empty() && effective.federation.subscriptions.is_empty() {
        unnamed(draft, context, sink);
    }
    idle_tunnels(draft, sink);
    idle_peers(draft, sink);
}

/// Kinds that only work through those that name them.
fn unnamed(draft: &Draft, context: &Context<'_>, sink: &mut Sink<'_>) {
    let providers = draft
        .providers
        .values()
        .map(|provider| (&provider.id, provider.mark));
    let paths = draft.paths.values().map(|path| (&path.id, path.mark));
    let domains = draft
        .domains
        .values()
        .map(|domain| (&domain.id, domain.mark));
    let all: BTreeMap<&ResourceId, Mark> = providers.chain(paths).chain(domains).collect();
    for (id, mark) in all {
        if context.used.contains(id) || draft.implied.contains(id) {
            continue;
        }
        let message = "nothing refers to it: it has no effect";
        let found = Diagnostic::warning("unused-resource", message)
            .about(id)
            .hint("remove it, or name it where it is meant");
        sink.push(mark, found);
    }
}

/// A tunnel without peers; one that something is routed into was reported with that.
fn idle_tunnels(draft: &Draft, sink: &mut Sink<'_>) {
    for (ifname, tunnel) in &draft.effective.wireguard {
        let carries = draft
            .deliveries
            .iter()
            .any(|delivery| delivery.device == *ifname);
        if !tunnel.peers.is_empty() || carries {
            continue;
        }
        if let Some(device) = draft.device_of(ifname) {
            let found = Diagnostic::warning("tunnel-without-peer", format!("{ifname} has no peer"))
                .about(&tunnel.owner)
                .hint(format!(
                    "declare a WireGuardPeer with `interface: {ifname}`"
                ));
            sink.push(device.mark, found);
        }
    }
}

/// A peer that no prefix leads to.
fn idle_peers(draft: &Draft, sink: &mut Sink<'_>) {
    for (ifname, peers) in &draft.peers {
        let Some(tunnel) = draft.effective.wireguard.get(ifname) else {
            continue;
        };
        for peer in peers {
            let idle = tunnel
                .peers
                .get(&peer.key)
                .is_some_and(|peer| peer.allowed_ips.is_empty());
            if idle {
                let message = "it has no allowed IPs: nothing is sent to it or taken from it";
                let found = Diagnostic::warning("peer-without-allowed-ips", message)
                    .about(&peer.id)
                    .hint("deliver something through it, or list `allowedIPs`");
                sink.push(peer.mark, found);
            }
        }
    }
}
