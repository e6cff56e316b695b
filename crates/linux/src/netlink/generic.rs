//! Generic netlink: families have names, and numbers that the kernel gives out.

use netlink_sys::protocols::NETLINK_GENERIC;
use nix::errno::Errno;

use super::{Error, Request, Socket, u16_at};

/// `struct genlmsghdr`: command, version, two bytes that are not used.
pub(crate) const HEADER: usize = 4;

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const VERSION: u8 = 1;

/// A socket that knows the number of a family.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) socket: Socket,
    number: u16,
}

impl Family {
    /// Finds a family; the kernel loads its module if it can.
    pub(crate) fn open(name: &'static str) -> Result<Self, Error> {
        let mut socket = Socket::open(NETLINK_GENERIC)?;
        let request = Request::new(GENL_ID_CTRL, 0, &[CTRL_CMD_GETFAMILY, VERSION, 0, 0])
            .with_text(CTRL_ATTR_FAMILY_NAME, name);
        let number = socket.request(&request, |answer| {
            u16_at(answer.attributes(HEADER).find(CTRL_ATTR_FAMILY_ID)?, 0)
        })?;
        match number {
            Some(number) => Ok(Self { socket, number }),
            None => Err(Error::Socket {
                operation: "find a generic netlink family",
                errno: Errno::ENOENT,
            }),
        }
    }

    /// Starts a request for a command.
    pub(crate) fn request(&self, command: u8) -> Request {
        Request::new(self.number, 0, &[command, VERSION, 0, 0])
    }
}
