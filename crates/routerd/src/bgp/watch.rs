//! BFD for the speaker's peers: which sessions there are to be, and whose they are. They run in a process that outlives this
//! one; those that a daemon before this one left there are kept while it restarts.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bgp::PathState;
use bgp::bfd::{Settings, State, Transition};
use linux::bfd::remote::{Heard, Remote, Standing};
use linux::bfd::{Ends, Notice, Overview, Reach};
use linux::fib::Ways;
use routerd_core::effective::{BfdIntent, BgpIntent, Transport};

use super::thread::longest_restart;
use super::{Line, Places, Request};

/// A process that does not start is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// The peers that are watched.
pub(super) struct Watch {
    places: Places,
    line: Line,
    ways: Ways,
    remote: Option<Remote>,
    /// Number of the last connection to a process.
    connection: u64,
    /// Whether a process from before was looked for.
    looked: bool,
    /// Peers that the speaker wants watched, with our end where it is known.
    wanted: BTreeMap<IpAddr, Option<IpAddr>>,
    /// Sessions that ran when this process began: kept until their peers are back, or the time is over.
    inherited: BTreeMap<Ends, Settings>,
    kept_until: Option<Instant>,
    sessions: BTreeMap<Ends, Settings>,
    /// Whether what is wanted may have changed.
    stirred: bool,
    retry: Option<Instant>,
}

impl Watch {
    pub(super) fn open(places: Places, line: Line) -> io::Result<Self> {
        Ok(Self {
            places,
            line,
            ways: Ways::open().map_err(io::Error::other)?,
            remote: None,
            connection: 0,
            looked: false,
            wanted: BTreeMap::new(),
            inherited: BTreeMap::new(),
            kept_until: None,
            sessions: BTreeMap::new(),
            stirred: false,
            retry: None,
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

    /// The process is gone, and with it its sessions.
    pub(super) fn gone(&mut self, connection: u64) {
        if connection == self.connection && self.remote.take().is_some() {
            self.sessions.clear();
            self.stirred = true;
        }
    }

    /// When [`Self::arrange`] has something to do even if nothing happens.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.kept_until.into_iter().chain(self.retry).min()
    }

    /// Runs the sessions that are wanted. Returns whether there was anything to do.
    pub(super) fn arrange(&mut self, intent: Option<&BgpIntent>) -> io::Result<bool> {
        let now = Instant::now();
        if self.kept_until.is_some_and(|at| at <= now) {
            self.kept_until = None;
            self.inherited.clear();
            self.stirred = true;
        }
        let again = self.retry.is_some_and(|at| at <= now);
        if !std::mem::take(&mut self.stirred) && !again {
            return Ok(false);
        }
        self.retry = None;
        let arranged = self.run(intent);
        if arranged.is_err() {
            self.remote = None;
            self.sessions.clear();
            self.retry = Some(now + RETRY);
        }
        arranged.map(|()| true)
    }

    fn run(&mut self, intent: Option<&BgpIntent>) -> io::Result<()> {
        if !std::mem::replace(&mut self.looked, true) {
            let (connection, notify) = self.connect();
            if let Some((remote, standing)) = Remote::attach(&self.places.watch, notify)? {
                self.inherit(standing, intent);
                self.connection = connection;
                self.remote = Some(remote);
            }
        }
        let sessions = self.all_wanted(intent);
        if sessions == self.sessions {
            return Ok(());
        }
        let keep = intent.map(|intent| longest_restart(&intent.speaker));
        let remote = match &self.remote {
            Some(remote) => remote,
            None if sessions.is_empty() => return Ok(()),
            None => {
                let (connection, notify) = self.connect();
                let (program, socket) = (&self.places.program, &self.places.watch);
                let (remote, _) = Remote::launch(program, socket, notify)?;
                self.connection = connection;
                self.remote.insert(remote)
            }
        };
        remote.update(&sessions, keep.unwrap_or_default())?;
        self.sessions = sessions;
        Ok(())
    }

    /// A number for a connection to a process, and who is told what it says.
    fn connect(&self) -> (u64, impl FnMut(Heard) + Send + 'static) {
        let (line, connection) = (self.line.clone(), self.connection + 1);
        let notify = move |heard| match heard {
            Heard::Notice(notice) => note(&line, notice),
            Heard::Gone => line.tell(Request::BfdGone(connection)),
        };
        (connection, notify)
    }

    /// Takes over the sessions of a daemon before this one.
    fn inherit(&mut self, standing: Vec<Standing>, intent: Option<&BgpIntent>) {
        for session in standing {
            if session.up {
                let peer = session.ends.remote.into();
                self.line.tell(Request::Bfd(peer, PathState::Up));
            }
            self.sessions.insert(session.ends, session.settings);
        }
        tracing::info!(sessions = self.sessions.len(), "BFD went on without us");
        self.inherited.clone_from(&self.sessions);
        let keep = intent.map(|intent| longest_restart(&intent.speaker));
        self.kept_until = Some(Instant::now() + keep.unwrap_or_default());
    }

    fn all_wanted(&mut self, intent: Option<&BgpIntent>) -> BTreeMap<Ends, Settings> {
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
        for (ends, settings) in &self.inherited {
            let peer = IpAddr::V4(ends.remote);
            let transport = intent.and_then(|intent| transport(intent, peer));
            let watched = transport.is_some_and(|transport| transport.bfd.is_some());
            if watched && !self.wanted.contains_key(&peer) {
                sessions.insert(ends.clone(), *settings);
            }
        }
        sessions
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
        let overview = self.remote.as_ref().and_then(|r| r.overview().ok());
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
        control_plane_independent: true,
    }
}

fn note(line: &Line, notice: Notice) {
    match notice {
        Notice::Changed(event) => {
            let peer = event.ends.remote.into();
            if let Some(path) = path_state(event.transition) {
                line.tell(Request::Bfd(peer, path));
            }
        }
        Notice::Patience { ends, factor } => {
            tracing::warn!(peer = %ends.remote, factor, "BFD intervals adapted after a false alarm");
        }
        Notice::Failed { ends, reason } => {
            tracing::warn!(peer = %ends.remote, reason, "begin a BFD session");
        }
    }
}

/// What a change says about the path; absent: nothing. A peer that ends BFD on purpose says nothing about it (RFC 5882,
/// section 3.2), and one that began anew was just heard: if its routing restarts too, its connection tells.
fn path_state(transition: Transition) -> Option<PathState> {
    let left = transition.remote == State::AdminDown;
    match (transition.from, transition.to) {
        (_, State::Up) => Some(PathState::Up),
        (State::Up, State::Down) if left || transition.remote_began_anew => None,
        (State::Up, State::Down) if transition.remote_independent => Some(PathState::Down),
        (State::Up, State::Down) => Some(PathState::Silent),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bgp::bfd::Diagnostic;

    use super::*;

    fn down(remote: State, independent: bool, began_anew: bool) -> Option<PathState> {
        path_state(Transition {
            from: State::Up,
            to: State::Down,
            diagnostic: Diagnostic::DetectionTimeExpired,
            remote,
            remote_independent: independent,
            remote_began_anew: began_anew,
        })
    }

    #[test]
    fn what_a_session_that_goes_down_says_of_the_path() {
        assert_eq!(down(State::Up, true, false), Some(PathState::Down));
        assert_eq!(down(State::Up, false, false), Some(PathState::Silent));
        assert_eq!(down(State::Down, false, true), None);
        assert_eq!(down(State::AdminDown, true, false), None);
    }
}
