//! Flows spread over several tunnels.

use super::texts;
use crate::Effective;
use crate::testing::*;

/// The cloud's site with three tunnels.
fn striped() -> Effective {
    let mut wanted = cloud();
    let first = name("wg-hybrid");
    for number in 1..3 {
        let stripe = name(&format!("wg-hybrid-{number}"));
        let mut intent = wanted.wireguard[&first].clone();
        intent.listen_port = intent.listen_port.map(|port| port + number);
        for peer in intent.peers.values_mut() {
            peer.persistent_keepalive = Some(25);
        }
        wanted.wireguard.insert(stripe.clone(), intent);
        let owners = wanted.delivery[&first].clone();
        wanted.delivery.insert(stripe.clone(), owners);
        wanted
            .stripes
            .entry(first.clone())
            .or_default()
            .push(stripe);
    }
    wanted
}

const ROUTE: &str = "ip route add 10.77.60.9/32 src 10.99.0.1 metric 120 proto 82 \
                     nexthop dev wg-hybrid nexthop dev wg-hybrid-1 nexthop dev wg-hybrid-2";

#[test]
fn routes_lead_over_all_stripes_and_the_kernel_looks_at_ports() {
    let mut node = Node::new(cloud_host());
    let wanted = striped();
    let steps = texts(&node.apply(&wanted));
    assert!(steps.iter().any(|step| step == ROUTE), "{steps:#?}");
    let policy = "sysctl net.ipv4.fib_multipath_hash_policy=1";
    assert!(
        steps.iter().any(|step| step.starts_with(policy)),
        "{steps:#?}"
    );
    assert_eq!(node.plan(&wanted).steps, []);

    // Back to one: the others go, and the setting is what it was.
    let steps = texts(&node.apply(&cloud()));
    let policy = "sysctl net.ipv4.fib_multipath_hash_policy=0";
    assert!(
        steps.iter().any(|step| step.starts_with(policy)),
        "{steps:#?}"
    );
    assert!(!node.kernel.host.links.contains_key(&name("wg-hybrid-1")));
    assert_eq!(node.plan(&cloud()).steps, []);
}

#[test]
fn a_stripe_that_nobody_answers_is_left_out_until_somebody_does() {
    let mut node = Node::new(cloud_host());
    let wanted = striped();
    node.apply(&wanted);
    let answer = |node: &mut Node, age: Option<u64>, sent: u64| {
        let devices = &mut node.kernel.host.wireguard;
        let device = devices.get_mut(&name("wg-hybrid-1")).expect("device");
        for peer in device.peers.values_mut() {
            peer.handshake_age = age;
            peer.tx_bytes = sent;
        }
    };
    answer(&mut node, None, 3 * 148);
    assert_eq!(node.plan(&wanted).steps, []);
    answer(&mut node, None, 4 * 148);
    let steps = texts(&node.apply(&wanted));
    assert!(!steps.is_empty());
    assert!(
        steps
            .iter()
            .all(|step| step.starts_with("ip route replace")),
        "{steps:#?}"
    );
    assert!(
        steps[0].ends_with("nexthop dev wg-hybrid nexthop dev wg-hybrid-2"),
        "{steps:#?}"
    );
    answer(&mut node, Some(1), 5 * 148);
    let steps = texts(&node.apply(&wanted));
    assert!(steps[0].contains("dev wg-hybrid-1"), "{steps:#?}");
}

#[test]
fn a_stripe_that_goes_away_comes_back() {
    let mut node = Node::new(cloud_host());
    let wanted = striped();
    node.apply(&wanted);
    node.kernel
        .delete_link(&name("wg-hybrid-2"))
        .expect("it is there");
    node.apply(&wanted);
    assert_eq!(node.plan(&wanted).steps, []);
    let routes = &node.kernel.host.routes;
    assert!(
        routes
            .iter()
            .any(|r| r.target.leaves_by(&name("wg-hybrid-2")))
    );
}
