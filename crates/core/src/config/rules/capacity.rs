//! How many secondary addresses a provider puts on one NIC.

use std::collections::BTreeMap;

use api::Diagnostic;

use super::Context;
use crate::config::draft::{Claim, Draft};
use crate::config::sink::Sink;
use crate::kinds::field::Cloud;

pub(super) fn check(draft: &mut Draft, _: &Context<'_>, sink: &mut Sink<'_>) {
    let mut by_nic = BTreeMap::<&(Cloud, String), Vec<&Claim>>::new();
    for claim in draft.claims.values() {
        if let Some(nic) = &claim.nic {
            by_nic.entry(nic).or_default().push(claim);
        }
    }
    for ((cloud, _), claims) in by_nic {
        let limit = limit(*cloud);
        let mut claims = claims;
        claims.sort_by_key(|claim| claim.mark);
        if let Some(first) = claims.get(limit) {
            let message = format!(
                "{} claims on one NIC, and {cloud} puts at most {limit} secondary addresses there",
                claims.len()
            );
            let found = Diagnostic::warning("too-many-secondary-addresses", message)
                .about(&first.id)
                .hint("spread them over several routers, or capture by `route-table`");
            sink.push(first.mark, found);
        }
    }
}

/// Documented limits, less the primary address. AWS depends on the instance type; 49 is the largest.
fn limit(cloud: Cloud) -> usize {
    match cloud {
        Cloud::Aws => 49,
        Cloud::Azure => 255,
        Cloud::Oci => 64,
        Cloud::Gcp => 150,
    }
}
