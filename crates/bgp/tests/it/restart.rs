//! Graceful restart of either side.

use std::time::Duration;

use bgp::{ConnId, EventKind, Input, PathState, SessionState, Table};

use crate::fabric::{Fabric, internal, ip, leaf, route, star};
use crate::raw::{PEER, Raw, four_octet, message, open};

fn loaded() -> Fabric {
    let mut fabric = star(2);
    let routes = (0..50).map(|n| route(&format!("10.9.0.{n}/32"), &leaf(0)));
    fabric.input(1, Input::Originate(routes.collect()));
    fabric.settle();
    assert_eq!(fabric.best(2).len(), 50);
    fabric
}

#[test]
fn a_peer_that_does_not_come_back_loses_its_routes_at_the_restart_time_and_not_before() {
    let mut fabric = loaded();
    fabric.cut.insert((0, 1));
    fabric.kill(1);
    fabric.pass(Duration::from_secs(119));
    assert_eq!(fabric.nodes[2].fib.len(), 50);
    assert!(fabric.routes(0, Table::In, Some(1)).iter().all(|r| r.stale));
    fabric.pass(Duration::from_secs(2));
    assert_eq!(fabric.nodes[2].fib.len(), 0);
}

#[test]
fn a_restarted_peer_confirms_its_routes_and_what_it_forgot_goes() {
    let mut fabric = loaded();
    fabric.restart(1);
    let routes = (0..40).map(|n| route(&format!("10.9.0.{n}/32"), &leaf(0)));
    fabric.input(1, Input::Originate(routes.collect()));
    fabric.pass(Duration::from_secs(20));
    assert_eq!(fabric.state(0, 1), SessionState::Established);
    assert_eq!(fabric.nodes[2].fib.len(), 40);
    assert!(fabric.nodes[1].converged);
    let downs = |kind: &EventKind| {
        matches!(
            kind,
            EventKind::Down {
                graceful: false,
                ..
            }
        )
    };
    assert_eq!(fabric.happened(0, downs), 0);
}

#[test]
fn a_restarted_reflector_tells_nothing_before_it_has_heard_all() {
    let mut fabric = loaded();
    let before = fabric.nodes[2].fib.clone();
    fabric.restart(0);
    fabric.cut.insert((0, 1));
    fabric.pass(Duration::from_secs(60));
    assert_eq!(fabric.state(0, 2), SessionState::Established);
    assert!(!fabric.nodes[0].converged, "one client is still missing");
    assert_eq!(fabric.nodes[2].fib, before);
    fabric.cut.clear();
    fabric.pass(Duration::from_secs(30));
    assert!(fabric.nodes[0].converged);
    assert_eq!(fabric.nodes[2].fib, before);
    let removed = |kind: &EventKind| matches!(kind, EventKind::StaleRemoved(_, n) if *n > 0);
    assert_eq!(fabric.happened(2, removed), 0);
}

/// Graceful restart of IPv4 unicast as a peer offers it.
fn graceful(restarted: bool, forwarding: bool) -> Vec<u8> {
    let (restarted, forwarding) = (u8::from(restarted) << 7, u8::from(forwarding) << 7);
    let mut capabilities = four_octet(65000);
    capabilities.extend([64, 6, restarted, 120, 0, 1, 1, forwarding]);
    capabilities
}

/// A session of a peer that offers graceful restart, with one route.
fn helped() -> Raw {
    let mut raw = Raw::established(internal(), &graceful(false, true));
    let attributes = [
        0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 10, 0, 0, 2, 0x40, 5, 4, 0, 0, 0, 100,
    ];
    let mut update = vec![0, 0, 0, attributes.len() as u8];
    update.extend(attributes);
    update.extend([32, 10, 9, 0, 1]);
    raw.receive(&message(2, &update));
    assert_eq!(raw.routes(Table::In).len(), 1);
    raw
}

/// The peer opens another connection and says who it is.
fn connects_again(raw: &mut Raw, capabilities: &[u8]) {
    let conn = ConnId(8);
    let (local, remote) = (ip("10.0.0.1"), ip(PEER));
    raw.input(Input::Accepted {
        conn,
        local,
        remote,
    });
    for bytes in [open(65000, capabilities), message(4, &[])] {
        let bytes = bytes.into();
        raw.input(Input::Received { conn, bytes });
    }
}

#[test]
fn a_second_connection_is_a_restart_of_a_session_that_stood_and_else_a_collision() {
    // (how long the session has stood, whether the peer says that it restarted, whether that is believed)
    let cases = [(0, false, false), (0, true, true), (60, false, true)];
    for (stood, restarted, believed) in cases {
        let mut raw = helped();
        raw.now = raw.now + Duration::from_secs(stood);
        connects_again(&mut raw, &graceful(restarted, true));
        let view = raw.speaker.peer(ip(PEER)).expect("peer");
        assert_eq!(view.state, SessionState::Established);
        assert_eq!(raw.routes(Table::In).len(), 1);
        let sessions = 1 + u64::from(believed);
        assert_eq!(view.counters.established, sessions, "{:?}", raw.log);
        assert_eq!(raw.routes(Table::In)[0].stale, believed);
    }
}

#[test]
fn a_peer_that_comes_back_without_its_routes_loses_them_at_once() {
    // It lost what it forwarded by, or it is another speaker that knows of no restart.
    for capabilities in [graceful(true, false), four_octet(65000)] {
        let mut raw = helped();
        let (conn, reason) = (ConnId(7), "reset".to_owned());
        raw.input(Input::Closed { conn, reason });
        assert!(raw.routes(Table::In)[0].stale);
        connects_again(&mut raw, &capabilities);
        assert_eq!(raw.routes(Table::In), []);
    }
}

#[test]
fn both_sides_of_a_session_restart_at_once() {
    let mut fabric = loaded();
    let before = fabric.nodes[2].fib.clone();
    fabric.restart(0);
    fabric.restart(1);
    let routes = (0..50).map(|n| route(&format!("10.9.0.{n}/32"), &leaf(0)));
    fabric.input(1, Input::Originate(routes.collect()));
    fabric.pass(Duration::from_secs(20));
    assert!(fabric.nodes[0].converged && fabric.nodes[1].converged);
    assert_eq!(fabric.nodes[2].fib, before);
    assert_eq!(fabric.best(2).len(), 50);
}

#[test]
fn silence_after_the_connection_ended_may_be_a_restart_and_a_path_that_is_down_is_not() {
    // (how the connection ended before BFD, what BFD says, whether the routes are kept)
    let cases = [
        (true, PathState::Silent, true),
        (true, PathState::Down, false),
        (false, PathState::Silent, false),
        (false, PathState::Down, false),
    ];
    for (closed, said, kept) in cases {
        let mut raw = helped();
        let mut changed = raw.speaker.config().clone();
        changed.peers.get_mut(&ip(PEER)).expect("peer").bfd = true;
        raw.input(Input::Configure(Box::new(changed)));
        let peer = ip(PEER);
        let path = PathState::Up;
        raw.input(Input::Bfd { peer, path });
        if closed {
            let (conn, reason) = (ConnId(7), "reset".to_owned());
            raw.input(Input::Closed { conn, reason });
        }
        raw.input(Input::Bfd { peer, path: said });
        assert_eq!(raw.routes(Table::In).len(), usize::from(kept), "{said:?}");
    }
}
