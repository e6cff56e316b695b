//! A tunnel's packets fit through its underlay.

use api::{IfName, ResourceId};

use super::hybrid;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;
use crate::plan::{Underlay, underlay_path_mtu};

pub(super) const CHECK: Entry = hybrid("path-mtu", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    for (tunnel, intent) in &scene.effective.wireguard {
        if let Underlay::Known { inside, path } = underlay_path_mtu(tunnel, intent, &scene.host) {
            compare(scene, tunnel, &intent.owner, inside, path, findings);
        }
    }
    for (tunnel, wish) in &scene.desired.plain {
        if let Some(path) = wish.carries {
            let inside = path.saturating_sub(wish.tunnel.encapsulation.overhead());
            compare(scene, tunnel, &wish.intent.owner, inside, path, findings);
        }
    }
}

fn compare(
    scene: &Scene<'_>,
    tunnel: &IfName,
    owner: &ResourceId,
    inside: u32,
    path: u32,
    findings: &mut Findings,
) {
    let Some(mtu) = scene.host.link(tunnel).map(|link| link.mtu) else {
        return;
    };
    if mtu <= inside {
        findings.pass(owner, format!("mtu {mtu}, underlay carries {path}"));
    } else {
        let detail = format!("mtu {mtu}, but the underlay carries {path}: {inside} fit");
        let remedy = format!("ip link set {tunnel} mtu {inside}");
        findings.warn(owner, detail, remedy);
    }
}
