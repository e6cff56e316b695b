//! Rules between resources. One file each, and its line in [`RULES`].
//!
//! An error is what cannot work or would take something away; a warning is where traffic would fail in
//! silence, or an operator would be surprised.

mod addresses;
mod allowed_ips;
mod capacity;
mod endpoints;
mod mtu;
mod nodes;
mod overlaps;
mod overlay_routes;
mod plain_tunnels;
mod routes;
mod stripes;
mod unused;

use std::collections::BTreeSet;

use api::ResourceId;

use super::draft::Draft;
use super::sink::Sink;

/// What a rule may look at beside the draft.
pub(crate) struct Context<'c> {
    /// Resources that others name.
    pub(crate) used: &'c BTreeSet<ResourceId>,
}

type Rule = fn(&mut Draft, &Context<'_>, &mut Sink<'_>);

/// In order: derivation first, for what looks at its result.
const RULES: &[Rule] = &[
    plain_tunnels::derive,
    overlay_routes::derive,
    allowed_ips::derive,
    stripes::derive,
    overlaps::check_allowed_ips,
    overlaps::check_domains,
    addresses::check,
    routes::check,
    endpoints::check,
    mtu::check,
    nodes::check,
    capacity::check,
    unused::check,
];

/// Applies all rules.
pub(crate) fn apply(draft: &mut Draft, context: &Context<'_>, sink: &mut Sink<'_>) {
    for rule in RULES {
        rule(draft, context, sink);
    }
}
