//! Packets that come out of the tunnel for clients of this site leave by the capture interface.

use api::IfName;
use ipnet::{IpNet, Ipv4Net};

use super::hybrid;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::{Path, Scene};
use crate::effective::RouteTarget;
use crate::host::target_words;

pub(super) const CHECK: Entry = hybrid("return-route", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    for path in &scene.paths {
        if findings.is_link_broken(path.tunnel) {
            continue;
        }
        let Path {
            tunnel, capture, ..
        } = path;
        let subject = format!("{tunnel} -> {capture}");
        let network = local_network(path, scene);
        let best = scene.covering(network).into_iter().next();
        match best {
            Some(route) if leaves_by(&route.target, capture) => {
                let detail = format!("{network} leaves by {capture}");
                findings.pass(subject, detail);
            }
            Some(route) => {
                let target = target_words(&route.target);
                let destination = route.key.destination;
                let detail =
                    format!("clients in {network} are looked for by {destination} {target}");
                findings.fail(subject, detail, remedy(network, capture));
            }
            None => {
                let detail = format!("there is no route to clients in {network}");
                findings.fail(subject, detail, remedy(network, capture));
            }
        }
    }
}

fn leaves_by(target: &RouteTarget, ifname: &IfName) -> bool {
    target.leaves_by(ifname)
}

/// The part of the domain that the capture interface says is on its link; all of it if it says nothing.
fn local_network(path: &Path<'_>, scene: &Scene<'_>) -> Ipv4Net {
    let nets = scene.host.addresses(path.capture).iter();
    let nets = nets.filter_map(|address| match address.net {
        IpNet::V4(net) if net.prefix_len() < 32 => Some(net.trunc()),
        _ => None,
    });
    let mut inside = nets.filter(|net| path.domain.contains(net));
    inside.next().unwrap_or(path.domain)
}

fn remedy(network: Ipv4Net, capture: &IfName) -> String {
    format!("ip route add {network} dev {capture}")
}
