//! The MSS table: the script that writes it and the reader that recognises it.

use std::collections::BTreeMap;
use std::fmt::Write;

use api::IfName;
use routerd_core::observed::MssClamp;
use routerd_core::{MSS_TABLE, OWNER_MARK};
use serde_json::{Value, json};

use super::{Error, run};

const CHAIN: &str = "forward";
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
    script.push_str("}\n}\n");
    Ok(script)
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
    let mut chains = 0;
    let mut found = Vec::new();
    for object in answer["nftables"].as_array()? {
        let (kind, body) = object.as_object()?.iter().next()?;
        match kind.as_str() {
            "metainfo" | "table" => {}
            "chain" => {
                chains += 1;
                is_our_chain(body).then_some(())?;
            }
            "rule" => found.push(parse_rule(body)?),
            _ => return None,
        }
    }
    let mut clamps: BTreeMap<IfName, MssClamp> = BTreeMap::new();
    for rule in &found {
        let clamp = clamps
            .entry(rule.ifname.clone())
            .or_insert(MssClamp { v4: 0, v6: 0 });
        match rule.family.as_str() {
            "ipv4" => clamp.v4 = rule.size,
            _ => clamp.v6 = rule.size,
        }
    }
    (chains == 1 && rules(&clamps) == found).then_some(clamps)
}

fn is_our_chain(chain: &Value) -> bool {
    chain["name"] == CHAIN
        && chain["type"] == "filter"
        && chain["hook"] == "forward"
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
