//! The peers of a speaker under test: sessions over TCP, and one thread that reads them all and says when each of them
//! has been told what is waited for. The kernel's routing table may be one of those that are told.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};

use super::{kernel, wire};

/// Where the speaker listens.
pub const SPEAKER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 1), 179);
const HOLD: u16 = 180;
/// How often the readers say that they are alive.
const KEEPALIVE: Duration = Duration::from_secs(2);
const WAKER: Token = Token(usize::MAX);

/// The address of a client.
pub fn address(client: usize) -> Ipv4Addr {
    let number = u16::try_from(client + 10).unwrap_or(u16::MAX);
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 99, high, low)
}

/// A session, up.
pub fn establish(source: Ipv4Addr, patience: Duration) -> Result<TcpStream> {
    let deadline = Instant::now() + patience;
    loop {
        let failure = match try_to_establish(source) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            return Err(failure).with_context(|| format!("session of {source}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn try_to_establish(source: Ipv4Addr) -> Result<TcpStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
    let [a, b, c, d] = source.octets();
    bind(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 0))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(SPEAKER))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(&wire::open(source, HOLD))?;
    loop {
        let mut header = [0; wire::HEADER];
        stream.read_exact(&mut header)?;
        let length = wire::length(&header).unwrap_or_default();
        ensure!(length >= wire::HEADER, "a message of {length} octets");
        let mut body = vec![0; length - wire::HEADER];
        stream.read_exact(&mut body)?;
        match header[18] {
            wire::OPEN => stream.write_all(&wire::frame(wire::KEEPALIVE, &[]))?,
            wire::KEEPALIVE => return Ok(stream),
            other => bail!("message of type {other} in place of a session: {body:?}"),
        }
    }
}

/// What is waited for, of every client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// So many routes lead to this sender, counted from 1; 0: so many are absent.
    Count { sender: u8, routes: usize },
    /// One route leads there.
    Route { route: usize, sender: u8 },
}

enum Order {
    Wait(Goal),
    End,
}

enum Report {
    /// When each of them was told.
    Reached(Vec<Instant>),
    Lost(String),
}

/// Who is told by the speaker.
#[derive(Debug, Clone, Copy)]
pub struct Audience {
    pub receivers: usize,
    /// Whether the kernel is: the routes that the speaker installs, every [`kernel::STRIDE`]th of them.
    pub kernel: bool,
    /// How many routes there are that they are told of.
    pub routes: usize,
    /// The next hops of the two senders.
    pub next_hops: [Ipv4Addr; 2],
}

/// The clients of a speaker.
pub struct Clients {
    orders: Sender<Order>,
    waker: Arc<Waker>,
    reports: Receiver<Report>,
    thread: Option<std::thread::JoinHandle<()>>,
    senders: Vec<TcpStream>,
}

impl Clients {
    /// Sessions of two senders and of all who are told.
    pub fn connect(audience: Audience, patience: Duration) -> Result<Self> {
        let senders = (0..2).map(|ix| establish(address(ix), patience));
        let senders: Vec<TcpStream> = senders.collect::<Result<_>>()?;
        let mut sessions = Vec::new();
        for sender in &senders {
            sessions.push(Session::new(Source::Peer(sender.try_clone()?), None));
        }
        let nothing = || Some(Heard::new(audience.routes));
        for ix in 0..audience.receivers {
            let stream = establish(address(2 + ix), patience)?;
            sessions.push(Session::new(Source::Peer(stream), nothing()));
        }
        if audience.kernel {
            sessions.push(Session::new(Source::Kernel(kernel::listen()?), nothing()));
        }
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        for (ix, session) in sessions.iter().enumerate() {
            let fd = session.source.descriptor()?;
            let mut source = SourceFd(&fd);
            poll.registry()
                .register(&mut source, Token(ix), Interest::READABLE)?;
        }
        let names = audience.next_hops.map(u32::from);
        let (orders, inbox) = mpsc::channel();
        let (outbox, reports) = mpsc::channel();
        let reader = Reader {
            poll,
            sessions,
            names,
            inbox,
            outbox,
            goal: None,
            reached: 0,
            buffer: vec![0; 1 << 20],
        };
        let thread = std::thread::Builder::new().spawn(move || reader.run())?;
        Ok(Self {
            orders,
            waker,
            reports,
            thread: Some(thread),
            senders,
        })
    }

    /// Sends a stream and waits until all were told; when each was, from the first octet on.
    pub fn send(
        &mut self,
        sender: usize,
        stream: &[u8],
        goal: Goal,
        patience: Duration,
    ) -> Result<Vec<Duration>> {
        self.follow(goal, patience, |clients| {
            let deadline = Instant::now() + patience;
            write_all(&mut clients.senders[sender], stream, deadline)
        })
    }

    /// Ends a sender's session and waits for what becomes of it.
    pub fn end(&mut self, sender: usize, goal: Goal, patience: Duration) -> Result<Vec<Duration>> {
        self.follow(goal, patience, |clients| {
            Ok(clients.senders[sender].shutdown(Shutdown::Both)?)
        })
    }

    /// Does something and waits for what becomes of it.
    pub fn follow(
        &mut self,
        goal: Goal,
        patience: Duration,
        action: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<Vec<Duration>> {
        self.order(Order::Wait(goal))?;
        let start = Instant::now();
        action(self)?;
        self.wait(start, patience)
    }

    /// Says that the senders are alive; the receivers do by themselves.
    pub fn keep_alive(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        for sender in &mut self.senders {
            write_all(sender, &wire::frame(wire::KEEPALIVE, &[]), deadline)?;
        }
        Ok(())
    }

    fn order(&self, order: Order) -> Result<()> {
        self.orders.send(order).context("the reader is gone")?;
        Ok(self.waker.wake()?)
    }

    fn wait(&self, start: Instant, patience: Duration) -> Result<Vec<Duration>> {
        match self.reports.recv_timeout(patience) {
            Ok(Report::Reached(times)) => {
                Ok(times.iter().map(|at| at.duration_since(start)).collect())
            }
            Ok(Report::Lost(reason)) => bail!("{reason}"),
            Err(_) => bail!("not done after {} s", patience.as_secs()),
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.order(Order::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_all(stream: &mut TcpStream, mut bytes: &[u8], deadline: Instant) -> Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = deadline.saturating_duration_since(Instant::now());
                let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
                ensure!(poll(&mut fds, timeout)? > 0, "the speaker takes no octets");
            }
            Err(error) => return Err(error).context("send to the speaker"),
        }
    }
    Ok(())
}

/// What a receiver was told.
struct Heard {
    /// By route the sender, counted from 1.
    routes: Vec<u8>,
    /// By sender.
    counts: [usize; 3],
    reached: Option<Instant>,
}

impl Heard {
    fn new(routes: usize) -> Self {
        Self {
            routes: vec![0; routes],
            counts: [routes, 0, 0],
            reached: None,
        }
    }

    fn has(&self, goal: Goal) -> bool {
        match goal {
            Goal::Count { sender, routes } => self.counts[usize::from(sender)] == routes,
            Goal::Route { route, sender } => self.routes[route] == sender,
        }
    }

    fn hear(&mut self, route: u32, next_hop: Option<u32>, names: [u32; 2]) {
        let Some(known) = self
            .routes
            .get_mut(route.wrapping_sub(wire::FIRST_ROUTE) as usize)
        else {
            return;
        };
        let sender = match next_hop {
            None => 0,
            Some(next_hop) if next_hop == names[0] => 1,
            Some(_) => 2,
        };
        self.counts[usize::from(*known)] -= 1;
        self.counts[usize::from(sender)] += 1;
        *known = sender;
    }
}

/// Where it is said.
enum Source {
    Peer(TcpStream),
    Kernel(netlink_sys::Socket),
}

impl Source {
    /// For the poll, nonblocking.
    fn descriptor(&self) -> io::Result<i32> {
        match self {
            Self::Peer(stream) => {
                stream.set_nonblocking(true)?;
                Ok(stream.as_raw_fd())
            }
            Self::Kernel(socket) => {
                socket.set_non_blocking(true)?;
                Ok(socket.as_raw_fd())
            }
        }
    }
}

struct Session {
    source: Source,
    /// The beginning of a message whose end has not come yet.
    rest: Vec<u8>,
    /// Absent: a sender, of whom it does not matter what it is told.
    heard: Option<Heard>,
}

impl Session {
    fn new(source: Source, heard: Option<Heard>) -> Self {
        Self {
            source,
            rest: Vec::new(),
            heard,
        }
    }

    /// Reads what has come.
    fn read(&mut self, buffer: &mut [u8], names: [u32; 2]) -> io::Result<()> {
        loop {
            let kept = self.rest.len();
            buffer[..kept].copy_from_slice(&self.rest);
            let stream = match &mut self.source {
                Source::Peer(stream) => stream,
                Source::Kernel(socket) => {
                    let mut heard = self.heard.as_mut();
                    let each = |route, hop| {
                        let number = u32::wrapping_sub(route, wire::FIRST_ROUTE) / kernel::STRIDE;
                        if let Some(heard) = &mut heard {
                            heard.hear(wire::FIRST_ROUTE + number, hop, names);
                        }
                    };
                    return kernel::read(socket, buffer, each);
                }
            };
            let count = match stream.read(&mut buffer[kept..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut bytes = &buffer[..kept + count];
            while let Some(message) = wire::length(bytes).and_then(|length| bytes.get(..length)) {
                let body = message.get(wire::HEADER..).unwrap_or_default();
                match (message.get(18), &mut self.heard) {
                    (Some(&wire::UPDATE), Some(heard)) => {
                        wire::read_update(body, |route, hop| heard.hear(route, hop, names))
                            .ok_or(io::ErrorKind::InvalidData)?;
                    }
                    (Some(&wire::NOTIFICATION), _) => {
                        return Err(io::Error::other(format!("NOTIFICATION {body:?}")));
                    }
                    _ => {}
                }
                bytes = &bytes[message.len().max(wire::HEADER)..];
            }
            self.rest.clear();
            self.rest.extend_from_slice(bytes);
        }
    }
}

struct Reader {
    poll: Poll,
    sessions: Vec<Session>,
    /// Next hops of the senders.
    names: [u32; 2],
    inbox: Receiver<Order>,
    outbox: Sender<Report>,
    goal: Option<Goal>,
    /// How many clients have reached it.
    reached: usize,
    buffer: Vec<u8>,
}

impl Reader {
    fn run(mut self) {
        let mut events = Events::with_capacity(2048);
        let mut spoke = Instant::now();
        loop {
            let left = KEEPALIVE.saturating_sub(spoke.elapsed());
            if let Err(error) = self.poll.poll(&mut events, Some(left))
                && error.kind() != io::ErrorKind::Interrupted
            {
                return;
            }
            while let Ok(order) = self.inbox.try_recv() {
                match order {
                    Order::Wait(goal) => self.begin(goal),
                    Order::End => return,
                }
            }
            for event in &events {
                if event.token() != WAKER {
                    self.read(event.token().0);
                }
            }
            if spoke.elapsed() >= KEEPALIVE {
                spoke = Instant::now();
                self.keep_alive();
            }
        }
    }

    fn begin(&mut self, goal: Goal) {
        self.goal = Some(goal);
        self.reached = 0;
        for heard in self.sessions.iter_mut().filter_map(|s| s.heard.as_mut()) {
            heard.reached = None;
        }
        for ix in 0..self.sessions.len() {
            self.look(ix);
        }
    }

    fn read(&mut self, ix: usize) {
        let read = self.sessions[ix].read(&mut self.buffer, self.names);
        if let Err(error) = read
            && self.sessions[ix].heard.is_some()
        {
            let _ = self
                .outbox
                .send(Report::Lost(format!("session of {}: {error}", address(ix))));
        }
        self.look(ix);
    }

    /// Whether a client has reached the goal, and all have.
    fn look(&mut self, ix: usize) {
        let (Some(goal), Some(heard)) = (self.goal, &mut self.sessions[ix].heard) else {
            return;
        };
        if heard.reached.is_some() || !heard.has(goal) {
            return;
        }
        heard.reached = Some(Instant::now());
        self.reached += 1;
        let heard = || self.sessions.iter().filter_map(|s| s.heard.as_ref());
        if self.reached == heard().count() {
            let times = heard().filter_map(|heard| heard.reached).collect();
            self.goal = None;
            let _ = self.outbox.send(Report::Reached(times));
        }
    }

    fn keep_alive(&mut self) {
        let message = wire::frame(wire::KEEPALIVE, &[]);
        for session in self.sessions.iter_mut().filter(|s| s.heard.is_some()) {
            if let Source::Peer(stream) = &mut session.source {
                // It never sends anything else: there is room.
                let _ = stream.write_all(&message);
            }
        }
    }
}
