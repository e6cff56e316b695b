//! A process that is held by descriptor, so that its number cannot come to mean another one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a process whose link is gone may take to notice.
const GRACE: Duration = Duration::from_secs(1);

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    fd: OwnedFd,
}

impl Process {
    /// Takes hold of a process.
    pub(crate) fn open(pid: i32) -> io::Result<Self> {
        #[expect(unsafe_code, reason = "neither std nor nix wraps pidfd_open(2)")]
        // SAFETY: pidfd_open takes two integers; a result that is not negative is a new descriptor that
        // nobody else owns.
        let fd = unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?)
        };
        Ok(Self { fd })
    }

    /// The descriptor: readable once the process has ended.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Waits for the process to end by itself, then makes it.
    pub(crate) fn end(&self) -> io::Result<()> {
        if self.ended_within(GRACE)? {
            return Ok(());
        }
        self.terminate()
    }

    /// Ends the process at once.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        self.kill()?;
        if self.ended_within(GRACE)? {
            Ok(())
        } else {
            Err(io::ErrorKind::TimedOut.into())
        }
    }

    fn kill(&self) -> io::Result<()> {
        #[expect(unsafe_code, reason = "neither std nor nix wraps pidfd_send_signal(2)")]
        // SAFETY: integers and a null pointer, which asks for default signal information.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        match io::Error::last_os_error() {
            _ if result == 0 => Ok(()),
            gone if gone.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        }
    }

    fn ended_within(&self, limit: Duration) -> io::Result<bool> {
        let timeout = PollTimeout::try_from(limit).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut fds, timeout)? > 0)
    }
}
