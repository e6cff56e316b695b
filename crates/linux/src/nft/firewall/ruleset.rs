//! nftables' ruleset as `nft` prints it.

use std::collections::{BTreeMap, HashMap};

use ipnet::Ipv4Net;
use routerd_core::observed::Verdict;
use serde_json::Value;

use super::super::{Error, run};
use super::{Action, Base, Matches, Rule, Table};

/// Alternatives that one rule may fall into; beyond, its sets count as something that is not understood.
const ALTERNATIVES: usize = 64;

/// A rule in the words of nft, by family, table and handle.
type Texts = HashMap<(String, String, u64), String>;

pub(super) fn read() -> Result<Vec<Table>, Error> {
    // Terse: named sets may hold a hundred thousand elements, which nobody here looks at.
    let objects: Value = serde_json::from_str(&run(&["-j", "-a", "-t", "list", "ruleset"], "")?)?;
    let texts = texts(&run(&["-a", "-t", "list", "ruleset"], "")?);
    Ok(tables(&objects, &texts))
}

fn tables(objects: &Value, texts: &Texts) -> Vec<Table> {
    let mut tables: BTreeMap<(String, String), Table> = BTreeMap::new();
    let objects = objects["nftables"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    for object in objects {
        if let Some((kind, body)) = object.as_object().and_then(|object| object.iter().next()) {
            add(&mut tables, texts, kind, body);
        }
    }
    tables.into_values().collect()
}

/// Chains come before the rules in them.
fn add(
    tables: &mut BTreeMap<(String, String), Table>,
    texts: &Texts,
    kind: &str,
    body: &Value,
) -> Option<()> {
    if kind != "chain" && kind != "rule" {
        return None;
    }
    let family = body["family"].as_str()?.to_owned();
    let name = body["table"].as_str()?.to_owned();
    let table = tables
        .entry((family.clone(), name.clone()))
        .or_insert_with(|| Table {
            family: family.clone(),
            name: name.clone(),
            chains: BTreeMap::new(),
        });
    if kind == "chain" {
        let chain = table.chains.entry(body["name"].as_str()?.to_owned());
        chain.or_default().base = base(body);
    } else {
        let chain = table.chains.entry(body["chain"].as_str()?.to_owned());
        let text = texts.get(&(family, name, body["handle"].as_u64()?));
        let statements = body["expr"].as_array()?;
        let text = text.map_or("", String::as_str);
        chain.or_default().rules.extend(rules(statements, text));
    }
    Some(())
}

fn base(chain: &Value) -> Option<Base> {
    Some(Base {
        kind: chain["type"].as_str()?.to_owned(),
        hook: chain["hook"].as_str()?.to_owned(),
        priority: chain["prio"].as_i64()?,
        policy_drop: chain["policy"] == "drop",
    })
}

/// The rules that one rule of nft amounts to.
fn rules(statements: &[Value], text: &str) -> Vec<Rule> {
    let mut alternatives = vec![Matches::default()];
    let mut ends: Vec<(Matches, Action)> = Vec::new();
    for statement in statements {
        let Some((kind, body)) = statement.as_object().and_then(|s| s.iter().next()) else {
            continue;
        };
        match kind.as_str() {
            "match" => narrow(&mut alternatives, &matched(body)),
            "xt" => match extension(body, text) {
                Extension::Match(matches) => narrow(&mut alternatives, &[matches]),
                Extension::Target(action) => ends.push((Matches::default(), action)),
            },
            "vmap" => ends.extend(verdict_map(body)),
            kind if changes_nothing(kind) => {}
            kind => match action(kind, body) {
                Some(action) => ends.push((Matches::default(), action)),
                // `limit`, `fib`, `ct count`, `quota` and whatever is yet to be invented.
                None => narrow(&mut alternatives, &[Matches::other()]),
            },
        }
    }
    if ends.is_empty() {
        ends.push((Matches::default(), Action::Verdict(Verdict::Continue)));
    }
    let mut rules = Vec::new();
    for (matches, action) in &ends {
        for alternative in &alternatives {
            rules.extend(alternative.and(matches).map(|matches| Rule {
                matches,
                action: action.clone(),
                text: text.to_owned(),
            }));
        }
    }
    rules
}

fn narrow(alternatives: &mut Vec<Matches>, more: &[Matches]) {
    let more = if alternatives.len() * more.len() > ALTERNATIVES {
        &[Matches::other()]
    } else {
        more
    };
    *alternatives = alternatives
        .iter()
        .flat_map(|one| more.iter().filter_map(|other| one.and(other)))
        .collect();
}

fn changes_nothing(statement: &str) -> bool {
    matches!(
        statement,
        "counter"
            | "log"
            | "mangle"
            | "notrack"
            | "set"
            | "map"
            | "flow"
            | "dup"
            | "last"
            | "meter"
            | "ct helper"
            | "ct timeout"
            | "ct expectation"
            | "secmark"
            | "comment"
    )
}

fn action(kind: &str, body: &Value) -> Option<Action> {
    Some(match kind {
        "accept" => Action::Verdict(Verdict::Accept),
        "drop" | "reject" => Action::Verdict(Verdict::Drop),
        "snat" | "dnat" | "masquerade" | "redirect" => Action::Verdict(Verdict::Translate),
        "continue" => Action::Verdict(Verdict::Continue),
        "return" => Action::Return,
        "jump" => Action::Jump(body["target"].as_str()?.to_owned()),
        "goto" => Action::Goto(body["target"].as_str()?.to_owned()),
        _ => return None,
    })
}

/// A match or target of iptables that nft has no words for.
enum Extension {
    Match(Matches),
    Target(Action),
}

/// nft names the extension and no more; where it can translate it, the translation stands in the text.
fn extension(body: &Value, text: &str) -> Extension {
    match (body["type"].as_str(), body["name"].as_str()) {
        (Some("target"), Some("REJECT" | "DROP")) => {
            Extension::Target(Action::Verdict(Verdict::Drop))
        }
        (Some("target"), Some(name)) if super::translates(name) => {
            Extension::Target(Action::Verdict(Verdict::Translate))
        }
        (Some("target"), _) => Extension::Target(Action::Verdict(Verdict::Continue)),
        (_, Some("comment")) => Extension::Match(Matches::default()),
        (_, Some("conntrack" | "state")) => Extension::Match(translated_states(text)),
        _ => Extension::Match(Matches::other()),
    }
}

fn translated_states(text: &str) -> Matches {
    let mut conditions = text.split(" ct ").skip(1);
    let states = conditions
        .next()
        .and_then(|rest| rest.strip_prefix("state "));
    match (
        states.and_then(|rest| rest.split(' ').next()),
        conditions.next(),
    ) {
        (Some(states), None) if states != "!=" => Matches {
            ct_states: states.split(',').map(str::to_owned).collect(),
            ..Matches::default()
        },
        _ => Matches::other(),
    }
}

/// `KEY vmap { VALUE : VERDICT, … }`; a named map is not understood.
fn verdict_map(body: &Value) -> Vec<(Matches, Action)> {
    let unknown = || (Matches::other(), Action::Verdict(Verdict::Continue));
    let Some(elements) = body["data"]["set"].as_array() else {
        return vec![unknown()];
    };
    let mut ends = Vec::new();
    for element in elements {
        let verdict = element[1]
            .as_object()
            .and_then(|verdict| verdict.iter().next());
        let action = verdict.and_then(|(kind, body)| action(kind, body));
        let action = action.unwrap_or(Action::Verdict(Verdict::Continue));
        for matches in equals(&body["key"], &element[0]) {
            ends.push((matches, action.clone()));
        }
    }
    ends
}

/// The alternatives of a `match` statement.
fn matched(body: &Value) -> Vec<Matches> {
    if body["op"] == "==" || body["op"] == "in" {
        equals(&body["left"], &body["right"])
    } else {
        vec![Matches::other()]
    }
}

fn equals(left: &Value, right: &Value) -> Vec<Matches> {
    if left["ct"]["key"] == "state" {
        return vec![states(right)];
    }
    match right["set"].as_array() {
        Some(values) => values.iter().map(|value| equals_one(left, value)).collect(),
        None => vec![equals_one(left, right)],
    }
}

fn states(right: &Value) -> Matches {
    let list = right["set"].as_array().or(right.as_array());
    let states = match list {
        Some(list) => list.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
        None => right.as_str().map(|state| vec![state]),
    };
    match states {
        Some(states) => Matches {
            ct_states: states.into_iter().map(str::to_owned).collect(),
            ..Matches::default()
        },
        None => Matches::other(),
    }
}

fn equals_one(left: &Value, right: &Value) -> Matches {
    let known = match (left["meta"]["key"].as_str(), right.as_str()) {
        (Some(key), Some(value)) => meta(key, value),
        (None, _) => payload(&left["payload"], right),
        _ => None,
    };
    known.unwrap_or_else(Matches::other)
}

fn meta(key: &str, value: &str) -> Option<Matches> {
    let mut matches = Matches::default();
    match key {
        // A name of a set begins with `@`, a wildcard ends with `*`.
        _ if value.starts_with('@') || value.ends_with('*') => return None,
        "iifname" | "iif" => matches.iifname = Some(value.to_owned()),
        "oifname" | "oif" => matches.oifname = Some(value.to_owned()),
        "l4proto" => matches.protocol = Some(value.to_owned()),
        "nfproto" if value == "ipv4" => {}
        "protocol" if value == "ip" => {}
        _ => return None,
    }
    Some(matches)
}

fn payload(left: &Value, right: &Value) -> Option<Matches> {
    let mut matches = Matches::default();
    match (left["protocol"].as_str()?, left["field"].as_str()?) {
        ("ip", "saddr") => matches.source = Some(prefix(right)?),
        ("ip", "daddr") => matches.destination = Some(prefix(right)?),
        ("ip", "protocol") => matches.protocol = Some(right.as_str()?.to_owned()),
        ("th", "dport") => matches.destination_port = Some(port(right)?),
        (protocol @ ("udp" | "tcp" | "sctp" | "dccp" | "udplite"), "dport") => {
            matches.protocol = Some(protocol.to_owned());
            matches.destination_port = Some(port(right)?);
        }
        _ => return None,
    }
    Some(matches)
}

fn port(right: &Value) -> Option<u16> {
    right.as_u64()?.try_into().ok()
}

fn prefix(right: &Value) -> Option<Ipv4Net> {
    if let Some(address) = right.as_str() {
        return Some(Ipv4Net::from(address.parse::<std::net::Ipv4Addr>().ok()?));
    }
    let prefix = &right["prefix"];
    let address = prefix["addr"].as_str()?.parse().ok()?;
    Ipv4Net::new(address, prefix["len"].as_u64()?.try_into().ok()?).ok()
}

/// Rules in nft's listing, which ends them with `# handle N`.
fn texts(listing: &str) -> Texts {
    let mut texts = Texts::new();
    let (mut family, mut table) = ("", "");
    for line in listing.lines() {
        let mut words = line.split_whitespace();
        if let (Some("table"), Some(of), Some(name)) = (words.next(), words.next(), words.next())
            && !line.starts_with(char::is_whitespace)
        {
            (family, table) = (of, name);
        }
        let handle = line.rsplit_once("# handle ");
        let Some(handle) = handle.and_then(|(_, number)| number.parse().ok()) else {
            continue;
        };
        if !line.contains("{ # handle ") {
            let key = (family.to_owned(), table.to_owned(), handle);
            texts.insert(key, line.trim().to_owned());
        }
    }
    texts
}
