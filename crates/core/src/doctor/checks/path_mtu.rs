//! A tunnel's packets fit through its underlay: as far as the kernel knows, and as far as its peers answer.

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
    let answered = scene.host.observed.path_limits.get(tunnel).copied();
    let answered = answered.filter(|answered| *answered < inside);
    let fits = answered.unwrap_or(inside);
    if mtu <= fits {
        let silent = answered.map_or("", |_| " and says so to nobody");
        let carries = path - (inside - fits);
        findings.pass(
            owner,
            format!("mtu {mtu}, underlay carries {carries}{silent}"),
        );
        return;
    }
    let detail = match answered {
        None => format!("mtu {mtu}, but the underlay carries {path}: {fits} fit"),
        Some(_) => format!("mtu {mtu}, but a peer answers nothing larger than {fits}"),
    };
    findings.warn(owner, detail, format!("ip link set {tunnel} mtu {fits}"));
}
