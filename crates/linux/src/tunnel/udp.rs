//! The UDP sockets of a device: one for each IP version, on the same port.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, SockaddrStorage, bind, setsockopt, shutdown,
    socket, sockopt,
};

use super::gate::{Gate, Turn};
use super::mmsg::{self, BATCH, Endpoint, Outgoing};
use crate::plain::set_option;

/// Bytes that the kernel may hold for us in each direction: bursts of many peers at once.
const BUFFER: usize = 8 * 1024 * 1024;

/// How long a port that is left may be held by those who still use its sockets.
const LAST_USE: Duration = Duration::from_secs(2);
/// How often to look whether they still do.
const LOOK: Duration = Duration::from_millis(1);

/// How often a port that is free for IPv4 and not for IPv6 is given up for another.
const PORT_TRIES: usize = 32;

/// One socket.
pub(super) struct Socket {
    socket: UdpSocket,
    /// Whether the kernel cuts large messages on this path.
    segmentation: AtomicBool,
    /// Whether it was given up for another port.
    closed: AtomicBool,
}

/// The sockets that are in use.
#[derive(Clone, Default)]
struct Pair {
    v4: Option<Arc<Socket>>,
    v6: Option<Arc<Socket>>,
    port: u16,
}

/// The sockets of a device.
pub(super) struct Udp {
    pair: RwLock<Pair>,
    mark: AtomicU32,
}

impl Udp {
    /// No sockets yet.
    pub(super) fn new() -> Self {
        Self {
            pair: RwLock::default(),
            mark: AtomicU32::new(0),
        }
    }

    /// Goes on with sockets that another process made.
    pub(super) fn adopt(v4: Option<OwnedFd>, v6: Option<OwnedFd>, mark: u32) -> io::Result<Self> {
        let adopt = |fd: OwnedFd| Arc::new(Socket::new(fd));
        let (v4, v6) = (v4.map(adopt), v6.map(adopt));
        let port = match v4.as_ref().or(v6.as_ref()) {
            Some(socket) => socket.socket.local_addr()?.port(),
            None => return Err(io::ErrorKind::NotConnected.into()),
        };
        Ok(Self {
            pair: RwLock::new(Pair { v4, v6, port }),
            mark: AtomicU32::new(mark),
        })
    }

    /// Those in use: for IPv4, for IPv6.
    pub(super) fn sockets(&self) -> [Option<Arc<Socket>>; 2] {
        let pair = self.pair();
        [pair.v4, pair.v6]
    }

    /// Listens on another port, 0 for any, and returns the new sockets, from which somebody has to receive.
    /// Those of the old port are shut down once the new ones stand, and the old port is free for others when this
    /// returns. The port in use is no change.
    pub(super) fn listen(&self, port: u16) -> io::Result<Vec<Arc<Socket>>> {
        if port != 0 && port == self.port() {
            return Ok(Vec::new());
        }
        let pair = Pair::bind(port, self.mark())?;
        let sockets = [&pair.v4, &pair.v6].into_iter().flatten();
        let sockets = sockets.map(Arc::clone).collect();
        let mut current = self.pair.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, pair);
        drop(current);
        for socket in [old.v4, old.v6].into_iter().flatten() {
            socket.shut_down();
            wait_until_alone(&socket);
        }
        Ok(sockets)
    }

    /// The port; 0 before the first [`Udp::listen`].
    pub(super) fn port(&self) -> u16 {
        self.pair().port
    }

    /// `SO_MARK` of what is sent; 0 for none.
    pub(super) fn mark(&self) -> u32 {
        self.mark.load(Ordering::Relaxed)
    }

    pub(super) fn set_mark(&self, mark: u32) -> io::Result<()> {
        let pair = self.pair();
        for socket in [&pair.v4, &pair.v6].into_iter().flatten() {
            setsockopt(&socket.socket, sockopt::Mark, &mark)?;
        }
        self.mark.store(mark, Ordering::Relaxed);
        Ok(())
    }

    /// Sends one datagram.
    pub(super) fn send(&self, bytes: &[u8], to: Endpoint) {
        let segment = bytes.len();
        self.send_all(std::iter::once(Outgoing { to, bytes, segment }));
    }

    /// Sends messages in order. What the network refuses is lost, as any datagram may be.
    pub(super) fn send_all<'a>(&self, messages: impl Iterator<Item = Outgoing<'a>>) {
        let pair = self.pair();
        let mut batch: Vec<Outgoing<'a>> = Vec::with_capacity(BATCH);
        let mut messages = messages.peekable();
        while let Some(message) = messages.next() {
            let ipv4 = message.to.remote.is_ipv4();
            batch.push(message);
            let goes_on = messages
                .peek()
                .is_some_and(|next| next.to.remote.is_ipv4() == ipv4);
            if goes_on && batch.len() < BATCH {
                continue;
            }
            if let Some(socket) = if ipv4 { &pair.v4 } else { &pair.v6 } {
                socket.send(&batch);
            }
            batch.clear();
        }
    }

    fn pair(&self) -> Pair {
        self.pair
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Pair {
    fn bind(port: u16, mark: u32) -> io::Result<Self> {
        let mut tries = 0;
        loop {
            tries += 1;
            let v4 = optional(Socket::bind((Ipv4Addr::UNSPECIFIED, port).into(), mark))?;
            let bound = match &v4 {
                Some(socket) => socket.socket.local_addr()?.port(),
                None => port,
            };
            match optional(Socket::bind((Ipv6Addr::UNSPECIFIED, bound).into(), mark)) {
                Err(taken)
                    if port == 0
                        && tries < PORT_TRIES
                        && taken.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
                Ok(None) if v4.is_none() => return Err(io::ErrorKind::Unsupported.into()),
                Ok(v6) => {
                    let port = match &v6 {
                        Some(socket) => socket.socket.local_addr()?.port(),
                        None => bound,
                    };
                    return Ok(Self { v4, v6, port });
                }
            }
        }
    }
}

/// Waits until nobody else uses a socket that was shut down: its port is held as long as somebody does. Receivers
/// wake at once, senders are through with a batch in no time; who still is not is not waited for.
fn wait_until_alone(socket: &Arc<Socket>) {
    let deadline = Instant::now() + LAST_USE;
    while Arc::strong_count(socket) > 1 && Instant::now() < deadline {
        std::thread::sleep(LOOK);
    }
}

/// A host may have only one of the two IP versions.
fn optional(socket: io::Result<Socket>) -> io::Result<Option<Arc<Socket>>> {
    match socket {
        Ok(socket) => Ok(Some(Arc::new(socket))),
        Err(error) => match error.raw_os_error() {
            Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => Ok(None),
            _ => Err(error),
        },
    }
}

impl Socket {
    fn bind(address: SocketAddr, mark: u32) -> io::Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(family, SockType::Datagram, flags, None)?;
        if address.is_ipv6() {
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        }
        if mark != 0 {
            setsockopt(&fd, sockopt::Mark, &mark)?;
        }
        // Beyond the system's limit only the administrator may go; others get what the limit allows.
        if setsockopt(&fd, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &BUFFER)?;
        }
        if setsockopt(&fd, sockopt::SndBufForce, &BUFFER).is_err() {
            setsockopt(&fd, sockopt::SndBuf, &BUFFER)?;
        }
        if address.is_ipv6() {
            setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            // Fragments are forbidden up to what the kernel knows of the path, so that it learns when that is wrong, and
            // made by the kernel beyond that. It is what `net.ipv4.ip_no_pmtu_disc` says unless somebody changed it.
            let policy = libc::IP_PMTUDISC_WANT;
            set_option(fd.as_fd(), libc::SOL_IP, libc::IP_MTU_DISCOVER, policy)?;
            setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
        }
        // Missing before Linux 5.0; then each datagram comes alone.
        let _ = setsockopt(&fd, sockopt::UdpGroSegment, &true);
        bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
        Ok(Self::new(fd))
    }

    fn new(fd: OwnedFd) -> Self {
        Self {
            socket: fd.into(),
            segmentation: AtomicBool::new(true),
            closed: AtomicBool::new(false),
        }
    }

    /// Receives what is there into `inbox`, waiting for the first message and for a turn, which is held until the
    /// messages are done with; absent once the socket is shut down.
    pub(super) fn receive<'g>(
        &self,
        inbox: &mut mmsg::Inbox,
        gate: &'g Gate,
    ) -> io::Result<Option<Turn<'g>>> {
        loop {
            let turn = gate.enter();
            match inbox.receive(self.socket.as_fd()) {
                Ok(count) if count > 0 => return Ok(Some(turn)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    drop(turn);
                    // Nothing there, or an ICMP error of a datagram that was sent: reading clears it.
                    if self.closed.load(Ordering::Acquire) {
                        return Ok(None);
                    }
                    let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
                    match poll(&mut fds, PollTimeout::NONE) {
                        Ok(_) | Err(nix::Error::EINTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }

    /// The descriptor.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Wakes whoever waits for messages for the last time.
    fn shut_down(&self) {
        self.closed.store(true, Ordering::Release);
        // The kernel answers that the socket is not connected, and wakes the waiting all the same: from now
        // on the socket counts as readable.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Read);
    }

    fn send(&self, mut messages: &[Outgoing<'_>]) {
        while let Some(first) = messages.first() {
            if !self.segmentation.load(Ordering::Relaxed) && first.bytes.len() > first.segment {
                self.send_cut(first);
                messages = &messages[1..];
                continue;
            }
            match mmsg::send(self.socket.as_fd(), messages) {
                Ok(sent) => messages = &messages[sent.max(1)..],
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN) if self.wait_for_room() => {}
                    Some(libc::EINVAL | libc::ENETUNREACH | libc::EHOSTUNREACH)
                        if first.to.local.is_some() =>
                    {
                        // The address of ours that the peer last talked to may be gone.
                        let to = first.to.remote.into();
                        self.send(&[Outgoing { to, ..*first }]);
                        messages = &messages[1..];
                    }
                    Some(libc::EIO) if first.bytes.len() > first.segment => {
                        // The device computes no checksums, so that older kernels cut nothing for it.
                        self.segmentation.store(false, Ordering::Relaxed);
                    }
                    Some(libc::EINVAL | libc::EMSGSIZE) if first.bytes.len() > first.segment => {
                        // Larger than the path allows: segments are not fragmented, single datagrams are.
                        self.send_cut(first);
                        messages = &messages[1..];
                    }
                    _ => messages = &messages[1..],
                },
            }
        }
    }

    /// Sends the datagrams of a message one by one.
    fn send_cut(&self, message: &Outgoing<'_>) {
        let datagrams: Vec<_> = message
            .bytes
            .chunks(message.segment)
            .map(|bytes| Outgoing { bytes, ..*message })
            .collect();
        for batch in datagrams.chunks(BATCH) {
            self.send(batch);
        }
    }

    fn wait_for_room(&self) -> bool {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, PollTimeout::from(100_u8)).is_ok_and(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_left_is_free_at_once() {
        let udp = Udp::new();
        let mut receivers = Vec::new();
        for _ in 0..20 {
            let left = udp.port();
            for socket in udp.listen(0).expect("a port") {
                receivers.push(std::thread::spawn(move || {
                    let mut inbox = mmsg::Inbox::new(2048);
                    while socket
                        .receive(&mut inbox, &Gate::default())
                        .expect("receive")
                        .is_some()
                    {}
                }));
            }
            if left != 0 {
                UdpSocket::bind((Ipv4Addr::UNSPECIFIED, left)).expect("free for IPv4");
                UdpSocket::bind((Ipv6Addr::UNSPECIFIED, left)).expect("free for IPv6");
            }
        }
        for socket in udp.pair().v4.iter().chain(&udp.pair().v6) {
            socket.shut_down();
        }
        for receiver in receivers {
            receiver.join().expect("ends");
        }
    }
}
