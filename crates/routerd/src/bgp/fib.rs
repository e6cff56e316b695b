//! The thread that keeps the speaker's routes in the kernel, and tells it what became of next hops.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bgp::{NextHopState, RouteChange};
use ipnet::Ipv4Net;
use linux::fib::{Change, Fib, Way};
use linux::netlink;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use routerd_core::bgp::net;

use super::table::{RouteTable, Todo};

/// After a failure the kernel is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Best paths changed.
    Routes(Routes),
    /// A next hop is in use, or no more.
    NextHop(Ipv4Addr, bool),
    /// All peers have told their routes.
    Converged,
    /// Destinations of the configuration, and those that captures wait for.
    Claims {
        reserved: BTreeSet<Ipv4Net>,
        awaited: BTreeSet<Ipv4Net>,
    },
    /// How it stands.
    Report(Sender<Report>),
}

/// Prefixes with the next hops of their best paths, in two lists: a hundred thousand small ones would be allocated by
/// one thread and freed by the other, the one that has more to do.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// How many of the next hops are each one's.
    prefixes: Vec<(Ipv4Net, usize)>,
    next_hops: Vec<Ipv4Addr>,
}

impl Routes {
    pub(super) fn new(changes: &[RouteChange]) -> Self {
        let mut routes = Self::default();
        for change in changes {
            let Some(prefix) = net(change.prefix) else {
                continue;
            };
            let before = routes.next_hops.len();
            let next_hops = change.next_hops.iter().filter_map(|hop| match hop {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            });
            routes.next_hops.extend(next_hops);
            let count = routes.next_hops.len() - before;
            routes.prefixes.push((prefix, count));
        }
        routes
    }

    fn iter(&self) -> impl Iterator<Item = (Ipv4Net, &[Ipv4Addr])> {
        let mut rest = self.next_hops.as_slice();
        self.prefixes.iter().map(move |(prefix, count)| {
            let (next_hops, others) = rest.split_at(*count);
            rest = others;
            (*prefix, next_hops)
        })
    }
}

/// How it stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// Routes in the kernel.
    pub(crate) installed: usize,
    /// Routes that the kernel refused, and why; the first ones.
    pub(crate) refused: BTreeMap<Ipv4Net, String>,
    /// Changes made since the start.
    pub(crate) changes: u64,
    /// The ways to next hops.
    pub(crate) next_hops: BTreeMap<Ipv4Addr, Option<Way>>,
}

/// What became of next hops.
pub(super) type NextHops = Vec<(IpAddr, NextHopState)>;

/// Whom the thread tells.
pub(super) struct Tell {
    /// What became of next hops: to the speaker.
    pub(super) next_hops: Box<dyn Fn(NextHops) + Send>,
    /// A destination that captures wait for has changed: to the reconcile loop.
    pub(super) awaited: Box<dyn Fn() + Send>,
}

/// The thread.
#[derive(Debug)]
pub(super) struct FibThread {
    orders: Sender<Order>,
    control: UnixStream,
    thread: Option<JoinHandle<()>>,
    /// Routes that stood when it began: a daemon before this one left them.
    pub(super) inherited: usize,
}

impl FibThread {
    pub(super) fn start(tell: Tell) -> io::Result<Self> {
        let (control, other_end) = UnixStream::pair()?;
        other_end.set_nonblocking(true)?;
        control.set_nonblocking(true)?;
        let (orders, inbox) = mpsc::channel();
        let mut fib = Fib::open().map_err(io::Error::other)?;
        let standing = fib.dump().map_err(io::Error::other)?;
        let inherited = standing.len();
        let worker = Worker {
            fib,
            table: RouteTable::new(standing),
            inbox,
            control: other_end,
            tell,
            next_hops: BTreeMap::new(),
            fresh: Vec::new(),
            awaited: BTreeSet::new(),
            refused: BTreeMap::new(),
            changes: 0,
            retry: None,
        };
        let thread = std::thread::Builder::new()
            .name("fib".to_owned())
            .spawn(move || worker.run())?;
        Ok(Self {
            orders,
            control,
            thread: Some(thread),
            inherited,
        })
    }

    /// Gives an order; [`Self::wake`] has it carried out.
    pub(super) fn order(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::error!("the thread that keeps BGP's routes is gone");
        }
    }

    pub(super) fn wake(&self) {
        // A full pipe wakes it as well.
        let _ = (&self.control).write(&[0]);
    }

    pub(super) fn report(&self) -> Option<Report> {
        let (reply, answer) = mpsc::channel();
        self.order(Order::Report(reply));
        self.wake();
        answer.recv().ok()
    }
}

impl Drop for FibThread {
    fn drop(&mut self) {
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps BGP's routes panicked");
        }
    }
}

struct Worker {
    fib: Fib,
    table: RouteTable,
    inbox: Receiver<Order>,
    control: UnixStream,
    tell: Tell,
    /// Next hops in use and what was last told of them.
    next_hops: BTreeMap<Ipv4Addr, Option<Way>>,
    /// Those that nothing was told of yet.
    fresh: Vec<Ipv4Addr>,
    awaited: BTreeSet<Ipv4Net>,
    refused: BTreeMap<Ipv4Net, String>,
    changes: u64,
    retry: Option<Instant>,
}

impl Worker {
    fn run(mut self) {
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::error!(%error, "keep BGP's routes");
                    std::thread::sleep(RETRY);
                    self.retry = Some(Instant::now());
                }
            }
        }
    }

    /// Returns false when it is over.
    fn turn(&mut self) -> Result<bool, netlink::Error> {
        let (told, heard) = self.wait();
        let over = told && !self.drain_control();
        let mut asked = Vec::new();
        while let Ok(order) = self.inbox.try_recv() {
            self.obey(order, &mut asked);
        }
        if heard {
            self.hear()?;
        }
        if self.retry.is_some_and(|at| at <= Instant::now()) {
            self.retry = None;
            let standing = self.fib.dump()?;
            self.table.stand(standing);
        }
        let fresh = std::mem::take(&mut self.fresh);
        self.resolve(&fresh, false)?;
        self.write()?;
        for reply in asked {
            let _ = reply.send(self.report());
        }
        Ok(!over)
    }

    fn wait(&self) -> (bool, bool) {
        let fds = [self.control.as_fd(), self.fib.as_fd()];
        let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let left = self
            .retry
            .map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
        });
        if poll(&mut fds, timeout).is_err() {
            return (false, false);
        }
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        (ready(&fds[0]), ready(&fds[1]))
    }

    fn drain_control(&mut self) -> bool {
        let mut bytes = [0; 4096];
        match self.control.read(&mut bytes) {
            Ok(length) => length > 0,
            Err(error) => error.kind() != io::ErrorKind::ConnectionReset,
        }
    }

    fn obey(&mut self, order: Order, asked: &mut Vec<Sender<Report>>) {
        match order {
            Order::Routes(routes) => {
                for (prefix, next_hops) in routes.iter() {
                    self.table.want(prefix, next_hops);
                }
            }
            Order::NextHop(address, true) => {
                self.next_hops.insert(address, None);
                self.fresh.push(address);
            }
            Order::NextHop(address, false) => {
                self.next_hops.remove(&address);
                self.table.set_way(address, None);
            }
            Order::Converged => self.table.converged(),
            Order::Claims { reserved, awaited } => {
                self.table.reserve(reserved);
                self.awaited = awaited;
            }
            Order::Report(reply) => asked.push(reply),
        }
    }

    fn hear(&mut self) -> Result<(), netlink::Error> {
        let table = &mut self.table;
        let heard = self.fib.drain(|prefix| table.removed(prefix))?;
        if heard.routes {
            let standing = self.fib.dump()?;
            self.table.stand(standing);
        }
        if heard.ways {
            let all: Vec<Ipv4Addr> = self.next_hops.keys().copied().collect();
            self.resolve(&all, true)?;
            // What was in the way may be gone.
            for prefix in self.refused.keys() {
                self.table.removed(*prefix);
            }
        }
        Ok(())
    }

    /// Looks for the ways to next hops and tells what is news. Of a next hop that was not told of yet everything is.
    fn resolve(&mut self, next_hops: &[Ipv4Addr], known: bool) -> Result<(), netlink::Error> {
        let mut news = Vec::new();
        for address in next_hops {
            if !self.next_hops.contains_key(address) {
                continue;
            }
            let way = self.fib.resolve(*address)?;
            let before = self.next_hops.insert(*address, way).flatten();
            self.table.set_way(*address, way.map(|way| way.hop));
            let state = way.map_or(NextHopState::Unreachable, |way| {
                NextHopState::Reachable(way.metric)
            });
            if before != way || (!known && way.is_none()) {
                news.push((IpAddr::V4(*address), state));
            }
        }
        if !news.is_empty() {
            (self.tell.next_hops)(news);
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), netlink::Error> {
        let todo = self.table.take_todo();
        if todo.is_empty() {
            return Ok(());
        }
        let changes = todo.iter().map(|todo| self.table.change(todo));
        let changes: Vec<Change<'_>> = changes.collect();
        let refused = self.fib.write(&changes)?;
        self.changes += todo.len() as u64;
        let before = self.refused.clone();
        if !self.refused.is_empty() {
            for todo in &todo {
                self.refused.remove(&todo.prefix);
            }
        }
        for (index, errno) in refused {
            self.refuse(&todo[index], errno, &before);
        }
        if todo.iter().any(|todo| self.awaited.contains(&todo.prefix)) {
            (self.tell.awaited)();
        }
        Ok(())
    }

    /// `before`: what was refused until now, which is no news.
    fn refuse(&mut self, todo: &Todo, errno: Errno, before: &BTreeMap<Ipv4Net, String>) {
        /// How many are remembered by name.
        const SHOWN: usize = 100;
        self.table.refused(todo);
        if errno == Errno::EEXIST {
            // It may be our own: removed by somebody, put back by us, and only then heard to be gone.
            self.retry.get_or_insert_with(|| Instant::now() + RETRY);
        }
        let reason = match errno {
            Errno::EEXIST => "a route of somebody else is in the way".to_owned(),
            other => other.desc().to_owned(),
        };
        if before.get(&todo.prefix) != Some(&reason) {
            tracing::warn!(prefix = %todo.prefix, reason, "install a route of BGP");
        }
        if self.refused.len() < SHOWN {
            self.refused.insert(todo.prefix, reason);
        }
    }

    fn report(&self) -> Report {
        Report {
            installed: self.table.standing(),
            refused: self.refused.clone(),
            changes: self.changes,
            next_hops: self.next_hops.clone(),
        }
    }
}
