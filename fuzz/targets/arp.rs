//! Any frames on the LAN, in steps of time: none makes the station panic or send more than a few frames for each.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use routerd_core::arp::{Packet, Station};


use routerd_core::arp::FRAME;

pub fn run(data: &[u8]) {
    let _ = Packet::parse(data);
    let mut station = Station::new([2, 0, 0, 0, 0, 1]);
    let wanted: BTreeMap<Ipv4Addr, bool> = [([10, 0, 0, 1].into(), true), ([10, 0, 0, 2].into(), false)].into();
    let mut now = Duration::ZERO;
    station.hold(now, &wanted);
    for (number, chunk) in data.chunks(FRAME).enumerate() {
        // Half of them are made to concern an address that is held.
        let mut frame = chunk.to_vec();
        if number % 2 == 0 && frame.len() == FRAME {
            frame[12..20].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4]);
            frame[20] = 0;
            frame[21] = frame[21] % 2 + 1;
            frame[38..41].copy_from_slice(&[10, 0, 0]);
        }
        if let Some(packet) = Packet::parse(&frame) {
            let again = Packet::parse(&packet.frame([0xff; 6]));
            assert_eq!(again.as_ref(), Some(&packet));
            station.hear(now, &packet);
        }
        now += Duration::from_millis(u64::from(chunk[0]) * 20);
        station.handle_timeout(now);
        let sent = std::iter::from_fn(|| station.poll_transmit()).count();
        assert!(sent <= 8, "{sent} frames for one");
    }
}
