//! A small blocking netlink client and the rtnetlink objects that routerd reads and writes.
//!
//! Owns the sockets and the encoding; decides nothing. A socket belongs to the network namespace of the
//! thread that opened it.

pub mod address;
mod batch;
pub(crate) mod filter;
pub(crate) mod generic;
pub(crate) mod image;
pub mod link;
mod listen;
mod message;
pub mod neighbour;
pub mod route;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_sys::SocketAddr;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

pub(crate) use listen::Listener;
pub use message::{Attributes, Message, Request};
pub(crate) use message::{Messages, attribute, ipv4, ipv6, text, u16_at, u32_at};

/// Large enough for every message the kernel makes without being asked for statistics.
const RECEIVE_BUFFER: usize = 256 * 1024;
/// A dump that changes under our feet is begun again this often; then a slightly torn one is taken, since every
/// step that is planned from it tolerates that.
const DUMP_ATTEMPTS: u32 = 5;
/// The kernel answers at once; silence means a fault, and the reconcile loop must not hang on it.
const ANSWER_TIMEOUT_SECONDS: i64 = 10;

/// Why a netlink exchange failed. The caller knows what it was about and says so.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The kernel refused the request.
    #[error("{0}")]
    Refused(Refusal),
    /// The socket failed.
    #[error("netlink {operation}: {}", .errno.desc())]
    Socket {
        /// `open`, `send`, `receive` …
        operation: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

impl Error {
    fn socket(operation: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |error| Self::Socket {
            operation,
            errno: Errno::from_raw(error.raw_os_error().unwrap_or_default()),
        }
    }

    /// The error number, of whichever kind.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Refused(refusal) => refusal.errno,
            Self::Socket { errno, .. } => *errno,
        }
    }
}

/// The kernel's "no" to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error number.
    pub errno: Errno,
    /// The kernel's own words (extended acknowledgement), where it has some.
    pub detail: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{} ({})", detail, self.errno.desc()),
            None => f.write_str(self.errno.desc()),
        }
    }
}

/// A netlink socket.
#[derive(Debug)]
pub struct Socket {
    socket: netlink_sys::Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Socket {
    /// Opens a socket of a protocol (`netlink_sys::protocols`) in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel has no such protocol or is out of descriptors.
    pub fn open(protocol: isize) -> Result<Self, Error> {
        let open = Error::socket("open");
        let mut socket = netlink_sys::Socket::new(protocol).map_err(&open)?;
        socket.bind_auto().map_err(&open)?;
        // Each of these may be unknown to an old kernel: then errors carry no text, dumps are not filtered.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_netlink_get_strict_chk(true);
        let fd = descriptor(&socket);
        // Beyond `rmem_max` only with CAP_NET_ADMIN in the first user namespace; the batcher copes with less.
        if setsockopt(&fd, sockopt::RcvBufForce, &(4 << 20)).is_err() {
            let _ = setsockopt(&fd, sockopt::RcvBuf, &(4 << 20));
        }
        let timeout = TimeVal::seconds(ANSWER_TIMEOUT_SECONDS);
        setsockopt(&fd, sockopt::ReceiveTimeout, &timeout).map_err(|errno| Error::Socket {
            operation: "open",
            errno,
        })?;
        Ok(Self {
            socket,
            buffer: vec![0; RECEIVE_BUFFER],
            sequence: 0,
        })
    }

    /// The number by which the kernel names this socket to others.
    ///
    /// # Errors
    /// When the socket fails.
    pub(crate) fn port(&self) -> Result<u32, Error> {
        let mut address = SocketAddr::new(0, 0);
        let named = self.socket.get_address(&mut address);
        named.map_err(Error::socket("name"))?;
        Ok(address.port_number())
    }

    /// Asks for a list and returns what `parse` makes of its entries.
    ///
    /// # Errors
    /// When the kernel refuses or the socket fails.
    pub fn dump<T>(
        &mut self,
        request: &Request,
        mut parse: impl FnMut(Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let mut attempt = 1;
        loop {
            let mut entries = Vec::new();
            let complete = self.exchange(request, libc::NLM_F_DUMP, |message| {
                entries.extend(parse(message));
            });
            match complete {
                Ok(true) => return Ok(entries),
                Ok(false) if attempt == DUMP_ATTEMPTS => return Ok(entries),
                Err(error) if error.errno() != Errno::ENOBUFS || attempt == DUMP_ATTEMPTS => {
                    return Err(error);
                }
                _ => attempt += 1,
            }
        }
    }

    /// Makes one request, waits until the kernel has done it and returns what `parse` makes of the answer.
    ///
    /// # Errors
    /// When the kernel refuses or the socket fails.
    pub fn request<T>(
        &mut self,
        request: &Request,
        mut parse: impl FnMut(Message<'_>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let mut answer = None;
        self.exchange(request, libc::NLM_F_ACK, |message| {
            if answer.is_none() {
                answer = parse(message);
            }
        })?;
        Ok(answer)
    }

    /// Makes one request that has no answer but "done".
    ///
    /// # Errors
    /// When the kernel refuses or the socket fails.
    pub fn execute(&mut self, request: &Request) -> Result<(), Error> {
        self.request(request, |_| None::<()>).map(drop)
    }

    /// Returns whether the answer is consistent (a dump may be interrupted by changes).
    fn exchange(
        &mut self,
        request: &Request,
        flags: i32,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<bool, Error> {
        let sequence = self.next_sequence();
        let mut out = Vec::with_capacity(request.len());
        request.write(&mut out, flags, sequence);
        self.send(&out)?;
        let mut consistent = true;
        loop {
            for message in self.receive()? {
                if message.sequence != sequence {
                    continue;
                }
                consistent &= i32::from(message.flags) & libc::NLM_F_DUMP_INTR == 0;
                match i32::from(message.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        return refusal(&message)
                            .map_or(Ok(consistent), |refusal| Err(Error::Refused(refusal)));
                    }
                    libc::NLMSG_NOOP => {}
                    _ => each(message),
                }
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        let kernel = SocketAddr::new(0, 0);
        retry(|| self.socket.send_to(bytes, &kernel, 0))
            .map(drop)
            .map_err(Error::socket("send"))
    }

    /// One datagram from the kernel.
    fn receive(&mut self) -> Result<Messages<'_>, Error> {
        loop {
            let (length, sender) = retry(|| {
                let mut space = self.buffer.as_mut_slice();
                self.socket.recv_from(&mut space, libc::MSG_TRUNC)
            })
            .map_err(Error::socket("receive"))?;
            if length > self.buffer.len() {
                // It is lost; the next attempt has the room.
                self.buffer.resize(length.next_power_of_two(), 0);
                return Err(Error::Socket {
                    operation: "receive",
                    errno: Errno::ENOBUFS,
                });
            }
            // Any process may write to a netlink port; only port 0 is the kernel.
            if sender.port_number() == 0 {
                return Ok(Messages::new(&self.buffer[..length]));
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        descriptor(&self.socket)
    }
}

/// netlink-sys offers only the raw descriptor.
fn descriptor(socket: &netlink_sys::Socket) -> BorrowedFd<'_> {
    #[expect(
        unsafe_code,
        reason = "the descriptor is open for as long as the socket, which the result borrows"
    )]
    unsafe {
        BorrowedFd::borrow_raw(socket.as_raw_fd())
    }
}

fn retry<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// What an NLMSG_ERROR or NLMSG_DONE says, if it is not "done".
fn refusal(message: &Message<'_>) -> Option<Refusal> {
    const NLM_F_CAPPED: u16 = 0x100;
    const NLM_F_ACK_TLVS: u16 = 0x200;
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let code = u32_at(message.payload, 0).map_or(0, |code| code as i32);
    if code == 0 {
        return None;
    }
    // After the code an error quotes the request: its header, and the rest unless capped.
    let quoted = match i32::from(message.kind) {
        libc::NLMSG_DONE => 0,
        _ if message.flags & NLM_F_CAPPED != 0 => message::HEADER,
        _ => u32_at(message.payload, 4).map_or(0, |length| length as usize),
    };
    let detail = (message.flags & NLM_F_ACK_TLVS != 0)
        .then(|| message.attributes(4 + quoted).find(NLMSGERR_ATTR_MSG))
        .flatten()
        .and_then(text);
    Some(Refusal {
        errno: Errno::from_raw(code.saturating_neg()),
        detail,
    })
}
