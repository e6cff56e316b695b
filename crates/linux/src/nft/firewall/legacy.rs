//! iptables of before nftables, which the kernel runs beside it.

use std::collections::BTreeMap;
use std::process::Command;

use ipnet::Ipv4Net;
use routerd_core::observed::Verdict;

use super::super::Error;
use super::{Action, Base, Chain, Matches, Rule, Table};

/// One of its two address families.
pub(super) struct Family {
    name: &'static str,
    program: &'static str,
    /// Lists the tables in use; not there if the kernel has no legacy iptables.
    names: &'static str,
}

pub(super) const IPV4: Family = Family {
    name: "ip",
    program: "iptables-legacy",
    names: "/proc/thread-self/net/ip_tables_names",
};
pub(super) const IPV6: Family = Family {
    name: "ip6",
    program: "ip6tables-legacy",
    names: "/proc/thread-self/net/ip6_tables_names",
};

/// The tables in use. Asking for others would bring them into use. In a user namespace the list belongs to the machine's
/// root and cannot be read: then none are seen.
pub(super) fn read(family: &Family) -> Result<Vec<Table>, Error> {
    let in_use = std::fs::read_to_string(family.names).unwrap_or_default();
    if in_use.trim().is_empty() {
        return Ok(Vec::new());
    }
    let save = format!("{}-save", family.program);
    let output = Command::new(&save)
        .output()
        .map_err(|error| Error::Refused(format!("{save}: {error}")))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Refused(format!("{save}: {}", reason.trim())));
    }
    Ok(parse(family, &String::from_utf8_lossy(&output.stdout)))
}

/// `*TABLE`, `:CHAIN POLICY [packets:bytes]`, `-A CHAIN rule`, `COMMIT`.
fn parse(family: &Family, saved: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            tables.push(Table {
                family: family.name.to_owned(),
                name: name.to_owned(),
                chains: BTreeMap::new(),
            });
            continue;
        }
        let Some(table) = tables.last_mut() else {
            continue;
        };
        if let Some(declared) = line.strip_prefix(':') {
            let mut words = declared.split(' ');
            if let (Some(chain), Some(policy)) = (words.next(), words.next()) {
                let base = base(&table.name, chain, policy);
                table.chains.entry(chain.to_owned()).or_default().base = base;
            }
        } else if let Some(appended) = line.strip_prefix("-A ") {
            let (chain, rule) = appended.split_once(' ').unwrap_or((appended, ""));
            let chain: &mut Chain = table.chains.entry(chain.to_owned()).or_default();
            let text = format!("{} -t {} {line}", family.program, table.name);
            chain.rules.push(parse_rule(rule, text));
        }
    }
    tables
}

fn base(table: &str, chain: &str, policy: &str) -> Option<Base> {
    let hook = match chain {
        "PREROUTING" => "prerouting",
        "INPUT" => "input",
        "FORWARD" => "forward",
        "OUTPUT" => "output",
        "POSTROUTING" => "postrouting",
        _ => return None,
    };
    // As the kernel registers them (`NF_IP_PRI_…`).
    let (kind, priority) = match (table, hook) {
        ("raw", _) => ("filter", -300),
        ("mangle", _) => ("filter", -150),
        ("nat", "prerouting" | "output") => ("nat", -100),
        ("nat", _) => ("nat", 100),
        ("security", _) => ("filter", 50),
        _ => ("filter", 0),
    };
    Some(Base {
        kind: kind.to_owned(),
        hook: hook.to_owned(),
        priority,
        policy_drop: policy == "DROP",
    })
}

fn parse_rule(rule: &str, text: String) -> Rule {
    let mut matches = Matches::default();
    let mut action = Action::Verdict(Verdict::Continue);
    let mut words = words(rule).into_iter();
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap_or_default();
        match word.as_str() {
            "-j" => {
                action = target(next());
                // What follows are the target's own options.
                break;
            }
            "-g" => {
                action = Action::Goto(next());
                break;
            }
            // The module's own options follow.
            "-m" => drop(next()),
            "--comment" => drop(next()),
            "!" => {
                let option = next();
                let _ = condition(&option, &mut next);
                matches.other = true;
            }
            option => {
                let known = condition(option, &mut next);
                let both = matches.and(&known.unwrap_or_else(Matches::other));
                // iptables takes each option once, so nothing contradicts itself.
                matches = both.unwrap_or_else(Matches::other);
            }
        }
    }
    Rule {
        matches,
        action,
        text,
    }
}

/// An option that is not known leaves its value behind, which then is not known either.
fn condition(option: &str, next: &mut impl FnMut() -> String) -> Option<Matches> {
    let mut matches = Matches::default();
    match option {
        "-i" => matches.iifname = Some(interface(next())?),
        "-o" => matches.oifname = Some(interface(next())?),
        "-s" => matches.source = Some(prefix(&next())?),
        "-d" => matches.destination = Some(prefix(&next())?),
        "-p" => matches.protocol = Some(next()),
        "--dport" => matches.destination_port = Some(next().parse().ok()?),
        "--ctstate" | "--state" => {
            matches.ct_states = next()
                .to_lowercase()
                .split(',')
                .map(str::to_owned)
                .collect();
        }
        _ => return None,
    }
    Some(matches)
}

/// A name that ends in `+` is a wildcard.
fn interface(name: String) -> Option<String> {
    (!name.ends_with('+')).then_some(name)
}

fn prefix(text: &str) -> Option<Ipv4Net> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<std::net::Ipv4Addr>().ok().map(Ipv4Net::from))
}

fn target(name: String) -> Action {
    match name.as_str() {
        "ACCEPT" => Action::Verdict(Verdict::Accept),
        "DROP" | "REJECT" => Action::Verdict(Verdict::Drop),
        name if super::translates(name) => Action::Verdict(Verdict::Translate),
        "RETURN" => Action::Return,
        // A chain, or an extension: of that there is no chain, and the packet goes on.
        _ => Action::Jump(name),
    }
}

/// Words of a line; quotes hold blanks together, a backslash escapes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut any) = (String::new(), false, false);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.extend(characters.next()),
            '"' => {
                quoted = !quoted;
                any = true;
            }
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            _ => word.push(character),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}
