//! The interfaces that are there: looked at beside the thread of the sessions, since the kernel lists them under the lock
//! that every change of a route or a link takes.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use api::IfName;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Command, Line};
use crate::netlink::{Listener, Socket, link};

/// The thread; it ends with this value.
#[derive(Debug)]
pub(super) struct LinkWatch {
    control: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl LinkWatch {
    /// Tells of the interfaces of the calling thread's network namespace: at once, and whenever they change.
    pub(super) fn start(line: Line) -> io::Result<Self> {
        let (control, other_end) = UnixStream::pair()?;
        // Before the first look, so that no change is missed.
        let listener = Listener::open(NETLINK_ROUTE, &[libc::RTNLGRP_LINK]);
        let mut watcher = Watcher {
            listener: listener.map_err(io::Error::other)?,
            socket: Socket::open(NETLINK_ROUTE).map_err(io::Error::other)?,
            control: other_end,
            line,
            told: BTreeMap::new(),
        };
        watcher.look()?;
        let thread = std::thread::Builder::new()
            .name("bfd-links".to_owned())
            .spawn(move || watcher.run())?;
        Ok(Self {
            control,
            thread: Some(thread),
        })
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks at links for BFD panicked");
        }
    }
}

struct Watcher {
    listener: Listener,
    socket: Socket,
    control: UnixStream,
    line: Line,
    told: BTreeMap<IfName, u32>,
}

impl Watcher {
    fn run(mut self) {
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::error!(%error, "look at links for BFD");
                    std::thread::sleep(std::time::Duration::from_secs(1));
                }
            }
        }
    }

    /// Waits for a change and tells of it. Returns false when it is over.
    fn turn(&mut self) -> io::Result<bool> {
        let fds = [self.control.as_fd(), self.listener.as_fd()];
        let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
        // Nothing is ever written there.
        if fds[0].revents().is_some_and(|events| !events.is_empty()) {
            return Ok(false);
        }
        let mut moved = false;
        let lost = self.listener.drain(|_| moved = true);
        if lost.map_err(io::Error::other)? || moved {
            self.look()?;
        }
        Ok(true)
    }

    fn look(&mut self) -> io::Result<()> {
        let links = link::dump(&mut self.socket).map_err(io::Error::other)?;
        let indexes = links.into_iter();
        let indexes = indexes.map(|entry| (entry.name, entry.link.index));
        let indexes: BTreeMap<_, _> = indexes.collect();
        if indexes != self.told {
            self.told.clone_from(&indexes);
            self.line.tell(Command::Links(indexes))?;
        }
        Ok(())
    }
}
