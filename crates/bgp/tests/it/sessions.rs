//! Sessions come up, collide, end and come back.

use std::time::Duration;

use bgp::{AdminAction, EventKind, Input, Output, SessionState, Speaker, Start, Table, Time};

use crate::fabric::{Fabric, config, internal, ip, leaf, prefix, route, star};

#[test]
fn both_sides_connect_and_one_connection_stays() {
    let mut fabric = Fabric::new();
    for (own, other) in [("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")] {
        let mut config = config(own);
        config.peers.insert(ip(other), internal());
        fabric.add(own, config);
    }
    fabric.pass(Duration::from_secs(30));
    for (at, peer) in [(0, 1), (1, 0)] {
        assert_eq!(fabric.state(at, peer), SessionState::Established);
        let ups = fabric.happened(at, |kind| matches!(kind, EventKind::Up { .. }));
        assert_eq!(ups, 1, "{:?}", fabric.nodes[at].events);
    }
}

#[test]
fn a_silent_session_stays_up_and_a_dead_one_ends_at_the_hold_time() {
    let mut fabric = star(1);
    fabric.pass(Duration::from_secs(3600));
    assert_eq!(fabric.state(0, 1), SessionState::Established);
    fabric.nodes[1].reads = false;
    fabric.nodes[0].reads = false;
    fabric.pass(Duration::from_secs(91));
    assert_ne!(fabric.state(0, 1), SessionState::Established);
}

#[test]
fn a_route_reaches_other_clients_and_its_withdrawal_too() {
    let mut fabric = star(3);
    fabric.input(1, Input::Originate(vec![route("10.9.0.1/32", &leaf(0))]));
    fabric.settle();
    for at in [0, 2, 3] {
        assert_eq!(
            fabric.best(at).get("10.9.0.1/32"),
            Some(&leaf(0)),
            "node {at}"
        );
        assert_eq!(fabric.nodes[at].fib.len(), 1);
    }
    assert_eq!(
        fabric.nodes[1].fib.len(),
        0,
        "its own route is the kernel's already"
    );
    let told = fabric.routes(0, Table::Out, Some(2));
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0].attributes.cluster_list,
        ["10.0.0.1".parse::<std::net::Ipv4Addr>().expect("id")]
    );
    assert_eq!(
        fabric.routes(0, Table::Out, Some(1)),
        [],
        "not back to where it is from"
    );
    fabric.input(1, Input::Withdraw(vec![prefix("10.9.0.1/32")]));
    fabric.settle();
    for at in 0..4 {
        assert!(fabric.best(at).is_empty(), "node {at}");
        assert!(fabric.nodes[at].fib.is_empty());
    }
}

#[test]
fn the_words_of_a_shutdown_arrive() {
    let mut fabric = star(1);
    let action = AdminAction::Shutdown("maintenance until noon".to_owned());
    let peer = fabric.nodes[1].address;
    fabric.input(0, Input::Admin { peer, action });
    fabric.pass(Duration::from_secs(60));
    assert_ne!(fabric.state(0, 1), SessionState::Established);
    let said = fabric.happened(1, |kind| {
        matches!(kind, EventKind::Down { reason, .. } if reason.to_string().ends_with(
            "received NOTIFICATION 6/2 administrative shutdown: maintenance until noon"))
    });
    assert_eq!(said, 1, "{:?}", fabric.nodes[1].events);
    let action = AdminAction::Enable;
    fabric.input(0, Input::Admin { peer, action });
    fabric.pass(Duration::from_secs(60));
    assert_eq!(fabric.state(0, 1), SessionState::Established);
}

#[test]
fn a_recorded_session_replays_to_the_same_state() {
    let mut fabric = star(3);
    for n in 0..3 {
        let prefixes = (0..20).map(|p| route(&format!("10.9.{p}.0/24"), &leaf(n)));
        fabric.input(n + 1, Input::Originate(prefixes.collect()));
        fabric.settle();
    }
    fabric.kill(2);
    fabric.pass(Duration::from_secs(200));
    for at in 0..4 {
        let text = serde_json::to_string(&fabric.nodes[at].inputs).expect("json");
        fabric.nodes[at].inputs = serde_json::from_str(&text).expect("the same inputs");
        let replayed = fabric.replay(at);
        let live = &fabric.nodes[at].speaker;
        assert_eq!(replayed.peers(), live.peers());
        let query = bgp::RouteQuery {
            table: Table::In,
            peer: None,
            prefix: None,
            limit: usize::MAX,
            after: None,
        };
        assert_eq!(replayed.routes(&query), live.routes(&query));
    }
}

#[test]
fn a_peer_that_never_answers_is_said_not_to_answer() {
    let mut config = config("10.0.0.1");
    config.peers.insert(ip("10.0.0.2"), internal());
    let start = Start {
        now: Time::default(),
        seed: 1,
        restarting: None,
    };
    let mut speaker = Speaker::new(config, start);
    let mut attempts = 0;
    // Nobody tells it what became of its attempts.
    while let Some(at) = speaker.next_timeout().filter(|_| attempts < 10) {
        while let Some(output) = speaker.poll_output() {
            attempts += u32::from(matches!(output, Output::Connect { .. }));
        }
        speaker.handle(at, Input::Tick);
    }
    let error = speaker
        .peer(ip("10.0.0.2"))
        .and_then(|peer| peer.last_error);
    let said = error.map(|error| error.to_string());
    assert_eq!(said.as_deref(), Some("connect: no answer, timed out"));
}
