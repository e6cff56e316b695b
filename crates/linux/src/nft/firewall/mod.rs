//! The host's firewall, whoever wrote it, in the little that is needed to say whether a packet passes.
//!
//! Two readers, for nftables (to which `iptables-nft` writes too) and for the legacy iptables of the kernel, make
//! the same model of it: [`Table`]s of [`Chain`]s of [`Rule`]s. [`inline`] makes lists of them.

mod inline;
mod legacy;
mod matches;
mod ruleset;

use std::collections::BTreeMap;

use routerd_core::observed::{Firewall, Hook, Verdict};

use matches::Matches;

/// A table as it was read.
#[derive(Debug)]
struct Table {
    family: String,
    name: String,
    chains: BTreeMap<String, Chain>,
}

/// A chain as it was read.
#[derive(Debug, Default)]
struct Chain {
    /// Absent in chains that are only jumped to.
    base: Option<Base>,
    rules: Vec<Rule>,
}

/// Where the kernel calls a chain.
#[derive(Debug)]
struct Base {
    /// `filter`, `nat`, `route`.
    kind: String,
    /// `forward`, `postrouting` …
    hook: String,
    priority: i64,
    policy_drop: bool,
}

impl Base {
    /// The hook as the observation knows it.
    fn known_hook(&self) -> Option<Hook> {
        match (self.kind.as_str(), self.hook.as_str()) {
            ("filter" | "route", "input") => Some(Hook::Input),
            ("filter" | "route", "forward") => Some(Hook::Forward),
            ("nat", "prerouting") => Some(Hook::Prerouting),
            ("nat", "postrouting") => Some(Hook::Postrouting),
            _ => None,
        }
    }

    fn policy(&self) -> Verdict {
        if self.policy_drop {
            Verdict::Drop
        } else {
            Verdict::Accept
        }
    }
}

/// A rule as it was read. One with a set or a verdict map counts as several.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    matches: Matches,
    action: Action,
    text: String,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Verdict(Verdict),
    Jump(String),
    Goto(String),
    Return,
}

/// Reads everything. What cannot be read is said in the result: a firewall that is half known is better than
/// none.
pub fn observe() -> Firewall {
    let mut tables = Vec::new();
    let mut complaints = Vec::new();
    match ruleset::read() {
        Ok(read) => tables.extend(read),
        Err(error) => complaints.push(error.to_string()),
    }
    for family in [legacy::IPV4, legacy::IPV6] {
        match legacy::read(&family) {
            Ok(read) => tables.extend(read),
            Err(error) => complaints.push(error.to_string()),
        }
    }
    let mut firewall = inline::inline(&tables);
    complaints.extend(firewall.unreadable.take());
    firewall.unreadable = (!complaints.is_empty()).then(|| complaints.join("; "));
    firewall
}

/// Targets of iptables that rewrite addresses.
fn translates(target: &str) -> bool {
    matches!(
        target,
        "SNAT" | "DNAT" | "MASQUERADE" | "REDIRECT" | "NETMAP"
    )
}
