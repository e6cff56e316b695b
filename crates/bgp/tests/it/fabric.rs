//! Speakers that talk to each other in memory.
//!
//! Time only passes when a test says so; connections deliver octets at once, in pieces of any size.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use bgp::{
    ConnId, Event, EventKind, Input, LocalRoute, Output, PeerConfig, Prefix, RouteQuery, RouteView,
    RouterId, SessionState, Speaker, SpeakerConfig, Start, Table, Time,
};

/// An end of a connection.
#[derive(Debug, Clone, Copy)]
struct End {
    other: ConnId,
    at: usize,
}

pub(crate) struct Node {
    pub(crate) address: IpAddr,
    pub(crate) speaker: Speaker,
    pub(crate) events: Vec<Event>,
    /// What the FIB holds.
    pub(crate) fib: BTreeMap<Prefix, Vec<IpAddr>>,
    pub(crate) converged: bool,
    /// Whether it takes octets.
    pub(crate) reads: bool,
    pub(crate) inputs: Vec<(Time, Input<'static>)>,
    start: (SpeakerConfig, Start),
}

pub(crate) struct Fabric {
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Node>,
    /// By the number of the end that a node has: the node, and the other end.
    ends: BTreeMap<ConnId, (usize, End)>,
    next_conn: u64,
    /// Largest piece that is delivered at once.
    pub(crate) piece: usize,
    /// Octets on their way to nodes that take none.
    pending: VecDeque<(ConnId, Vec<u8>)>,
    pending_octets: usize,
    /// Most octets that were on their way at once.
    pub(crate) pending_max: usize,
    /// Pairs of nodes that cannot reach each other.
    pub(crate) cut: BTreeSet<(usize, usize)>,
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse().expect("prefix")
}

/// A speaker of AS 65000 whose identifier is its address.
pub(crate) fn config(address: &str) -> SpeakerConfig {
    let id: RouterId = address.parse().expect("id");
    SpeakerConfig::new(65000.try_into().expect("asn"), id)
}

pub(crate) fn internal() -> PeerConfig {
    PeerConfig::new(65000.try_into().expect("asn"))
}

pub(crate) fn client() -> PeerConfig {
    PeerConfig {
        route_reflector_client: true,
        ..internal()
    }
}

pub(crate) fn route(prefix: &str, next_hop: &str) -> LocalRoute {
    LocalRoute {
        prefix: self::prefix(prefix),
        next_hop: ip(next_hop),
        local_preference: None,
        med: None,
        communities: Vec::new(),
    }
}

impl Fabric {
    pub(crate) fn new() -> Self {
        Self {
            now: Time::default(),
            nodes: Vec::new(),
            ends: BTreeMap::new(),
            next_conn: 0,
            piece: usize::MAX,
            pending: VecDeque::new(),
            pending_octets: 0,
            pending_max: 0,
            cut: BTreeSet::new(),
        }
    }

    pub(crate) fn add(&mut self, address: &str, config: SpeakerConfig) -> usize {
        let start = Start {
            now: self.now,
            seed: self.nodes.len() as u64,
            restarting: None,
        };
        self.nodes.push(Node {
            address: ip(address),
            speaker: Speaker::new(config.clone(), start.clone()),
            events: Vec::new(),
            fib: BTreeMap::new(),
            converged: false,
            reads: true,
            inputs: Vec::new(),
            start: (config, start),
        });
        self.nodes.len() - 1
    }

    /// The process of a node dies and starts again; the FIB stays.
    pub(crate) fn restart(&mut self, at: usize) {
        self.kill(at);
        let peers = self.nodes.iter().map(|n| n.address).collect();
        let start = Start {
            now: self.now,
            seed: 99,
            restarting: Some(peers),
        };
        let node = &mut self.nodes[at];
        node.speaker = Speaker::new(node.start.0.clone(), start.clone());
        node.start.1 = start;
        node.inputs.clear();
        node.events.clear();
    }

    /// The connections of a node break.
    pub(crate) fn kill(&mut self, at: usize) {
        let ends: Vec<ConnId> = self
            .ends
            .iter()
            .filter(|(_, (node, end))| *node == at || end.at == at)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in ends {
            if let Some((node, _)) = self.ends.remove(&conn) {
                let reason = "reset by peer".to_owned();
                self.input(node, Input::Closed { conn, reason });
            }
        }
    }

    pub(crate) fn input(&mut self, at: usize, input: Input<'static>) {
        let node = &mut self.nodes[at];
        node.inputs.push((self.now, input.clone()));
        node.speaker.handle(self.now, input);
    }

    /// Does everything that there is to do now.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut busy = false;
            for at in 0..self.nodes.len() {
                while let Some(output) = self.nodes[at].speaker.poll_output() {
                    busy = true;
                    self.output(at, output);
                }
            }
            if !busy {
                return;
            }
        }
    }

    /// Lets time pass, stopping wherever a timer is due.
    pub(crate) fn pass(&mut self, whole: Duration) {
        let until = self.now + whole;
        self.settle();
        loop {
            let due = self.nodes.iter().filter_map(|n| n.speaker.next_timeout());
            let Some(next) = due.min().filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            for at in 0..self.nodes.len() {
                if self.nodes[at]
                    .speaker
                    .next_timeout()
                    .is_some_and(|t| t <= self.now)
                {
                    self.input(at, Input::Tick);
                }
            }
            self.settle();
        }
        self.now = until;
    }

    fn output(&mut self, at: usize, output: Output) {
        match output {
            Output::Connect { remote, .. } => self.connect(at, remote),
            Output::Send { conn, bytes } => self.deliver(conn, &bytes),
            Output::Close { conn } => {
                if let Some((_, end)) = self.ends.remove(&conn)
                    && self.ends.remove(&end.other).is_some()
                {
                    let (conn, reason) = (end.other, "closed by peer".to_owned());
                    self.input(end.at, Input::Closed { conn, reason });
                }
            }
            Output::Routes(changes) => {
                let fib = &mut self.nodes[at].fib;
                for change in changes {
                    if change.next_hops.is_empty() {
                        fib.remove(&change.prefix);
                    } else {
                        fib.insert(change.prefix, change.next_hops);
                    }
                }
            }
            Output::Converged => self.nodes[at].converged = true,
            Output::Event(event) => self.nodes[at].events.push(event),
            _ => {}
        }
    }

    fn connect(&mut self, from: usize, remote: IpAddr) {
        let to = self.nodes.iter().position(|n| n.address == remote);
        let reachable =
            |to: &usize| !self.cut.contains(&(from, *to)) && !self.cut.contains(&(*to, from));
        let Some(to) = to.filter(reachable) else {
            let reason = "no route to host".to_owned();
            self.input(from, Input::ConnectFailed { remote, reason });
            return;
        };
        let (ours, theirs) = (ConnId(self.next_conn), ConnId(self.next_conn + 1));
        self.next_conn += 2;
        let end = |other, at| End { other, at };
        self.ends.insert(ours, (from, end(theirs, to)));
        self.ends.insert(theirs, (to, end(ours, from)));
        let local = self.nodes[from].address;
        self.input(
            to,
            Input::Accepted {
                conn: theirs,
                local: remote,
                remote: local,
            },
        );
        self.input(
            from,
            Input::Connected {
                conn: ours,
                local,
                remote,
            },
        );
    }

    fn deliver(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some((from, end)) = self.ends.get(&conn).copied() else {
            return;
        };
        if !self.nodes[end.at].reads {
            self.pending.push_back((conn, bytes.to_vec()));
            self.pending_octets += bytes.len();
            self.pending_max = self.pending_max.max(self.pending_octets);
            return;
        }
        let count = bytes.len();
        self.input(from, Input::Sent { conn, count });
        for piece in bytes.chunks(self.piece) {
            let bytes = piece.to_vec().into();
            let conn = end.other;
            self.input(end.at, Input::Received { conn, bytes });
        }
    }

    /// A node takes octets again, beginning with those that waited.
    pub(crate) fn resume(&mut self, at: usize) {
        self.nodes[at].reads = true;
        self.pending_octets = 0;
        for (conn, bytes) in std::mem::take(&mut self.pending) {
            self.deliver(conn, &bytes);
        }
        self.settle();
    }

    pub(crate) fn state(&self, at: usize, peer: usize) -> SessionState {
        let address = self.nodes[peer].address;
        let peer = self.nodes[at].speaker.peer(address);
        peer.map(|p| p.state).unwrap_or_default()
    }

    pub(crate) fn routes(&self, at: usize, table: Table, peer: Option<usize>) -> Vec<RouteView> {
        let speaker = &self.nodes[at].speaker;
        speaker.routes(&RouteQuery {
            table,
            peer: peer.map(|p| self.nodes[p].address),
            prefix: None,
            limit: usize::MAX,
            after: None,
        })
    }

    /// Next hops of best paths, our own included.
    pub(crate) fn best(&self, at: usize) -> BTreeMap<String, String> {
        let routes = self.routes(at, Table::Best, None);
        routes
            .into_iter()
            .map(|r| (r.prefix.to_string(), r.attributes.next_hop.to_string()))
            .collect()
    }

    pub(crate) fn happened(&self, at: usize, what: impl Fn(&EventKind) -> bool) -> usize {
        self.nodes[at]
            .events
            .iter()
            .filter(|e| what(&e.kind))
            .count()
    }

    /// A fresh speaker that is given the same inputs at the same times.
    pub(crate) fn replay(&self, at: usize) -> Speaker {
        let node = &self.nodes[at];
        let mut speaker = Speaker::new(node.start.0.clone(), node.start.1.clone());
        for (time, input) in &node.inputs {
            while speaker.poll_output().is_some() {}
            speaker.handle(*time, input.clone());
        }
        while speaker.poll_output().is_some() {}
        speaker
    }
}

/// A reflector in the middle of some clients, all sessions up.
pub(crate) fn star(clients: usize) -> Fabric {
    let mut fabric = Fabric::new();
    let mut middle = config("10.0.0.1");
    for n in 0..clients {
        middle.peers.insert(ip(&leaf(n)), client());
    }
    fabric.add("10.0.0.1", middle);
    for n in 0..clients {
        let mut config = config(&leaf(n));
        config.peers.insert(ip("10.0.0.1"), internal());
        fabric.add(&leaf(n), config);
    }
    fabric.pass(Duration::from_secs(5));
    fabric
}

pub(crate) fn leaf(n: usize) -> String {
    format!("10.0.1.{}", n + 1)
}
