//! The BGP speaker on real sockets. What is decided is in [`bgp`]; here are the threads that carry octets, times,
//! routes and next hops to it and from it.
//!
//! ```text
//! engine ── Wish ──► thread "bgp" ◄──► sockets          thread "bfd" ── up, down ──► thread "bgp"
//!                        │  ▲
//!                 routes ▼  │ next hops
//!                    thread "fib" ◄──► kernel
//! ```

mod connection;
mod entries;
mod fib;
mod journal;
mod memory;
mod monitor;
mod table;
mod thread;
mod transport;
mod view;
mod watch;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};

use bgp::{
    AdminAction, Explanation, NextHopState, PathState, Prefix, Rivals, RouteQuery, RouteView,
};
use ipnet::Ipv4Net;
use mio::Waker;
use routerd_core::bgp::SpeakerView;
use routerd_core::effective::BgpIntent;
use routerd_core::{Effective, Observed};

pub(crate) use journal::Journal;

use crate::view::lock;

/// What the configuration and the host ask of the speaker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) intent: Option<BgpIntent>,
    /// Routes of our own.
    announced: BTreeSet<Ipv4Net>,
    /// Next hop of our own routes.
    next_hop: Option<Ipv4Addr>,
    /// Destinations that the configuration routes itself.
    reserved: BTreeSet<Ipv4Net>,
    /// Destinations that captures wait for.
    awaited: BTreeSet<Ipv4Net>,
}

impl Wish {
    pub(crate) fn new(effective: &Effective, observed: &Observed) -> Self {
        let intent = effective.bgp.clone();
        Self {
            next_hop: intent.as_ref().map(own_next_hop),
            intent,
            announced: routerd_core::bgp::announced(effective, observed),
            reserved: routerd_core::bgp::reserved(effective),
            awaited: routerd_core::bgp::awaited(effective),
        }
    }
}

/// Our own routes lead to the address that the speaker is known by.
fn own_next_hop(intent: &BgpIntent) -> Ipv4Addr {
    let listen = *intent.listen.ip();
    if listen.is_unspecified() {
        intent.speaker.router_id.into()
    } else {
        listen
    }
}

/// Where the speaker's things are on this host.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Where it is remembered who had a session.
    pub(crate) memory: PathBuf,
    /// The socket of the process that runs BFD sessions,
    pub(crate) watch: PathBuf,
    /// and the program that it is started from.
    pub(crate) program: PathBuf,
}

/// What the thread is told.
enum Request {
    Update(Box<Wish>),
    Bfd(IpAddr, PathState),
    /// The process that runs BFD sessions is gone.
    BfdGone(u64),
    NextHops(Vec<(IpAddr, NextHopState)>),
    Ask(Box<dyn FnOnce(&mut thread::Thread) + Send>),
}

/// A way to reach the thread from others.
#[derive(Clone)]
struct Line {
    requests: Sender<Request>,
    waker: Arc<Waker>,
}

impl Line {
    fn tell(&self, request: Request) {
        if self.requests.send(request).is_err() {
            tracing::error!("the BGP thread is gone");
        } else if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "wake the BGP thread");
        }
    }
}

/// The speaker. Its threads begin with the first configuration that has one.
pub(crate) struct Bgp {
    places: Places,
    /// Called when a destination that captures wait for has changed.
    awaited: Arc<dyn Fn() + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    line: Option<Line>,
    wish: Wish,
}

impl Bgp {
    pub(crate) fn new(places: Places, awaited: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            places,
            awaited: Arc::new(awaited),
            state: Mutex::default(),
        }
    }

    /// Does from now on what is wished.
    pub(crate) fn update(&self, wish: Wish) {
        let mut state = lock(&self.state);
        if wish == state.wish || (wish.intent.is_none() && state.line.is_none()) {
            return;
        }
        if state.line.is_none() {
            match thread::start(self.places.clone(), Arc::clone(&self.awaited)) {
                Ok(line) => state.line = Some(line),
                Err(error) => {
                    // Not remembered as told: the next pass tries again.
                    tracing::error!(%error, "start the BGP speaker");
                    return;
                }
            }
        }
        if let Some(line) = &state.line {
            line.tell(Request::Update(Box::new(wish.clone())));
        }
        state.wish = wish;
    }

    /// Asks the thread something. Absent without a speaker.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut thread::Thread) -> T + Send + 'static,
    ) -> Option<T> {
        let line = lock(&self.state).line.clone()?;
        let (reply, answer) = mpsc::channel();
        line.tell(Request::Ask(Box::new(move |thread| {
            // Who asked may have gone.
            let _ = reply.send(question(thread));
        })));
        answer.recv().ok()
    }

    /// How the speaker stands.
    pub(crate) fn standing(&self) -> Option<SpeakerView> {
        self.ask(|thread| thread.standing())
    }

    /// Addresses that two announce with nothing to rank them; the first ones.
    pub(crate) fn rivals(&self) -> Vec<Rivals> {
        const SHOWN: usize = 100;
        let rivals = self.ask(|thread| thread.speaker().map(|speaker| speaker.rivals(SHOWN)));
        rivals.flatten().unwrap_or_default()
    }

    pub(crate) fn routes(&self, query: RouteQuery) -> Option<Vec<RouteView>> {
        self.ask(move |thread| thread.speaker().map(|speaker| speaker.routes(&query)))?
    }

    pub(crate) fn explain(&self, prefix: Prefix) -> Option<Explanation> {
        self.ask(move |thread| thread.speaker().and_then(|speaker| speaker.explain(prefix)))?
    }

    /// Does to a peer what an operator asks for. Absent: there is no such peer.
    pub(crate) fn admin(&self, peer: IpAddr, action: AdminAction) -> Option<()> {
        self.ask(move |thread| thread.admin(peer, action))?
    }

    /// All paths as an MRT table (RFC 6396). Absent without a speaker.
    pub(crate) fn dump(&self) -> Option<Vec<u8>> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let wall = now.unwrap_or_default();
        self.ask(move |thread| {
            let mut table = Vec::new();
            let speaker = thread.speaker()?;
            speaker.dump(wall, |record| table.extend_from_slice(record));
            Some(table)
        })?
    }

    /// What happened of late. Absent without a speaker.
    pub(crate) fn journal(&self) -> Option<Journal> {
        self.ask(thread::Thread::journal)
    }
}

/// A new random number.
fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let mut source = std::fs::File::open("/dev/urandom")?;
    io::Read::read_exact(&mut source, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}
