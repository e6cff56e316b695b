//! UPDATEs into the Adj-RIB-In.

use std::net::IpAddr;
use std::time::Duration;

use super::Speaker;
use super::import::PrefixFilter;
use crate::io::EventKind;
use crate::rib::{Judged, Ribs, Tables};
use crate::session::{PeerIx, TimerId};
use crate::types::Family;
use crate::wire::Notification;
use crate::wire::attributes::{self, Context, Decoded, Flaw, Handling};
use crate::wire::nlri::{Address, Nlri};
use crate::wire::update::Sections;

/// Refused routes and malformed UPDATEs of a session that are told one by one; the rest is only counted.
const COMPLAINTS_TOLD: u32 = 100;

/// What of the session an UPDATE is read with.
#[derive(Clone, Copy)]
struct Reading {
    context: Context,
    /// Per family: whether it is spoken, whether with path identifiers.
    families: [(bool, bool); 2],
}

impl Speaker {
    /// Takes an UPDATE; an error ends the session.
    pub(super) fn update(&mut self, ix: PeerIx, body: &[u8]) -> Result<(), Notification> {
        let sections = Sections::split(body)?;
        let Some(mut reading) = self.reading(ix) else {
            return Ok(());
        };
        reading.context.nlri = !sections.nlri.is_empty();
        self.unlearn::<u32>(ix, reading, sections.withdrawn)?;
        if sections.attributes.is_empty() {
            if sections.nlri.is_empty() {
                if sections.withdrawn.is_empty() {
                    self.end_of_rib(ix, Family::Ipv4Unicast);
                }
                return Ok(());
            }
        } else if let Some(judged) = self.recent.find(ix, sections.attributes) {
            self.learn::<u32>(ix, reading, sections.nlri, judged)?;
            return self.check_max_prefixes(ix);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let decoded = attributes::decode(sections.attributes, reading.context, &mut scratch);
        let done = decoded.and_then(|decoded| {
            self.note_flaws(ix, &decoded.flaws);
            self.decoded(ix, reading, &sections, &decoded, &scratch)
        });
        self.scratch = scratch;
        done?;
        self.check_max_prefixes(ix)
    }

    fn reading(&mut self, ix: PeerIx) -> Option<Reading> {
        let own = self.config.asn;
        let peer = self.peers.get_mut(ix)?;
        peer.counters.updates_in += 1;
        let session = peer.session.as_ref()?;
        let family = |family: Family| {
            let spoken = session.families.contains(&family);
            (spoken, session.add_path_in.contains(&family))
        };
        Some(Reading {
            context: Context {
                four_octet: session.four_octet,
                internal: peer.config.asn == own,
                nlri: false,
            },
            families: Family::ALL.map(family),
        })
    }

    fn decoded(
        &mut self,
        ix: PeerIx,
        reading: Reading,
        sections: &Sections<'_>,
        decoded: &Decoded<'_>,
        canonical: &[u8],
    ) -> Result<(), Notification> {
        if let Some(unreach) = decoded.unreach {
            match unreach.family {
                Family::Ipv4Unicast => self.unlearn::<u32>(ix, reading, unreach.nlri)?,
                Family::Ipv6Unicast => self.unlearn::<u128>(ix, reading, unreach.nlri)?,
            }
            let nothing_else = sections.withdrawn.is_empty() && sections.nlri.is_empty();
            if unreach.nlri.is_empty() && decoded.reach.is_none() && nothing_else {
                self.end_of_rib(ix, unreach.family);
            }
        }
        if decoded.treat_as_withdraw() {
            self.unlearn::<u32>(ix, reading, sections.nlri)?;
            return match decoded.reach {
                Some(reach) if reach.family == Family::Ipv4Unicast => {
                    self.unlearn::<u32>(ix, reading, reach.nlri)
                }
                Some(reach) => self.unlearn::<u128>(ix, reading, reach.nlri),
                None => Ok(()),
            };
        }
        if let (Some(next_hop), false) = (decoded.next_hop, sections.nlri.is_empty()) {
            let judged = self.judge_path(ix, canonical, IpAddr::V4(next_hop));
            let alone = decoded.reach.is_none() && decoded.unreach.is_none();
            // A flaw is to be counted each time.
            let section = if alone && decoded.flaws.is_empty() {
                sections.attributes
            } else {
                &[]
            };
            let attrs = &mut self.ribs.attrs;
            self.recent.set(attrs, ix, section, judged);
            self.learn::<u32>(ix, reading, sections.nlri, judged)?;
        }
        let Some(reach) = decoded.reach else {
            return Ok(());
        };
        let judged = self.judge_path(ix, canonical, reach.next_hop);
        self.recent.set(&mut self.ribs.attrs, ix, &[], judged);
        match reach.family {
            Family::Ipv4Unicast => self.learn::<u32>(ix, reading, reach.nlri, judged),
            Family::Ipv6Unicast => self.learn::<u128>(ix, reading, reach.nlri, judged),
        }
    }

    fn learn<A: Address>(
        &mut self,
        ix: PeerIx,
        reading: Reading,
        nlri: &[u8],
        judged: Judged,
    ) -> Result<(), Notification>
    where
        Ribs: Tables<A>,
    {
        let (spoken, add_path) = reading.families[A::FAMILY.index()];
        if !spoken {
            return Ok(());
        }
        let mut refusals = Vec::new();
        if let Some(peer) = self.peers.get(ix) {
            let filter = PrefixFilter::of(peer);
            for item in Nlri::<A>::new(nlri, add_path) {
                let (path_id, net) = item?;
                let judged = judged.with(filter.refuses(net.prefix()));
                if let Err(reason) = judged.accepted {
                    refusals.push((net.prefix(), reason));
                }
                self.ribs.learn(ix, net, path_id, judged);
            }
        }
        for (prefix, reason) in refusals {
            if !self.may_tell(ix) {
                break;
            }
            self.event(ix, EventKind::Refused { prefix, reason });
        }
        Ok(())
    }

    fn unlearn<A: Address>(
        &mut self,
        ix: PeerIx,
        reading: Reading,
        nlri: &[u8],
    ) -> Result<(), Notification>
    where
        Ribs: Tables<A>,
    {
        let (spoken, add_path) = reading.families[A::FAMILY.index()];
        if spoken {
            for item in Nlri::<A>::new(nlri, add_path) {
                let (path_id, net) = item?;
                self.ribs.forget(ix, net, path_id);
            }
        }
        Ok(())
    }

    /// Whether one more complaint about this session is told: a peer must not be able to fill the log.
    fn may_tell(&mut self, ix: PeerIx) -> bool {
        let Some(peer) = self.peers.get_mut(ix) else {
            return false;
        };
        peer.complaints += 1;
        peer.complaints <= COMPLAINTS_TOLD
    }

    fn note_flaws(&mut self, ix: PeerIx, flaws: &[Flaw]) {
        for flaw in flaws {
            if let Some(peer) = self.peers.get_mut(ix) {
                match flaw.handling {
                    Handling::DiscardAttribute => peer.counters.attributes_discarded += 1,
                    Handling::TreatAsWithdraw => peer.counters.treated_as_withdraw += 1,
                }
            }
            if !self.may_tell(ix) {
                continue;
            }
            let error = match flaw.code {
                0 => flaw.what.to_owned(),
                code => format!("attribute {code}: {}", flaw.what),
            };
            let handling = flaw.handling.to_string();
            self.event(ix, EventKind::Malformed { error, handling });
        }
    }

    /// Ends a session that brings too much (RFC 4486, section 4).
    fn check_max_prefixes(&mut self, ix: PeerIx) -> Result<(), Notification> {
        let Some(peer) = self.peers.get_mut(ix) else {
            return Ok(());
        };
        let Some(limit) = peer.config.max_prefixes else {
            return Ok(());
        };
        let ribs = &self.ribs;
        let Some(family) = Family::ALL.into_iter().find(|f| ribs.paths(ix, *f) > limit) else {
            return Ok(());
        };
        peer.overflowed = true;
        if let Some(after) = peer.config.max_prefixes_restart {
            let at = self.now + after.max(Duration::from_secs(1));
            self.timers.set(TimerId::MaxPrefixes(ix), at);
        }
        let [afi_high, afi_low, _, safi] = family.wire();
        let mut data = vec![afi_high, afi_low, safi];
        data.extend_from_slice(&limit.to_be_bytes());
        Err(Notification::new(6, Notification::MAX_PREFIXES, data))
    }
}
