//! What a source may add and mask.

use api::plugin::{Directive, DirectiveOp, DirectiveTarget};

use super::Part;

/// Kinds that may come from a part at all. Everything that grants authority, opens a listener or runs a program
/// is written by a person or not at all.
pub const DYNAMIC_KINDS: &[&str] = &[
    "AddressMobilityDomain",
    "HybridRoute",
    "IPv4Route",
    "OverlayPeer",
    "RemoteAddressClaim",
    "WireGuardPeer",
];

/// What a source may add when no policy speaks of it: claims, the reason why there is dynamic configuration.
const DEFAULT_KINDS: &[&str] = &["RemoteAddressClaim"];

/// The `DynamicOverridePolicy` resources of the startup configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    /// Who may mask what.
    pub masks: Vec<AllowMasks>,
    /// Who may add what.
    pub resources: Vec<AllowResources>,
}

/// A permission to mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowMasks {
    /// The source.
    pub source: String,
    /// What it may mask. A target without a name stands for all of its kind.
    pub targets: Vec<MaskTarget>,
}

/// A resource, or all of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskTarget {
    /// The kind.
    pub kind: String,
    /// The name; absent: all.
    pub name: Option<String>,
}

/// A permission to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowResources {
    /// The source.
    pub source: String,
    /// The kinds it may add, and no others.
    pub kinds: Vec<String>,
}

impl Policies {
    /// Everything that this part does without permission.
    pub(super) fn violations(&self, part: &Part) -> Vec<String> {
        let who = part.authority();
        let kinds = part.resources.iter();
        let kinds = kinds.filter(|r| !self.may_add(who, &r.kind));
        let added = kinds.map(|r| format!("{who} may not add a {} ({})", r.kind, r.metadata.name));
        let masks = part.directives.iter();
        let masks = masks.filter(|d| !self.may_apply(who, d));
        let masked =
            masks.map(|d| format!("{who} may not mask {}/{}", d.target.kind, d.target.name));
        added.chain(masked).collect()
    }

    fn may_add(&self, source: &str, kind: &str) -> bool {
        let mut rules = self
            .resources
            .iter()
            .filter(|rule| rule.source == source)
            .peekable();
        let granted = match rules.peek() {
            None => DEFAULT_KINDS.contains(&kind),
            Some(_) => rules.any(|rule| rule.kinds.iter().any(|k| k == kind)),
        };
        granted && DYNAMIC_KINDS.contains(&kind)
    }

    fn may_apply(&self, source: &str, directive: &Directive) -> bool {
        let DirectiveOp::Mask = directive.op;
        let rules = self.masks.iter().filter(|rule| rule.source == source);
        rules
            .flat_map(|rule| &rule.targets)
            .any(|target| target.covers(&directive.target))
    }
}

impl MaskTarget {
    fn covers(&self, target: &DirectiveTarget) -> bool {
        self.kind == target.kind && self.name.as_ref().is_none_or(|name| *name == target.name)
    }
}
