//! Joins packets of one flow that follow each other, so that the kernel handles them as one.

use std::io::{self, IoSlice};

use super::tun::Tun;
use super::vnet::Header;

/// Bytes that are gathered at most.
const CAPACITY: usize = 128 * 1024;

/// Packets in the order in which they came.
pub(super) struct Joiner {
    bytes: Vec<u8>,
    used: usize,
    packets: Vec<(usize, usize)>,
    _udp: bool,
}

impl Joiner {
    pub(super) fn new(udp: bool) -> Self {
        Self {
            bytes: vec![0; CAPACITY],
            used: 0,
            packets: Vec::new(),
            _udp: udp,
        }
    }

    /// Where the next packet is to be written.
    pub(super) fn space(&mut self, _length: usize) -> &mut [u8] {
        &mut self.bytes[self.used..]
    }

    /// Takes the first `length` bytes of [`Joiner::space`] as a packet.
    pub(super) fn commit(&mut self, length: usize) {
        self.packets.push((self.used, length));
        self.used += length;
    }

    /// Writes everything.
    pub(super) fn flush(&mut self, tun: &Tun) -> io::Result<()> {
        for (start, length) in self.packets.drain(..) {
            let packet = &self.bytes[start..start + length];
            let header = Header::PLAIN.emit(packet[0] >> 4);
            write(tun, &[IoSlice::new(&header), IoSlice::new(packet)])?;
        }
        self.used = 0;
        Ok(())
    }
}

/// Writes a packet; one that the kernel does not take, for example while the link is down, is lost.
fn write(tun: &Tun, parts: &[IoSlice<'_>]) -> io::Result<()> {
    match tun.write(parts) {
        Err(error) if error.raw_os_error() == Some(libc::EBADFD) => Err(error),
        _ => Ok(()),
    }
}
