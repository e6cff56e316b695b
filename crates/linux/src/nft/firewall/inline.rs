//! From chains that jump to each other to one list for each hook.

use routerd_core::observed::{Firewall, FirewallChain, FirewallRule, Hook, Verdict};

use super::{Action, Base, Matches, Table};

/// The kernel's own limit of jumps in jumps.
const DEPTH: usize = 16;
/// Chains that are jumped to from many places multiply; no list gets longer than this.
const RULES: usize = 10_000;

pub(super) fn inline(tables: &[Table]) -> Firewall {
    let mut firewall = Firewall::default();
    let mut chains = Vec::new();
    for table in tables {
        for (name, chain) in &table.chains {
            let Some(base) = &chain.base else { continue };
            let full_name = format!("{} {} {name}", table.family, table.name);
            let Some(hook) = base.known_hook() else {
                continue;
            };
            let mut list = List {
                table,
                policy: base.policy(),
                rules: Vec::new(),
                complete: true,
            };
            list.chain(name, &Matches::default(), 0);
            if !list.complete {
                let complaint = format!("{full_name} is too long to follow all its jumps");
                firewall.unreadable = Some(complaint);
            }
            chains.push((
                base.priority,
                firewall_chain(table, name, hook, base, list.rules),
            ));
        }
    }
    chains.sort_by_key(|(priority, _)| *priority);
    firewall.chains = chains.into_iter().map(|(_, chain)| chain).collect();
    firewall
}

fn firewall_chain(
    table: &Table,
    chain: &str,
    hook: Hook,
    base: &Base,
    rules: Vec<FirewallRule>,
) -> FirewallChain {
    FirewallChain {
        family: table.family.clone(),
        table: table.name.clone(),
        chain: chain.to_owned(),
        hook,
        policy_drop: base.policy_drop,
        rules,
    }
}

/// The list of one base chain as it grows.
struct List<'a> {
    table: &'a Table,
    policy: Verdict,
    rules: Vec<FirewallRule>,
    /// Whether everything fitted.
    complete: bool,
}

impl List<'_> {
    /// Adds the rules of a chain for packets that match `outer`.
    fn chain(&mut self, name: &str, outer: &Matches, depth: usize) {
        let Some(chain) = self.table.chains.get(name) else {
            return;
        };
        if depth > DEPTH {
            self.complete = false;
            return;
        }
        // Behind a rule that sends some packets back, whether a packet gets there depends on more than is said here.
        let mut outer = outer.clone();
        for rule in &chain.rules {
            let Some(matches) = outer.and(&rule.matches) else {
                continue;
            };
            let leaves = match &rule.action {
                Action::Verdict(verdict) => {
                    self.push(matches, *verdict, &rule.text);
                    false
                }
                Action::Jump(target) => {
                    self.chain(target, &matches, depth + 1);
                    false
                }
                Action::Goto(target) => {
                    self.chain(target, &matches, depth + 1);
                    self.end(matches, depth, &rule.text)
                }
                Action::Return => self.end(matches, depth, &rule.text),
            };
            if leaves && rule.matches.is_everything() {
                return;
            }
            outer.other |= leaves;
        }
    }

    /// The end of a chain for some packets: in a base chain the policy speaks, from others they go back. Returns whether
    /// they go back.
    fn end(&mut self, matches: Matches, depth: usize, text: &str) -> bool {
        if depth == 0 {
            self.push(matches, self.policy, text);
        }
        depth > 0
    }

    fn push(&mut self, matches: Matches, verdict: Verdict, text: &str) {
        if self.rules.len() < RULES {
            self.rules.push(matches.rule(verdict, text.to_owned()));
        } else {
            self.complete = false;
        }
    }
}
