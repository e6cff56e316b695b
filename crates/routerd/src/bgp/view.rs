//! What clients are shown of next hops and watched paths.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use linux::bfd::{Ends, Overview, Reach};
use linux::fib::Way;
use routerd_core::bgp::BfdView;

pub(super) fn next_hops(
    ways: &BTreeMap<Ipv4Addr, Option<Way>>,
) -> BTreeMap<Ipv4Addr, Option<String>> {
    let words = |way: &Way| {
        let name = nix::net::if_::if_indextoname(way.hop.interface);
        let name = name.map_or_else(
            |_| way.hop.interface.to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        match way.hop.gateway {
            Some(gateway) => format!("via {gateway} dev {name} metric {}", way.metric),
            None => format!("dev {name} metric {}", way.metric),
        }
    };
    let ways = ways.iter();
    ways.map(|(address, way)| (*address, way.as_ref().map(words)))
        .collect()
}

pub(super) fn bfd(overview: &Overview) -> Vec<BfdView> {
    let sessions = overview.sessions.iter().map(|(ends, session)| BfdView {
        peer: ends.remote.into(),
        scope: scope(ends),
        state: session.state.to_string(),
        remote_state: session.remote_state.to_string(),
        diagnostic: session.diagnostic.to_string(),
        interval: session.transmit_interval,
        detection_time: session.detection_time,
        patience: session.patience,
        false_alarms: session.false_alarms,
        remote_independent: session.remote_independent,
        failure: None,
    });
    let failed = overview.failed.iter().map(|(ends, reason)| BfdView {
        peer: ends.remote.into(),
        scope: scope(ends),
        state: "down".to_owned(),
        remote_state: "down".to_owned(),
        diagnostic: "none".to_owned(),
        interval: None,
        detection_time: Duration::ZERO,
        patience: 1,
        false_alarms: 0,
        remote_independent: false,
        failure: Some(reason.clone()),
    });
    sessions.chain(failed).collect()
}

/// How early BFD runs, in words, and what the host refused it. Absent where nothing runs.
pub(super) fn urgency(overview: &Overview) -> Option<String> {
    if overview.sessions.is_empty() {
        return None;
    }
    let urgency = &overview.urgency;
    let memory = if urgency.memory_locked {
        ", memory locked"
    } else {
        ""
    };
    let refused = match urgency.refused.as_slice() {
        [] => String::new(),
        refused => format!(" (refused: {})", refused.join("; ")),
    };
    Some(format!("{}{memory}{refused}", urgency.scheduling))
}

fn scope(ends: &Ends) -> String {
    match ends.reach {
        Reach::SingleHop { .. } => "single-hop".to_owned(),
        Reach::MultiHop { .. } => "multihop".to_owned(),
    }
}
