//! UDP ports that change hands in one plan, executed on the real kernel at both ends of a tunnel.

use api::control::{Config, SourceFile};
use linux::Host;
use routerd_core::{Effective, Kernel, Ledger, config, plan};
use tempfile::TempDir;

use crate::namespace::fresh;
use crate::wireguard::site::{Site, underlay};

/// A site with its ledger and a place for keys.
struct Node {
    site: Site,
    number: u8,
    ledger: Ledger,
    keys: TempDir,
}

/// What a stage of the test has: the port of `wg0`, and name, mode and port of a plain tunnel.
type Stage = (Option<u16>, Option<(&'static str, &'static str, u16)>);

impl Node {
    fn new(site: Site, number: u8) -> Self {
        let keys = TempDir::new().expect("directory");
        let ledger = Ledger::default();
        Self {
            site,
            number,
            ledger,
            keys,
        }
    }

    fn wanted(&self, (wireguard, plain): Stage) -> Effective {
        let (ours, theirs) = (self.number, 3 - self.number);
        let keys = self.keys.path().display();
        let wireguard = wireguard.map(|port| {
            format!(
                "apiVersion: net.routerd.net/v1alpha1\nkind: WireGuardInterface\nmetadata: {{name: wg0}}\n\
                 spec: {{privateKeyFile: {keys}/key, listenPort: {port}, addresses: [10.9.2.{ours}/32]}}\n"
            )
        });
        let plain = plain.map(|(ifname, mode, port)| {
            format!(
                "apiVersion: net.routerd.net/v1alpha1\nkind: TunnelInterface\nmetadata: {{name: {ifname}}}\n\
                 spec: {{mode: {mode}, local: 192.0.2.{ours}, remote: 192.0.2.{theirs}, trustedUnderlay: true, \
                 address: 10.9.1.{ours}/30, encapSport: {port}, encapDport: {port}}}\n"
            )
        });
        let parts: Vec<_> = [wireguard, plain].into_iter().flatten().collect();
        let file = SourceFile {
            name: "site.yaml".to_owned(),
            text: parts.join("---\n"),
        };
        let loaded = config::load(&Config { files: vec![file] });
        let found = loaded.diagnostics;
        loaded.effective.unwrap_or_else(|| panic!("{found:#?}"))
    }

    /// Plans and executes until nothing is left to do; no step may fail.
    fn become_what(&mut self, stage: Stage) {
        let wanted = self.wanted(stage);
        let query = plan::query(&wanted);
        let (site, mut ledger) = (&self.site, std::mem::take(&mut self.ledger));
        self.ledger = site.inside(move || {
            let mut host = Host::open(site.drivers.clone()).expect("open the host");
            let mut observed = host.observe(&query).expect("observe");
            for _ in 0..3 {
                let plan = plan::plan(&wanted, &observed, &ledger);
                if plan.steps.is_empty() {
                    return ledger;
                }
                ledger = plan::record(&ledger, &plan, &observed);
                let done = host.apply(&plan.steps);
                done.unwrap_or_else(|e| panic!("{stage:?}: {e}: {:#?}", plan.view().steps));
                observed = host.observe(&query).expect("observe");
                ledger = plan::settle(&ledger, &wanted, &observed);
            }
            panic!("{stage:?}: not settled");
        });
    }
}

#[test]
fn a_port_goes_from_one_tunnel_to_another_in_one_plan() {
    const A: u16 = 5555;
    const B: u16 = 5556;
    let stages: [Stage; 8] = [
        (Some(A), Some(("t0", "fou", B))),
        // They swap.
        (Some(B), Some(("t0", "fou", A))),
        // From WireGuard that goes to a tunnel that stays, and the other way round.
        (None, Some(("t0", "fou", B))),
        (Some(B), None),
        // From WireGuard that goes to a new one.
        (None, Some(("t0", "gue", B))),
        // Another kind on the same port, and another name for the same tunnel.
        (None, Some(("t0", "fou", B))),
        (None, Some(("t1", "fou", B))),
        (None, None),
    ];
    fresh(|| {
        let (left, right) = underlay();
        let mut nodes = [Node::new(left, 1), Node::new(right, 2)];
        for stage in stages {
            for node in &mut nodes {
                node.become_what(stage);
            }
            if stage.1.is_some() {
                nodes[0].site.reaches("10.9.1.2");
            }
        }
        assert!(nodes.iter().all(|node| node.ledger == Ledger::default()));
    });
}
