//! A process takes a tunnel over from one of another build, and loses no packet.
//!
//! There are no sessions: whoever has the descriptors can deal with any packet. They go over as they are (`SCM_RIGHTS`),
//! the TUN queue and the socket towards the other end. The old process ends the batches that it has in hand and reads no
//! more; then it ends, and the new one starts to read. Packets wait in the queues of the kernel for as long as one exchange
//! over a Unix socket takes. Until the new process says that it has all it needs, its end changes nothing; the old one goes
//! on. Afterwards its end is that of any process: the daemon starts another.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use routerd_core::encapsulation::PlainTunnel;
use serde::{Deserialize, Serialize};

use super::outer::Outer;
use super::server::Server;
use super::{Carrier, Options};
use crate::namespace::pass::{receive_line, send_line};
use crate::tunnel::tun::Tun;

/// The request that begins it.
pub(super) const REQUEST: &str = "takeover=1\n\n";

/// The new process: stop reading. The old one: nothing is read here any more.
const STOP: &str = "stop";
/// The new process: the packets are mine. The old one: they are, and ends.
const COMMIT: &str = "commit";

/// How long one process waits for the other.
const PATIENCE: Duration = Duration::from_secs(2);

/// What goes over besides the descriptors: the queue of the device, then the socket.
#[derive(Debug, Serialize, Deserialize)]
struct Estate {
    tunnel: PlainTunnel,
    /// The index that the underlay had when the socket was bound to it.
    underlay: Option<u32>,
}

/// Gives the tunnel to whoever asked for it on `stream`; returns if that fails and everything is as before.
pub(super) fn give(stream: &UnixStream, carrier: &Carrier) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let estate = Estate {
        tunnel: carrier.tunnel.clone(),
        underlay: carrier.underlay,
    };
    let mut fds = carrier.tun.queues();
    fds.push(carrier.outer.as_fd());
    send_line(stream, &serde_json::to_string(&estate)?, &fds)?;
    hear(stream, STOP)?;
    let _shut = carrier.gate.shut();
    send_line(stream, STOP, &[])?;
    hear(stream, COMMIT)?;
    send_line(stream, COMMIT, &[])?;
    tracing::info!("another process has the tunnel: ending");
    // Who hears of the end of this process is to find the other one in its place: the stream ends when it is there.
    let _ = receive_line(stream);
    std::process::exit(0)
}

/// Takes the tunnel over from the process that answers at `path`. Nothing is read before the result is used.
pub(super) fn succeed(options: &Options, path: &Path) -> io::Result<(Arc<Carrier>, Server)> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    (&stream).write_all(REQUEST.as_bytes())?;
    let (line, fds) = receive_line(&stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let estate: Estate = serde_json::from_str(&line)
        .map_err(|_| io::Error::other("the process that runs the tunnel cannot hand it over"))?;
    if estate.tunnel != options.tunnel {
        return Err(io::Error::other("the process carries another tunnel"));
    }
    let carrier = adopt(options, &estate, fds)?;
    let mut server = Server::bind_beside(path)?;
    for word in [STOP, COMMIT] {
        send_line(&stream, word, &[])?;
        hear(&stream, word)?;
    }
    server.step_in(path)?;
    drop(stream);
    Ok((carrier, server))
}

fn adopt(options: &Options, estate: &Estate, mut fds: Vec<OwnedFd>) -> io::Result<Arc<Carrier>> {
    let outer = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
    let tun = Tun::adopt(fds, &options.interface)?;
    let outer = Outer::adopt(outer, &estate.tunnel);
    Ok(Carrier::new(options, estate.underlay, outer, tun))
}

/// Waits for the word that comes next.
fn hear(stream: &UnixStream, word: &str) -> io::Result<()> {
    let (line, _) = receive_line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let right = line == word;
    let wrong = || io::Error::other(format!("`{line}` instead of `{word}`"));
    right.then_some(()).ok_or_else(wrong)
}
