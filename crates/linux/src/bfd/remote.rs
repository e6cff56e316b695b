//! The daemon's end of the process that runs the sessions.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use bgp::bfd::Settings;

use super::protocol::{Ask, Tell, VERSION, write};
use super::{Ends, Event, Notice, Overview};
use crate::wireguard::launch;

pub use super::protocol::Standing;

/// The process answers at once, unless something is wrong with it.
const ANSWER: Duration = Duration::from_secs(2);
/// A process of another version says goodbye to its peers in this time.
const GOODBYE: Duration = Duration::from_secs(10);

/// What is heard from the process.
#[derive(Debug, Clone)]
pub enum Heard {
    /// Something happened to a session.
    Notice(Notice),
    /// The process is gone, or does not talk to us any more.
    Gone,
}

/// A connection to the process.
#[derive(Debug)]
pub struct Remote {
    stream: UnixStream,
    overviews: Receiver<Overview>,
}

impl Remote {
    /// Meets the process that runs already; absent if there is none. One of another version is sent away. `notify` is
    /// called in a thread of its own.
    ///
    /// # Errors
    /// When it does not answer as it should.
    pub fn attach(
        socket: &Path,
        notify: impl FnMut(Heard) + Send + 'static,
    ) -> io::Result<Option<(Self, Vec<Standing>)>> {
        let stream = match UnixStream::connect(socket) {
            Ok(stream) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let sessions = match serde_json::from_str(&line) {
            Ok(Tell::Hello(hello)) if hello.version == VERSION => hello.sessions,
            _ => {
                send_away(&stream, reader)?;
                return Ok(None);
            }
        };
        stream.set_read_timeout(None)?;
        let (overview, overviews) = mpsc::channel();
        let listen = move || listen(reader, &overview, notify);
        std::thread::Builder::new()
            .name("bfd".to_owned())
            .spawn(listen)?;
        Ok(Some((Self { stream, overviews }, sessions)))
    }

    /// Starts a process and meets it.
    ///
    /// # Errors
    /// When it does not start, or does not answer.
    pub fn launch(
        program: &Path,
        socket: &Path,
        notify: impl FnMut(Heard) + Send + 'static,
    ) -> io::Result<(Self, Vec<Standing>)> {
        let mut command = Command::new(program);
        command.args(["bfd", "--socket"]).arg(socket);
        launch(&mut command).map_err(io::Error::other)?;
        let met = Self::attach(socket, notify)?;
        met.ok_or_else(|| io::Error::other("it ended at once"))
    }

    /// Runs exactly these sessions from now on; for so long if this end is gone.
    ///
    /// # Errors
    /// When the process does not listen.
    pub fn update(&self, sessions: &BTreeMap<Ends, Settings>, keep: Duration) -> io::Result<()> {
        let sessions = sessions.iter();
        let sessions = sessions.map(|(ends, settings)| (ends.clone(), *settings));
        let sessions = sessions.collect();
        write(&self.stream, &Ask::Sessions { sessions, keep })
    }

    /// How all sessions stand.
    ///
    /// # Errors
    /// When the process does not answer.
    pub fn overview(&self) -> io::Result<Overview> {
        // An answer that came too late for its question is of no use to this one.
        self.overviews.try_iter().for_each(drop);
        write(&self.stream, &Ask::Overview)?;
        self.overviews
            .recv_timeout(ANSWER)
            .map_err(io::Error::other)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // The thread that listens has a descriptor of its own.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// Has a process of another version end in good order.
fn send_away(stream: &UnixStream, reader: BufReader<UnixStream>) -> io::Result<()> {
    tracing::info!("a BFD process of another version says goodbye to its peers");
    write(stream, &Ask::Leave)?;
    stream.set_read_timeout(Some(GOODBYE))?;
    for line in reader.lines() {
        line?;
    }
    Ok(())
}

fn listen(
    reader: BufReader<UnixStream>,
    overview: &Sender<Overview>,
    mut notify: impl FnMut(Heard),
) {
    for line in reader.lines() {
        let Ok(line) = line else {
            break;
        };
        let notice = match serde_json::from_str(&line) {
            Ok(Tell::Changed {
                ends,
                transition,
                age,
            }) => {
                let now = Instant::now();
                let at = now.checked_sub(age).unwrap_or(now);
                Notice::Changed(Event {
                    ends,
                    transition,
                    at,
                })
            }
            Ok(Tell::Patience { ends, factor }) => Notice::Patience { ends, factor },
            Ok(Tell::Failed { ends, reason }) => Notice::Failed { ends, reason },
            Ok(Tell::Overview(said)) => {
                // Who asked may have given up.
                let _ = overview.send(*said);
                continue;
            }
            Ok(Tell::Hello(_)) | Err(_) => break,
        };
        notify(Heard::Notice(notice));
    }
    notify(Heard::Gone);
}
