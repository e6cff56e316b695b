//! The thread that drives the speaker: sockets, timers and requests go in, what it says is done.

mod setup;
mod sockets;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use bgp::{AdminAction, ConnId, Event, EventKind, Input, Output, Speaker, Time};
use mio::{Events, Poll, Token, Waker};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use routerd_core::bgp::SpeakerView;
use routerd_core::effective::BgpIntent;

use super::connection::Connection;
use super::fib::{FibThread, Order, Routes, Tell};
use super::journal::Journal;
use super::memory::Memory;
use super::monitor::Monitor;
use super::transport::{Listener, Reaches};
use super::watch::Watch;
use super::{Line, Places, Request, view};

pub(super) use setup::longest_restart;

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
/// Connections have the tokens from here up.
const FIRST: usize = 2;
/// Octets that are read from one connection before the next one has its turn, and before what they brought is passed on: long
/// enough to share its updates, short enough that the kernel and the peers begin while more comes.
const CHUNK: usize = 64 * 1024;

/// Each peer takes a descriptor, and by default there are a thousand. Plugins are given limits of their own.
fn make_room() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "make room for many BGP peers");
    }
}

/// Starts the thread.
pub(super) fn start(places: Places, awaited: Arc<dyn Fn() + Send + Sync>) -> io::Result<Line> {
    make_room();
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let (requests, inbox) = mpsc::channel();
    let line = Line { requests, waker };
    let tell = Tell {
        next_hops: {
            let line = line.clone();
            Box::new(move |states| line.tell(Request::NextHops(states)))
        },
        awaited: Box::new(move || awaited()),
    };
    let thread = Thread {
        poll,
        inbox,
        start: Instant::now(),
        seed: super::random()?,
        speaker: None,
        intent: None,
        reaches: Reaches::default(),
        listener: None,
        listen_again: None,
        listen_pause: setup::FIRST_PAUSE,
        accept_again: None,
        connections: HashMap::new(),
        unread: BTreeSet::new(),
        dials: BTreeMap::new(),
        next: 0,
        fib: FibThread::start(tell)?,
        told_fib: false,
        kept_until: None,
        memory: Memory::open(places.memory.clone()),
        watch: Watch::open(places, line.clone())?,
        monitor: Monitor::new(line.clone()),
        telling: false,
        announced: BTreeSet::new(),
        next_hop: None,
        journal: Journal::new(),
        problems: BTreeMap::new(),
        buffer: vec![0; CHUNK],
    };
    std::thread::Builder::new()
        .name("bgp".to_owned())
        .spawn(move || thread.run())?;
    Ok(line)
}

pub(super) struct Thread {
    poll: Poll,
    inbox: Receiver<Request>,
    start: Instant,
    seed: u64,
    speaker: Option<Speaker>,
    intent: Option<BgpIntent>,
    reaches: Reaches,
    listener: Option<Listener>,
    /// When the socket that could not be opened is tried again, and after how long the next time.
    listen_again: Option<Instant>,
    listen_pause: Duration,
    /// When connections are accepted that could not be, for want of descriptors above all: nobody tells us of them again.
    accept_again: Option<Instant>,
    connections: HashMap<ConnId, Connection>,
    /// Connections that may have octets to read.
    unread: BTreeSet<ConnId>,
    /// Connections that open, by peer.
    dials: BTreeMap<IpAddr, ConnId>,
    /// The number of the next connection.
    next: u64,
    fib: FibThread,
    /// Whether the other thread has something to do.
    told_fib: bool,
    /// When routes from before our restart that nobody told of again are removed. Not before: a peer that restarts as well may
    /// tell its routes long after it said that it has none.
    kept_until: Option<Instant>,
    watch: Watch,
    monitor: Monitor,
    /// Whether somebody has still to be told what there is.
    telling: bool,
    memory: Memory,
    announced: BTreeSet<ipnet::Ipv4Net>,
    next_hop: Option<Ipv4Addr>,
    journal: Journal,
    /// What keeps us from our work, by its name.
    problems: BTreeMap<String, String>,
    buffer: Vec<u8>,
}

impl Thread {
    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        loop {
            self.pump();
            self.telling = self.monitor.work(self.speaker.as_ref());
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "wait for BGP peers");
                    return;
                }
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    LISTENER => self.accept(),
                    Token(number) => {
                        let conn = ConnId((number - FIRST) as u64);
                        self.ready(conn, event);
                    }
                }
            }
            while let Ok(request) = self.inbox.try_recv() {
                self.obey(request);
            }
            self.read_all();
            if self.kept_until.is_some_and(|at| at <= Instant::now()) {
                self.kept_until = None;
                self.tell_fib(Order::Converged);
            }
            if self.listen_again.is_some_and(|at| at <= Instant::now()) {
                self.listen();
            }
            if self.accept_again.is_some_and(|at| at <= Instant::now()) {
                self.accept();
            }
            self.handle(Input::Tick);
        }
    }

    fn now(&self) -> Time {
        Time::from_epoch(self.start.elapsed())
    }

    fn handle(&mut self, input: Input<'_>) {
        let now = self.now();
        if let Some(speaker) = &mut self.speaker {
            speaker.handle(now, input);
        }
    }

    /// How long to wait: not at all while a connection has more to read.
    fn timeout(&self) -> Option<Duration> {
        if !self.unread.is_empty() || self.telling {
            return Some(Duration::ZERO);
        }
        let next = self.speaker.as_ref().and_then(Speaker::next_timeout);
        let next = next.map(|next| next.since(self.now()));
        let others = [
            self.kept_until,
            self.watch.next_timeout(),
            self.listen_again,
            self.accept_again,
            self.monitor.next(),
        ];
        let others = others.into_iter().flatten();
        let others = others.map(|at| at.saturating_duration_since(Instant::now()));
        let left = next.into_iter().chain(others).min()?;
        // The system waits in whole milliseconds; just before its time a timer would keep us spinning.
        Some(Duration::from_millis(left.as_micros().div_ceil(1000) as u64))
    }

    fn obey(&mut self, request: Request) {
        match request {
            Request::Update(wish) => self.update(*wish),
            Request::Bfd(peer, path) => {
                tracing::info!(%peer, ?path, "BFD");
                self.hear_out(peer);
                self.handle(Input::Bfd { peer, path });
            }
            Request::BfdGone(connection) => {
                tracing::warn!("the process that runs BFD sessions is gone");
                self.watch.gone(connection);
            }
            Request::NextHops(states) => self.handle(Input::NextHops(states)),
            Request::Ask(question) => question(self),
        }
    }

    /// Does what the speaker says until it has nothing more to say.
    fn pump(&mut self) {
        loop {
            let mut touched = BTreeSet::new();
            while let Some(output) = self.speaker.as_mut().and_then(Speaker::poll_output) {
                self.perform(output, &mut touched);
            }
            if touched.is_empty() {
                break;
            }
            for conn in touched {
                self.flush(conn);
            }
        }
        if std::mem::take(&mut self.told_fib) {
            self.fib.wake();
        }
        match self.watch.arrange(self.intent.as_ref()) {
            Ok(false) => {}
            Ok(true) => drop(self.problems.remove("BFD")),
            Err(error) => {
                tracing::error!(%error, "watch the paths to BGP peers");
                self.problems.insert("BFD".to_owned(), error.to_string());
            }
        }
    }

    fn perform(&mut self, output: Output, touched: &mut BTreeSet<ConnId>) {
        match output {
            Output::Connect {
                remote,
                port,
                local,
            } => self.connect(remote, port, local),
            Output::CancelConnect { remote } => {
                if let Some(conn) = self.dials.remove(&remote) {
                    self.forget(conn);
                }
            }
            Output::Send { conn, bytes } => {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.enqueue(bytes);
                    touched.insert(conn);
                }
            }
            Output::Close { conn } => {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    // A NOTIFICATION that the kernel does not take at once is not worth waiting for.
                    let _ = connection.flush();
                }
                self.forget(conn);
            }
            Output::Routes(changes) => {
                // It writes these while the rest is put together.
                self.fib.order(Order::Routes(Routes::new(&changes)));
                self.fib.wake();
            }
            // What is left goes at the end of the restart time.
            Output::Converged => {}
            Output::NextHop {
                address: IpAddr::V4(address),
                used,
            } => {
                self.tell_fib(Order::NextHop(address, used));
            }
            Output::NextHop { .. } => {}
            Output::Bfd {
                peer,
                local,
                wanted,
            } => self.watch.want(peer, local, wanted),
            Output::Event(event) => self.note(event),
            Output::Monitored { peer, message } => self.monitor.update(peer, &message),
        }
    }

    fn tell_fib(&mut self, order: Order) {
        self.fib.order(order);
        self.told_fib = true;
    }

    fn note(&mut self, event: Event) {
        let peer = event.peer;
        match &event.kind {
            EventKind::Up {
                router_id,
                asn,
                hold,
                ..
            } => {
                tracing::info!(%peer, %asn, %router_id, hold = hold.as_secs(), "BGP session up");
                self.memory.note(peer, true);
                let ports = self.ports(peer);
                if let Some(speaker) = &self.speaker {
                    self.monitor.up(speaker, peer, ports);
                }
            }
            EventKind::Down { reason, graceful } => {
                tracing::warn!(%peer, %reason, graceful, "BGP session down");
                self.memory.note(peer, false);
                self.monitor.down(peer, reason);
            }
            EventKind::Malformed { error, handling } => {
                tracing::warn!(%peer, error, handling, "BGP update is not right");
            }
            EventKind::NotAdmitted(reason) => {
                tracing::warn!(%peer, reason, "BGP connection not admitted");
            }
            other => tracing::debug!(%peer, ?other, "BGP"),
        }
        self.journal.note(event);
    }

    pub(super) fn speaker(&self) -> Option<&Speaker> {
        self.speaker.as_ref().filter(|_| self.intent.is_some())
    }

    pub(super) fn journal(&mut self) -> Journal {
        self.journal.clone()
    }

    pub(super) fn admin(&mut self, peer: IpAddr, action: AdminAction) -> Option<()> {
        self.speaker()?.peer(peer)?;
        self.handle(Input::Admin { peer, action });
        Some(())
    }

    pub(super) fn standing(&mut self) -> SpeakerView {
        let peers = self.speaker().map(Speaker::peers).unwrap_or_default();
        let fib = self.fib.report().unwrap_or_default();
        let now = self.now();
        let watched = self.watch.overview();
        SpeakerView {
            since: peers
                .iter()
                .map(|peer| now.since(peer.since).as_secs())
                .collect(),
            peers,
            installed: fib.installed,
            changes: fib.changes,
            refused: fib.refused,
            next_hops: view::next_hops(&fib.next_hops),
            problems: self.problems.clone(),
            bfd: view::bfd(&watched),
            bfd_scheduling: view::urgency(&watched),
            monitoring: self.monitor.view(),
        }
    }

    pub(super) fn monitor_connected(&mut self, address: SocketAddr, number: u64) {
        let connections = &self.connections;
        let ports = |peer| ports_of(connections, peer);
        let speaker = self.speaker.as_ref();
        self.monitor.connected(address, number, speaker, ports);
    }

    fn ports(&self, peer: IpAddr) -> (u16, u16) {
        ports_of(&self.connections, peer)
    }
}

/// The ports of the connection with a peer: ours and its.
fn ports_of(connections: &HashMap<ConnId, Connection>, peer: IpAddr) -> (u16, u16) {
    let with = connections.values().find(|c| c.open && c.remote == peer);
    with.and_then(Connection::ports).unwrap_or_default()
}
