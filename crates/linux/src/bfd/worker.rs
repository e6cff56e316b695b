//! The thread: carries packets and time to the detector and back.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use api::IfName;
use bgp::bfd::{
    Arrival, Detector, MULTI_HOP_PORT, Moment, Output, SINGLE_HOP_PORT, Scope, SessionId,
    SessionPath, Settings,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::outlet::Outlet;
use super::port::Port;
use super::urgency::{Urgency, hurry};
use super::{Command, Ends, Event, Notice, Overview, Reach};

/// A session that runs.
struct Running {
    id: SessionId,
    path: SessionPath,
    settings: Settings,
}

pub(super) struct Worker {
    inbox: Receiver<Command>,
    control: UnixStream,
    notify: Box<dyn FnMut(Notice) + Send>,
    urgency: Urgency,
    /// Indexes of the interfaces that are there.
    indexes: BTreeMap<IfName, u32>,
    detector: Detector,
    wanted: BTreeMap<Ends, Settings>,
    running: BTreeMap<Ends, Running>,
    failed: BTreeMap<Ends, String>,
    /// Of sessions that run, and of those that say goodbye.
    outlets: BTreeMap<SessionId, (Ends, Outlet)>,
    ports: Vec<Port>,
    start: Instant,
    random: u64,
}

impl Worker {
    pub(super) fn new(
        inbox: Receiver<Command>,
        control: UnixStream,
        random: u64,
        notify: Box<dyn FnMut(Notice) + Send>,
    ) -> Self {
        Self {
            inbox,
            control,
            notify,
            urgency: Urgency::default(),
            indexes: BTreeMap::new(),
            detector: Detector::new(),
            wanted: BTreeMap::new(),
            running: BTreeMap::new(),
            failed: BTreeMap::new(),
            outlets: BTreeMap::new(),
            ports: Vec::new(),
            start: Instant::now(),
            random: random | 1,
        }
    }

    /// Runs until the other end of `control` is closed.
    pub(super) fn run(mut self) {
        self.urgency = hurry();
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    // A fault that stays must neither end the sessions nor take a whole CPU.
                    tracing::error!(%error, "run BFD sessions");
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    /// Sleeps until something is to be done, and does it. Returns false when it is over.
    fn turn(&mut self) -> io::Result<bool> {
        let told = self.wait()?;
        // Before any timer: a packet that waited in its socket has arrived in time.
        self.receive()?;
        self.detector.handle_timeout(self.start.elapsed());
        self.emit();
        if told && !self.drain_control()? {
            return Ok(false);
        }
        if told {
            self.obey();
        }
        self.emit();
        Ok(true)
    }

    /// Returns whether somebody wants something.
    fn wait(&self) -> io::Result<bool> {
        let mut fds: Vec<PollFd<'_>> = std::iter::once(self.control.as_fd())
            .chain(self.ports.iter().map(AsFd::as_fd))
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let next = self.detector.next_timeout();
        let left = next.map(|at| TimeSpec::from(at.saturating_sub(self.start.elapsed())));
        match ppoll(&mut fds, left, None) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
        let events = fds[0].revents();
        Ok(events.is_some_and(|events| !events.is_empty()))
    }

    fn receive(&mut self) -> io::Result<()> {
        let now = self.start.elapsed();
        let (ports, detector) = (&mut self.ports, &mut self.detector);
        for port in ports {
            let multi_hop = port.multi_hop;
            port.drain(|datagram| {
                let arrival = Arrival {
                    remote: datagram.remote.into(),
                    local: datagram.local.into(),
                    interface: datagram.interface,
                    hop_limit: datagram.hop_limit,
                    multi_hop,
                    payload: datagram.payload(),
                };
                let then = now.saturating_sub(datagram.age);
                if let Err(reason) = detector.receive(then, &arrival) {
                    tracing::debug!(remote = %datagram.remote, %reason, "discard BFD");
                }
            })?;
        }
        Ok(())
    }

    /// Does what the detector says.
    fn emit(&mut self) {
        while let Some(output) = self.detector.poll_output() {
            match output {
                Output::Transmit { session, packet } => {
                    if let Some((_, outlet)) = self.outlets.get(&session) {
                        outlet.send(&packet);
                    }
                }
                Output::Changed {
                    session,
                    transition,
                } => {
                    if let Some((ends, _)) = self.outlets.get(&session) {
                        let event = Event {
                            ends: ends.clone(),
                            transition,
                            at: Instant::now(),
                        };
                        (self.notify)(Notice::Changed(event));
                    }
                }
                Output::Patience { session, factor } => {
                    if let Some((ends, _)) = self.outlets.get(&session) {
                        let ends = ends.clone();
                        (self.notify)(Notice::Patience { ends, factor });
                    }
                }
                Output::Gone { session } => drop(self.outlets.remove(&session)),
            }
        }
        self.close_ports();
    }

    /// Returns whether there is still somebody at the other end.
    fn drain_control(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 64];
        match self.control.read(&mut bytes) {
            Ok(length) => Ok(length > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.inbox.try_recv() {
            match command {
                Command::Sessions(wanted) => {
                    self.wanted = wanted;
                    self.arrange();
                }
                Command::Links(indexes) => {
                    self.indexes = indexes;
                    self.arrange();
                }
                // Who asked may have gone.
                Command::Overview(reply) => drop(reply.send(self.overview())),
            }
        }
    }

    /// Begins, changes and ends sessions so that exactly the wanted ones run. One whose interface went away runs on
    /// into its detection time, and begins anew when the interface is back.
    fn arrange(&mut self) {
        let now = self.start.elapsed();
        let gone = |ends: &Ends| !self.wanted.contains_key(ends);
        let ended: Vec<Ends> = self.running.keys().filter(|e| gone(e)).cloned().collect();
        for ends in ended {
            if let Some(running) = self.running.remove(&ends) {
                self.detector.remove(now, running.id);
            }
        }
        self.failed.clear();
        for (ends, settings) in self.wanted.clone() {
            if let Err(error) = self.begin(now, &ends, settings) {
                let reason = error.to_string();
                self.failed.insert(ends.clone(), reason.clone());
                (self.notify)(Notice::Failed { ends, reason });
            }
        }
    }

    fn begin(&mut self, now: Moment, ends: &Ends, settings: Settings) -> io::Result<()> {
        let path = match self.path(ends) {
            Some(path) => path,
            None if self.running.contains_key(ends) => return Ok(()),
            None => return Err(io::Error::other("its interface is not there")),
        };
        if let Some(running) = self.running.get_mut(ends) {
            if running.path == path {
                if running.settings != settings {
                    running.settings = settings;
                    self.detector.configure(now, running.id, settings);
                }
                return Ok(());
            }
            self.detector.remove(now, running.id);
            self.running.remove(ends);
        }
        let multi_hop = matches!(path.scope, Scope::MultiHop { .. });
        self.open_port(multi_hop)?;
        let to = SocketAddr::from((ends.remote, port_number(multi_hop)));
        let interface = match &ends.reach {
            Reach::SingleHop { interface } => interface.as_ref(),
            Reach::MultiHop { .. } => None,
        };
        let random = self.draw();
        let outlet = Outlet::open(to, ends.local, interface, random as u16)?;
        let id = self.detector.add(now, path, settings, random);
        self.outlets.insert(id, (ends.clone(), outlet));
        let running = Running { id, path, settings };
        self.running.insert(ends.clone(), running);
        Ok(())
    }

    /// Absent while its interface is not there.
    fn path(&self, ends: &Ends) -> Option<SessionPath> {
        let scope = match &ends.reach {
            Reach::SingleHop { interface: None } => Scope::SingleHop { interface: None },
            Reach::SingleHop {
                interface: Some(name),
            } => Scope::SingleHop {
                interface: Some(*self.indexes.get(name)?),
            },
            Reach::MultiHop { least_hop_limit } => Scope::MultiHop {
                least_hop_limit: *least_hop_limit,
            },
        };
        Some(SessionPath {
            remote: ends.remote.into(),
            local: ends.local.map(Ipv4Addr::into),
            scope,
        })
    }

    fn open_port(&mut self, multi_hop: bool) -> io::Result<()> {
        if !self.ports.iter().any(|port| port.multi_hop == multi_hop) {
            let number = port_number(multi_hop);
            let opened = Port::open(number, multi_hop);
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("open UDP port {number}: {error}"))
            };
            self.ports.push(opened.map_err(named)?);
        }
        Ok(())
    }

    /// A port without sessions belongs to whoever wants it.
    fn close_ports(&mut self) {
        let used = |multi_hop: bool| {
            let mut outlets = self.outlets.values();
            outlets.any(|(ends, _)| matches!(ends.reach, Reach::MultiHop { .. }) == multi_hop)
        };
        let (single, multi) = (used(false), used(true));
        self.ports
            .retain(|port| if port.multi_hop { multi } else { single });
    }

    fn overview(&self) -> Overview {
        let sessions = self.running.iter();
        Overview {
            sessions: sessions
                .filter_map(|(ends, running)| Some((ends.clone(), self.detector.view(running.id)?)))
                .collect(),
            failed: self.failed.clone(),
            leaving: self.detector.leaving(),
            discards: self.detector.discards().clone(),
            urgency: self.urgency.clone(),
        }
    }

    /// The next number of SplitMix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn port_number(multi_hop: bool) -> u16 {
    if multi_hop {
        MULTI_HOP_PORT
    } else {
        SINGLE_HOP_PORT
    }
}
