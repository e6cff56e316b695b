//! BFD sessions on real sockets, in a thread of their own.
//!
//! Owns sockets, clock and thread; the protocol is in [`bgp::bfd`]. Nothing else runs in the thread, it asks for
//! real-time scheduling, and it goes by the kernel's time of arrival: a busy host shall not look like a dead peer.

mod outlet;
mod port;
mod worker;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Instant;

use api::IfName;
use bgp::bfd::{Discards, SessionView, Settings, Transition};

/// The ends of a session as they are configured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    /// The peer.
    pub remote: Ipv4Addr,
    /// Our address; over several hops it is needed.
    pub local: Option<Ipv4Addr>,
    /// How far away the peer is.
    pub reach: Reach,
}

/// How far away a peer is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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

/// How all sessions stand.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// Sessions that run.
    pub sessions: BTreeMap<Ends, SessionView>,
    /// Sessions that could not be begun, and why.
    pub failed: BTreeMap<Ends, String>,
    /// Discarded packets by reason.
    pub discards: Discards,
}

/// What the thread is asked for.
#[derive(Debug)]
enum Command {
    Sessions(BTreeMap<Ends, Settings>),
    Overview(Sender<Overview>),
}

/// All BFD sessions of this host. Dropping it ends them without a word: to the peers it looks as if the host died.
#[derive(Debug)]
pub struct Bfd {
    commands: Sender<Command>,
    /// A byte in it wakes the thread; its end stops the thread.
    control: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Bfd {
    /// Starts the thread in the calling thread's network namespace. `random` gives discriminators, ports and jitter;
    /// `notify` is called for every change of state, in the thread, and must not block.
    ///
    /// # Errors
    /// When the host has no thread or socket left.
    pub fn start(random: u64, notify: impl FnMut(Event) + Send + 'static) -> io::Result<Self> {
        let (control, other_end) = UnixStream::pair()?;
        other_end.set_nonblocking(true)?;
        let (commands, inbox) = mpsc::channel();
        let worker = worker::Worker::open(inbox, other_end, random, Box::new(notify))?;
        let thread = std::thread::Builder::new()
            .name("bfd".to_owned())
            .spawn(move || worker.run())?;
        Ok(Self {
            commands,
            control,
            thread: Some(thread),
        })
    }

    /// Runs exactly these sessions from now on. One that is not among them any more is ended in a way that its peer
    /// does not take for a failure.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn update(&self, sessions: BTreeMap<Ends, Settings>) -> io::Result<()> {
        self.tell(Command::Sessions(sessions))
    }

    /// How all sessions stand.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn overview(&self) -> io::Result<Overview> {
        let (reply, answer): (_, Receiver<Overview>) = mpsc::channel();
        self.tell(Command::Overview(reply))?;
        answer.recv().map_err(io::Error::other)
    }

    fn tell(&self, command: Command) -> io::Result<()> {
        self.commands.send(command).map_err(|_| gone())?;
        (&self.control).write_all(&[0])
    }
}

fn gone() -> io::Error {
    io::Error::other("the BFD thread is gone")
}

/// Asks for exact timers, and to run before everything that is not as urgent. Where the host does not allow it, the
/// thread runs like any other.
fn schedule_early() {
    const PRIORITY: libc::c_int = 10;
    if let Err(error) = nix::sys::prctl::set_timerslack(1) {
        tracing::debug!(%error, "ask for exact timers");
    }
    let parameters = libc::sched_param {
        sched_priority: PRIORITY,
    };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    #[expect(unsafe_code, reason = "nix does not wrap sched_setscheduler")]
    // SAFETY: a pointer to a whole sched_param, which the kernel reads; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if let Err(error) = nix::errno::Errno::result(result) {
        tracing::debug!(%error, "ask for real-time scheduling");
    }
}

impl Drop for Bfd {
    fn drop(&mut self) {
        // The thread sees the end of the stream.
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the BFD thread panicked");
        }
    }
}
