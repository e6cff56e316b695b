//! A tunnel's packets fit through its underlay.

use super::hybrid;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;
use crate::plan::{Underlay, underlay_path_mtu};

pub(super) const CHECK: Entry = hybrid("path-mtu", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    for (tunnel, intent) in &scene.effective.wireguard {
        let Some(link) = scene.host.link(tunnel) else {
            continue;
        };
        let Underlay::Known { inside, path } = underlay_path_mtu(tunnel, intent, &scene.host)
        else {
            continue;
        };
        let mtu = link.mtu;
        if mtu <= inside {
            let detail = format!("mtu {mtu}, underlay carries {path}");
            findings.pass(&intent.owner, detail);
        } else {
            let detail = format!("mtu {mtu}, but the underlay carries {path}: {inside} fit");
            findings.warn(
                &intent.owner,
                detail,
                format!("ip link set {tunnel} mtu {inside}"),
            );
        }
    }
}
