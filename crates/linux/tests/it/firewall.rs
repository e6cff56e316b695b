//! Firewalls as people write them, read back.

use linux::Host;
use linux::wireguard::Drivers;
use routerd_core::Kernel;
use routerd_core::observed::{Firewall, FirewallChain, FirewallRule, Hook, Query, Verdict};

use crate::namespace::{fresh, run};

fn observe() -> Firewall {
    let mut host = Host::open(Drivers::new("routerd")).expect("open the host");
    let query = Query {
        firewall: true,
        ..Query::default()
    };
    let seen = host.observe(&query).expect("observe");
    seen.firewall.expect("asked for")
}

/// `iif=… oif=… src=… dst=… udp=… ct=… other VERDICT`, in short.
fn short(rule: &FirewallRule) -> String {
    let mut parts = Vec::new();
    parts.extend(rule.iifname.as_ref().map(|name| format!("iif={name}")));
    parts.extend(rule.oifname.as_ref().map(|name| format!("oif={name}")));
    parts.extend(rule.source.map(|net| format!("src={net}")));
    parts.extend(rule.destination.map(|net| format!("dst={net}")));
    let protocol = rule.protocol.as_deref();
    parts.extend(match (protocol, rule.destination_port) {
        (None, None) => None,
        (protocol, None) => Some(protocol.unwrap_or_default().to_owned()),
        (protocol, Some(port)) => Some(format!("{}={port}", protocol.unwrap_or("any"))),
    });
    if !rule.ct_states.is_empty() {
        parts.push(format!("ct={}", rule.ct_states.join(",")));
    }
    parts.extend(rule.other_matches.then(|| "other".to_owned()));
    parts.push(format!("{:?}", rule.verdict));
    parts.join(" ")
}

fn rules(chain: &FirewallChain) -> Vec<String> {
    chain.rules.iter().map(short).collect()
}

/// The rules of a forward chain with these lines.
fn forward(lines: &str) -> Vec<String> {
    run(&format!(
        "nft -f - <<'E'\nflush ruleset\ntable inet fw {{\n{lines}\n}}\nE"
    ));
    let firewall = observe();
    assert_eq!(firewall.unreadable, None);
    assert_eq!(firewall.chains.len(), 1);
    assert_eq!(firewall.chains[0].hook, Hook::Forward);
    rules(&firewall.chains[0])
}

const FORWARD: &str = "chain forward { type filter hook forward priority filter; policy drop;";

#[test]
fn conditions_of_nft_are_understood() {
    fresh(|| {
        let seen = forward(&format!(
            "{FORWARD}
             iifname \"lan\" oifname \"wg0\" ip saddr 10.0.0.0/24 ip daddr 10.0.0.9 accept
             ct state established,related counter accept
             iifname {{ \"a\", \"b\" }} log prefix \"x\" drop
             iif lo accept
             meta l4proto udp udp dport 51820 accept
             meta l4proto {{ tcp, udp }} th dport 53 accept
             udp dport {{ 53, 1000-2000 }} accept comment \"two\"
             tcp dport 22 drop
             iifname \"wg*\" drop
             iifname != \"lan\" drop
             ip saddr 10.0.0.0/24 limit rate 5/second accept
             meta nfproto ipv4 reject with icmp type admin-prohibited
             meta nfproto ipv6 drop
             ct state vmap {{ established : accept, invalid : drop }}
             counter
             fib daddr type local accept
             }}"
        ));
        let expected = [
            "iif=lan oif=wg0 src=10.0.0.0/24 dst=10.0.0.9/32 Accept",
            "ct=established,related Accept",
            "iif=a Drop",
            "iif=b Drop",
            "iif=lo Accept",
            "udp=51820 Accept",
            "tcp=53 Accept",
            "udp=53 Accept",
            "udp=53 Accept",
            "other Accept",
            "tcp=22 Drop",
            "other Drop",
            "other Drop",
            "src=10.0.0.0/24 other Accept",
            "Drop",
            "other Drop",
            "ct=established Accept",
            "ct=invalid Drop",
            "Continue",
            "other Accept",
        ];
        let sorted = |mut rules: Vec<String>| {
            rules[2..4].sort();
            rules[16..18].sort_by_key(|rule| !rule.contains("established"));
            rules
        };
        assert_eq!(sorted(seen), expected);
    });
}

#[test]
fn jumps_are_followed() {
    fresh(|| {
        let seen = forward(&format!(
            "chain inner {{ ip daddr 10.0.0.9 return; ip saddr 10.0.0.0/8 drop; }}
             chain narrow {{ iifname \"wan\" drop; iifname \"lan\" ip saddr 10.0.0.0/30 drop; return; accept; }}
             chain last {{ accept; }}
             {FORWARD}
             iifname \"lan\" ip saddr 10.0.0.0/24 jump narrow
             oifname \"wg0\" jump inner
             iifname \"wan\" goto last
             ip daddr 10.1.0.0/16 return
             drop
             }}"
        ));
        let expected = [
            "iif=lan src=10.0.0.0/30 Drop",
            "oif=wg0 src=10.0.0.0/8 other Drop",
            "iif=wan Accept",
            "iif=wan Drop",
            "dst=10.1.0.0/16 Drop",
            "Drop",
        ];
        assert_eq!(seen, expected);
    });
}

#[test]
fn chains_come_in_order_with_their_words() {
    fresh(|| {
        run("nft -f - <<'E'
table inet second { chain c { type filter hook forward priority 10; policy drop; drop; }; }
table ip first { chain c { type filter hook forward priority -5; reject; }; }
table ip input { chain c { type filter hook input priority 0; }; chain out { type filter hook output priority 0; drop; }; }
table ip n { chain post { type nat hook postrouting priority srcnat; masquerade; }; chain pre { type nat hook prerouting priority dstnat; }; }
E");
        let firewall = observe();
        let names: Vec<&str> = firewall.chains.iter().map(|c| c.table.as_str()).collect();
        assert_eq!(names, ["n", "first", "input", "second", "n"]);
        let first = &firewall.chains[1];
        assert_eq!((first.family.as_str(), first.chain.as_str()), ("ip", "c"));
        assert!(!first.policy_drop);
        assert_eq!(first.rules[0].verdict, Verdict::Drop);
        let text = &first.rules[0].text;
        assert!(
            text.starts_with("reject") && text.contains("# handle "),
            "{text}"
        );
        assert!(firewall.chains[3].policy_drop);
        let hooks = [firewall.chains[0].hook, firewall.chains[4].hook];
        assert_eq!(hooks, [Hook::Prerouting, Hook::Postrouting]);
        assert_eq!(rules(&firewall.chains[4]), ["Translate"]);
    });
}

/// The same rules through both kinds of iptables.
fn iptables(program: &str) {
    run(&format!(
        "{program} -w -P FORWARD DROP; {program} -w -N other; \
         {program} -w -A FORWARD -i lan -o wg0 -s 10.0.0.0/24 -d 10.0.0.9 -m conntrack \
         --ctstate RELATED,ESTABLISHED -m comment --comment 'let it \"be\" -j' -j ACCEPT; \
         {program} -w -A FORWARD ! -i lan -j other; \
         {program} -w -A FORWARD -p tcp --dport 22 -j ACCEPT; \
         {program} -w -A FORWARD -m limit --limit 5/sec -j LOG; \
         {program} -w -A other -i wg0 -j RETURN; {program} -w -A other -j ACCEPT; \
         {program} -w -A INPUT -p udp --dport 51820 -j ACCEPT; \
         {program} -w -A FORWARD -j REJECT --reject-with icmp-host-prohibited; \
         {program} -w -t nat -A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE"
    ));
    let firewall = observe();
    assert_eq!(firewall.unreadable, None);
    let of = |hook| {
        let mut chains = firewall.chains.iter().filter(|chain| chain.hook == hook);
        chains.next().expect("chain")
    };
    let forward = of(Hook::Forward);
    assert!(forward.policy_drop);
    let seen: Vec<String> = rules(forward)
        .into_iter()
        .filter(|rule| !rule.contains("Continue"))
        .collect();
    let states = |rule: &str| rule.contains("ct=related,established");
    assert!(states(&seen[0]), "{seen:?}");
    assert!(seen[0].starts_with("iif=lan oif=wg0 src=10.0.0.0/24 dst=10.0.0.9/32 ct="));
    assert_eq!(seen[1..], ["other Accept", "tcp=22 Accept", "Drop"]);
    let last = forward.rules.last().expect("rules");
    assert!(last.text.contains("host-prohibited"), "{}", last.text);
    let input = of(Hook::Input);
    assert!(!input.policy_drop);
    assert_eq!(rules(input), ["udp=51820 Accept"]);
    let postrouting = rules(of(Hook::Postrouting));
    assert_eq!(postrouting, ["src=10.0.0.0/8 Translate"]);
}

#[test]
fn iptables_through_nftables_is_understood() {
    fresh(|| iptables("iptables-nft"));
}

#[test]
fn legacy_iptables_is_understood() {
    fresh(|| {
        if std::fs::read("/proc/net/ip_tables_names").is_err() {
            println!("skipped: only the machine's root may list legacy tables");
            return;
        }
        let directory = tempfile::tempdir().expect("directory");
        let lock = directory.path().join("lock");
        iptables(&format!(
            "XTABLES_LOCKFILE={} iptables-legacy",
            lock.display()
        ));
    });
}
