//! Rules between resources. One file each, and its line in [`RULES`].

mod allowed_ips;

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

const RULES: &[Rule] = &[allowed_ips::derive];

/// Applies all rules.
pub(crate) fn apply(draft: &mut Draft, used: &BTreeSet<ResourceId>, sink: &mut Sink<'_>) {
    let context = Context { used };
    for rule in RULES {
        rule(draft, &context, sink);
    }
}
