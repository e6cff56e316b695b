use super::*;
use crate::effective::ObserverIntent;

const MINUTE: u64 = 60_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_780_000_000_000 + millis)
}

fn scope() -> Scope {
    Scope {
        prefixes: vec!["10.77.60.0/24".parse().expect("prefix")],
        excluded: BTreeSet::from([Ipv4Addr::new(10, 77, 60, 7)]),
        router_macs: BTreeSet::from([[2, 0, 0, 0, 0, 1]]),
    }
}

fn sighting(last: u8, mac: u8) -> Sighting {
    Sighting {
        address: Ipv4Addr::new(10, 77, 60, last),
        mac: [2, 0, 0, 0, 0, mac],
        source: Source::Arp,
    }
}

#[test]
fn who_is_no_client() {
    let mut observer = Observer::new(MINUTE);
    let broadcast = Sighting {
        mac: [0xff; 6],
        ..sighting(9, 9)
    };
    let elsewhere = Sighting {
        address: Ipv4Addr::new(10, 78, 0, 1),
        ..sighting(9, 9)
    };
    for (why, one) in [
        ("captured by this node", sighting(7, 9)),
        ("a member router's hardware address", sighting(9, 1)),
        ("broadcast address", sighting(255, 9)),
        ("network address", sighting(0, 9)),
        ("group hardware address", broadcast),
        ("outside the domains", elsewhere),
    ] {
        assert_eq!(observer.sighted(at(0), &scope(), one), None, "{why}");
    }
}

#[test]
fn told_at_once_and_refreshed_at_half_time() {
    let mut observer = Observer::new(MINUTE);
    let observed = |now: u64| {
        Some(Output::Observed {
            sighting: sighting(9, 9),
            expires_at: at(now + 2 * MINUTE),
        })
    };
    assert_eq!(
        observer.sighted(at(0), &scope(), sighting(9, 9)),
        observed(0)
    );
    assert_eq!(observer.sighted(at(1000), &scope(), sighting(9, 9)), None);
    assert_eq!(
        observer.sighted(at(MINUTE / 2), &scope(), sighting(9, 9)),
        observed(MINUTE / 2)
    );
    let moved = observer.sighted(at(MINUTE / 2 + 1), &scope(), sighting(9, 8));
    assert!(
        matches!(moved, Some(Output::Observed { .. })),
        "another machine holds the address now"
    );
}

#[test]
fn a_silent_client_is_asked_and_then_gone() {
    let mut observer = Observer::new(MINUTE);
    observer.sighted(at(0), &scope(), sighting(9, 9));
    let mut events = Vec::new();
    let mut now = at(0);
    while let Some(next) = observer.next_timeout() {
        assert!(next > now, "time goes on");
        now = next;
        events.extend(
            observer
                .tick(now, &scope())
                .into_iter()
                .map(|output| (now.millis_since(at(0)), output)),
        );
    }
    let probe = Output::Probe {
        address: Ipv4Addr::new(10, 77, 60, 9),
    };
    let gone = Output::Expired {
        sighting: sighting(9, 9),
    };
    assert_eq!(
        events,
        [
            (30_000, probe),
            (37_500, probe),
            (45_000, probe),
            (60_000, gone)
        ]
    );
}

#[test]
fn an_answer_keeps_it() {
    let mut observer = Observer::new(MINUTE);
    observer.sighted(at(0), &scope(), sighting(9, 9));
    assert_eq!(observer.tick(at(31_000), &scope()).len(), 1);
    observer.sighted(at(31_001), &scope(), sighting(9, 9));
    assert!(observer.tick(at(61_000), &scope()).is_empty());
}

#[test]
fn flapping_faster_than_the_time_to_live_tells_nobody() {
    let mut observer = Observer::new(MINUTE);
    let mut outputs = Vec::new();
    for n in 0..40 {
        outputs.extend(observer.sighted(at(n * 3000), &scope(), sighting(9, 9)));
        outputs.extend(observer.tick(at(n * 3000 + 1500), &scope()));
    }
    assert!(
        outputs.iter().all(|o| matches!(o, Output::Observed { .. })),
        "{outputs:?}"
    );
    assert!(
        outputs.len() <= 4,
        "one new, then refreshes at half time: {}",
        outputs.len()
    );
}

#[test]
fn an_address_that_this_node_begins_to_capture_is_no_client_any_more() {
    let mut observer = Observer::new(MINUTE);
    observer.sighted(at(0), &scope(), sighting(9, 9));
    let mut captured = scope();
    captured.excluded.insert(Ipv4Addr::new(10, 77, 60, 9));
    assert_eq!(
        observer.tick(at(1), &captured),
        [Output::Expired {
            sighting: sighting(9, 9)
        }]
    );
}

#[test]
fn a_client_that_was_told_of_before_a_restart_is_asked_at_once() {
    let mut observer = Observer::new(MINUTE);
    observer.recall(at(0), sighting(9, 9));
    let probe = Output::Probe {
        address: Ipv4Addr::new(10, 77, 60, 9),
    };
    assert_eq!(observer.tick(at(0), &scope()), [probe]);
    assert!(matches!(
        observer.sighted(at(10), &scope(), sighting(9, 9)),
        Some(Output::Observed { .. })
    ));
    let mut gone = Observer::new(MINUTE);
    gone.recall(at(0), sighting(9, 9));
    let said = gone.tick(at(MINUTE / 2), &scope());
    assert!(matches!(said[..], [Output::Expired { .. }]), "{said:?}");
}

#[test]
fn leases_are_news_when_they_are_new_or_extended() {
    let lease = |last: u8, ends: u64| Lease {
        address: Ipv4Addr::new(10, 77, 60, last),
        mac: [2, 0, 0, 0, 0, last],
        ends: Some(at(ends)),
    };
    let mut book = LeaseBook::default();
    let first = book.read(&[lease(9, 100)]);
    assert_eq!(first, (Vec::new(), vec![Ipv4Addr::new(10, 77, 60, 9)]));
    assert_eq!(book.read(&[lease(9, 100)]), (Vec::new(), Vec::new()));
    let (news, ask) = book.read(&[lease(9, 200), lease(10, 100)]);
    assert_eq!((news, ask.len()), (vec![lease(9, 200), lease(10, 100)], 0));
}

#[test]
fn what_is_said_is_recalled_and_nothing_else() {
    let intent = ObserverIntent {
        owner: api::ResourceId::new("MobilityPool", "p"),
        group: "g".into(),
        node: "onprem".into(),
        prefix: "10.77.60.0/24".parse().expect("prefix"),
        domain: "app".into(),
        side: "onprem".into(),
        sources: BTreeSet::from([Source::Arp]),
        scan_interval: std::time::Duration::from_secs(1),
        ttl: std::time::Duration::from_secs(60),
    };
    let observed = Output::Observed {
        sighting: sighting(9, 9),
        expires_at: at(MINUTE),
    };
    let event = intent.event(&observed, at(0)).expect("an event");
    assert_eq!(
        (event.subject.as_str(), &*event.kind),
        ("10.77.60.9/32", OBSERVED)
    );
    assert_eq!(event.payload["domain"], "app");
    assert_eq!(intent.recall(&event), Some(sighting(9, 9)));
    let gone = Output::Expired {
        sighting: sighting(9, 9),
    };
    let gone = intent.event(&gone, at(1)).expect("an event");
    assert_eq!(gone.kind, EXPIRED);
    assert_eq!(intent.recall(&gone), None);
    let foreign = api::event::Event {
        source_node: "other".into(),
        ..event
    };
    assert_eq!(intent.recall(&foreign), None);
}
