//! What holds whatever happens.

use proptest::prelude::*;

use super::*;

fn packets() -> impl Strategy<Value = Packet> {
    let flags = any::<(bool, bool, bool, bool)>();
    let numbers = (
        1..=u8::MAX,
        1..=u32::MAX,
        1..=u32::MAX,
        any::<u32>(),
        any::<u32>(),
    );
    let state = prop::sample::select(vec![State::AdminDown, State::Down, State::Init, State::Up]);
    (flags, numbers, state).prop_map(|(flags, numbers, state)| Packet {
        diagnostic: Diagnostic::PathDown,
        state,
        poll: flags.0,
        is_final: flags.1,
        control_plane_independent: flags.2,
        demand: flags.3,
        detect_multiplier: numbers.0,
        my_discriminator: numbers.1,
        your_discriminator: numbers.2,
        desired_min_tx: Duration::from_micros(numbers.3.into()),
        required_min_rx: Duration::from_micros(numbers.4.into()),
    })
}

/// A stream of losses from a seed: `percent` of the packets, never `most` in a row.
fn losses(seed: u64, percent: u64, most: u64) -> impl Fn(usize, usize, Moment) -> bool {
    move |end, number, _| {
        let hash = |number: usize| {
            let mixed =
                (number as u64 ^ seed ^ ((end as u64) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
        };
        let lost = |number: usize| hash(number) % 100 < percent;
        lost(number) && (1..most as usize).any(|back| !lost(number.saturating_sub(back)))
    }
}

proptest! {
    #[test]
    fn a_packet_survives_the_wire(packet in packets()) {
        prop_assert_eq!(Packet::parse(&packet.encode()), Ok(packet));
    }

    #[test]
    fn no_bytes_harm(bytes in prop::collection::vec(any::<u8>(), 0..80), mut seen in packets()) {
        let _ = Packet::parse(&bytes);
        // And no packet harms a session, whatever it says.
        let mut link = Link::new(settings(50, 3), settings(50, 3));
        seen.your_discriminator = link.ends[0].id.get();
        for payload in [seen.encode().to_vec(), bytes] {
            link.wire.insert((link.now, usize::MAX), (0, payload));
            link.run(ms(100));
        }
        link.run(ms(60_000));
        // Unless it made the first believe in another peer for very long.
        if seen.desired_min_tx * u32::from(seen.detect_multiplier) < ms(20_000) {
            prop_assert_eq!(link.states(), [State::Up; 2]);
        }
    }

    #[test]
    fn a_lossy_link_comes_up_and_stays_up(seed in any::<u64>(), percent in 0u64..40) {
        let mut link = Link::new(settings(50, 3), settings(50, 3));
        // Two in a row at most: a third packet always arrives within the detection time.
        link.lose = Box::new(losses(seed, percent, 2));
        link.run(ms(120_000));
        prop_assert_eq!(link.states(), [State::Up; 2]);
        let end = &link.ends[0];
        prop_assert!(end.changes.len() <= 3, "{:?}", end.changes);
    }

    #[test]
    fn nobody_sends_faster_than_agreed(first in 10u64..400, second in 10u64..400, seed in any::<u64>()) {
        let mut link = Link::new(settings(first, 3), settings(second, 3));
        link.lose = Box::new(losses(seed, 10, 2));
        link.run(ms(20_000));
        let pace = ms(first.max(second)) * 3 / 4;
        for end in &link.ends {
            // State changes and answers to polls come in between; they are few.
            let early = end.sent.windows(2).filter(|pair| pair[1] - pair[0] < pace - ms(1));
            prop_assert!(early.count() <= 20, "{:?}", end.sent.len());
        }
    }

    #[test]
    fn death_is_seen_in_time_wherever_it_comes(at in 0u64..1_000_000, interval in 10u64..300) {
        let mut link = Link::up(interval, 3);
        link.run(Duration::from_micros(at));
        link.ends[1].stopped = true;
        let death = link.now;
        link.run_until(ms(10_000), |link| link.ends[0].state() == State::Down);
        let took = link.now - death;
        prop_assert!(took <= ms(interval * 3) + DELAY, "{took:?}");
        prop_assert!(took >= ms(interval * 2) - DELAY, "{took:?}");
    }
}
