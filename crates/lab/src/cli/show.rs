//! Lists and tables for people.

use serde_json::Value;

use crate::{scenario, topology};

/// Scenarios, and topologies for `up`.
pub(super) fn list(plain: bool) {
    if plain {
        for scenario in scenario::ALL {
            println!("{}", scenario.id);
        }
        return;
    }
    println!("SCENARIO (routerctl lab run ID)");
    for scenario in scenario::ALL {
        println!("  {:24} {}", scenario.id, scenario.summary);
    }
    println!("\nTOPOLOGY (routerctl lab up ID)");
    for entry in topology::ALL {
        println!("  {:24} {}", entry.id, entry.summary);
    }
}

/// The status of a lab.
pub(super) fn status(status: &Value) {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    println!("lab {}: {}", text(&status["name"]), text(&status["phase"]));
    println!("\n{:16} {:8} {:>5}  INTERFACES", "NODE", "ROLE", "PROCS");
    for (name, node) in entries(&status["nodes"]) {
        let interfaces: Vec<String> = entries(&node["interfaces"])
            .map(|(name, addresses)| {
                let all = addresses.as_array().into_iter().flatten().map(text);
                format!("{name} {}", all.collect::<Vec<_>>().join(","))
            })
            .collect();
        println!(
            "{name:16} {:8} {:>5}  {}",
            text(&node["role"]),
            text(&node["processes"]),
            interfaces.join("  ")
        );
    }
    println!("\n{:18} {:>5}  {:24} IMPAIRMENT", "LINK", "MTU", "TO");
    for (name, link) in entries(&status["links"]) {
        let to: Vec<String> = entries(&link["attachment"])
            .map(|(kind, name)| format!("{kind} {}", text(name)))
            .collect();
        let state = impairment(&link["impairment"], &link["quality"]);
        println!(
            "{name:18} {:>5}  {:24} {state}",
            text(&link["mtu"]),
            to.join(" ")
        );
    }
    println!(
        "\n{:18} {:22} {:>9}  LAST",
        "DROPPED AT", "REASON", "PACKETS"
    );
    for (place, reasons) in entries(&status["drops"]) {
        for (reason, count) in entries(reasons) {
            let (packets, last) = (text(&count["packets"]), text(&count["last"]));
            println!("{place:18} {reason:22} {packets:>9}  {last}");
        }
    }
}

/// What is done to a link, and what it is like without that.
fn impairment(state: &Value, quality: &Value) -> String {
    let mut words = Vec::new();
    for word in ["cut", "blackhole"] {
        if state[word] == Value::Bool(true) {
            words.push(word.to_owned());
        }
    }
    for (source, usual) in [(state, ""), (quality, "always ")] {
        for name in ["delay", "jitter"] {
            let time = &source[name];
            let ms = time["secs"].as_u64().unwrap_or(0) * 1000
                + time["nanos"].as_u64().unwrap_or(0) / 1_000_000;
            if ms > 0 {
                words.push(format!("{usual}{name} {ms} ms"));
            }
        }
        for name in ["loss", "reorder"] {
            let share = source[name].as_f64().unwrap_or(0.0);
            if share > 0.0 {
                words.push(format!("{usual}{name} {} %", share * 100.0));
            }
        }
    }
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
