//! Every tunnel is there, ours, up, and somebody runs it.

use api::IfName;

use super::hybrid;
use crate::doctor::findings::{Entry, Findings, Thing};
use crate::doctor::scene::{RESTART, Scene};
use crate::observed::Driver;

pub(super) const CHECK: Entry = hybrid("overlay-interface", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    for tunnel in scene.tunnels() {
        let owner = scene.tunnel_owner(tunnel);
        match fault(scene, tunnel) {
            Some((detail, remedy)) => {
                findings.fail(owner, detail, remedy);
                findings.breaks(Thing::Link(tunnel.clone()));
            }
            None => findings.pass(owner, describe(scene, tunnel)),
        }
    }
}

fn fault(scene: &Scene<'_>, tunnel: &IfName) -> Option<(String, String)> {
    let ours = scene.effective.makes(tunnel);
    let Some(link) = scene.host.link(tunnel) else {
        let reason = scene.desired.stalled.get(tunnel).cloned();
        let remedy = if ours {
            RESTART.to_owned()
        } else {
            format!("ip link show {tunnel}")
        };
        let missing = || format!("interface {tunnel} does not exist");
        return Some((reason.unwrap_or_else(missing), remedy));
    };
    if ours && !scene.host.is_our_link(tunnel, link) {
        let detail = format!("interface {tunnel} was not made by routerd, which leaves it alone");
        let remedy =
            format!("ip link set {tunnel} down && ip link set {tunnel} name {tunnel:.11}-old");
        return Some((detail, remedy));
    }
    if !link.up {
        let detail = format!("interface {tunnel} is down");
        return Some((detail, format!("ip link set {tunnel} up")));
    }
    if ours && driver(scene, tunnel).is_none() {
        let detail = format!("nobody runs {tunnel}: its tunnel process is gone");
        return Some((detail, RESTART.to_owned()));
    }
    None
}

/// Who runs a tunnel.
fn driver(scene: &Scene<'_>, tunnel: &IfName) -> Option<Driver> {
    let observed = scene.host.observed;
    let wireguard = observed.wireguard.get(tunnel).map(|device| device.driver);
    let plain = observed.plain_tunnels.get(tunnel);
    wireguard.or(plain.map(|device| device.driver))
}

fn describe(scene: &Scene<'_>, tunnel: &IfName) -> String {
    let mtu = scene.host.link(tunnel).map_or(0, |link| link.mtu);
    let driver = driver(scene, tunnel).map_or(String::new(), |driver| format!(", driver {driver}"));
    format!("{tunnel} is up, mtu {mtu}{driver}")
}
