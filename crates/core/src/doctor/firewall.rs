//! Whether the host firewall lets packets pass, as far as its rules are understood.

use ipnet::Ipv4Net;

use crate::observed::{FirewallChain, FirewallRule, Verdict};

/// A packet of a connection; what is absent can be anything.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flow<'a> {
    pub(super) iif: Option<&'a str>,
    pub(super) oif: Option<&'a str>,
    pub(super) source: Option<Ipv4Net>,
    pub(super) destination: Option<Ipv4Net>,
    /// Present: a UDP packet to this port. Absent: any protocol.
    pub(super) udp_dport: Option<u16>,
    /// Not the first packet, but an answer.
    pub(super) established: bool,
}

/// What ends the way of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block<'a> {
    pub(super) chain: &'a FirewallChain,
    /// The rule; absent: the policy of the chain.
    pub(super) rule: Option<&'a FirewallRule>,
    /// No rule before it could have let the flow pass.
    pub(super) certain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Never,
    Maybe,
    Always,
}

/// What a chain does to a flow: what blocks it, if anything.
pub(super) fn judge<'a>(chain: &'a FirewallChain, flow: &Flow<'_>) -> Option<Block<'a>> {
    if chain.family == "ip6" {
        return None;
    }
    let mut certain = true;
    for rule in &chain.rules {
        match (fit(rule, flow), rule.verdict) {
            (Fit::Always, Verdict::Accept) => return None,
            (Fit::Maybe, Verdict::Accept) => certain = false,
            (Fit::Always, Verdict::Drop) => {
                return Some(Block {
                    chain,
                    rule: Some(rule),
                    certain,
                });
            }
            // A drop that may be about something else is no finding.
            (Fit::Maybe, Verdict::Drop)
            | (Fit::Never, _)
            | (_, Verdict::Continue | Verdict::Translate) => {}
        }
    }
    chain.policy_drop.then_some(Block {
        chain,
        rule: None,
        certain,
    })
}

/// The rule of a `nat` chain that rewrites a flow, if one surely does.
pub(super) fn translation<'a>(
    chain: &'a FirewallChain,
    flow: &Flow<'_>,
) -> Option<&'a FirewallRule> {
    let mut rules = chain.rules.iter();
    let decides =
        |rule: &&FirewallRule| fit(rule, flow) == Fit::Always && rule.verdict != Verdict::Continue;
    let first = rules.find(decides).filter(|_| chain.family != "ip6");
    first.filter(|rule| rule.verdict == Verdict::Translate)
}

fn fit(rule: &FirewallRule, flow: &Flow<'_>) -> Fit {
    let states = &rule.ct_states;
    let state = if flow.established {
        "established"
    } else {
        "new"
    };
    let parts = [
        name_fit(rule.iifname.as_deref(), flow.iif),
        name_fit(rule.oifname.as_deref(), flow.oif),
        net_fit(rule.source, flow.source),
        net_fit(rule.destination, flow.destination),
        protocol_fit(rule, flow),
        sure(states.is_empty() || states.iter().any(|given| given == state)),
        if rule.other_matches {
            Fit::Maybe
        } else {
            Fit::Always
        },
    ];
    parts.into_iter().min().unwrap_or(Fit::Always)
}

/// A flow of any protocol may be one that a rule is about; a UDP flow is or is not.
fn protocol_fit(rule: &FirewallRule, flow: &Flow<'_>) -> Fit {
    let narrow = rule.protocol.is_some() || rule.destination_port.is_some();
    let Some(port) = flow.udp_dport else {
        return if narrow { Fit::Maybe } else { Fit::Always };
    };
    let udp = rule.protocol.as_deref().is_none_or(|name| name == "udp");
    sure(udp && rule.destination_port.is_none_or(|wanted| wanted == port))
}

fn sure(fits: bool) -> Fit {
    if fits { Fit::Always } else { Fit::Never }
}

fn name_fit(rule: Option<&str>, flow: Option<&str>) -> Fit {
    match (rule, flow) {
        (None, _) => Fit::Always,
        (Some(_), None) => Fit::Maybe,
        (Some(rule), Some(flow)) => sure(rule == flow),
    }
}

fn net_fit(rule: Option<Ipv4Net>, flow: Option<Ipv4Net>) -> Fit {
    match (rule, flow) {
        (None, _) => Fit::Always,
        (Some(_), None) => Fit::Maybe,
        (Some(rule), Some(flow)) if rule.contains(&flow) => Fit::Always,
        (Some(rule), Some(flow)) if flow.contains(&rule) => Fit::Maybe,
        (Some(_), Some(_)) => Fit::Never,
    }
}

impl Block<'_> {
    /// `ip filter FORWARD drops it: reject with icmp type host-prohibited # handle 9`.
    pub(super) fn words(&self) -> String {
        let chain = self.chain;
        let rule = self.rule.map_or("policy drop", |rule| rule.text.as_str());
        let (family, table, name) = (&chain.family, &chain.table, &chain.chain);
        let unless = if self.certain {
            ""
        } else {
            " (unless a rule before it that doctor cannot read accepts)"
        };
        format!("{family} {table} {name}: {rule}{unless}")
    }

    /// The command that puts a rule in front of this chain, in the language of whoever owns it.
    pub(super) fn accept(&self, iptables: &str, nft: &str) -> String {
        let chain = self.chain;
        if chain.is_of_iptables() {
            format!("iptables -I {} 1 {iptables} -j ACCEPT", chain.chain)
        } else {
            let (family, table, name) = (&chain.family, &chain.table, &chain.chain);
            format!("nft insert rule {family} {table} {name} {nft} accept")
        }
    }
}

impl FirewallChain {
    /// Whether this is one of the chains that iptables works on, by nftables or without.
    pub(super) fn is_of_iptables(&self) -> bool {
        let hooks = ["INPUT", "FORWARD", "PREROUTING", "POSTROUTING"];
        self.family == "ip" && hooks.contains(&self.chain.as_str())
    }
}
