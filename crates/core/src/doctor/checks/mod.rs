//! The checks, causes above consequences. A check is one file and one line.

mod action_journal;
mod allowed_ips;
mod arp_conflict;
mod bgp_bfd;
mod bgp_fib;
mod bgp_next_hop;
mod bgp_rejected;
mod bgp_rivals;
mod bgp_session;
mod bgp_speaker;
mod capture_interface;
mod captured_address;
mod clock_skew;
mod daemon;
mod default_route;
mod delivery_route;
mod drift;
mod dynamic_source;
mod event_delivery;
mod event_group;
mod event_missing;
mod event_peer_key;
mod event_runs;
mod firewall_forward;
mod firewall_overlay;
mod forwarding;
mod generation;
mod mss_clamp;
mod nat;
mod overlay_endpoint;
mod overlay_interface;
mod overlay_key;
mod part_held;
mod part_quarantined;
mod path_mtu;
mod peer_handshake;
mod provider;
mod proxy_delay;
mod proxy_neighbour;
mod reconcile;
mod redirects;
mod resource_waiting;
mod return_route;
mod route_choice;
mod rp_filter;
mod stale_table;

use super::findings::Entry;

/// Every check.
pub(super) const CHECKS: &[Entry] = &[
    overlay_interface::CHECK,
    overlay_key::CHECK,
    overlay_endpoint::CHECK,
    stale_table::CHECK,
    firewall_overlay::CHECK,
    peer_handshake::CHECK,
    allowed_ips::CHECK,
    bgp_speaker::CHECK,
    bgp_session::CHECK,
    bgp_bfd::CHECK,
    bgp_rejected::CHECK,
    bgp_next_hop::CHECK,
    bgp_rivals::CHECK,
    bgp_fib::CHECK,
    capture_interface::CHECK,
    captured_address::CHECK,
    delivery_route::CHECK,
    route_choice::CHECK,
    return_route::CHECK,
    forwarding::CHECK,
    firewall_forward::CHECK,
    nat::CHECK,
    rp_filter::CHECK,
    proxy_neighbour::CHECK,
    proxy_delay::CHECK,
    arp_conflict::CHECK,
    mss_clamp::CHECK,
    path_mtu::CHECK,
    redirects::CHECK,
    default_route::CHECK,
    clock_skew::CHECK,
    provider::CHECK,
    event_group::CHECK,
    event_peer_key::CHECK,
    event_delivery::CHECK,
    event_missing::CHECK,
    event_runs::CHECK,
    dynamic_source::CHECK,
    part_quarantined::CHECK,
    part_held::CHECK,
    resource_waiting::CHECK,
    daemon::CHECK,
    generation::CHECK,
    reconcile::CHECK,
    action_journal::CHECK,
    drift::CHECK,
];

/// A check of the area `hybrid`: addresses that live at other sites.
const fn hybrid(code: &'static str, run: Run) -> Entry {
    let area = "hybrid";
    Entry { area, code, run }
}

/// A check of the area `bgp`: the speaker, its peers and its routes.
const fn bgp(code: &'static str, run: Run) -> Entry {
    let area = "bgp";
    Entry { area, code, run }
}

/// A check of the area `dynamic`: what plugins and events add to the configuration.
const fn dynamic(code: &'static str, run: Run) -> Entry {
    let area = "dynamic";
    Entry { area, code, run }
}

/// A check of the area `federation`: what nodes tell each other.
const fn federation(code: &'static str, run: Run) -> Entry {
    let area = "federation";
    Entry { area, code, run }
}

/// A check of the area `host`: everything else that routerd does here.
const fn host(code: &'static str, run: Run) -> Entry {
    let area = "host";
    Entry { area, code, run }
}

/// A check of the area `runtime`: routerd itself.
const fn runtime(code: &'static str, run: Run) -> Entry {
    let area = "runtime";
    Entry { area, code, run }
}

type Run = fn(&super::scene::Scene<'_>, &mut super::findings::Findings);
