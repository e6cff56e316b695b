//! What was dropped, where and why.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::Serialize;

use super::header::Header;

/// One counter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DropCount {
    /// Packets as a real wire would carry them.
    pub packets: u64,
    /// The last of them: `udp 10.77.60.7 -> 10.77.60.9`.
    pub last: String,
}

/// Counters by place and reason. Places are fabrics, underlay links and ports.
#[derive(Debug, Default)]
pub struct DropCounters {
    counts: Mutex<BTreeMap<(String, &'static str), DropCount>>,
}

/// A copy of the counters: place, then reason.
pub type DropReport = BTreeMap<String, BTreeMap<String, DropCount>>;

impl DropCounters {
    /// Counts.
    pub fn count(&self, place: &str, reason: &'static str, packets: u64, header: Option<&Header>) {
        let mut counts = super::lock(&self.counts);
        let entry = counts.entry((place.to_owned(), reason)).or_default();
        entry.packets += packets;
        if let Some(header) = header {
            entry.last = describe(header);
        }
    }

    /// How many were dropped at a place for a reason.
    pub fn get(&self, place: &str, reason: &'static str) -> u64 {
        let counts = super::lock(&self.counts);
        counts
            .get(&(place.to_owned(), reason))
            .map_or(0, |c| c.packets)
    }

    /// All of them.
    pub fn report(&self) -> DropReport {
        let mut report = DropReport::new();
        for ((place, reason), count) in super::lock(&self.counts).iter() {
            let reasons = report.entry(place.clone()).or_default();
            reasons.insert((*reason).to_owned(), count.clone());
        }
        report
    }
}

fn describe(header: &Header) -> String {
    use super::header::protocol;
    let flow = header.flow;
    let name = match flow.protocol {
        protocol::ICMP => "icmp".to_owned(),
        protocol::TCP => "tcp".to_owned(),
        protocol::UDP => "udp".to_owned(),
        other => format!("proto-{other}"),
    };
    match flow.protocol {
        protocol::TCP | protocol::UDP => format!(
            "{name} {}:{} -> {}:{}",
            flow.source, flow.source_port, flow.destination, flow.destination_port
        ),
        _ => format!("{name} {} -> {}", flow.source, flow.destination),
    }
}
