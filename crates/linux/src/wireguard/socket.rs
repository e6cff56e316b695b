//! Client of the standard configuration socket, with a limit on how long a hung process can hold us up.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt,
};

use super::pid::Process;

/// How long a process may take to answer before it counts as not there, for now.
pub(crate) const SHORT: Duration = Duration::from_secs(1);

/// How long it may take before it counts as hung, or a change as failed: a loaded host is slow.
pub(crate) const LONG: Duration = Duration::from_secs(5);

/// A connection to a device's process.
pub(crate) struct Connection {
    stream: UnixStream,
}

impl Connection {
    /// Connects without waiting: a process that does not accept connections any more makes this fail.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None,
        )?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        let stream = UnixStream::from(fd);
        stream.set_nonblocking(false)?;
        Ok(Self { stream })
    }

    /// The process at the other end.
    pub(crate) fn process(&self) -> io::Result<Process> {
        let credentials = getsockopt(&self.stream, sockopt::PeerCredentials)?;
        Process::open(credentials.pid())
    }

    /// Sends one request and returns the whole answer, its `errno` line included.
    pub(crate) fn request(&mut self, request: &str, limit: Duration) -> io::Result<String> {
        self.exchange(request, limit)
            .map_err(|error| match error.kind() {
                // How the kernel says that a socket's time is up.
                io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
                _ => error,
            })
    }

    fn exchange(&mut self, request: &str, limit: Duration) -> io::Result<String> {
        let deadline = Instant::now() + limit;
        self.stream.set_write_timeout(Some(limit))?;
        self.stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        while !answer.ends_with(b"\n\n") {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => answer.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        String::from_utf8(answer).map_err(io::Error::other)
    }
}
