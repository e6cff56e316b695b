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
            Some((detail, remedy)) => findings.fail(tunnel, detail, remedy),
            None => {
                for path in covered {
                    findings.pass(&path, format!("{MSS_TABLE} covers {path}"));
                }
            }
        }
    }
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
