use super::*;

/// A network on a virtual clock.
struct World {
    prober: Prober,
    now: Duration,
    /// What gets through, and whether the peer is there.
    carries: u32,
    alive: bool,
    trip: Duration,
    /// Every so many-th packet is lost; 0 loses none.
    loses: u64,
    sent: u64,
    outside: u64,
    tunnel: u32,
    /// What the tunnel's MTU would be without a limit.
    ceiling: u32,
}

fn target() -> PathTarget {
    PathTarget {
        ifname: "wg0".parse().expect("name"),
        inside: [10, 255, 0, 2].into(),
    }
}

impl World {
    fn new(ceiling: u32, carries: u32) -> Self {
        let mut world = Self {
            prober: Prober::default(),
            now: Duration::ZERO,
            carries,
            alive: true,
            trip: Duration::from_millis(20),
            loses: 0,
            sent: 0,
            outside: 0,
            tunnel: ceiling,
            ceiling,
        };
        world.update();
        world
    }

    /// What the daemon does when something changed: the tunnel follows the limit.
    fn update(&mut self) {
        let limit = self.prober.limits().values().copied().next();
        self.tunnel = limit.map_or(self.ceiling, |limit| limit.min(self.ceiling));
        let wanted = BTreeMap::from([(target(), self.tunnel)]);
        let endpoints = BTreeSet::from([SocketAddrV4::new([192, 0, 2, 9].into(), 51820)]);
        self.prober.update(self.now, &wanted, &endpoints);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut answers: Vec<(Duration, u16)> = Vec::new();
        loop {
            let answer = answers.iter().map(|(at, _)| *at).min();
            let timeout = self.prober.next_timeout();
            let next = answer.into_iter().chain(timeout).min().unwrap_or(end);
            self.now = self.now.max(next.min(end));
            let (due, later): (Vec<_>, Vec<_>) =
                answers.into_iter().partition(|(at, _)| *at <= self.now);
            answers = later;
            let mut changed = false;
            for (_, sequence) in due {
                changed |= self.prober.answered(self.now, sequence);
            }
            let (probes, by_time) = self.prober.poll(self.now);
            for probe in probes {
                answers.extend(self.carry(&probe));
            }
            if changed || by_time {
                self.update();
            }
            if self.now >= end {
                return;
            }
        }
    }

    fn carry(&mut self, probe: &Probe) -> Option<(Duration, u16)> {
        let Probe::Inside { sequence, size, .. } = probe else {
            self.outside += 1;
            return None;
        };
        assert!(*size <= self.tunnel, "the kernel would refuse {size}");
        self.sent += 1;
        let lost = self.loses > 0 && self.sent.is_multiple_of(self.loses);
        let passes = self.alive && *size <= self.carries && !lost;
        passes.then_some((self.now + self.trip, *sequence))
    }

    fn known(&self) -> (Option<u32>, Option<u32>) {
        let measured = self.prober.measured().get(&target()).copied();
        (measured, self.prober.limits().values().copied().next())
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_path_that_carries_all_is_confirmed_with_the_first_answer() {
    let mut world = World::new(1440, 9000);
    world.run(Duration::from_millis(21));
    assert_eq!(world.known(), (Some(1440), None));
    assert_eq!(world.sent, 2);
}

#[test]
fn a_silent_bottleneck_is_found_to_the_byte() {
    for carries in [576, 1000, 1220, 1239, 1240, 1439] {
        let mut world = World::new(1440, carries);
        world.run(MINUTE);
        assert_eq!(world.known(), (Some(carries), Some(carries)));
        assert_eq!(world.tunnel, carries);
    }
}

#[test]
fn a_path_that_becomes_smaller_is_followed_and_one_that_grows_after_a_while() {
    let mut world = World::new(1440, 1440);
    world.run(MINUTE);
    world.carries = 1240;
    world.run(MINUTE);
    assert_eq!(world.known(), (Some(1240), Some(1240)));
    world.carries = 1340;
    world.run(RAISE + MINUTE);
    assert_eq!(world.known(), (Some(1340), Some(1340)));
    world.carries = 9000;
    world.run(RAISE + MINUTE);
    assert_eq!(world.known(), (Some(1440), None));
}

#[test]
fn loss_is_not_taken_for_size() {
    for loses in [3, 5, 7, 11, 100] {
        let mut world = World::new(1440, 9000);
        world.loses = loses;
        world.run(MINUTE * 10);
        assert_eq!(world.known(), (Some(1440), None), "every {loses}th is lost");
    }
}

#[test]
fn a_peer_that_is_away_changes_nothing() {
    let mut world = World::new(1440, 1240);
    world.alive = false;
    world.run(MINUTE);
    assert_eq!(world.known(), (None, None));
    assert!(world.sent < 60, "{} probes into the void", world.sent);
    world.alive = true;
    world.run(MINUTE);
    world.alive = false;
    world.run(MINUTE);
    assert_eq!(world.known(), (Some(1240), Some(1240)));
}

#[test]
fn a_path_that_carries_only_small_packets_is_not_believed() {
    let mut world = World::new(1440, 200);
    world.run(MINUTE);
    assert_eq!(world.known(), (None, None));
    assert_eq!(world.tunnel, 1440);
}

#[test]
fn an_underlay_that_the_kernel_learned_of_is_confirmed_anew() {
    let mut world = World::new(1440, 1240);
    world.ceiling = 1240;
    world.update();
    world.run(MINUTE);
    assert_eq!(world.known(), (Some(1240), None));
}

#[test]
fn the_network_is_asked_now_and_then() {
    let mut world = World::new(1440, 1440);
    world.run(MINUTE);
    let expected = MINUTE.as_secs() / OUTSIDE.as_secs() + 1;
    assert_eq!(world.outside, expected);
}
