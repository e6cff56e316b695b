//! Graceful restart of either side.

use std::time::Duration;

use bgp::{EventKind, Input, SessionState, Table};

use crate::fabric::{Fabric, leaf, route, star};

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
