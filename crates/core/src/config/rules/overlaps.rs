//! Prefixes that lie inside each other, found in one pass over the sorted list.

use api::Diagnostic;
use ipnet::IpNet;

use super::Context;
use crate::config::draft::{Draft, Peer};
use crate::config::sink::Sink;
use crate::config::tree::Mark;

/// For each prefix the nearest one before it, in order of address and length, that holds it.
pub(super) fn enclosing<T>(items: &mut [(IpNet, T)]) -> Vec<(usize, usize)>
where
    T: Ord,
{
    items.sort();
    let mut open = Vec::<usize>::new();
    let mut pairs = Vec::new();
    for (index, (net, _)) in items.iter().enumerate() {
        while open
            .pop_if(|outer| !items[*outer].0.contains(net))
            .is_some()
        {}
        if let Some(outer) = open.last() {
            pairs.push((*outer, index));
        }
        open.push(index);
    }
    pairs
}

/// Two peers of one interface cannot have the same allowed IP: the kernel takes it from the first.
pub(super) fn check_allowed_ips(draft: &mut Draft, _: &Context<'_>, sink: &mut Sink<'_>) {
    for peers in draft.peers.values() {
        let written = |(index, peer): (usize, &Peer)| -> Vec<_> {
            let nets = peer.allowed_ips.iter();
            nets.map(|(net, mark)| (*net, (*mark, index))).collect()
        };
        let mut nets: Vec<(IpNet, (Mark, usize))> =
            peers.iter().enumerate().flat_map(written).collect();
        for (outer, inner) in enclosing(&mut nets) {
            let ((wide, (first, holder)), (net, (mark, index))) = (nets[outer], nets[inner]);
            let (holder, peer) = (&peers[holder], &peers[index]);
            let found = match (wide == net, holder.id == peer.id) {
                (true, true) => {
                    Diagnostic::warning("duplicate-item", format!("{net} is listed twice"))
                        .hint("keep one")
                }
                (true, false) => Diagnostic::error(
                    "allowed-ips-overlap",
                    format!("{net} is in the allowedIPs of {} too", holder.id),
                )
                .hint(format!(
                    "it stands at {}; an interface sends a prefix to one peer only",
                    sink.refer(first)
                )),
                (false, false) if wide.prefix_len() > 0 => Diagnostic::warning(
                    "allowed-ips-nested",
                    format!("{net} lies inside {wide} of {}", holder.id),
                )
                .hint("the longer prefix wins: this part goes here, the rest there"),
                _ => continue,
            };
            sink.push(mark, found.about(&peer.id));
        }
    }
}

/// An address in two domains has two answers to every question.
pub(super) fn check_domains(draft: &mut Draft, _: &Context<'_>, sink: &mut Sink<'_>) {
    let domains: Vec<_> = draft.domains.values().collect();
    let indexed = domains.iter().enumerate();
    let mut nets: Vec<(IpNet, (Mark, usize))> = indexed
        .map(|(index, domain)| (domain.prefix.into(), (domain.mark, index)))
        .collect();
    for (outer, inner) in enclosing(&mut nets) {
        let ((_, (_, first)), (_, (mark, second))) = (nets[outer], nets[inner]);
        let (first, second) = (domains[first], domains[second]);
        let message = format!(
            "{} overlaps with {} of {}",
            second.prefix, first.prefix, first.id
        );
        let found = Diagnostic::warning("domains-overlap", message)
            .about(&second.id)
            .hint("make one domain of them, or shrink one");
        sink.push(mark, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_enclosing_prefix_is_found() {
        let nets = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.0/24",
            "10.2.0.0/16",
            "11.0.0.0/8",
            "11.0.0.0/8",
        ];
        let mut items: Vec<(IpNet, ())> = nets
            .iter()
            .map(|net| (net.parse().expect("net"), ()))
            .collect();
        items.reverse();
        assert_eq!(enclosing(&mut items), [(0, 1), (1, 2), (0, 3), (4, 5)]);
    }
}
