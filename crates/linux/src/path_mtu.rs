//! Asks how large packets may be: sends what [`routerd_core::path_mtu`] wants sent, hears the answers.
//!
//! One thread, in the network namespace of whoever starts it. What it found is read when the host is observed.

mod echo;
mod outside;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use api::IfName;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use routerd_core::path_mtu::{PathTarget, Probe, Prober};

use echo::Echoes;
use outside::Outside;

/// A handle to the thread that asks.
#[derive(Debug, Clone)]
pub struct PathMtu {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A byte wakes the thread: something else is to be measured.
    bell: UnixStream,
    started: Instant,
}

#[derive(Debug, Default)]
struct State {
    prober: Prober,
    /// Endpoints and the MTU of the link towards each.
    endpoints: BTreeMap<SocketAddrV4, u32>,
}

impl PathMtu {
    /// Starts the thread; it calls `wake` when something was found.
    ///
    /// # Errors
    /// When a socket or the thread cannot be had.
    pub fn start(wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            bell,
            started: Instant::now(),
        });
        let worker = Worker {
            shared: Arc::clone(&shared),
            heard,
            echoes: Echoes::open()?,
            outside: Outside::default(),
        };
        let thread = std::thread::Builder::new().name("path-mtu".to_owned());
        thread.spawn(move || worker.run(&wake))?;
        Ok(Self { shared })
    }

    /// Measures these from now on: peers with the MTU of their tunnel, endpoints with that of the link towards them.
    pub(crate) fn measure(
        &self,
        wanted: &BTreeMap<PathTarget, u32>,
        endpoints: BTreeMap<SocketAddrV4, u32>,
    ) {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        let known: BTreeSet<_> = endpoints.keys().copied().collect();
        state.prober.update(now, wanted, &known);
        state.endpoints = endpoints;
        drop(state);
        // A bell that is full has been rung.
        let _ = (&self.shared.bell).write_all(&[0]);
    }

    /// The MTUs that tunnels must not exceed, and the largest size that each peer answered.
    pub(crate) fn found(&self) -> (BTreeMap<IfName, u32>, BTreeMap<PathTarget, u32>) {
        let state = self.shared.lock();
        (state.prober.limits(), state.prober.measured())
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    shared: Arc<Shared>,
    heard: UnixStream,
    echoes: Echoes,
    outside: Outside,
}

impl Worker {
    fn run(mut self, wake: &impl Fn()) {
        loop {
            let mut changed = self.send();
            if let Err(error) = self.wait() {
                tracing::error!(%error, "wait for answers of peers");
                return;
            }
            changed |= self.receive();
            // The kernel heard what the network carries: the next look at the host will tell.
            changed |= self.outside.complained();
            if changed {
                wake();
            }
        }
    }

    /// Sends what is due.
    fn send(&mut self) -> bool {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        let (probes, mut changed) = state.prober.poll(now);
        let endpoints = state.endpoints.clone();
        drop(state);
        self.outside.keep(&endpoints);
        for probe in probes {
            // What cannot be sent is not answered, which is all that counts.
            let sent = match &probe {
                Probe::Inside {
                    target,
                    sequence,
                    size,
                } => self.echoes.send(target, *sequence, *size).map(|()| false),
                Probe::Outside { endpoint } => {
                    let size = endpoints.get(endpoint).copied().unwrap_or_default();
                    self.outside.send(*endpoint, size)
                }
            };
            match sent {
                Ok(news) => changed |= news,
                Err(error) => tracing::debug!(?probe, %error, "not sent"),
            }
        }
        changed
    }

    fn wait(&self) -> io::Result<()> {
        let due = self.shared.lock().prober.next_timeout();
        let timeout = match due {
            None => PollTimeout::NONE,
            Some(due) => {
                // Rounded up, so that what is due is due when the wait ends.
                let left = due.saturating_sub(self.shared.now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut fds = vec![
            PollFd::new(self.heard.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.echoes.as_fd(), PollFlags::POLLIN),
        ];
        let outside = self.outside.descriptors();
        fds.extend(outside.map(|fd| PollFd::new(fd, PollFlags::empty())));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&mut self) -> bool {
        let mut drain = [0; 64];
        while matches!((&self.heard).read(&mut drain), Ok(length) if length > 0) {}
        let mut changed = false;
        while let Some(sequence) = self.echoes.receive() {
            let now = self.shared.now();
            changed |= self.shared.lock().prober.answered(now, sequence);
        }
        changed
    }
}
