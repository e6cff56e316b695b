//! The speaker can do its work: its socket listens, its passwords can be read, its BFD runs.

use super::bgp;
use crate::doctor::findings::{Entry, Findings, Thing};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = bgp("bgp-speaker", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let Some(intent) = &scene.effective.bgp else {
        return;
    };
    let Some(view) = &scene.runtime.speaker else {
        let detail = "nobody speaks BGP while the daemon is down; its routes stay as they are";
        findings.skip(&intent.owner, detail);
        return;
    };
    for (what, why) in &view.problems {
        let remedy = if *what == intent.listen.to_string() {
            findings.breaks(Thing::Listener);
            format!("ss -ltnp 'sport = :{}'", intent.listen.port())
        } else if what == "BFD" {
            "journalctl -u routerd -n 50 -g BFD".to_owned()
        } else {
            if let Ok(peer) = what.parse() {
                findings.breaks(Thing::Peer(peer));
            }
            "ls -l /etc/routerd/secrets    # and `passwordFrom` of the peer".to_owned()
        };
        findings.fail(&intent.owner, format!("{what}: {why}"), remedy);
    }
    if view.problems.is_empty() {
        let words = format!("AS {}, listens on {}", intent.speaker.asn, intent.listen);
        findings.pass(&intent.owner, words);
    }
}
