//! BFD for the speaker's peers: which sessions there are to be, and whose they are.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use bgp::bfd::{Settings, State};
use linux::bfd::{Bfd, Ends, Event, Overview, Reach};
use linux::fib::Ways;
use routerd_core::effective::{BfdIntent, BgpIntent, Transport};

use super::{Line, Request};

/// The peers that are watched.
pub(super) struct Watch {
    bfd: Option<Bfd>,
    line: Line,
    ways: Ways,
    /// Peers that the speaker wants watched, with our end where it is known.
    wanted: BTreeMap<IpAddr, Option<IpAddr>>,
    sessions: BTreeMap<Ends, Settings>,
    /// Whether what is wanted may have changed.
    stirred: bool,
}

impl Watch {
    pub(super) fn open(line: Line) -> io::Result<Self> {
        Ok(Self {
            bfd: None,
            line,
            ways: Ways::open().map_err(io::Error::other)?,
            wanted: BTreeMap::new(),
            sessions: BTreeMap::new(),
            stirred: false,
        })
    }

    /// The speaker wants a peer watched, or no more.
    pub(super) fn want(&mut self, peer: IpAddr, local: Option<IpAddr>, wanted: bool) {
        self.stirred = true;
        if wanted {
            let known = self.wanted.entry(peer).or_default();
            *known = local.or(*known);
        } else {
            self.wanted.remove(&peer);
        }
    }

    /// The configuration is another.
    pub(super) fn stir(&mut self) {
        self.stirred = true;
    }

    /// Runs the sessions that are wanted.
    pub(super) fn arrange(&mut self, intent: Option<&BgpIntent>) -> io::Result<()> {
        if !std::mem::take(&mut self.stirred) {
            return Ok(());
        }
        let mut sessions = BTreeMap::new();
        for (peer, local) in self.wanted.clone() {
            let transport = intent.and_then(|intent| transport(intent, peer));
            if let (Some(transport), IpAddr::V4(peer)) = (transport, peer)
                && let Some(bfd) = &transport.bfd
                && let Some(ends) = self.ends(peer, local, transport, bfd)
            {
                sessions.insert(ends, settings(bfd));
            }
        }
        if sessions == self.sessions {
            return Ok(());
        }
        let bfd = match &self.bfd {
            Some(bfd) => bfd,
            None => self.bfd.insert(start(self.line.clone())?),
        };
        bfd.update(sessions.clone())?;
        self.sessions = sessions;
        Ok(())
    }

    /// A peer without a gateway in between is one hop away, as other speakers have it too.
    fn ends(
        &mut self,
        peer: Ipv4Addr,
        local: Option<IpAddr>,
        transport: &Transport,
        bfd: &BfdIntent,
    ) -> Option<Ends> {
        let local = local.and_then(|local| match local {
            IpAddr::V4(local) => Some(local),
            IpAddr::V6(_) => None,
        });
        let direct = bfd.interface.is_some() || {
            let way = self.ways.resolve(peer).ok().flatten();
            way.is_none_or(|way| way.direct)
        };
        let reach = if direct {
            Reach::SingleHop {
                interface: bfd.interface.clone(),
            }
        } else {
            // Without the address that the peer knows us by there is nothing to begin with.
            local?;
            Reach::MultiHop {
                least_hop_limit: transport.hops.least.unwrap_or(1),
            }
        };
        Some(Ends {
            remote: peer,
            local,
            reach,
        })
    }

    pub(super) fn overview(&self) -> Overview {
        let overview = self.bfd.as_ref().and_then(|bfd| bfd.overview().ok());
        overview.unwrap_or_default()
    }
}

/// How a peer is reached, of a fixed address or of a range.
fn transport(intent: &BgpIntent, peer: IpAddr) -> Option<&Transport> {
    let range = || {
        let mut ranges = intent.speaker.dynamic.iter();
        let range = ranges.find(|range| range.sources.iter().any(|p| p.contains(peer)))?;
        intent.ranges.get(&range.name)
    };
    intent.peers.get(&peer).or_else(range)
}

fn settings(bfd: &BfdIntent) -> Settings {
    Settings {
        min_tx: bfd.min_tx,
        min_rx: bfd.min_rx,
        detect_multiplier: bfd.multiplier,
    }
}

fn start(line: Line) -> io::Result<Bfd> {
    Bfd::start(super::random()?, move |event: Event| {
        let transition = event.transition;
        let left = transition.to == State::Down && transition.remote == State::AdminDown;
        // A peer that ends BFD on purpose says nothing about the path (RFC 5882, section 3.2).
        let up = match transition.to {
            State::Up => true,
            State::Down if transition.from == State::Up && !left => false,
            _ => return,
        };
        line.tell(Request::Bfd(event.ends.remote.into(), up));
    })
}
