//! Two detectors with a virtual link and a virtual clock between them.

mod machine;
mod properties;
mod wire;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU8;
use std::time::Duration;

use super::detector::Arrival;
use super::*;

/// How long a packet takes.
const DELAY: Duration = Duration::from_millis(1);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn settings(interval: u64, multiplier: u8) -> Settings {
    Settings {
        min_tx: ms(interval),
        min_rx: ms(interval),
        detect_multiplier: NonZeroU8::new(multiplier).expect("not 0"),
        control_plane_independent: false,
    }
}

/// A node with one session.
struct End {
    detector: Detector,
    id: SessionId,
    address: IpAddr,
    changes: Vec<(Moment, Transition)>,
    patience: Vec<u32>,
    sent: Vec<Moment>,
    gone: bool,
    /// Does nothing, as a process that is stopped.
    stopped: bool,
}

/// Both nodes and what is under way.
struct Link {
    now: Moment,
    ends: [End; 2],
    /// By time of arrival, number and receiver.
    wire: BTreeMap<(Moment, usize), (usize, Vec<u8>)>,
    count: usize,
    /// Whether the packet with this number from this end is lost.
    lose: Box<dyn Fn(usize, usize, Moment) -> bool>,
}

fn address(end: usize) -> IpAddr {
    Ipv4Addr::new(10, 98, 0, end as u8 + 1).into()
}

fn path(end: usize) -> SessionPath {
    SessionPath {
        remote: address(1 - end),
        local: None,
        scope: Scope::SingleHop { interface: None },
    }
}

impl End {
    fn new(end: usize, settings: Settings, random: u64) -> Self {
        let mut detector = Detector::new();
        let id = detector.add(Moment::ZERO, path(end), settings, random);
        Self {
            detector,
            id,
            address: address(end),
            changes: Vec::new(),
            patience: Vec::new(),
            sent: Vec::new(),
            gone: false,
            stopped: false,
        }
    }

    fn state(&self) -> State {
        let view = self.detector.view(self.id);
        view.map_or(State::Down, |view| view.state)
    }

    fn restart(&mut self, end: usize, now: Moment, settings: Settings) {
        self.detector = Detector::new();
        self.id = self
            .detector
            .add(now, path(end), settings, 0x9999_0000_1234_5678);
    }
}

impl Link {
    fn new(first: Settings, second: Settings) -> Self {
        Self {
            now: Moment::ZERO,
            ends: [
                End::new(0, first, 0x1111_0000_dead_beef),
                End::new(1, second, 0x2222_0000_cafe_f00d),
            ],
            wire: BTreeMap::new(),
            count: 0,
            lose: Box::new(|_, _, _| false),
        }
    }

    fn up(interval: u64, multiplier: u8) -> Self {
        let mut link = Self::new(
            settings(interval, multiplier),
            settings(interval, multiplier),
        );
        link.run_until(ms(20_000), |link| link.states() == [State::Up; 2]);
        assert_eq!(link.states(), [State::Up; 2]);
        // Until the new intervals are in use.
        link.run(ms(5_000));
        link
    }

    fn states(&self) -> [State; 2] {
        [self.ends[0].state(), self.ends[1].state()]
    }

    /// Lets time pass.
    fn run(&mut self, how_long: Duration) {
        self.run_until(how_long, |_| false);
    }

    /// Lets time pass until something holds; returns how long it took.
    fn run_until(&mut self, at_most: Duration, holds: impl Fn(&Self) -> bool) -> Duration {
        let (start, end) = (self.now, self.now + at_most);
        self.drain();
        while !holds(self) {
            let timers = self.ends.iter().filter(|end| !end.stopped);
            let timers = timers.filter_map(|end| end.detector.next_timeout());
            let arrivals = self.wire.keys().map(|(at, _)| *at);
            match timers.chain(arrivals).min() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => {
                    self.now = end;
                    break;
                }
            }
            self.deliver();
            for end in self.ends.iter_mut().filter(|end| !end.stopped) {
                end.detector.handle_timeout(self.now);
            }
            self.drain();
        }
        self.now - start
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.wire.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            let (to, payload) = entry.remove();
            if self.ends[to].stopped {
                continue;
            }
            let arrival = Arrival {
                remote: address(1 - to),
                local: self.ends[to].address,
                interface: 7,
                hop_limit: HOP_LIMIT,
                multi_hop: false,
                payload: &payload,
            };
            // What is discarded is counted by the detector; that is enough here.
            let _ = self.ends[to].detector.receive(self.now, &arrival);
        }
    }

    fn drain(&mut self) {
        for from in 0..2 {
            while let Some(output) = self.ends[from].detector.poll_output() {
                self.take(from, output);
            }
        }
    }

    fn take(&mut self, from: usize, output: Output) {
        let end = &mut self.ends[from];
        match output {
            Output::Transmit { packet, .. } => {
                end.sent.push(self.now);
                self.count += 1;
                if !(self.lose)(from, end.sent.len(), self.now) {
                    self.wire
                        .insert((self.now + DELAY, self.count), (1 - from, packet.to_vec()));
                }
            }
            Output::Changed { transition, .. } => end.changes.push((self.now, transition)),
            Output::Patience { factor, .. } => end.patience.push(factor),
            Output::Gone { .. } => end.gone = true,
        }
    }
}
