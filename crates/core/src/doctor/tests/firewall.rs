//! Firewalls and tables of others.

use super::{examine, fault, faults, site_cloud};
use crate::observed::*;
use crate::testing::*;

fn chain(family: &str, table: &str, chain: &str, hook: Hook) -> FirewallChain {
    FirewallChain {
        family: family.to_owned(),
        table: table.to_owned(),
        chain: chain.to_owned(),
        hook,
        policy_drop: false,
        rules: Vec::new(),
    }
}

fn rule(verdict: Verdict, text: &str) -> FirewallRule {
    FirewallRule {
        iifname: None,
        oifname: None,
        source: None,
        destination: None,
        protocol: None,
        destination_port: None,
        ct_states: Vec::new(),
        other_matches: false,
        verdict,
        text: text.to_owned(),
    }
}

fn fence(node: &mut Node, chain: FirewallChain) {
    let firewall = node.kernel.host.firewall.get_or_insert_default();
    firewall.chains.push(chain);
}

const REJECT: &str = "counter reject with icmp type host-prohibited # handle 9";

#[test]
fn iptables_rejects_forwarding() {
    let mut forward = chain("ip", "filter", "FORWARD", Hook::Forward);
    forward.rules.push(rule(Verdict::Drop, REJECT));
    fault(
        site_cloud(),
        |node, _| fence(node, forward),
        &[
            "fail firewall-forward eth0 <-> wg-hybrid: packets both ways are dropped by ip filter FORWARD: \
           counter reject with icmp type host-prohibited # handle 9\n     \
           fix: iptables -I FORWARD 1 -i eth0 -o wg-hybrid -j ACCEPT && \
           iptables -I FORWARD 1 -i wg-hybrid -o eth0 -j ACCEPT",
        ],
    );
}

#[test]
fn nft_policy_drops_one_way() {
    let mut forward = chain("inet", "fw", "forward", Hook::Forward);
    forward.policy_drop = true;
    forward.rules.push(FirewallRule {
        ct_states: vec!["established".to_owned(), "related".to_owned()],
        ..rule(Verdict::Accept, "ct state established,related accept")
    });
    forward.rules.push(FirewallRule {
        iifname: Some("eth0".to_owned()),
        ..rule(Verdict::Accept, "iifname \"eth0\" accept")
    });
    fault(
        site_cloud(),
        |node, _| fence(node, forward),
        &[
            "fail firewall-forward eth0 <-> wg-hybrid: packets out of the tunnel are dropped by inet fw forward: \
           policy drop\n     \
           fix: nft insert rule inet fw forward iifname \"wg-hybrid\" oifname \"eth0\" accept",
        ],
    );
}

#[test]
fn a_rule_that_is_not_understood_makes_it_a_warning() {
    let mut forward = chain("inet", "fw", "forward", Hook::Forward);
    forward.policy_drop = true;
    forward.rules.push(FirewallRule {
        other_matches: true,
        ..rule(Verdict::Accept, "meta mark 0x1 accept")
    });
    let (mut node, effective) = site_cloud();
    fence(&mut node, forward);
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert_eq!(
        report.summary.to_string(),
        "overall=pass warn=1 fail=0 skip=1"
    );
    assert!(faults(&report)[0].starts_with("warn firewall-forward"));
}

#[test]
fn firewalls_that_let_it_pass() {
    let mut forward = chain("ip", "filter", "FORWARD", Hook::Forward);
    forward.policy_drop = true;
    for (iif, oif) in [("eth0", "wg-hybrid"), ("wg-hybrid", "eth0")] {
        forward.rules.push(FirewallRule {
            iifname: Some(iif.to_owned()),
            oifname: Some(oif.to_owned()),
            ..rule(Verdict::Accept, "accept")
        });
    }
    forward.rules.push(rule(Verdict::Drop, "reject"));
    let mut other = chain("inet", "fw", "forward", Hook::Forward);
    other.rules.push(FirewallRule {
        source: Some("172.17.0.0/16".parse().expect("prefix")),
        ..rule(Verdict::Drop, "ip saddr 172.17.0.0/16 drop")
    });
    other.rules.push(FirewallRule {
        ct_states: vec!["invalid".to_owned()],
        ..rule(Verdict::Drop, "ct state invalid drop")
    });
    let v6 = FirewallChain {
        policy_drop: true,
        ..chain("ip6", "filter", "FORWARD", Hook::Forward)
    };
    fault(
        site_cloud(),
        |node, _| {
            [forward, other, v6]
                .into_iter()
                .for_each(|chain| fence(node, chain))
        },
        &[],
    );
}

#[test]
fn the_overlay_port_is_closed() {
    let closed = || {
        let mut input = chain("ip", "filter", "INPUT", Hook::Input);
        input.rules.push(rule(Verdict::Drop, REJECT));
        input
    };
    fault(
        site_cloud(),
        |node, _| fence(node, closed()),
        &[
            "fail firewall-overlay WireGuardInterface/wg-hybrid: UDP port 51820 is closed by ip filter INPUT: \
           counter reject with icmp type host-prohibited # handle 9\n     \
           fix: iptables -I INPUT 1 -p udp --dport 51820 -j ACCEPT",
        ],
    );
    let mut answers_pass = closed();
    let established = FirewallRule {
        ct_states: vec!["established".to_owned()],
        ..rule(Verdict::Accept, "ct state established accept")
    };
    answers_pass.rules.insert(0, established);
    let (mut node, effective) = site_cloud();
    fence(&mut node, answers_pass);
    let report = examine(&mut node, &effective, Some("hybrid"));
    let summary = report.summary.to_string();
    assert_eq!(summary, "overall=pass warn=1 fail=0 skip=1");
    peer_of(&mut node).handshake_age = None;
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert!(faults(&report)[0].starts_with("fail firewall-overlay"));
}

#[test]
fn a_port_that_other_rules_are_about_is_closed_all_the_same() {
    // The stock image of a cloud: established, icmp, lo and ssh come in, the rest is rejected.
    let mut input = chain("ip", "filter", "INPUT", Hook::Input);
    let only = |protocol: &str, port| FirewallRule {
        protocol: Some(protocol.to_owned()),
        destination_port: port,
        ..rule(Verdict::Accept, "accept")
    };
    input.rules = vec![
        FirewallRule {
            ct_states: vec!["related".to_owned(), "established".to_owned()],
            ..rule(Verdict::Accept, "accept")
        },
        only("icmp", None),
        only("tcp", Some(22)),
        only("udp", Some(53)),
        rule(Verdict::Drop, REJECT),
    ];
    let (mut node, effective) = site_cloud();
    fence(&mut node, input.clone());
    peer_of(&mut node).handshake_age = None;
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert!(faults(&report)[0].starts_with("fail firewall-overlay"));

    input.rules.insert(3, only("udp", Some(51820)));
    let (mut node, effective) = site_cloud();
    fence(&mut node, input);
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert_eq!(faults(&report), Vec::<String>::new());
}

#[test]
fn masquerading_towards_the_lan() {
    let masquerade = |oif: &str| {
        let mut chain = chain("ip", "nat", "POSTROUTING", Hook::Postrouting);
        chain.rules.push(FirewallRule {
            oifname: Some(oif.to_owned()),
            ..rule(Verdict::Translate, "oifname \"eth0\" masquerade # handle 4")
        });
        chain
    };
    fault(
        site_cloud(),
        |node, _| fence(node, masquerade("eth0")),
        &[
            "warn nat eth0 <-> wg-hybrid: addresses are rewritten by ip nat POSTROUTING: oifname \"eth0\" \
           masquerade # handle 4\n     \
           fix: iptables -t nat -I POSTROUTING 1 -s 10.77.60.0/24 -d 10.77.60.0/24 -j ACCEPT",
        ],
    );
    fault(
        site_cloud(),
        |node, _| fence(node, masquerade("docker0")),
        &[],
    );
}

#[test]
fn stale_tables() {
    let table = |node: &mut Node| {
        node.kernel.host.tables.push(NftTable {
            family: "inet".to_owned(),
            name: "routerd_filter".to_owned(),
            comment: None,
        });
    };
    fault(
        site_cloud(),
        |node, _| table(node),
        &[
            "warn stale-table table inet routerd_filter: belongs to no running routerd\n     \
           fix: nft delete table inet routerd_filter",
        ],
    );
    let mut forward = chain("inet", "routerd_filter", "forward", Hook::Forward);
    forward.policy_drop = true;
    fault(
        site_cloud(),
        |node, _| {
            table(node);
            fence(node, forward);
        },
        &[
            "fail stale-table table inet routerd_filter: belongs to no running routerd and drops what passes \
           here: inet routerd_filter forward: policy drop\n     fix: nft delete table inet routerd_filter",
        ],
    );
}
