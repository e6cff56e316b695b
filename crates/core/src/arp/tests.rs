use proptest::prelude::*;

use super::*;

const US: Mac = [2, 0, 0, 0, 0, 1];
const HIM: Mac = [2, 0, 0, 0, 0, 2];
const MOBILE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const FREE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn ms(milliseconds: u64) -> Moment {
    Duration::from_millis(milliseconds)
}

fn station(announce: bool) -> Station {
    let mut station = Station::new(US);
    station.hold(ms(0), &BTreeMap::from([(MOBILE, announce)]));
    station
}

/// Runs the timers up to `until` and returns what was sent, with the time.
fn run(station: &mut Station, until: u64) -> Vec<(u128, Packet)> {
    let mut sent = Vec::new();
    while let Some(time) = station.next_timeout().filter(|time| *time <= ms(until)) {
        station.handle_timeout(time);
        sent.extend(frames(station).into_iter().map(|p| (time.as_millis(), p)));
    }
    sent
}

fn frames(station: &mut Station) -> Vec<Packet> {
    std::iter::from_fn(|| station.poll_transmit())
        .map(|frame| Packet::parse(&frame).expect("well-formed"))
        .collect()
}

fn packet(operation: Operation, from: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Packet {
    Packet {
        operation,
        sender_mac: from,
        sender,
        target_mac: [0; 6],
        target,
    }
}

fn established(announce: bool) -> Station {
    let mut station = station(announce);
    run(&mut station, 10_000);
    assert_eq!(station.next_timeout(), None);
    station
}

#[test]
fn an_address_is_probed_then_announced_in_both_forms() {
    let sent = run(&mut station(true), 60_000);
    let times: Vec<u128> = sent.iter().map(|(time, _)| *time).collect();
    assert_eq!(times, [0, 100, 200, 200, 1400, 1400, 4400, 4400]);
    for (_, probe) in &sent[..2] {
        assert_eq!(*probe, packet(Operation::Request, US, FREE, MOBILE));
    }
    for pair in sent[2..].chunks(2) {
        assert_eq!(pair[0].1, packet(Operation::Request, US, MOBILE, MOBILE));
        let reply = packet(Operation::Reply, US, MOBILE, MOBILE);
        assert_eq!(
            pair[1].1,
            Packet {
                target_mac: US,
                ..reply
            }
        );
    }
}

#[test]
fn frames_are_broadcast() {
    let mut station = station(true);
    station.handle_timeout(ms(0));
    let frame = station.poll_transmit().expect("probe");
    assert_eq!((&frame[..6], &frame[6..12]), (&BROADCAST[..], &US[..]));
}

#[test]
fn without_gratuitous_arp_nothing_is_announced_or_defended() {
    let mut station = station(false);
    assert_eq!(run(&mut station, 60_000).len(), 2, "the probes");
    station.hear(ms(61_000), &packet(Operation::Request, HIM, MOBILE, MOBILE));
    assert_eq!(frames(&mut station), []);
    assert_eq!(station.rivals(ms(61_000))[&MOBILE].mac, HIM);
    station.hear(ms(62_000), &packet(Operation::Request, HIM, FREE, MOBILE));
    assert_eq!(frames(&mut station).len(), 1, "but probes are answered");
}

#[test]
fn a_probe_is_answered_to_whoever_asks() {
    let mut station = established(true);
    station.hear(ms(20_000), &packet(Operation::Request, HIM, FREE, MOBILE));
    let frame = station.poll_transmit().expect("answer");
    assert_eq!(frame[..6], HIM);
    let answer = Packet::parse(&frame).expect("well-formed");
    let expected = packet(Operation::Reply, US, MOBILE, FREE);
    assert_eq!(
        answer,
        Packet {
            target_mac: HIM,
            ..expected
        }
    );
    assert!(
        station.rivals(ms(20_000)).is_empty(),
        "asking is no conflict"
    );
    // Neither requests nor other addresses are ours to answer.
    station.hear(
        ms(20_000),
        &packet(Operation::Request, HIM, Ipv4Addr::new(10, 0, 0, 5), MOBILE),
    );
    station.hear(
        ms(20_000),
        &packet(Operation::Request, HIM, FREE, Ipv4Addr::new(10, 0, 0, 5)),
    );
    assert_eq!(frames(&mut station), []);
}

#[test]
fn who_was_there_first_is_left_alone() {
    let mut station = station(true);
    station.handle_timeout(ms(0));
    let reply = packet(Operation::Reply, HIM, MOBILE, FREE);
    station.hear(
        ms(20),
        &Packet {
            target_mac: US,
            ..reply
        },
    );
    assert_eq!(station.rivals(ms(20))[&MOBILE].mac, HIM);
    frames(&mut station);
    // He reboots and probes: he may have it.
    station.hear(ms(1000), &packet(Operation::Request, HIM, FREE, MOBILE));
    assert_eq!(frames(&mut station), []);
    // He answers the next question too.
    let sent = run(&mut station, 5_050);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1, packet(Operation::Request, US, FREE, MOBILE));
    station.hear(
        ms(5_060),
        &packet(Operation::Request, HIM, MOBILE, Ipv4Addr::new(10, 0, 0, 1)),
    );
    // Then he is gone.
    let sent = run(&mut station, 60_000);
    let announced = sent
        .iter()
        .find(|(_, p)| p.sender == MOBILE)
        .expect("announced");
    assert_eq!(announced.0, 10_260);
}

#[test]
fn a_late_answer_to_our_probe_counts() {
    let mut station = station(true);
    run(&mut station, 300);
    let reply = packet(Operation::Reply, HIM, MOBILE, FREE);
    station.hear(
        ms(800),
        &Packet {
            target_mac: US,
            ..reply
        },
    );
    assert_eq!(run(&mut station, 5_700), [], "no further announcement");
}

#[test]
fn an_established_address_is_defended_but_not_all_the_time() {
    let mut station = established(true);
    let mut defences = Vec::new();
    for second in 20..60 {
        let usurper = packet(Operation::Request, HIM, MOBILE, Ipv4Addr::new(10, 0, 0, 1));
        station.hear(ms(second * 1000), &usurper);
        if !frames(&mut station).is_empty() {
            defences.push(second);
        }
    }
    assert_eq!(defences, [20, 30, 40, 50]);
    let rival = station.rivals(ms(60_000))[&MOBILE];
    assert_eq!(
        rival,
        Rival {
            mac: HIM,
            heard: ms(59_000)
        }
    );
    assert!(station.rivals(ms(59_000) + CONFLICT_MEMORY).is_empty());
}

#[test]
fn our_own_frames_are_no_conflict() {
    let mut station = established(true);
    station.hear(ms(20_000), &packet(Operation::Request, US, MOBILE, MOBILE));
    station.hear(ms(20_000), &packet(Operation::Request, US, FREE, MOBILE));
    assert_eq!(frames(&mut station), []);
    assert!(station.rivals(ms(20_000)).is_empty());
}

#[test]
fn an_address_that_leaves_is_silent() {
    let mut station = station(true);
    run(&mut station, 1000);
    station.hold(ms(1000), &BTreeMap::new());
    assert_eq!(station.next_timeout(), None);
    station.hear(ms(1100), &packet(Operation::Request, HIM, FREE, MOBILE));
    station.hear(ms(1100), &packet(Operation::Request, HIM, MOBILE, MOBILE));
    assert_eq!(frames(&mut station), []);
}

#[test]
fn many_addresses_are_spread() {
    let addresses: BTreeMap<_, _> = (0..640)
        .map(|i| (Ipv4Addr::from(0x0a00_0000 + i), true))
        .collect();
    let mut station = Station::new(US);
    station.hold(ms(0), &addresses);
    station.handle_timeout(ms(0));
    assert_eq!(frames(&mut station).len(), 64);
    let sent = run(&mut station, 60_000);
    let first = addresses.keys().map(|a| {
        sent.iter()
            .find(|(_, p)| p.sender == *a)
            .expect("announced")
            .0
    });
    assert_eq!(first.max(), Some(200 + 180));
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let macs = prop::sample::select(vec![US, HIM, [2, 0, 0, 0, 0, 3]]);
    let addresses = || prop::sample::select(vec![FREE, MOBILE, Ipv4Addr::new(10, 0, 0, 5)]);
    (any::<bool>(), macs, addresses(), any::<bool>(), addresses()).prop_map(
        |(request, mac, sender, to_us, target)| Packet {
            operation: if request {
                Operation::Request
            } else {
                Operation::Reply
            },
            sender_mac: mac,
            sender,
            target_mac: if to_us { US } else { [0; 6] },
            target,
        },
    )
}

proptest! {
    #[test]
    fn parsing_never_panics_and_what_parses_is_what_was_sent(
        bytes in prop::collection::vec(any::<u8>(), 0..80), packet in any_packet()
    ) {
        let _ = Packet::parse(&bytes);
        prop_assert_eq!(Packet::parse(&packet.frame(HIM)), Some(packet));
        for length in 0..FRAME {
            prop_assert_eq!(Packet::parse(&packet.frame(HIM)[..length]), None);
        }
    }

    /// Whatever is heard: nothing is said about addresses that are not ours, and announcements stay within the
    /// limits (three rounds each time the address is taken, one defence in ten seconds).
    #[test]
    fn nobody_can_make_us_loud(
        events in prop::collection::vec((0u64..500, any_packet()), 0..300)
    ) {
        let mut station = station(true);
        let (mut now, mut said, mut taken) = (0, Vec::new(), 0);
        for (pause, packet) in events {
            now += pause;
            station.handle_timeout(ms(now));
            for sent in frames(&mut station) {
                if sent.sender == MOBILE && sent.operation == Operation::Request { said.push(now); }
                if sent.sender == FREE { taken += 1; }
                prop_assert!(sent.sender == MOBILE || (sent.sender == FREE && sent.target == MOBILE));
            }
            station.hear(ms(now), &packet);
            for sent in frames(&mut station) {
                prop_assert_eq!(sent.sender, MOBILE);
                if sent.operation == Operation::Request { said.push(now); }
            }
        }
        let defences = 1 + now / 10_000;
        prop_assert!(said.len() as u64 <= 3 * (1 + taken) + defences);
    }
}
