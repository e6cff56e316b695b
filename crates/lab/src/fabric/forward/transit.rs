//! Links: impairments on the way, and the router in the middle of the underlay.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::Origin;
use super::super::delay::Delayed;
use super::super::frame::{Frame, Kind};
use super::super::replies::{IcmpError, icmp_error};
use super::super::segment::{fragment, segment};
use super::super::underlay::{Attachment, Treatment};
use super::{Engine, read};

/// The reason under which what a link loses is counted.
pub(in crate::fabric) const LOST: &str = "link-loss";

/// Where a frame goes on after a link.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    /// It has left a node through this port.
    FromPort(String),
    /// It enters a node through this port.
    Deliver(String),
    /// It has reached the underlay's router from here.
    Route(Attachment),
    /// It has left the underlay's router and arrives here.
    Arrive(Attachment),
}

/// A packet's way across the underlay.
#[derive(Debug)]
struct Crossing {
    ingress: String,
    router: Ipv4Addr,
    mtu: u16,
    /// Whether what is too large is lost without a word.
    silent: bool,
    egress: Option<Egress>,
}

#[derive(Debug)]
struct Egress {
    name: String,
    to: Attachment,
    treatment: Treatment,
}

impl Engine {
    /// Takes a frame over a link and on to the next stage, unless the link loses it. A frame that stands
    /// for several packets is cut into them where each has its own fate.
    pub(super) fn through(
        &self,
        link: &str,
        treatment: &Treatment,
        stage: Stage,
        frame: &mut Frame,
    ) {
        let blocked = if treatment.cut {
            Some("link-cut")
        } else {
            treatment.blackhole.then_some("link-blackhole")
        };
        if let Some(reason) = blocked {
            return self.dropped(link, reason, frame);
        }
        let quality = &treatment.quality;
        if quality.loss == 0.0 && quality.delay.is_zero() && treatment.delay.is_zero() {
            return self.proceed(&stage, frame);
        }
        let packets = match frame.kind() {
            Kind::Ipv4 => segment(frame),
            _ => vec![frame.compact()],
        };
        for mut packet in packets {
            if quality.loss > 0.0 && self.throw() < quality.loss {
                self.dropped(link, LOST, &packet);
                continue;
            }
            let usual = match quality.delay.is_zero() {
                true => Duration::ZERO,
                false => quality.hold(self.throw(), self.throw()),
            };
            let hold = usual + treatment.delay;
            if hold.is_zero() {
                self.proceed(&stage, &mut packet);
            } else {
                let due = Instant::now() + hold;
                let item = (stage.clone(), packet);
                // The thread that waits lives as long as the engine.
                drop(self.delayed.send(Delayed { due, item }));
            }
        }
    }

    /// The next stage of a frame's way.
    pub(super) fn proceed(&self, stage: &Stage, frame: &mut Frame) {
        match stage {
            Stage::FromPort(port) => self.leave_port(port, frame),
            Stage::Deliver(port) => self.deliver(port, frame),
            Stage::Route(from) => self.route(from, frame),
            Stage::Arrive(to) => self.arrive(to, frame),
        }
    }

    /// From a site onto its link.
    pub(super) fn to_underlay(&self, from: Attachment, frame: &mut Frame) {
        let link = {
            let underlay = read(&self.underlay);
            let found = underlay.of(&from);
            found.map(|(name, link)| (name.to_owned(), link.now()))
        };
        match link {
            Some((name, treatment)) => {
                self.through(&name, &treatment, Stage::Route(from), frame);
            }
            None => self.dropped("underlay", "not-attached", frame),
        }
    }

    /// The router in the middle: time to live, route, size.
    fn route(&self, from: &Attachment, frame: &mut Frame) {
        self.wiretap.look(frame);
        let Some(crossing) = self.crossing(from, frame.destination()) else {
            return self.dropped("underlay", "not-attached", frame);
        };
        let too_big = frame.largest_packet() > usize::from(crossing.mtu);
        let refuse = |reason, error| self.refuse(from, &crossing, frame, reason, error);
        if frame.ttl() <= 1 {
            return refuse("ttl-exceeded", IcmpError::TtlExceeded);
        }
        let Some(egress) = &crossing.egress else {
            return refuse("no-route", IcmpError::NetworkUnreachable);
        };
        if too_big && crossing.silent {
            return self.dropped(&crossing.ingress, "too-big", frame);
        }
        if too_big && frame.dont_fragment() {
            let error = IcmpError::FragmentationNeeded(crossing.mtu);
            return refuse("too-big", error);
        }
        frame.decrement_ttl();
        let leave = |piece: &mut Frame| {
            let stage = Stage::Arrive(egress.to.clone());
            self.through(&egress.name, &egress.treatment, stage, piece);
        };
        if !too_big {
            return leave(frame);
        }
        for packet in segment(frame) {
            for mut piece in fragment(&packet, usize::from(crossing.mtu)) {
                leave(&mut piece);
            }
        }
    }

    fn arrive(&self, to: &Attachment, frame: &mut Frame) {
        match to {
            Attachment::Fabric(fabric) => self.enter_fabric(fabric, Origin::Internet, frame),
            Attachment::Port(port) => self.to_port(port, frame),
        }
    }

    /// Drops a packet on the underlay and tells its sender.
    fn refuse(
        &self,
        sender: &Attachment,
        crossing: &Crossing,
        frame: &Frame,
        reason: &'static str,
        error: IcmpError,
    ) {
        self.dropped(&crossing.ingress, reason, frame);
        if let Some(mut error) = icmp_error(frame, crossing.router, error) {
            self.arrive(sender, &mut error);
        }
    }

    fn crossing(&self, from: &Attachment, destination: Ipv4Addr) -> Option<Crossing> {
        let underlay = read(&self.underlay);
        let (name, ingress) = underlay.of(from)?;
        let egress = underlay.route(destination);
        Some(Crossing {
            ingress: name.to_owned(),
            router: ingress.router,
            mtu: egress.map_or(ingress.mtu, |(_, link)| link.mtu.min(ingress.mtu)),
            silent: ingress.impairment.silent
                || egress.is_some_and(|(_, link)| link.impairment.silent),
            egress: egress.map(|(name, link)| Egress {
                name: name.to_owned(),
                to: link.attachment.clone(),
                treatment: link.now(),
            }),
        })
    }

    /// The next number in [0, 1) of a fixed sequence (splitmix64): runs can be repeated.
    fn throw(&self) -> f64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.dice.fetch_add(step, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}
