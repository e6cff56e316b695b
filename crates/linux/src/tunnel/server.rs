//! The configuration socket: who may connect, one thread for each connection, bounded requests.

use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::stat::{Mode, umask};

use super::uapi::{self, Request};
use super::{Shared, handover, program};
use crate::wireguard::{Connection, LONG};

/// Connections at the same time.
const MAX_CONNECTIONS: usize = 16;

/// The longest request: some 500,000 allowed IPs.
const MAX_REQUEST: usize = 16 * 1024 * 1024;

/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(30);

/// The socket.
pub(super) struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens at `path`, in the place of a socket that a dead process left there. Only the owner may
    /// connect: the answers hold private keys.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(dir)?;
        }
        Ok(Self {
            listener: listen(path)?,
            path: path.to_owned(),
        })
    }

    /// Listens beside `path`, where another process still does.
    pub(super) fn bind_beside(path: &Path) -> io::Result<Self> {
        Self::bind(&path.with_extension("next"))
    }

    /// Takes the place of whoever listens at `path`, without a moment in which nobody does.
    pub(super) fn step_in(&mut self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)?;
        self.path = path.to_owned();
        Ok(())
    }

    /// Answers for the device until the process ends.
    pub(super) fn run(&self, shared: &Arc<Shared>) -> io::Result<()> {
        let connections = Arc::new(AtomicUsize::new(0));
        for stream in self.listener.incoming() {
            let stream = stream?;
            if connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
                connections.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let connections = Arc::clone(&connections);
            let shared = Arc::clone(shared);
            std::thread::Builder::new()
                .name("uapi".to_owned())
                .spawn(move || {
                    // A connection that breaks concerns nobody but its client.
                    let _ = serve(&stream, &shared);
                    connections.fetch_sub(1, Ordering::Relaxed);
                })?;
        }
        Ok(())
    }

    /// What stands in the file system.
    pub(super) fn place(&self) -> io::Result<Place> {
        Ok(Place {
            path: self.path.clone(),
            identity: identity(&self.path)?,
        })
    }
}

/// Listens in the place of a socket that a dead process left there. Only the owner may connect.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let before = umask(Mode::from_bits_truncate(0o077));
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

/// A socket in the file system, told from one that another process puts in its place.
pub(super) struct Place {
    path: PathBuf,
    identity: (u64, u64),
}

impl Place {
    /// Takes the socket from the file system if it is still the same.
    pub(super) fn clear(&self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // Gone in this very moment is as good.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn serve(mut stream: &UnixStream, shared: &Arc<Shared>) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let mut pending = Vec::new();
    while let Some(request) = next_request(&mut stream, &mut pending)? {
        if request == handover::REQUEST {
            return handover::give(stream, shared);
        }
        let answer = answer(&request, shared);
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// Bytes up to and with the next empty line; absent when the client has closed.
pub(super) fn next_request(
    stream: &mut impl Read,
    pending: &mut Vec<u8>,
) -> io::Result<Option<String>> {
    let mut searched = 0;
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(at) = end_of_request(&pending[searched..]) {
            let rest = pending.split_off(searched + at);
            let request = std::mem::replace(pending, rest);
            return String::from_utf8(request)
                .map(Some)
                .map_err(io::Error::other);
        }
        searched = pending.len().saturating_sub(1);
        if pending.len() > MAX_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(None),
            n => pending.extend_from_slice(&buffer[..n]),
        }
    }
}

fn end_of_request(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .map(|at| at + 2)
}

fn answer(request: &str, shared: &Arc<Shared>) -> String {
    if request == program::REQUEST {
        return format!(
            "{}{}",
            program::answer(&shared.build),
            uapi::format_errno(0)
        );
    }
    if shared.office.duty().retired {
        return forward(request, shared);
    }
    match uapi::parse_request(request) {
        Ok(Request::Get) => uapi::format_state(&shared.device.get()) + &uapi::format_errno(0),
        Ok(Request::Set(change)) => match shared.set(change) {
            Ok(()) => uapi::format_errno(0),
            Err(error) => {
                tracing::warn!(%error, "configuration refused");
                uapi::format_errno(error.raw_os_error().unwrap_or(libc::EIO))
            }
        },
        Err(error) => {
            tracing::warn!(%error, "malformed configuration request");
            uapi::format_errno(error.errno())
        }
    }
}

/// Asks the process that has the device now: the connection was made before it had.
fn forward(request: &str, shared: &Arc<Shared>) -> String {
    let answer =
        Connection::open(&shared.path).and_then(|mut connection| connection.request(request, LONG));
    answer.unwrap_or_else(|error| uapi::format_errno(error.raw_os_error().unwrap_or(libc::EIO)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_cut_at_empty_lines_wherever_reads_end() {
        let text = b"get=1\n\nset=1\nlisten_port=1\n\nget=1\n\n";
        for size in 1..text.len() {
            let mut pieces = text.chunks(size);
            let mut reader = io::empty();
            let mut pending = Vec::new();
            let mut requests = Vec::new();
            loop {
                // A reader that gives one piece a call.
                struct Once<'a>(Option<&'a [u8]>);
                impl Read for Once<'_> {
                    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                        let piece = self.0.take().ok_or(io::ErrorKind::WouldBlock)?;
                        buffer[..piece.len()].copy_from_slice(piece);
                        Ok(piece.len())
                    }
                }
                match next_request(&mut Once(None), &mut pending) {
                    Ok(Some(request)) => requests.push(request),
                    Ok(None) => unreachable!("never closed"),
                    Err(_) => match pieces.next() {
                        Some(piece) => pending.extend_from_slice(piece),
                        None => break,
                    },
                }
            }
            assert!(
                next_request(&mut reader, &mut pending)
                    .expect("closed")
                    .is_none()
            );
            assert_eq!(
                requests,
                ["get=1\n\n", "set=1\nlisten_port=1\n\n", "get=1\n\n"]
            );
        }
    }
}
