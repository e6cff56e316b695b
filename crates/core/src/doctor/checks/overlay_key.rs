//! A tunnel runs with the private key that it should have.

use api::IfName;

use super::hybrid;
use crate::doctor::findings::{Entry, Findings, Thing};
use crate::doctor::scene::{RESTART, Scene};
use crate::effective::WireGuardIntent;
use crate::key::KeySource;
use crate::observed::KeyFile;

pub(super) const CHECK: Entry = hybrid("overlay-key", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    for (tunnel, intent) in &scene.effective.wireguard {
        if !findings.is_link_broken(tunnel) {
            check_key(tunnel, intent, scene, findings);
        }
    }
}

fn check_key(
    tunnel: &IfName,
    intent: &WireGuardIntent,
    scene: &Scene<'_>,
    findings: &mut Findings,
) {
    let owner = &intent.owner;
    let device = scene.host.observed.wireguard.get(tunnel);
    let running = device.and_then(|device| device.public_key);
    let wanted = match &intent.private_key {
        KeySource::Inline(secret) => Ok(secret.public_key()),
        KeySource::File(path) => match scene.host.observed.key_files.get(path) {
            Some(KeyFile::Present(public_key)) => Ok(*public_key),
            Some(KeyFile::Bad(reason)) => Err((path.display(), reason.as_str())),
            Some(KeyFile::Absent) | None => Err((path.display(), "does not exist")),
        },
    };
    match (wanted, running) {
        (Ok(wanted), Some(running)) if wanted == running => {
            findings.pass(owner, format!("public key {running}"));
        }
        (Ok(wanted), Some(running)) => {
            let detail = format!("runs with public key {running}, not with {wanted} as it should");
            findings.fail(owner, detail, RESTART);
            findings.breaks(Thing::Sessions(tunnel.clone()));
        }
        (Err((path, reason)), Some(running)) => {
            let detail = format!("runs with public key {running}, but its file {path}: {reason}");
            findings.warn(
                owner,
                detail,
                format!("wg show {tunnel} private-key > {path}"),
            );
        }
        (Err((path, reason)), None) => {
            let detail = format!("has no private key: {path}: {reason}");
            findings.fail(owner, detail, format!("wg genkey > {path}"));
            findings.breaks(Thing::Sessions(tunnel.clone()));
        }
        (Ok(_), None) => {
            findings.fail(owner, "has no private key", RESTART);
            findings.breaks(Thing::Sessions(tunnel.clone()));
        }
    }
}
