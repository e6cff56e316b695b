//! How large packets may be that reach a peer, found out by asking: packetization layer path MTU discovery
//! (RFC 8899) with echo requests through the tunnel, so that a network that drops without a word is noticed.
//!
//! A size that is not answered while a small one is does not fit. Where the network does say what it carries, the kernel
//! hears it, and the tunnel's MTU follows from that before anything has to be missed.
//!
//! What an echo inside the tunnel measures depends on who sends the packet around it. Plain tunnels and the user-space
//! WireGuard forbid fragments, so it is the path. The kernel's WireGuard lets its packets be cut and cannot be told
//! otherwise: through it an echo that is too large comes back in fragments, and a network that would say what it carries
//! is never asked. Hence one datagram beside the tunnel, to the same endpoint, that forbids fragments: a router that
//! cannot pass it says so. What remains unseen is a network that cuts WireGuard's packets and keeps its errors
//! to itself; there everything arrives, in fragments.
//!
//! Where nothing is said, sizes are tried below the MTU, and WireGuard pads those to a multiple of 16: what is found is up
//! to 15 bytes less than would fit.
//!
//! Sans-I/O: time comes in, probes go out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use api::IfName;

/// Every IPv4 host takes this much (RFC 791); smaller paths are not believed.
const BASE: u32 = 576;
/// Size of the echo request that shows that the peer is there.
const SMALL: u32 = 64;
/// How often a size is tried before it counts as too large (RFC 8899, `MAX_PROBES`).
const TRIES: u32 = 3;
/// How long an answer may take before anything is known of the round trip.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
/// The least and the most that is waited for an answer.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(150), Duration::from_secs(2));
/// How often a size that fits is asked for again.
const CONFIRM: Duration = Duration::from_secs(15);
/// How often a peer that does not answer is tried.
const ABSENT: Duration = Duration::from_secs(5);
/// After this a larger size is tried again (RFC 8899, `PMTU_RAISE_TIMER`).
const RAISE: Duration = Duration::from_secs(600);
/// How often the network is given the chance to say what it carries.
const OUTSIDE: Duration = Duration::from_secs(5);

/// A peer inside a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathTarget {
    /// The tunnel.
    pub ifname: IfName,
    /// The peer's address in it.
    pub inside: Ipv4Addr,
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// An echo request through a tunnel that forbids fragments.
    Inside {
        /// Where to.
        target: PathTarget,
        /// What the answer is known by.
        sequence: u16,
        /// Length of the whole IP packet.
        size: u32,
    },
    /// A datagram that forbids fragments, as large as the link takes, which the endpoint throws away.
    Outside {
        /// Where to.
        endpoint: SocketAddrV4,
    },
}

/// All paths.
#[derive(Debug, Default)]
pub struct Prober {
    paths: BTreeMap<PathTarget, Path>,
    outside: BTreeMap<SocketAddrV4, Duration>,
    sequence: u16,
}

/// One path.
#[derive(Debug)]
struct Path {
    /// The MTU of the tunnel: nothing larger can be sent into it.
    mtu: u32,
    /// The largest size that was answered since the MTU is what it is.
    confirmed: Option<u32>,
    /// What the tunnel's MTU must not exceed.
    limit: Option<u32>,
    /// When to lift it.
    raise: Duration,
    round: Round,
    round_trip: Option<Duration>,
}

/// What is being asked.
#[derive(Debug)]
struct Round {
    /// The size in question; between both it is not known what fits.
    size: u32,
    fits: u32,
    too_large: Option<u32>,
    /// Tries without an answer although the small request was answered.
    tries: u32,
    sent: Option<Sent>,
    /// When to ask next, if nothing is under way.
    due: Duration,
}

/// A pair of requests under way.
#[derive(Debug, Clone, Copy)]
struct Sent {
    small: u16,
    large: u16,
    at: Duration,
    alive: bool,
}

impl Prober {
    /// Takes what is to be measured: peers with the present MTU of their tunnel, and endpoints of tunnels that do not
    /// forbid fragments themselves.
    pub fn update(
        &mut self,
        now: Duration,
        wanted: &BTreeMap<PathTarget, u32>,
        endpoints: &BTreeSet<SocketAddrV4>,
    ) {
        self.paths.retain(|target, _| wanted.contains_key(target));
        for (target, mtu) in wanted {
            let path = self.paths.entry(target.clone());
            let path = path.or_insert_with(|| Path::new(*mtu, now));
            if path.mtu != *mtu {
                path.resize(*mtu, now);
            }
        }
        self.outside
            .retain(|endpoint, _| endpoints.contains(endpoint));
        for endpoint in endpoints {
            self.outside.entry(*endpoint).or_insert(now);
        }
    }

    /// An answer has come. Returns whether anything of what is known changed.
    pub fn answered(&mut self, now: Duration, sequence: u16) -> bool {
        let mut paths = self.paths.values_mut();
        paths.any(|path| path.answered(now, sequence))
    }

    /// What is to be sent now, one after the other. The flag says whether what is known changed by the passing of time.
    pub fn poll(&mut self, now: Duration) -> (Vec<Probe>, bool) {
        let mut probes = Vec::new();
        let mut changed = false;
        for (target, path) in &mut self.paths {
            changed |= path.expire(now);
            if path.round.sent.is_some() || path.round.due > now {
                continue;
            }
            let small = self.sequence.wrapping_add(1);
            let large = self.sequence.wrapping_add(2);
            self.sequence = large;
            path.round.sent = Some(Sent {
                small,
                large,
                at: now,
                alive: false,
            });
            for (sequence, size) in [(small, SMALL), (large, path.round.size)] {
                probes.push(Probe::Inside {
                    target: target.clone(),
                    sequence,
                    size,
                });
            }
        }
        for (endpoint, due) in &mut self.outside {
            if *due <= now {
                *due = now + OUTSIDE;
                let endpoint = *endpoint;
                probes.push(Probe::Outside { endpoint });
            }
        }
        (probes, changed)
    }

    /// When to call [`Prober::poll`] again at the latest.
    pub fn next_timeout(&self) -> Option<Duration> {
        let inside = self.paths.values().map(Path::next_timeout);
        inside.chain(self.outside.values().copied()).min()
    }

    /// The MTUs that tunnels must not exceed, where one is known.
    pub fn limits(&self) -> BTreeMap<IfName, u32> {
        let mut limits: BTreeMap<IfName, u32> = BTreeMap::new();
        for (target, path) in &self.paths {
            if let Some(limit) = path.limit {
                let least = limits.entry(target.ifname.clone()).or_insert(limit);
                *least = limit.min(*least);
            }
        }
        limits
    }

    /// The largest size that each peer has answered.
    pub fn measured(&self) -> BTreeMap<PathTarget, u32> {
        let paths = self.paths.iter();
        paths
            .filter_map(|(target, path)| Some((target.clone(), path.confirmed?)))
            .collect()
    }
}

impl Path {
    fn new(mtu: u32, now: Duration) -> Self {
        Self {
            mtu,
            confirmed: None,
            limit: None,
            raise: Duration::MAX,
            round: Round::whole(mtu, now),
            round_trip: None,
        }
    }

    /// The tunnel's MTU changed. Where it only came down to the limit, the limit was what was measured.
    fn resize(&mut self, mtu: u32, now: Duration) {
        self.mtu = mtu;
        if self.limit.is_some_and(|limit| limit < mtu) {
            // Somebody lets in more than was found to fit; what is known of the path stays.
            return;
        }
        self.confirmed = self.confirmed.filter(|confirmed| *confirmed <= mtu);
        self.round = Round::whole(mtu, now);
    }

    /// How long an answer may take.
    fn patience(&self) -> Duration {
        let expected = self.round_trip.map_or(FIRST_PATIENCE, |trip| trip * 4);
        expected.clamp(PATIENCE.0, PATIENCE.1)
    }

    fn next_timeout(&self) -> Duration {
        let asked = match self.round.sent {
            Some(sent) => sent.at + self.patience(),
            None => self.round.due,
        };
        asked.min(self.raise)
    }

    fn answered(&mut self, now: Duration, sequence: u16) -> bool {
        let Some(sent) = &mut self.round.sent else {
            return false;
        };
        if sequence == sent.small {
            sent.alive = true;
            self.round_trip = Some(now.saturating_sub(sent.at));
            return false;
        }
        if sequence != sent.large {
            return false;
        }
        let size = self.round.size;
        self.round.fits = size;
        self.conclude(now)
    }

    /// What has not been answered by now.
    fn expire(&mut self, now: Duration) -> bool {
        let raised = self.raise <= now;
        if raised {
            self.raise = Duration::MAX;
            self.limit = None;
            self.round = Round::whole(self.mtu, now);
        }
        let Some(sent) = self.round.sent else {
            return raised;
        };
        if now < sent.at + self.patience() {
            return raised;
        }
        self.round.sent = None;
        self.round.due = now;
        if !sent.alive {
            // The peer is away: that says nothing about sizes.
            self.round.tries = 0;
            self.round.due = now + ABSENT;
            return raised;
        }
        self.round.tries += 1;
        if self.round.tries < TRIES {
            return raised;
        }
        self.round.too_large = Some(self.round.size);
        self.conclude(now) || raised
    }

    /// The size in question is decided: on to the next one, or done.
    fn conclude(&mut self, now: Duration) -> bool {
        let round = &mut self.round;
        round.tries = 0;
        round.sent = None;
        round.due = now;
        let too_large = round.too_large.unwrap_or(round.fits + 1);
        if round.fits + 1 < too_large {
            round.size = round.fits.midpoint(too_large);
            return false;
        }
        let found = round.fits;
        let before = (self.confirmed, self.limit);
        // Nothing that every path must carry passed either: this is not about size.
        let limit = (found < self.mtu && found >= BASE).then_some(found);
        if limit.is_some() {
            self.limit = limit;
            self.raise = now + RAISE;
        }
        self.confirmed = (found >= BASE.min(self.mtu)).then_some(found);
        let next = if found >= BASE { found } else { self.mtu };
        self.round = Round::whole(next, now + CONFIRM);
        before != (self.confirmed, self.limit)
    }
}

impl Round {
    /// Asks for one size; if it fits, that is all there is to know.
    fn whole(size: u32, due: Duration) -> Self {
        Self {
            size,
            fits: BASE.min(size) - 1,
            too_large: Some(size + 1),
            tries: 0,
            sent: None,
            due,
        }
    }
}

#[cfg(test)]
mod tests;
