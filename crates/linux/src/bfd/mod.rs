//! BFD sessions on real sockets, in a thread of their own ([`Bfd`]), and that in a process of its own ([`process`]), which
//! a daemon of routing talks to ([`remote`]) and which outlives it.
//!
//! Owns sockets, clock and thread; the protocol is in [`bgp::bfd`]. Nothing else runs in the thread, it asks for
//! real-time scheduling, and it goes by the kernel's time of arrival: a busy host shall not look like a dead peer. What
//! may wait for a lock of the kernel (lists of links) or for a reader (logs, whoever is told) is done by others.

mod links;
mod outlet;
mod port;
pub mod process;
mod protocol;
pub mod remote;
mod urgency;
mod worker;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Instant;

use api::IfName;
use bgp::bfd::{Discards, SessionView, Settings, Transition};
use serde::{Deserialize, Serialize};

use links::LinkWatch;
pub use urgency::{Scheduling, Urgency};

/// The ends of a session as they are configured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ends {
    /// The peer.
    pub remote: Ipv4Addr,
    /// Our address; over several hops it is needed.
    pub local: Option<Ipv4Addr>,
    /// How far away the peer is.
    pub reach: Reach,
}

/// How far away a peer is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reach {
    /// On the link.
    SingleHop {
        /// The interface; absent: whichever.
        interface: Option<IfName>,
    },
    /// Behind routers.
    MultiHop {
        /// Packets that arrive with a lower TTL are discarded.
        least_hop_limit: u8,
    },
}

/// A session that changed its state.
#[derive(Debug, Clone)]
pub struct Event {
    /// Whose.
    pub ends: Ends,
    /// From what to what.
    pub transition: Transition,
    /// When.
    pub at: Instant,
}

/// What the thread tells.
#[derive(Debug, Clone)]
pub enum Notice {
    /// A session changed its state.
    Changed(Event),
    /// A session became more patient after a false alarm, or less after a quiet time.
    Patience {
        /// Whose.
        ends: Ends,
        /// How many times longer than asked for its intervals are.
        factor: u32,
    },
    /// A session could not be begun.
    Failed {
        /// Whose.
        ends: Ends,
        /// Why.
        reason: String,
    },
}

/// How all sessions stand.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Overview {
    /// Sessions that run.
    #[serde(with = "protocol::pairs")]
    pub sessions: BTreeMap<Ends, SessionView>,
    /// Sessions that could not be begun, and why.
    #[serde(with = "protocol::pairs")]
    pub failed: BTreeMap<Ends, String>,
    /// Sessions that say goodbye.
    pub leaving: usize,
    /// Discarded packets by reason.
    pub discards: Discards,
    /// How early the thread runs.
    pub urgency: Urgency,
}

/// What the thread is asked for.
#[derive(Debug)]
enum Command {
    Sessions(BTreeMap<Ends, Settings>),
    /// Indexes of the interfaces that are there.
    Links(BTreeMap<IfName, u32>),
    Overview(Sender<Overview>),
}

/// A way to reach the thread.
#[derive(Debug, Clone)]
struct Line {
    commands: Sender<Command>,
    /// A byte in it wakes the thread; its end stops the thread.
    control: Arc<UnixStream>,
}

impl Line {
    fn tell(&self, command: Command) -> io::Result<()> {
        self.commands.send(command).map_err(|_| gone())?;
        match (&*self.control).write(&[0]) {
            // Full: there is more than enough to wake it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            written => written.map(drop),
        }
    }
}

/// All BFD sessions of this host. Dropping it ends them without a word: to the peers it looks as if the host died.
#[derive(Debug)]
pub struct Bfd {
    line: Line,
    thread: Option<JoinHandle<()>>,
    _links: LinkWatch,
}

impl Bfd {
    /// Starts the thread in the calling thread's network namespace. `random` gives discriminators, ports and jitter;
    /// `notify` is called in the thread, and must not block.
    ///
    /// # Errors
    /// When the host has no thread or socket left.
    pub fn start(random: u64, notify: impl FnMut(Notice) + Send + 'static) -> io::Result<Self> {
        let (control, other_end) = UnixStream::pair()?;
        control.set_nonblocking(true)?;
        other_end.set_nonblocking(true)?;
        let (commands, inbox) = mpsc::channel();
        let control = Arc::new(control);
        let line = Line { commands, control };
        let links = LinkWatch::start(line.clone())?;
        let worker = worker::Worker::new(inbox, other_end, random, Box::new(notify));
        let thread = std::thread::Builder::new()
            .name("bfd".to_owned())
            .spawn(move || worker.run())?;
        Ok(Self {
            line,
            thread: Some(thread),
            _links: links,
        })
    }

    /// Runs exactly these sessions from now on. One that is not among them any more is ended in a way that its peer
    /// does not take for a failure.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn update(&self, sessions: BTreeMap<Ends, Settings>) -> io::Result<()> {
        self.line.tell(Command::Sessions(sessions))
    }

    /// How all sessions stand.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn overview(&self) -> io::Result<Overview> {
        let (reply, answer): (_, Receiver<Overview>) = mpsc::channel();
        self.line.tell(Command::Overview(reply))?;
        answer.recv().map_err(io::Error::other)
    }
}

fn gone() -> io::Error {
    io::Error::other("the BFD thread is gone")
}

impl Drop for Bfd {
    fn drop(&mut self) {
        // The thread sees the end of the stream.
        let _ = self.line.control.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the BFD thread panicked");
        }
    }
}
