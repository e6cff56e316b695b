//! Holding addresses on a LAN by ARP: probing, announcing and defending after RFC 5227, as a state machine.
//!
//! The kernel answers requests for proxied addresses. It does not answer probes, with which a station asks
//! whether an address is free, it announces nothing, and it does not notice who else answers. That is done
//! here, without sockets or a clock: packets and the time come in, frames come out.

mod packet;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

pub use packet::{BROADCAST, FRAME, Mac, Operation, Packet};

/// Time since some fixed moment.
pub type Moment = Duration;

/// Probes before an address is taken, and the time between them. RFC 5227 takes seconds, for stations that boot at
/// the same time as their switch port; a router that takes over must not wait that long.
const PROBES: u8 = 2;
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// The times between announcements. Linux keeps a neighbour entry for a second after a change whatever it hears
/// (`locktime`), hence more than that.
const ANNOUNCE_INTERVALS: [Duration; 2] = [Duration::from_millis(1200), Duration::from_secs(3)];
/// No more than one defence of an address in this time (RFC 5227, section 2.4).
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// While another station holds an address, it is asked again after this time.
const YIELD_INTERVAL: Duration = Duration::from_secs(5);
/// A conflict is remembered this long after it was last heard.
pub const CONFLICT_MEMORY: Duration = Duration::from_secs(300);
/// Addresses that become wanted together are begun in groups, so that a switch that limits ARP sees no flood.
const GROUP: u32 = 64;
const GROUP_INTERVAL: Duration = Duration::from_millis(20);

/// Another station that uses an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rival {
    /// Its hardware address.
    pub mac: Mac,
    /// When it was last heard.
    pub heard: Moment,
}

/// The addresses that one station holds on one LAN.
#[derive(Debug)]
pub struct Station {
    mac: Mac,
    claims: BTreeMap<Ipv4Addr, Claim>,
    due: BTreeSet<(Moment, Ipv4Addr)>,
    frames: VecDeque<[u8; FRAME]>,
}

#[derive(Debug, Clone)]
struct Claim {
    /// Whether to announce it and to defend it unasked.
    announce: bool,
    phase: Phase,
    /// When something is to be done about it, as in [`Station::due`].
    next: Option<Moment>,
    rival: Option<Rival>,
    defended: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Asks whether somebody holds the address; this many probes are out.
    Probing(u8),
    /// Somebody does: silent until the next question.
    Yielding,
    /// This many announcements are out.
    Announcing(usize),
    /// Established.
    Holding,
}

impl Station {
    /// A station with this hardware address and no addresses.
    pub fn new(mac: Mac) -> Self {
        Self {
            mac,
            claims: BTreeMap::new(),
            due: BTreeSet::new(),
            frames: VecDeque::new(),
        }
    }

    /// Holds exactly these addresses from now on; the value says whether to announce them.
    pub fn hold(&mut self, now: Moment, wanted: &BTreeMap<Ipv4Addr, bool>) {
        self.claims
            .retain(|address, _| wanted.contains_key(address));
        self.due.retain(|(_, address)| wanted.contains_key(address));
        let mut fresh = 0;
        for (address, announce) in wanted {
            if let Some(claim) = self.claims.get_mut(address) {
                claim.announce = *announce;
                continue;
            }
            let next = now + GROUP_INTERVAL * (fresh / GROUP);
            let claim = Claim {
                announce: *announce,
                phase: Phase::Probing(0),
                next: Some(next),
                rival: None,
                defended: None,
            };
            self.claims.insert(*address, claim);
            self.due.insert((next, *address));
            fresh += 1;
        }
    }

    /// Takes a packet that was heard on the LAN.
    pub fn hear(&mut self, now: Moment, packet: &Packet) {
        if packet.sender_mac == self.mac {
            return;
        }
        if let Some(claim) = self.claims.get_mut(&packet.sender) {
            claim.rival = Some(Rival {
                mac: packet.sender_mac,
                heard: now,
            });
            self.meet_rival(now, packet);
        } else if packet.sender.is_unspecified() && packet.operation == Operation::Request {
            self.answer_probe(packet);
        }
    }

    /// Somebody else uses one of our addresses.
    fn meet_rival(&mut self, now: Moment, packet: &Packet) {
        let address = packet.sender;
        let Some(claim) = self.claims.get_mut(&address) else {
            return;
        };
        // An answer to our probe, however late: he was there before us.
        let was_first = packet.operation == Operation::Reply
            && packet.target.is_unspecified()
            && packet.target_mac == self.mac;
        match claim.phase {
            Phase::Probing(_) => self.turn_to(address, Phase::Yielding, now + YIELD_INTERVAL),
            Phase::Yielding => {}
            Phase::Announcing(_) | Phase::Holding if was_first => {
                self.turn_to(address, Phase::Yielding, now + YIELD_INTERVAL);
            }
            Phase::Announcing(_) | Phase::Holding => {
                let rested = claim
                    .defended
                    .is_none_or(|then| now >= then + DEFEND_INTERVAL);
                if claim.announce && rested {
                    claim.defended = Some(now);
                    self.send_announcement(address);
                }
            }
        }
    }

    /// Somebody asks whether an address is free. Where another station holds it, that one is to answer.
    fn answer_probe(&mut self, probe: &Packet) {
        let phase = self.claims.get(&probe.target).map(|claim| claim.phase);
        if let Some(Phase::Announcing(_) | Phase::Holding) = phase {
            let answer = Packet {
                operation: Operation::Reply,
                sender_mac: self.mac,
                sender: probe.target,
                target_mac: probe.sender_mac,
                target: Ipv4Addr::UNSPECIFIED,
            };
            self.frames.push_back(answer.frame(probe.sender_mac));
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some((time, address)) = self.due.first().copied() {
            if time > now {
                break;
            }
            self.due.pop_first();
            if let Some(claim) = self.claims.get_mut(&address) {
                claim.next = None;
                match claim.phase {
                    Phase::Probing(sent) => self.probe(now, address, sent),
                    Phase::Yielding => self.probe(now, address, 0),
                    Phase::Announcing(sent) => self.announce(now, address, sent),
                    Phase::Holding => {}
                }
            }
        }
    }

    fn probe(&mut self, now: Moment, address: Ipv4Addr, sent: u8) {
        if sent == PROBES {
            // Nobody has answered.
            self.announce(now, address, 0);
            return;
        }
        let probe = Packet {
            operation: Operation::Request,
            sender_mac: self.mac,
            sender: Ipv4Addr::UNSPECIFIED,
            target_mac: [0; 6],
            target: address,
        };
        self.frames.push_back(probe.frame(BROADCAST));
        self.turn_to(address, Phase::Probing(sent + 1), now + PROBE_INTERVAL);
    }

    fn announce(&mut self, now: Moment, address: Ipv4Addr, sent: usize) {
        let wanted = self
            .claims
            .get(&address)
            .is_some_and(|claim| claim.announce);
        if wanted {
            self.send_announcement(address);
        }
        match ANNOUNCE_INTERVALS.get(sent) {
            Some(interval) if wanted => {
                self.turn_to(address, Phase::Announcing(sent + 1), now + *interval);
            }
            _ => {
                if let Some(claim) = self.claims.get_mut(&address) {
                    claim.phase = Phase::Holding;
                }
            }
        }
    }

    /// Both customary forms: some stations heed only the one, some only the other (RFC 5944, section 4.6).
    fn send_announcement(&mut self, address: Ipv4Addr) {
        for (operation, target_mac) in [(Operation::Request, [0; 6]), (Operation::Reply, self.mac)]
        {
            let announcement = Packet {
                operation,
                sender_mac: self.mac,
                sender: address,
                target_mac,
                target: address,
            };
            self.frames.push_back(announcement.frame(BROADCAST));
        }
    }

    fn turn_to(&mut self, address: Ipv4Addr, phase: Phase, next: Moment) {
        let Some(claim) = self.claims.get_mut(&address) else {
            return;
        };
        claim.phase = phase;
        if let Some(before) = claim.next.replace(next) {
            self.due.remove(&(before, address));
        }
        self.due.insert((next, address));
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<[u8; FRAME]> {
        self.frames.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Moment> {
        self.due.first().map(|(time, _)| *time)
    }

    /// Who else was heard using our addresses not too long ago.
    pub fn rivals(&self, now: Moment) -> BTreeMap<Ipv4Addr, Rival> {
        let recent = |rival: &Rival| now.saturating_sub(rival.heard) < CONFLICT_MEMORY;
        self.claims
            .iter()
            .filter_map(|(address, claim)| Some((*address, claim.rival.filter(recent)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
