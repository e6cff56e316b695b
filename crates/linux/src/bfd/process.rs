//! The process of the sessions: detached from the daemon that started it, it keeps them up while that daemon is killed,
//! restarted or replaced. To peers BFD then says what it is there to say, that the path is good, and their graceful restart
//! does the rest (RFC 5882, section 4.3.1).
//!
//! It ends, with a goodbye to its peers, when no session is wanted any more, or when no daemon came back in the time that
//! the last one gave. A signal ends it without a word: then the host goes down, and peers shall know at once.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use bgp::bfd::{Settings, State};

use super::protocol::{Ask, Hello, Standing, Tell, VERSION, write};
use super::{Bfd, Ends, Notice};
use crate::tunnel::{announce, detach, essential, harden};

/// How long it waits for somebody to ask for a session.
const FIRST_ASK: Duration = Duration::from_secs(30);
/// While it says goodbye it looks this often whether that is done.
const LOOK: Duration = Duration::from_millis(100);
/// A daemon that does not read for this long is as good as gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where its socket is to stand.
    pub socket: PathBuf,
    /// Stay a child of the caller. Otherwise a process in a session of its own goes on, and the call returns.
    pub foreground: bool,
}

/// Runs sessions as they are asked for. Prints `ready` on standard output and closes it once the socket stands, or prints
/// why it cannot. In the foreground this returns when it is not needed any more.
///
/// Must be called before the process has other threads.
///
/// # Errors
/// When the host has no thread or socket left, or the socket cannot stand there.
pub fn run(options: &Options) -> io::Result<()> {
    if !options.foreground {
        return detach();
    }
    let started = start(&options.socket);
    announce(&started)?;
    started?.work()
}

enum Message {
    /// Somebody connected.
    Came(u64, UnixStream),
    /// Who has this number asks for something,
    Asked(u64, Ask),
    /// or is gone.
    Left(u64),
    Noticed(Notice),
}

struct Process {
    bfd: Bfd,
    inbox: Receiver<Message>,
    socket: PathBuf,
    /// The daemon: whoever came last.
    client: Option<(u64, UnixStream)>,
    wanted: BTreeMap<Ends, Settings>,
    /// Whether sessions were ever asked for.
    asked: bool,
    keep: Duration,
    /// Without a daemon: until when the sessions are kept.
    alone_until: Option<Instant>,
}

fn start(socket: &Path) -> io::Result<Process> {
    harden()?;
    let listener = bind(socket)?;
    let (tell, inbox) = mpsc::channel();
    let noticed = tell.clone();
    // Nobody hears it only when the process ends.
    let notify = move |notice| drop(noticed.send(Message::Noticed(notice)));
    let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    let bfd = Bfd::start(random, notify)?;
    essential("accept", move || accept(&listener, &tell))?;
    Ok(Process {
        bfd,
        inbox,
        socket: socket.to_owned(),
        client: None,
        wanted: BTreeMap::new(),
        asked: false,
        keep: FIRST_ASK,
        alone_until: Some(Instant::now() + FIRST_ASK),
    })
}

/// Listens in the place of a socket that a dead process left there; only for the owner.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        let message = format!("{} belongs to a process that runs", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
    }
    crate::tunnel::listen(path)
}

fn accept(listener: &UnixListener, tell: &Sender<Message>) -> io::Result<()> {
    for (number, stream) in (0..).zip(listener.incoming()) {
        let stream = stream?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let reader = BufReader::new(stream.try_clone()?);
        // The other end of the channel lives as long as the process.
        let _ = tell.send(Message::Came(number, stream));
        let tell = tell.clone();
        let read = move || {
            listen(reader, number, &tell);
            let _ = tell.send(Message::Left(number));
        };
        std::thread::Builder::new()
            .name("listen".to_owned())
            .spawn(read)?;
    }
    Ok(())
}

/// Passes on what somebody asks for, until he is gone or talks nonsense.
fn listen(reader: BufReader<UnixStream>, number: u64, tell: &Sender<Message>) {
    for line in reader.lines() {
        let Ok(line) = line else {
            return;
        };
        match serde_json::from_str(&line) {
            Ok(ask) => drop(tell.send(Message::Asked(number, ask))),
            Err(error) => {
                tracing::warn!(%error, "what the daemon asks of BFD is not understood");
                return;
            }
        }
    }
}

impl Process {
    fn work(mut self) -> io::Result<()> {
        loop {
            match self.next() {
                Ok(message) => self.take(message)?,
                Err(RecvTimeoutError::Timeout) => self.look_at_the_clock()?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("nobody accepts connections"));
                }
            }
            if self.asked && self.wanted.is_empty() && self.bfd.overview()?.leaving == 0 {
                // Whoever came meanwhile finds nobody, and starts another one.
                return std::fs::remove_file(&self.socket);
            }
        }
    }

    fn next(&self) -> Result<Message, RecvTimeoutError> {
        let alone = self
            .alone_until
            .map(|at| at.saturating_duration_since(Instant::now()));
        let goodbye = (self.asked && self.wanted.is_empty()).then_some(LOOK);
        match alone.into_iter().chain(goodbye).min() {
            Some(left) => self.inbox.recv_timeout(left),
            None => self
                .inbox
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn take(&mut self, message: Message) -> io::Result<()> {
        let current = |client: &Option<(u64, UnixStream)>, number| {
            client.as_ref().is_some_and(|(n, _)| *n == number)
        };
        match message {
            Message::Came(number, stream) => {
                let hello = Tell::Hello(self.hello()?);
                self.alone_until = None;
                self.client = Some((number, stream));
                self.tell(&hello);
            }
            Message::Asked(number, ask) if current(&self.client, number) => self.obey(ask)?,
            Message::Left(number) if current(&self.client, number) => self.lose(),
            Message::Asked(..) | Message::Left(_) => {}
            Message::Noticed(notice) => self.pass_on(notice),
        }
        Ok(())
    }

    fn obey(&mut self, ask: Ask) -> io::Result<()> {
        match ask {
            Ask::Sessions { sessions, keep } => {
                self.keep = keep;
                self.want(sessions.into_iter().collect())
            }
            Ask::Overview => {
                let overview = Box::new(self.bfd.overview()?);
                self.tell(&Tell::Overview(overview));
                Ok(())
            }
            Ask::Leave => self.want(BTreeMap::new()),
        }
    }

    fn want(&mut self, sessions: BTreeMap<Ends, Settings>) -> io::Result<()> {
        self.asked = true;
        self.wanted.clone_from(&sessions);
        self.bfd.update(sessions)
    }

    fn look_at_the_clock(&mut self) -> io::Result<()> {
        if self.alone_until.is_some_and(|at| at <= Instant::now()) {
            self.alone_until = None;
            tracing::info!("no daemon came back; the BFD sessions end");
            self.want(BTreeMap::new())?;
        }
        Ok(())
    }

    fn hello(&self) -> io::Result<Hello> {
        let overview = self.bfd.overview()?;
        let standing = |(ends, settings): (&Ends, &Settings)| {
            let view = overview.sessions.get(ends);
            Standing {
                ends: ends.clone(),
                settings: *settings,
                up: view.is_some_and(|view| view.state == State::Up),
            }
        };
        Ok(Hello {
            version: VERSION,
            sessions: self.wanted.iter().map(standing).collect(),
        })
    }

    fn pass_on(&mut self, notice: Notice) {
        let told = match notice {
            Notice::Changed(event) => Tell::Changed {
                ends: event.ends,
                transition: event.transition,
                age: event.at.elapsed(),
            },
            Notice::Patience { ends, factor } => Tell::Patience { ends, factor },
            Notice::Failed { ends, reason } => Tell::Failed { ends, reason },
        };
        self.tell(&told);
    }

    /// Tells the daemon, if there is one. What nobody hears now the next one learns from the greeting.
    fn tell(&mut self, told: &Tell) {
        let Some((_, stream)) = &self.client else {
            return;
        };
        if let Err(error) = write(stream, told) {
            tracing::warn!(%error, "tell the daemon of BFD");
            let _ = stream.shutdown(std::net::Shutdown::Both);
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.client = None;
        self.alone_until = Some(Instant::now() + self.keep);
    }
}
