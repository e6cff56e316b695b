//! The host's default route does not lead into a tunnel.

use ipnet::Ipv4Net;

use super::hybrid;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::{MAIN_TABLE, Scene};
use crate::host::target_words;

pub(super) const CHECK: Entry = hybrid("default-route", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let tunnels = scene.tunnels();
    if tunnels.is_empty() {
        return;
    }
    let routes = scene.host.observed.routes.iter();
    // `0.0.0.0/1` with `128.0.0.0/1` is a default route in disguise.
    let wide = routes.filter(|r| r.key.table == MAIN_TABLE && r.key.destination.prefix_len() <= 1);
    let mut captive = wide.filter(|route| route.target.devices().any(|d| tunnels.contains(d)));
    if let Some(route) = captive.next() {
        let (destination, target) = (route.key.destination, target_words(&route.target));
        let detail = format!("everything leaves by the tunnel: {destination} {target}");
        let remedy = format!(
            "ip route delete {destination} {target} metric {}",
            route.key.metric
        );
        return findings.fail("default route", detail, remedy);
    }
    let default = scene.covering(Ipv4Net::default()).into_iter().next();
    let words = default.map_or("none".to_owned(), |route| target_words(&route.target));
    findings.pass("default route", format!("not through a tunnel: {words}"));
}
