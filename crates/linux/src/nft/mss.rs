//! The MSS table: the script that writes it and the reader that recognises it.

use std::collections::BTreeMap;
use std::fmt::Write;

use api::IfName;
use routerd_core::observed::MssClamp;
use routerd_core::{MSS_TABLE, OWNER_MARK};
use serde_json::{Value, json};

use super::{Error, run};

const CHAIN: &str = "forward";
const FRAGMENT_CHAIN: &str = "force-fragment";
/// nft's name `mangle`: before every filter.
const PRIORITY: i64 = -150;

/// One rule: connections that enter or leave through an interface, in one address family.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    /// `iifname` or `oifname`.
    direction: String,
    ifname: IfName,
    /// `ipv4` or `ipv6`.
    family: String,
    size: u16,
}

fn rules(clamps: &BTreeMap<IfName, MssClamp>) -> Vec<Rule> {
    let mut rules = Vec::with_capacity(clamps.len() * 4);
    for (ifname, clamp) in clamps {
        for direction in ["iifname", "oifname"] {
            for (family, size) in [("ipv4", clamp.v4), ("ipv6", clamp.v6)] {
                rules.push(Rule {
                    direction: direction.to_owned(),
                    ifname: ifname.clone(),
                    family: family.to_owned(),
                    size,
                });
            }
        }
    }
    rules
}

/// The transaction that puts exactly these clamps in the place of what is there.
///
/// In nft's own language: its JSON knows comments of tables only since 1.0.7, and the comment is the owner's mark.
pub(super) fn script(clamps: &BTreeMap<IfName, MssClamp>) -> Result<String, Error> {
    let mut script = format!(
        "add table inet {MSS_TABLE}\n\
         delete table inet {MSS_TABLE}\n\
         table inet {MSS_TABLE} {{\n\
         comment \"{OWNER_MARK}\"\n\
         chain {CHAIN} {{\n\
         type filter hook forward priority {PRIORITY}; policy accept;\n"
    );
    for rule in rules(clamps) {
        // No way to quote these; a trailing asterisk is a wildcard.
        if rule.ifname.as_str().contains(['"', '\\', '*']) {
            return Err(Error::Name(rule.ifname));
        }
        let _ = writeln!(
            script,
            "{} \"{}\" meta nfproto {} tcp flags & (syn|rst) == syn tcp option maxseg size set {}",
            rule.direction, rule.ifname, rule.family, rule.size
        );
    }
    script.push_str("}\n");
    write_fragment_chain(&mut script, clamps);
    script.push_str("}\n");
    Ok(script)
}

/// Before the kernel compares a packet with the MTU of its route it loses the flag that forbids fragments. It gets an
/// identification, too: senders that forbid fragments may give all their packets the same one (RFC 6864).
fn write_fragment_chain(script: &mut String, clamps: &BTreeMap<IfName, MssClamp>) {
    if forced(clamps).next().is_none() {
        return;
    }
    let _ = writeln!(
        script,
        "chain {FRAGMENT_CHAIN} {{\n\
         type filter hook prerouting priority {PRIORITY}; policy accept;"
    );
    for ifname in forced(clamps) {
        let _ = writeln!(
            script,
            "fib daddr oifname \"{ifname}\" ip frag-off & 0x4000 != 0 \
             ip id set numgen random mod 65535 offset 1 ip frag-off set ip frag-off & 0xbfff"
        );
    }
    script.push_str("}\n");
}

/// The tunnels whose packets are fragmented even where they forbid it.
fn forced(clamps: &BTreeMap<IfName, MssClamp>) -> impl Iterator<Item = &IfName> {
    let forced = clamps.iter().filter(|(_, clamp)| clamp.force_fragment);
    forced.map(|(ifname, _)| ifname)
}

/// The clamps, if the table is exactly what [`script`] writes.
pub(super) fn read() -> Result<Option<BTreeMap<IfName, MssClamp>>, Error> {
    match run(&["-j", "list", "table", "inet", MSS_TABLE], "") {
        Ok(answer) => Ok(parse(&serde_json::from_str(&answer)?)),
        // Gone since it was listed.
        Err(Error::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse(answer: &Value) -> Option<BTreeMap<IfName, MssClamp>> {
    let (mut chains, mut fragment_chains) = (0, 0);
    let (mut found, mut fragmented) = (Vec::new(), Vec::new());
    for object in answer["nftables"].as_array()? {
        let (kind, body) = object.as_object()?.iter().next()?;
        match (kind.as_str(), body["chain"].as_str()) {
            ("metainfo" | "table", _) => {}
            ("chain", _) if body["name"] == FRAGMENT_CHAIN => {
                fragment_chains += 1;
                is_our_chain(body, FRAGMENT_CHAIN, "prerouting").then_some(())?;
            }
            ("chain", _) => {
                chains += 1;
                is_our_chain(body, CHAIN, "forward").then_some(())?;
            }
            ("rule", Some(FRAGMENT_CHAIN)) => fragmented.push(parse_fragment_rule(body)?),
            ("rule", _) => found.push(parse_rule(body)?),
            _ => return None,
        }
    }
    let mut clamps = clamps_of(&found);
    for ifname in &fragmented {
        clamps.get_mut(ifname)?.force_fragment = true;
    }
    let whole = chains == 1
        && rules(&clamps) == found
        && fragment_chains == usize::from(!fragmented.is_empty())
        && forced(&clamps).eq(&fragmented);
    whole.then_some(clamps)
}

fn clamps_of(rules: &[Rule]) -> BTreeMap<IfName, MssClamp> {
    let mut clamps: BTreeMap<IfName, MssClamp> = BTreeMap::new();
    for rule in rules {
        let clamp = clamps.entry(rule.ifname.clone()).or_insert(MssClamp {
            v4: 0,
            v6: 0,
            force_fragment: false,
        });
        match rule.family.as_str() {
            "ipv4" => clamp.v4 = rule.size,
            _ => clamp.v6 = rule.size,
        }
    }
    clamps
}

/// The tunnel of such a rule.
fn parse_fragment_rule(rule: &Value) -> Option<IfName> {
    let [route, flag, id, clear] = rule["expr"].as_array()?.as_slice() else {
        return None;
    };
    let flags = json!({"payload": {"protocol": "ip", "field": "frag-off"}});
    let forbids = json!({"match": {"op": "!=", "left": {"&": [flags, 0x4000]}, "right": 0}});
    let cleared = json!({"mangle": {"key": flags, "value": {"&": [flags, 0xbfff]}}});
    let identified = id["mangle"]["key"] == json!({"payload": {"protocol": "ip", "field": "id"}});
    if *flag != forbids || *clear != cleared || !identified {
        return None;
    }
    let route = &route["match"];
    let by_route = json!({"fib": {"result": "oifname", "flags": ["daddr"]}});
    let matched = route["op"] == "==" && route["left"] == by_route;
    matched
        .then(|| route["right"].as_str()?.parse().ok())
        .flatten()
}

fn is_our_chain(chain: &Value, name: &str, hook: &str) -> bool {
    chain["name"] == name
        && chain["type"] == "filter"
        && chain["hook"] == hook
        && chain["prio"] == PRIORITY
        && chain["policy"] == "accept"
}

fn parse_rule(rule: &Value) -> Option<Rule> {
    let [device, family, flags, clamp] = rule["expr"].as_array()?.as_slice() else {
        return None;
    };
    let syn_of_syn_and_rst = json!({"match": {
        "op": "==",
        "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["syn", "rst"]]},
        "right": "syn",
    }});
    let option = json!({"tcp option": {"name": "maxseg", "field": "size"}});
    if *flags != syn_of_syn_and_rst || clamp["mangle"]["key"] != option {
        return None;
    }
    let (direction, ifname) = meta_equals(device)?;
    let (key, family) = meta_equals(family)?;
    (key == "nfproto").then_some(())?;
    Some(Rule {
        direction: direction.to_owned(),
        ifname: ifname.parse().ok()?,
        family: family.to_owned(),
        size: clamp["mangle"]["value"].as_u64()?.try_into().ok()?,
    })
}

/// `meta KEY == VALUE`.
fn meta_equals(expression: &Value) -> Option<(&str, &str)> {
    let matched = &expression["match"];
    (matched["op"] == "==").then_some(())?;
    Some((
        matched["left"]["meta"]["key"].as_str()?,
        matched["right"].as_str()?,
    ))
}
