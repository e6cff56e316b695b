//! One TCP connection: octets that wait to be taken, and what is known of its ends.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, Bytes};
use mio::net::TcpStream;

/// Slices in one write.
const SLICES: usize = 64;

/// A connection that opens or is open.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    pub(super) remote: IpAddr,
    /// Whether the handshake is done.
    pub(super) open: bool,
    /// Whether the peer closed its side: what is left is to be read to its end.
    pub(super) ends: bool,
    /// Whether the kernel takes octets, as far as we know.
    writable: bool,
    queue: VecDeque<Bytes>,
}

/// What became of reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// So many octets.
    Some(usize),
    /// None now.
    Nothing,
    /// The peer closed its side.
    End,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, remote: IpAddr, open: bool) -> Self {
        Self {
            stream,
            remote,
            open,
            ends: false,
            writable: open,
            queue: VecDeque::new(),
        }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Our end.
    pub(super) fn local(&self) -> io::Result<IpAddr> {
        self.stream.local_addr().map(|address| address.ip())
    }

    /// The ports of both ends: ours, the peer's.
    pub(super) fn ports(&self) -> Option<(u16, u16)> {
        let local = self.stream.local_addr().ok()?.port();
        Some((local, self.stream.peer_addr().ok()?.port()))
    }

    /// The outcome of the handshake; absent while it is under way.
    pub(super) fn opened(&mut self) -> Option<io::Result<SocketAddr>> {
        if let Ok(Some(error)) = self.stream.take_error() {
            return Some(Err(error));
        }
        match self.stream.peer_addr() {
            Ok(address) => {
                self.open = true;
                self.writable = true;
                Some(Ok(address))
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Octets to be written after all earlier ones.
    pub(super) fn enqueue(&mut self, bytes: Bytes) {
        self.queue.push_back(bytes);
    }

    pub(super) fn can_write(&mut self) {
        self.writable = true;
    }

    /// Writes what the kernel takes now and returns how many octets that were.
    pub(super) fn flush(&mut self) -> io::Result<usize> {
        let mut written = 0;
        while self.open && self.writable && !self.queue.is_empty() {
            let slices: Vec<IoSlice<'_>> = self
                .queue
                .iter()
                .take(SLICES)
                .map(|b| IoSlice::new(b))
                .collect();
            match self.stream.write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    written += count;
                    self.forget(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn forget(&mut self, mut count: usize) {
        while let Some(first) = self.queue.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.queue.pop_front();
        }
    }

    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(Received::End),
                Ok(count) => return Ok(Received::Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Received::Nothing);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
