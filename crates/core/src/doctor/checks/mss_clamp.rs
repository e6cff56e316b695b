//! TCP connections through every delivery path are kept to what the path carries, both ways.

use api::IfName;

use super::hybrid;
use crate::MSS_TABLE;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::{RESTART, Scene};

pub(super) const CHECK: Entry = hybrid("mss-clamp", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    for tunnel in scene.effective.delivery.keys() {
        if findings.is_link_broken(tunnel) {
            continue;
        }
        let paths = scene.paths.iter().filter(|path| path.tunnel == tunnel);
        let mut covered: Vec<_> = paths
            .map(|p| format!("{} -> {tunnel}", p.capture))
            .collect();
        covered.dedup();
        if covered.is_empty() {
            covered.push(tunnel.to_string());
        }
        match fault(tunnel, scene) {
            // Where the tunnel takes more than its underlay carries nobody is told to send less.
            Some((detail, remedy)) if is_too_wide(tunnel, scene) => {
                findings.fail(tunnel, detail, remedy);
            }
            Some((detail, remedy)) => findings.warn(tunnel, detail, remedy),
            None => {
                for path in covered {
                    findings.pass(&path, format!("{MSS_TABLE} covers {path}"));
                }
            }
        }
    }
}

fn is_too_wide(tunnel: &IfName, scene: &Scene<'_>) -> bool {
    let link = scene.host.link(tunnel);
    let wanted = scene.desired.tunnels.get(tunnel);
    matches!((link, wanted), (Some(link), Some(wanted)) if link.mtu > wanted.path_mtu)
}

fn fault(tunnel: &IfName, scene: &Scene<'_>) -> Option<(String, String)> {
    let foreign = scene
        .host
        .mss_table()
        .is_some_and(|t| !crate::host::is_our_table(t));
    if foreign {
        let detail = format!("table inet {MSS_TABLE} is not this routerd's, which leaves it alone");
        return Some((detail, format!("nft delete table inet {MSS_TABLE}")));
    }
    let Some(clamps) = &scene.host.observed.mss else {
        let state = if scene.host.mss_table().is_some() {
            "was altered"
        } else {
            "is missing"
        };
        let detail = format!("table inet {MSS_TABLE} {state}: TCP may hang where ping works");
        return Some((detail, RESTART.to_owned()));
    };
    let wanted = scene.desired.clamps.get(tunnel)?.clamp;
    match clamps.get(tunnel) {
        None => {
            let detail = format!("{MSS_TABLE} does not cover {tunnel}");
            Some((detail, RESTART.to_owned()))
        }
        Some(clamp) if clamp.v4 > wanted.v4 => {
            let (is, should) = (clamp.v4, wanted.v4);
            let detail = format!("{MSS_TABLE} lets segments of {is} into {tunnel}, {should} fit");
            Some((detail, RESTART.to_owned()))
        }
        Some(_) => None,
    }
}
