//! The state machine, case by case.

use super::*;

#[test]
fn a_session_comes_up_slowly_and_then_goes_fast() {
    let mut link = Link::new(settings(50, 3), settings(50, 3));
    let took = link.run_until(ms(20_000), |link| link.states() == [State::Up; 2]);
    assert!(took <= ms(3_000), "{took:?}");
    let before: Vec<_> = link.ends[0].sent.clone();
    // Four packets at most: start, init or up, and one a second.
    assert!(before.len() <= 5, "{before:?}");
    link.run(ms(3_000));
    let view = link.ends[0]
        .detector
        .view(link.ends[0].id)
        .expect("session");
    assert_eq!(view.transmit_interval, Some(ms(50)));
    assert_eq!(view.detection_time, ms(150));
    let rate = link.ends[0]
        .sent
        .iter()
        .filter(|at| **at > link.now - ms(1_000));
    // An interval between 37.5 and 50 ms.
    assert!((20..=27).contains(&rate.count()));
}

#[test]
fn the_slower_side_sets_the_pace_and_each_side_its_own_detection_time() {
    let mut link = Link::new(settings(50, 3), settings(300, 5));
    link.run(ms(10_000));
    assert_eq!(link.states(), [State::Up; 2]);
    let views: Vec<_> = link
        .ends
        .iter()
        .filter_map(|end| end.detector.view(end.id))
        .collect();
    for view in &views {
        assert_eq!(view.transmit_interval, Some(ms(300)));
    }
    assert_eq!(views[0].detection_time, ms(1_500));
    assert_eq!(views[1].detection_time, ms(900));
}

#[test]
fn a_silent_peer_is_dead_after_the_detection_time() {
    for (interval, multiplier) in [(300, 3), (50, 3), (10, 3), (100, 1)] {
        let mut link = Link::up(interval, multiplier);
        link.ends[1].stopped = true;
        link.wire.clear();
        let last = link.ends[1].sent.last().copied().expect("it sent");
        link.run_until(ms(10_000), |link| link.ends[0].state() == State::Down);
        let took = link.now - last;
        let detection_time = ms(interval * u64::from(multiplier));
        assert!(
            took > detection_time - ms(interval) && took <= detection_time + DELAY,
            "{interval} x {multiplier}: {took:?}"
        );
        let (_, transition) = link.ends[0].changes.last().copied().expect("a change");
        assert_eq!(transition.from, State::Up);
        assert_eq!(transition.diagnostic, Diagnostic::DetectionTimeExpired);
    }
}

#[test]
fn a_session_that_goes_down_tells_the_other_at_once() {
    let mut link = Link::up(100, 3);
    // Only what the second sends is lost: the first goes down and says so.
    let from = link.now;
    link.lose = Box::new(move |end, _, at| end == 1 && at > from && at < from + ms(400));
    link.run_until(ms(2_000), |link| link.ends[0].state() == State::Down);
    link.run(DELAY);
    let (at, transition) = link.ends[1].changes.last().copied().expect("a change");
    assert_eq!(at, link.now);
    assert_eq!(transition.diagnostic, Diagnostic::NeighborSignaledDown);
    link.run(ms(10_000));
    assert_eq!(link.states(), [State::Up; 2]);
}

#[test]
fn a_restarted_peer_is_met_again() {
    let mut link = Link::up(50, 3);
    let now = link.now;
    link.ends[1].restart(1, now, settings(50, 3));
    link.run_until(ms(1_000), |link| link.ends[0].state() != State::Up);
    link.run_until(ms(10_000), |link| link.states() == [State::Up; 2]);
    assert_eq!(link.states(), [State::Up; 2]);
    assert_eq!(link.ends[0].patience, []);
}

#[test]
fn leaving_is_not_a_failure() {
    let mut link = Link::up(50, 3);
    let (now, id) = (link.now, link.ends[1].id);
    link.ends[1].detector.remove(now, id);
    link.run(ms(2));
    let (_, transition) = link.ends[0].changes.last().copied().expect("a change");
    assert_eq!(transition.to, State::Down);
    assert_eq!(transition.remote, State::AdminDown);
    assert!(!link.ends[1].gone);
    link.run(ms(5_000));
    assert!(link.ends[1].gone);
    assert_eq!(link.ends[1].detector.next_timeout(), None);
    assert_eq!(link.ends[0].state(), State::Down);
}

#[test]
fn intervals_change_without_a_failure() {
    let mut link = Link::up(50, 3);
    for (interval, multiplier) in [(400, 3), (20, 3), (100, 5)] {
        let (now, id) = (link.now, link.ends[1].id);
        let asked = settings(interval, multiplier);
        link.ends[1].detector.configure(now, id, asked);
        link.run(ms(10_000));
        let view = link.ends[0]
            .detector
            .view(link.ends[0].id)
            .expect("session");
        let pace = interval.max(50);
        assert_eq!(view.detection_time, ms(pace * u64::from(multiplier)));
        assert_eq!(view.transmit_interval, Some(ms(pace)));
    }
    assert!(
        link.ends.iter().all(|end| end.changes.len() == 2),
        "only down, init, up"
    );
}

#[test]
fn a_poll_is_answered_at_once() {
    let mut link = Link::up(300, 3);
    let sent = link.ends[0].sent.len();
    let view = link.ends[1]
        .detector
        .view(link.ends[1].id)
        .expect("session");
    let poll = Packet {
        diagnostic: Diagnostic::None,
        state: State::Up,
        poll: true,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_multiplier: 3,
        my_discriminator: link.ends[1].id.get(),
        your_discriminator: view.remote_discriminator,
        desired_min_tx: ms(300),
        required_min_rx: ms(300),
    };
    link.wire
        .insert((link.now, usize::MAX), (0, poll.encode().to_vec()));
    link.run_until(ms(1), |link| link.ends[0].sent.len() > sent);
    assert_eq!(link.ends[0].sent.last(), Some(&link.now));
}

#[test]
fn a_false_alarm_makes_patient_and_quiet_makes_it_pass() {
    let mut link = Link::up(50, 3);
    let from = link.now;
    // A gap just longer than the detection time.
    link.lose = Box::new(move |end, _, at| end == 1 && at > from && at < from + ms(220));
    link.run(ms(10_000));
    assert_eq!(link.states(), [State::Up; 2]);
    assert_eq!(link.ends[0].patience, [2]);
    let view = link.ends[0]
        .detector
        .view(link.ends[0].id)
        .expect("session");
    assert_eq!(view.detection_time, ms(300));
    link.run(ms(601_000));
    assert_eq!(link.ends[0].patience, [2, 1]);
    let view = link.ends[0]
        .detector
        .view(link.ends[0].id)
        .expect("session");
    assert_eq!(view.detection_time, ms(150));
    assert_eq!(link.states(), [State::Up; 2]);
}

#[test]
fn a_long_outage_is_no_false_alarm() {
    let mut link = Link::up(50, 3);
    let from = link.now;
    link.lose = Box::new(move |_, _, at| at > from && at < from + ms(3_000));
    link.run(ms(20_000));
    assert_eq!(link.states(), [State::Up; 2]);
    assert_eq!(link.ends[0].patience, []);
}

#[test]
fn a_removed_session_begins_anew() {
    let mut link = Link::up(50, 3);
    let (now, id) = (link.now, link.ends[0].id);
    link.ends[0].detector.remove(now, id);
    let again = link.ends[0].detector.add(now, path(0), settings(50, 3), 7);
    link.ends[0].id = again;
    link.run(ms(10_000));
    assert_eq!(link.states(), [State::Up; 2]);
    assert!(link.ends[0].gone, "the former one ended at once");
}

#[test]
fn a_packet_of_a_peer_without_the_last_hop_limit_is_discarded() {
    let mut link = Link::new(settings(50, 3), settings(50, 3));
    let packet = Packet {
        diagnostic: Diagnostic::None,
        state: State::Down,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_multiplier: 3,
        my_discriminator: 5,
        your_discriminator: 0,
        desired_min_tx: ms(1_000),
        required_min_rx: ms(50),
    };
    let payload = packet.encode();
    let arrival = Arrival {
        remote: address(1),
        local: address(0),
        interface: 7,
        hop_limit: 254,
        multi_hop: false,
        payload: &payload,
    };
    let detector = &mut link.ends[0].detector;
    assert_eq!(detector.receive(ms(1), &arrival), Err(Discard::HopLimit));
    let stranger = Arrival {
        remote: address(9),
        hop_limit: 255,
        ..arrival
    };
    assert_eq!(detector.receive(ms(1), &stranger), Err(Discard::NoSession));
    let other_kind = Arrival {
        multi_hop: true,
        hop_limit: 255,
        ..arrival
    };
    assert_eq!(
        detector.receive(ms(1), &other_kind),
        Err(Discard::NoSession)
    );
    assert_eq!(detector.discards().values().sum::<u64>(), 3);
}

#[test]
fn a_multihop_session_takes_what_came_over_few_enough_hops() {
    let mut detector = Detector::new();
    let path = SessionPath {
        remote: address(1),
        local: Some(address(0)),
        scope: Scope::MultiHop {
            least_hop_limit: 253,
        },
    };
    let id = detector.add(Moment::ZERO, path, settings(50, 3), 1 << 40);
    let packet = Packet {
        diagnostic: Diagnostic::None,
        state: State::Down,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_multiplier: 3,
        my_discriminator: 5,
        your_discriminator: 0,
        desired_min_tx: ms(1_000),
        required_min_rx: ms(50),
    };
    let payload = packet.encode();
    let arrival = |hop_limit| Arrival {
        remote: address(1),
        local: address(0),
        interface: 7,
        hop_limit,
        multi_hop: true,
        payload: &payload,
    };
    assert_eq!(
        detector.receive(ms(1), &arrival(252)),
        Err(Discard::HopLimit)
    );
    assert_eq!(detector.receive(ms(1), &arrival(253)), Ok(id));
}

#[test]
fn a_peer_that_began_anew_and_one_that_shares_no_fate_are_told_apart() {
    let mut link = Link::up(50, 3);
    link.ends[1].restart(1, link.now, settings(50, 3));
    link.run_until(ms(1_000), |link| link.ends[0].state() != State::Up);
    let (_, transition) = link.ends[0].changes.last().copied().expect("a change");
    assert_eq!(transition.from, State::Up);
    assert!(transition.remote_began_anew && !transition.remote_independent);
    // It is silent this time, and said before that its silence means something.
    let independent = Settings {
        control_plane_independent: true,
        ..settings(50, 3)
    };
    let mut link = Link::new(settings(50, 3), independent);
    link.run(ms(10_000));
    link.ends[1].stopped = true;
    link.run_until(ms(10_000), |link| link.ends[0].state() == State::Down);
    let (_, transition) = link.ends[0].changes.last().copied().expect("a change");
    assert!(!transition.remote_began_anew && transition.remote_independent);
}
