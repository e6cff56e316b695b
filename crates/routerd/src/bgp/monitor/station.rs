//! A monitoring station (RFC 7854): the thread that connects to it, writes to it, and notices that it is gone.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use super::queue::{Queue, Taken};
use crate::bgp::{Line, Request};

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a station may take nothing at all.
const WRITE: Duration = Duration::from_secs(30);
/// How often it is looked whether a silent station is still there.
const LOOK: Duration = Duration::from_secs(1);
/// Between two attempts at first, and at last (RFC 7854, section 3.2: with a growing pause).
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Octets of one write.
const WRITTEN: usize = 256 * 1024;

/// Starts the thread of a station; it ends with its queue.
pub(super) fn start(address: SocketAddr, line: Line) -> io::Result<Arc<Queue<Bytes>>> {
    let queue = Arc::new(Queue::new());
    let ours = Arc::clone(&queue);
    std::thread::Builder::new()
        .name("bmp".to_owned())
        .spawn(move || run(address, &ours, &line))?;
    Ok(queue)
}

fn run(address: SocketAddr, queue: &Queue<Bytes>, line: &Line) {
    let mut pause = PAUSES.0;
    let mut last = String::new();
    while !queue.has_ended() {
        let begin = Instant::now();
        let result = TcpStream::connect_timeout(&address, CONNECT)
            .and_then(|stream| carry(&stream, address, queue, line));
        match result {
            Ok(()) => return,
            Err(error) => {
                let error = error.to_string();
                // The same again and again is told once.
                if error != last {
                    tracing::warn!(%address, error, "BMP station");
                }
                queue.close(Some(error.clone()));
                last = error;
            }
        }
        if begin.elapsed() > PAUSES.1 {
            pause = PAUSES.0;
        }
        queue.rest(pause);
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// One connection, from its beginning to its end.
fn carry(
    mut stream: &TcpStream,
    address: SocketAddr,
    queue: &Queue<Bytes>,
    line: &Line,
) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE))?;
    let number = queue.open();
    tracing::info!(%address, "BMP station connected");
    line.tell(Request::Ask(Box::new(move |thread| {
        thread.monitor_connected(address, number);
    })));
    let mut octets = Vec::new();
    loop {
        match queue.take(WRITTEN, LOOK) {
            Taken::Items(items, room) => {
                octets.clear();
                items.iter().for_each(|item| octets.extend_from_slice(item));
                stream.write_all(&octets)?;
                queue.wrote(octets.len());
                if room {
                    // The speaker looks what it has still to say whenever it wakes up.
                    line.tell(Request::Ask(Box::new(|_| ())));
                }
            }
            Taken::Nothing => still_there(stream)?,
            Taken::Overrun => return Err(io::Error::other("it is too slow: told anew later")),
            Taken::End => return Ok(()),
        }
    }
}

/// A station says nothing: what can be read is the end.
fn still_there(stream: &TcpStream) -> io::Result<()> {
    let mut ignored = [0; 512];
    match recv(stream.as_raw_fd(), &mut ignored, MsgFlags::MSG_DONTWAIT) {
        Ok(0) => Err(io::Error::other("it closed the connection")),
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
