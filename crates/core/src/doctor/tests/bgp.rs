//! The speaker: each fault is named, with its remedy; a healthy one is not complained about.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ::bgp::{DownReason, Family, FamilyView, Notice, PeerView, RejectReason, Rivals, SessionState};
use api::doctor::{Check, CheckStatus};

use super::*;
use crate::bgp::{BfdView, SpeakerView};

const CONFIG: &str = "
apiVersion: net.routerd.net/v1alpha1
kind: BGPRouter
metadata: {name: main}
spec: {asn: 65000, routerID: 10.99.0.1}
---
apiVersion: net.routerd.net/v1alpha1
kind: BGPPeer
metadata: {name: reflector}
spec: {peerASN: 65000, peers: [10.99.0.2], bfd: {}}
---
apiVersion: net.routerd.net/v1alpha1
kind: BGPPeer
metadata: {name: secret}
spec: {peerASN: 65000, peers: [10.99.0.3], password: something}
";

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 99, 0, last).into()
}

fn peer(last: u8) -> PeerView {
    let family = FamilyView {
        accepted: 3,
        ..FamilyView::default()
    };
    PeerView {
        address: ip(last),
        local: Some(ip(1)),
        asn: 65000.try_into().expect("asn"),
        router_id: None,
        range: None,
        claim: None,
        state: SessionState::Established,
        since: ::bgp::Time::default(),
        hold: None,
        capabilities: Vec::new(),
        last_error: None,
        shutdown: false,
        bfd: None,
        counters: Default::default(),
        families: [(Family::Ipv4Unicast, family)].into(),
    }
}

fn healthy() -> SpeakerView {
    let path = BfdView {
        peer: ip(2),
        scope: "single-hop".to_owned(),
        state: "up".to_owned(),
        remote_state: "up".to_owned(),
        diagnostic: "none".to_owned(),
        interval: Some(Duration::from_millis(100)),
        detection_time: Duration::from_millis(300),
        patience: 1,
        false_alarms: 0,
        remote_independent: true,
        failure: None,
    };
    SpeakerView {
        peers: vec![peer(2), peer(3)],
        since: vec![60, 60],
        installed: 6,
        next_hops: [(Ipv4Addr::new(10, 99, 0, 2), Some("dev wg0".to_owned()))].into(),
        bfd: vec![path],
        bfd_scheduling: Some("real-time, priority 10, memory locked".to_owned()),
        ..SpeakerView::default()
    }
}

/// The checks of the area after a change of what is known.
fn checks(change: impl FnOnce(&mut Runtime)) -> Vec<Check> {
    let mut runtime = Runtime {
        speaker: Some(healthy()),
        ..running()
    };
    change(&mut runtime);
    examine_with(&mut healthy_onprem(), &compile(CONFIG), "bgp", &runtime).checks
}

/// What is not as it should be: code, status, detail and remedy in one text each.
fn wrong(change: impl FnOnce(&mut SpeakerView)) -> Vec<String> {
    let checks = checks(|runtime| change(runtime.speaker.as_mut().expect("a speaker")));
    let wrong = checks.iter().filter(|c| c.status != CheckStatus::Pass);
    wrong
        .map(|check| {
            let remedy = check.remedy.as_deref().unwrap_or_default();
            format!(
                "{} {:?} {} | {remedy}",
                check.code, check.status, check.detail
            )
        })
        .collect()
}

#[test]
fn a_healthy_speaker_passes() {
    let checks = checks(|_| {});
    let passed = |check: &Check| check.status == CheckStatus::Pass;
    assert!(checks.iter().all(passed), "{checks:#?}");
    let mut codes: Vec<_> = checks.iter().map(|check| check.code.as_str()).collect();
    codes.dedup();
    let all = CHECKS.iter().filter(|check| check.area == "bgp");
    let all: Vec<_> = all.map(|check| check.code).collect();
    assert_eq!(codes, all);
}

#[test]
fn without_a_daemon_there_is_one_line() {
    let checks = checks(|runtime| {
        runtime.daemon = false;
        runtime.speaker = None;
    });
    let seen: Vec<_> = checks.iter().map(|c| (c.code.as_str(), c.status)).collect();
    assert_eq!(seen, [("bgp-speaker", CheckStatus::Skip)]);
}

fn notice(code: u8, subcode: u8) -> Notice {
    let text = String::new();
    Notice {
        code,
        subcode,
        text,
    }
}

/// Ends the session of a peer; what doctor says of that must be one line with these words in it.
#[track_caller]
fn down(at: usize, reason: Option<DownReason>, expected: &[&str]) {
    let said = wrong(|view| {
        view.peers[at].state = SessionState::Active;
        view.peers[at].last_error = reason;
        // The consequences are there too, and not spoken of.
        view.bfd[0].state = "down".to_owned();
        view.bfd[0].peer = view.peers[at].address;
    });
    let [line] = said.as_slice() else {
        panic!("{said:#?}");
    };
    for words in expected {
        assert!(line.contains(words), "{words:?}: {line}");
    }
}

#[test]
fn a_session_that_is_down_has_its_reason_and_its_remedy() {
    let failed = |why: &str| Some(DownReason::ConnectFailed(why.to_owned()));
    let sent = |code, subcode| Some(DownReason::Sent(notice(code, subcode)));
    let received = |code, subcode| Some(DownReason::Received(notice(code, subcode)));
    down(
        0,
        failed("Connection refused"),
        &["Fail", "refused", "nc -vz 10.99.0.2 179"],
    );
    down(0, failed("No route to host"), &["ip route get 10.99.0.2"]);
    down(0, None, &["does not answer", "tcpdump"]);
    down(1, None, &["does not answer", "TCP MD5", "nstat"]);
    down(1, failed("Connection timed out"), &["TCP MD5"]);
    down(1, failed("Connection refused"), &["nc -vz 10.99.0.3"]);
    down(0, sent(2, 2), &["not in AS 65000", "describe BGPRouter"]);
    down(0, received(2, 2), &["does not expect AS 65000"]);
    down(0, received(2, 3), &["our router id"]);
    down(0, sent(4, 0), &["hold time", "ping"]);
    down(0, sent(6, 1), &["maxPrefixes"]);
    down(0, received(6, 2), &["Warn", "shut it down"]);
    down(0, received(6, 5), &["no peer of our address"]);
    down(0, Some(DownReason::BfdDown), &["BFD saw the path fail"]);
}

#[test]
fn what_keeps_the_speaker_from_its_work_comes_first() {
    let said = wrong(|view| {
        let why = "Address already in use; tried again every 4 s";
        view.problems
            .insert("0.0.0.0:179".to_owned(), why.to_owned());
        let why = "read /etc/routerd/secrets/bgp: No such file or directory";
        view.problems.insert("10.99.0.3".to_owned(), why.to_owned());
        view.peers[1].state = SessionState::Idle;
    });
    let [first, second] = said.as_slice() else {
        panic!("{said:#?}");
    };
    assert!(first.contains("ss -ltnp 'sport = :179'"), "{first}");
    assert!(second.contains("secrets/bgp"), "{second}");
}

#[test]
fn paths_that_are_down_late_or_watched_late() {
    let said = wrong(|view| view.bfd[0].state = "down".to_owned());
    assert!(
        said[0].starts_with("bgp-bfd Fail") && said[0].contains("udp port 3784"),
        "{said:?}"
    );
    let said = wrong(|view| view.bfd[0].false_alarms = 2);
    assert!(
        said[0].starts_with("bgp-bfd Warn 2 false alarms"),
        "{said:?}"
    );
    let said = wrong(|view| view.bfd[0].failure = Some("its interface is not there".to_owned()));
    assert!(said[0].contains("its interface is not there"), "{said:?}");
    let said = wrong(|view| view.bfd_scheduling = Some("ordinary".to_owned()));
    assert!(
        said[0].contains("may be late") && said[0].contains("RestrictRealtime"),
        "{said:?}"
    );
}

#[test]
fn routes_that_are_refused_unusable_or_not_in_the_kernel() {
    let said = wrong(|view| {
        let families = view.peers[0].families.values_mut();
        families.for_each(|family| {
            family.rejected = 4;
            family.reasons = [(RejectReason::NotClaimed, 4), (RejectReason::AsLoop, 9)].into();
        });
    });
    let words = "bgp-rejected Warn 4 routes are refused: AS loop, prefix not in the claim | routerctl \
                 get bgp routes --rejected --received-from 10.99.0.2";
    assert_eq!(said, [words]);
    let said = wrong(|view| drop(view.next_hops.insert(Ipv4Addr::new(10, 99, 0, 9), None)));
    assert!(
        said[0].starts_with("bgp-next-hop Fail no way to it"),
        "{said:?}"
    );
    let said = wrong(|view| {
        let (prefix, why) = ("10.77.60.9/32", "a route of somebody else is in the way");
        let prefix = prefix.parse().expect("prefix");
        view.refused.insert(prefix, why.to_owned());
    });
    assert!(
        said[0].contains("somebody else") && said[0].contains("ip route show 10.77.60.9/32"),
        "{said:?}"
    );
}

#[test]
fn two_owners_of_one_address_are_both_named() {
    let checks = checks(|runtime| {
        let rivals = Rivals {
            prefix: "10.77.60.9/32".parse().expect("prefix"),
            next_hops: [ip(4), ip(5)],
        };
        runtime.rivals = vec![rivals];
    });
    let found = checks.iter().find(|check| check.code == "bgp-rivals");
    let found = found.expect("named");
    assert_eq!(found.status, CheckStatus::Fail);
    assert!(found.detail.contains("10.99.0.4") && found.detail.contains("10.99.0.5"));
    assert_eq!(
        found.remedy.as_deref(),
        Some("routerctl describe bgp 10.77.60.9")
    );
}
