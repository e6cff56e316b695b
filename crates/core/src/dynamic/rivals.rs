//! Two sources with one identity: the earlier word holds it, the other part is quarantined, both are named.

use std::collections::BTreeMap;

use api::ResourceId;
use api::time::Timestamp;

use super::Part;

/// A part by its index and what it is quarantined for.
type Loser = (usize, Vec<String>);

/// The parts that lose an identity to another one, each with the reasons, among those at these indices.
pub(super) fn losers(parts: &[&Part], indices: &[usize]) -> Vec<Loser> {
    let mut claims: BTreeMap<ResourceId, Vec<usize>> = BTreeMap::new();
    for index in indices {
        for id in parts[*index].ids() {
            claims.entry(id).or_default().push(*index);
        }
    }
    claims.retain(|_, rivals| rivals.len() > 1);
    let mut losers = Vec::new();
    // The latest word of all loses first: it may have been the only rival of another one.
    while let Some(loser) = latest(parts, &claims) {
        losers.push((loser, reasons(parts, &claims, loser)));
        for rivals in claims.values_mut() {
            rivals.retain(|index| *index != loser);
        }
        claims.retain(|_, rivals| rivals.len() > 1);
    }
    losers
}

fn rank<'p>(parts: &[&'p Part], id: &ResourceId, index: usize) -> (Timestamp, &'p str, usize) {
    (parts[index].since(id), &parts[index].source, index)
}

fn latest(parts: &[&Part], claims: &BTreeMap<ResourceId, Vec<usize>>) -> Option<usize> {
    let ranks = claims
        .iter()
        .flat_map(|(id, rivals)| rivals.iter().map(|index| rank(parts, id, *index)));
    ranks.max().map(|(_, _, index)| index)
}

fn reasons(
    parts: &[&Part],
    claims: &BTreeMap<ResourceId, Vec<usize>>,
    loser: usize,
) -> Vec<String> {
    let lost = claims.iter().filter(|(_, rivals)| rivals.contains(&loser));
    let reason = |(id, rivals): (&ResourceId, &Vec<usize>)| {
        let holder = rivals.iter().map(|index| rank(parts, id, *index)).min()?;
        (holder.2 != loser).then(|| {
            let source = &parts[loser].source;
            match holder.1 == source {
                true => format!("{id} stands twice in it"),
                false => format!("{id} of {source} is held by {}", holder.1),
            }
        })
    };
    lost.filter_map(reason).collect()
}
