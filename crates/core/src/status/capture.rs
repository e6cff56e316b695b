//! Captured addresses.

use std::net::IpAddr;

use super::device::mac_words;
use super::{Reports, Scene};
use crate::effective::CaptureMethod;

pub(super) fn report_captures<'a>(scene: &Scene<'a>, reports: &mut Reports<'a>) {
    for (address, intent) in &scene.effective.captures {
        let about = reports.about(&intent.owner);
        about.fact("address", address.to_string());
        about.fact("capture", method_words(&intent.method));
        if let Some(ifname) = scene.desired.captures.get(address) {
            about.fact("captureInterface", ifname.as_str());
        }
        about.fact("device", intent.tunnel.as_str());
        if let Some(wish) = scene.desired.clamps.get(&intent.tunnel) {
            about.fact("mss", wish.clamp.v4);
        }
        if let Some(conflict) = scene.host.observed.arp_conflicts.get(address) {
            let mac = mac_words(conflict.mac);
            about.problem(format!("{mac} answers ARP for it on {}", conflict.ifname));
            about.fact("arpConflict", mac);
        }
        if let Some(place) = scene.host.holder(IpAddr::V4(address.addr())) {
            about.problem(format!("{} is on {} of this host", place.net, place.ifname));
        }
    }
}

/// `capture.type` as it is written.
pub(crate) fn method_words(method: &CaptureMethod) -> &'static str {
    match method {
        CaptureMethod::ProxyArp { .. } => "proxy-arp",
        CaptureMethod::ProviderSecondaryIp { .. } => "provider-secondary-ip",
        CaptureMethod::RouteTable { .. } => "route-table",
    }
}
