//! Tells whoever connects what the tunnel is and what runs it, and hands it over to whoever may connect and asks for it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Carrier, handover};
use crate::tunnel::{listen, program};

/// What is the tunnel?
pub(in crate::plain) const GET: &str = "get=1\n\n";

/// How long a client may take; it is the daemon, which asks at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// The socket.
pub(super) struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens in the place of a socket that a dead process left there. Only the owner may connect.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o755).create(dir)?;
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

    /// Where it listens.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Answers one client after the other.
    pub(super) fn run(&self, carrier: &Carrier) -> io::Result<()> {
        for stream in self.listener.incoming() {
            // A client that goes away in between asks again.
            drop(answer(stream?, carrier));
        }
        Ok(())
    }
}

/// Removes the socket, if it is still that of this process.
pub(super) fn clear(path: &Path) {
    // A new process may have put its own there meanwhile: then somebody accepts connections on it.
    if UnixStream::connect(path).is_err() {
        drop(std::fs::remove_file(path));
    }
}

fn answer(stream: UnixStream, carrier: &Carrier) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let is = |request: &str| line.trim_end() == request.trim_end();
    if is(handover::REQUEST) {
        return handover::give(reader.get_ref(), carrier);
    }
    let told = if is(program::REQUEST) {
        program::answer(&program::running()?)
    } else {
        serde_json::to_string(&carrier.tells())? + "\n"
    };
    reader.get_mut().write_all(format!("{told}\n").as_bytes())
}
