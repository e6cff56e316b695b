//! The kernel's notifications.

use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::SocketAddr;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use super::{Error, Message, Messages, descriptor, retry};
use crate::bpf;

/// Datagrams read in one go, so that a flood on one socket leaves time for the others.
const BURST: usize = 512;
/// Notifications that arrive while we are busy wait here; what does not fit is an overrun.
const QUEUE: usize = 1 << 20;

/// A socket that hears multicast groups of one protocol.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: netlink_sys::Socket,
    buffer: Vec<u8>,
}

impl Listener {
    /// Subscribes in the calling thread's network namespace.
    pub(crate) fn open(protocol: isize, groups: &[u32]) -> Result<Self, Error> {
        let subscribe = Error::socket("subscribe");
        let mut socket = netlink_sys::Socket::new(protocol).map_err(&subscribe)?;
        socket.bind(&SocketAddr::new(0, 0)).map_err(&subscribe)?;
        let fd = descriptor(&socket);
        if setsockopt(&fd, sockopt::RcvBufForce, &QUEUE).is_err() {
            let _ = setsockopt(&fd, sockopt::RcvBuf, &QUEUE);
        }
        for group in groups {
            socket.add_membership(*group).map_err(&subscribe)?;
        }
        Ok(Self {
            socket,
            buffer: vec![0; 64 * 1024],
        })
    }

    /// Has the kernel keep to itself what a program of [`super::filter`] drops.
    pub(crate) fn filter(&self, program: &[libc::sock_filter]) -> Result<(), Error> {
        bpf::attach(&self.socket, program).map_err(Error::socket("filter"))
    }

    /// Hands over what has arrived without waiting for more. Returns whether any of it was lost.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(Message<'_>)) -> Result<bool, Error> {
        let mut lost = false;
        for _ in 0..BURST {
            let received = retry(|| {
                let mut space = self.buffer.as_mut_slice();
                let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
                self.socket.recv_from(&mut space, flags)
            })
            .map_err(Error::socket("receive"));
            match received {
                Ok((length, sender)) if sender.port_number() == 0 => {
                    lost |= length > self.buffer.len();
                    let whole = length.min(self.buffer.len());
                    Messages::new(&self.buffer[..whole]).for_each(&mut each);
                }
                Ok(_) => {}
                Err(error) => match error.errno() {
                    Errno::EAGAIN => break,
                    Errno::ENOBUFS => lost = true,
                    _ => return Err(error),
                },
            }
        }
        Ok(lost)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        descriptor(&self.socket)
    }
}
