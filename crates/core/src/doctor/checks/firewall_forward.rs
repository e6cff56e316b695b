//! The host firewall lets forwarded packets pass between capture interfaces and tunnels.

use super::hybrid;
use crate::doctor::findings::{Entry, Findings, Thing};
use crate::doctor::firewall::{Block, judge};
use crate::doctor::scene::{Path, Scene};
use crate::observed::{Firewall, Hook};

pub(super) const CHECK: Entry = hybrid("firewall-forward", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let Some(firewall) = &scene.host.observed.firewall else {
        return;
    };
    if let Some(reason) = &firewall.unreadable {
        findings.skip("firewall", format!("not all of it could be read: {reason}"));
    }
    for path in &scene.paths {
        check_path(path, firewall, findings);
    }
}

fn check_path(path: &Path<'_>, firewall: &Firewall, findings: &mut Findings) {
    let Path {
        capture, tunnel, ..
    } = path;
    let subject = format!("{capture} <-> {tunnel}");
    let mut blocks: Vec<(&str, Block<'_>)> = Vec::new();
    let chains = firewall
        .chains
        .iter()
        .filter(|chain| chain.hook == Hook::Forward);
    for chain in chains {
        let table = Thing::Table(chain.family.clone(), chain.table.clone());
        if findings.is_broken(&table) {
            continue;
        }
        for (direction, flow) in path.flows() {
            let known = blocks
                .iter()
                .any(|(d, b)| (*d, b.chain) == (direction, chain));
            if let Some(block) = judge(chain, &flow).filter(|_| !known) {
                blocks.push((direction, block));
            }
        }
    }
    let Some((_, first)) = blocks.first() else {
        return findings.pass(subject, "no rule ends the way of forwarded packets");
    };
    let same = blocks.iter().all(|(_, block)| block.rule == first.rule);
    let direction = match blocks.as_slice() {
        [(one, _)] => format!("packets {one} are"),
        _ if same => "packets both ways are".to_owned(),
        _ => "packets are".to_owned(),
    };
    let detail = format!("{direction} dropped by {}", first.words());
    let remedy = remedy(path, &blocks);
    if first.certain {
        findings.fail(subject, detail, remedy);
    } else {
        findings.warn(subject, detail, remedy);
    }
}

/// One command a direction and chain.
fn remedy(path: &Path<'_>, blocks: &[(&str, Block<'_>)]) -> String {
    let Path {
        capture, tunnel, ..
    } = path;
    let commands = blocks.iter().map(|(direction, block)| {
        let (iif, oif) = match *direction {
            Path::OUT => (capture, tunnel),
            _ => (tunnel, capture),
        };
        block.accept(
            &format!("-i {iif} -o {oif}"),
            &format!("iifname \"{iif}\" oifname \"{oif}\""),
        )
    });
    commands.collect::<Vec<_>>().join(" && ")
}
