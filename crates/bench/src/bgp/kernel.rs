//! What the kernel says of the routes in its table. Of every [`STRIDE`]th route only: whoever hears of all of them takes
//! one of two processors and slows down what is measured.

use std::io;
use std::os::fd::AsFd;

use anyhow::Result;
use linux::bpf::{ACCEPT, DROP, attach, jump_equal, statement};
use linux::netlink::Attributes;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct rtmsg` behind it.
const FIXED: usize = HEADER + 12;
/// The address of `RTA_DST`, which stands behind `RTA_TABLE`.
const DESTINATION: u32 = FIXED as u32 + 8 + 4;
/// Room for all that is heard of a bench: the kernel counts near a kilobyte for each.
const QUEUE: usize = 64 << 20;
/// Routes whose number is a multiple of it are heard of.
pub const STRIDE: u32 = 64;

/// Hears what changes of the routes in this namespace.
pub fn listen() -> Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    let every = [
        statement(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, DESTINATION + 3),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, STRIDE - 1),
        jump_equal(0, 0, 1),
        statement(libc::BPF_RET | libc::BPF_K, ACCEPT),
        statement(libc::BPF_RET | libc::BPF_K, DROP),
    ];
    attach(&socket, &every)?;
    socket.add_membership(libc::RTNLGRP_IPV4_ROUTE)?;
    let fd = socket.as_fd();
    if setsockopt(&fd, sockopt::RcvBufForce, &QUEUE).is_err() {
        // Not root: what does not fit ends the bench with an overrun.
        setsockopt(&fd, sockopt::RcvBuf, &QUEUE)?;
    }
    Ok(socket)
}

/// Reads what has been said: `each` is told every `/32` with its gateway, none where it went.
pub fn read(
    socket: &Socket,
    buffer: &mut [u8],
    mut each: impl FnMut(u32, Option<u32>),
) -> io::Result<()> {
    loop {
        let mut space = &mut *buffer;
        let count = match socket.recv(&mut space, 0) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut messages = &buffer[..count];
        while let Some(length) = number(messages, 0) {
            let length = length as usize;
            let Some(message) = messages.get(..length).filter(|_| length >= HEADER) else {
                break;
            };
            if let Some((route, gateway)) = route(message) {
                each(route, gateway);
            }
            messages = messages
                .get(length.next_multiple_of(4)..)
                .unwrap_or_default();
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let octets = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*octets))
}

fn route(message: &[u8]) -> Option<(u32, Option<u32>)> {
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    let attributes = Attributes::new(message.get(FIXED..)?);
    let address = |kind| {
        let octets: &[u8; 4] = attributes.find(kind)?.first_chunk()?;
        Some(u32::from_be_bytes(*octets))
    };
    let destination = address(libc::RTA_DST)?;
    match kind {
        libc::RTM_NEWROUTE => Some((destination, address(libc::RTA_GATEWAY))),
        libc::RTM_DELROUTE => Some((destination, None)),
        _ => None,
    }
}
