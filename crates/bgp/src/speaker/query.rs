//! Questions about peers and routes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Speaker;
use crate::attr::PathAttributes;
use crate::rib::{Candidate, PathFlags, Rib, Ribs, Rules, candidates, outbound, ranked};
use crate::session::{Peer, PeerIx, Peers};
use crate::types::{Family, Prefix};
use crate::view::{ExplainedPath, Explanation, FamilyView, PeerView, RouteQuery, RouteView, Table};
use crate::wire::nlri::{Address, Net};

impl Speaker {
    /// All peers, in the order of their addresses.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerView> {
        self.peers
            .iter()
            .map(|(ix, peer)| self.view(ix, peer))
            .collect()
    }

    /// One peer.
    #[must_use]
    pub fn peer(&self, address: IpAddr) -> Option<PeerView> {
        let ix = self.peers.find(address)?;
        Some(self.view(ix, self.peers.get(ix)?))
    }

    fn view(&self, ix: PeerIx, peer: &Peer) -> PeerView {
        let session = peer.session.as_ref();
        let conn = session.and_then(|s| self.conns.get(&s.conn));
        let mut counters = peer.counters;
        counters.queued = conn.map_or(0, |c| c.queued as u64);
        let families = Family::ALL
            .into_iter()
            .filter(|f| peer.config.families.contains(f));
        PeerView {
            address: peer.address,
            local: session.map(|s| s.local),
            asn: peer.config.asn,
            router_id: session.map(|s| s.router_id),
            range: peer.range.clone(),
            claim: peer.admission.as_ref().map(|a| a.claim.clone()),
            state: self.state(peer),
            since: peer.since,
            hold: conn.map(|c| c.hold),
            capabilities: capabilities(peer),
            last_error: peer.last_error.clone(),
            shutdown: peer.is_down(),
            bfd: peer.bfd.filter(|_| peer.config.bfd),
            counters,
            families: families
                .map(|f| (f, self.family_view(ix, peer, f)))
                .collect(),
        }
    }

    fn family_view(&self, ix: PeerIx, peer: &Peer, family: Family) -> FamilyView {
        let (paths, in_sync) = match family {
            Family::Ipv4Unicast => (self.ribs.v4.peer(ix), in_sync(&self.ribs.v4, ix)),
            Family::Ipv6Unicast => (self.ribs.v6.peer(ix), in_sync(&self.ribs.v6, ix)),
        };
        let session = peer.session.as_ref();
        FamilyView {
            accepted: paths.paths - paths.rejected,
            rejected: paths.rejected,
            stale: paths.stale,
            reasons: paths.reasons.clone(),
            end_of_rib: session.is_some_and(|s| s.end_of_rib.contains(&family)),
            in_sync,
        }
    }

    /// Routes of a table, by prefix; of both families unless a prefix is asked for.
    #[must_use]
    pub fn routes(&self, query: &RouteQuery) -> Vec<RouteView> {
        let mut found = Vec::new();
        let peer = match query.peer.map(|address| self.peers.find(address)) {
            Some(None) => return found,
            Some(Some(ix)) => Some(ix),
            None => None,
        };
        for family in Family::ALL {
            if query.prefix.is_some_and(|p| p.family() != family) {
                continue;
            }
            let view = self.show();
            match family {
                Family::Ipv4Unicast => view.routes(&self.ribs.v4, query, peer, &mut found),
                Family::Ipv6Unicast => view.routes(&self.ribs.v6, query, peer, &mut found),
            }
        }
        found.truncate(query.limit);
        found
    }

    /// Every path of a prefix, best first, with what decided between them.
    #[must_use]
    pub fn explain(&self, prefix: Prefix) -> Option<Explanation> {
        let view = self.show();
        let paths = match prefix.family() {
            Family::Ipv4Unicast => view.explain(&self.ribs.v4, prefix)?,
            Family::Ipv6Unicast => view.explain(&self.ribs.v6, prefix)?,
        };
        Some(Explanation { prefix, paths })
    }

    fn show(&self) -> View<'_> {
        View {
            ribs: &self.ribs,
            peers: &self.peers,
        }
    }
}

fn in_sync<A: Address>(rib: &Rib<A>, ix: PeerIx) -> bool {
    let member = rib.group_of(ix).and_then(|group| group.members.get(&ix));
    member.is_some_and(|member| member.behind.is_none())
}

fn capabilities(peer: &Peer) -> Vec<String> {
    let Some(session) = &peer.session else {
        return Vec::new();
    };
    let remote = &session.remote;
    let mut words: Vec<String> = session.families.iter().map(Family::to_string).collect();
    let said = [
        (session.four_octet, "4-octet-as"),
        (remote.route_refresh, "route-refresh"),
        (remote.enhanced_refresh, "enhanced-route-refresh"),
        (session.max_message > 4096, "extended-message"),
        (remote.restart.is_some(), "graceful-restart"),
        (!remote.long_lived.is_empty(), "long-lived-graceful-restart"),
        (!session.add_path_in.is_empty(), "add-path-receive"),
        (!session.add_path_out.is_empty(), "add-path-send"),
    ];
    words.extend(
        said.into_iter()
            .filter(|(yes, _)| *yes)
            .map(|(_, word)| word.to_owned()),
    );
    words
}

/// What views are made from.
struct View<'a> {
    ribs: &'a Ribs,
    peers: &'a Peers,
}

impl View<'_> {
    fn routes<A: Address>(
        &self,
        rib: &Rib<A>,
        query: &RouteQuery,
        peer: Option<PeerIx>,
        found: &mut Vec<RouteView>,
    ) {
        let slots: BTreeMap<Net<A>, u32> = match query.prefix {
            Some(prefix) => Net::from_prefix(prefix)
                .and_then(|net| Some((net, rib.find(net)?)))
                .into_iter()
                .collect(),
            None => rib
                .slots()
                .map(|slot| (rib.routes[slot as usize].net(), slot))
                .filter(|(net, _)| query.after.is_none_or(|after| net.prefix() > after))
                .collect(),
        };
        for slot in slots.into_values() {
            if found.len() >= query.limit {
                return;
            }
            if query.table == Table::Out {
                peer.into_iter()
                    .for_each(|ix| self.told(rib, ix, slot, found));
                continue;
            }
            for at in rib.paths_of(slot) {
                let path = &rib.paths[at as usize];
                let best = rib.routes[slot as usize].best() == at;
                let wanted = match query.table {
                    Table::In => path.rejected.is_none(),
                    Table::Rejected => path.rejected.is_some(),
                    Table::Best => best,
                    Table::Out => false,
                };
                if wanted && peer.is_none_or(|ix| ix == path.source) {
                    found.push(self.path(rib, at));
                }
            }
        }
    }

    fn path<A: Address>(&self, rib: &Rib<A>, at: u32) -> RouteView {
        let path = &rib.paths[at as usize];
        let route = &rib.routes[rib.route_of(at) as usize];
        let path_id = rib.path_id(at);
        let shown = if path.rejected.is_some() {
            path.received
        } else {
            path.attrs
        };
        RouteView {
            prefix: route.net().prefix(),
            peer: self.peers.get(path.source).map(|peer| peer.address),
            path_id: (path_id != 0).then_some(path_id),
            attributes: self.ribs.attrs.decode(shown),
            best: route.best() == at,
            stale: path.flags.has(PathFlags::STALE),
            reachable: self.ribs.attrs.metric(shown).is_some(),
            rejected: path.rejected,
        }
    }

    fn explain<A: Address>(&self, rib: &Rib<A>, prefix: Prefix) -> Option<Vec<ExplainedPath>> {
        let slot = rib.find(Net::from_prefix(prefix)?)?;
        let verdicts = verdicts(rib, self.ribs.rules(), slot);
        let explained = |(at, verdict)| ExplainedPath {
            route: self.path(rib, at),
            verdict,
        };
        Some(verdicts.into_iter().map(explained).collect())
    }

    /// What a peer has been told of a slot, in the words it was told.
    fn told<A: Address>(&self, rib: &Rib<A>, ix: PeerIx, slot: u32, found: &mut Vec<RouteView>) {
        let Some(group) = rib.group_of(ix) else {
            return;
        };
        for told in group.told(slot).into_iter().filter(|t| t.source != ix) {
            let mut section = Vec::new();
            let source = self.ribs.source(told.source);
            let attrs = &self.ribs.attrs;
            let next_hop = outbound(&group.key, attrs, told.attrs, &source, &mut section);
            found.push(RouteView {
                prefix: rib.routes[slot as usize].net().prefix(),
                peer: self.peers.get(told.source).map(|peer| peer.address),
                path_id: group.key.add_path.map(|_| told.id),
                attributes: PathAttributes::decode(&section, next_hop),
                best: true,
                stale: false,
                reachable: true,
                rejected: None,
            });
        }
    }
}

fn verdicts<A: Address>(rib: &Rib<A>, rules: Rules<'_>, slot: u32) -> Vec<(u32, String)> {
    let med = rules.always_compare_med;
    let all: Vec<Candidate<'_>> = candidates(rib, rules, slot).collect();
    let ranked = ranked(all.clone(), med, all.len());
    let mut said = Vec::new();
    for (place, candidate) in ranked.iter().enumerate() {
        let verdict = match (place, ranked.get(1)) {
            (0, None) => "best: the only eligible path".to_owned(),
            (0, Some(second)) => match candidate.compare(second, med) {
                Some((_, step)) => format!("best: {step}"),
                None => "best".to_owned(),
            },
            _ => match ranked[0].compare(candidate, med) {
                Some((_, step)) => format!("not best: the best has {step}"),
                None => "not best".to_owned(),
            },
        };
        said.push((candidate.at, verdict));
    }
    for at in rib.paths_of(slot) {
        if said.iter().any(|(other, _)| *other == at) {
            continue;
        }
        let verdict = match rib.paths[at as usize].rejected {
            Some(reason) => format!("refused: {reason}"),
            None => "not eligible: next hop unreachable".to_owned(),
        };
        said.push((at, verdict));
    }
    said
}
