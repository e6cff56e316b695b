//! The daemon's side: starts a plugin, feeds it, listens to it, and ends it.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::cell::{REFUSED, TIMED_OUT};
use super::{Job, PluginError, STDERR_LIMIT, STDOUT_LIMIT};

/// How much longer the supervisor may take than the plugin, before it is killed too.
const GRACE: Duration = Duration::from_secs(5);

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// Everything that it wrote to standard output.
    pub stdout: Vec<u8>,
    /// The end of what it wrote to standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
    /// Whether every process that it started is known to be gone.
    pub reaped: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit status.
    Exited(u8),
    /// By this signal.
    Signalled(i32),
    /// It took too long.
    TimedOut,
    /// It wrote more than [`STDOUT_LIMIT`].
    TooMuchOutput,
    /// It was never started; standard error says why.
    Refused,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit status {code}"),
            Self::Signalled(signal) => write!(f, "killed by signal {signal}"),
            Self::TimedOut => f.write_str("killed: it took too long"),
            Self::TooMuchOutput => write!(f, "killed: more than {STDOUT_LIMIT} bytes of output"),
            Self::Refused => f.write_str("not started"),
        }
    }
}

/// What happens while it runs.
enum Heard {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// One of the two pipes was closed by everybody.
    Closed,
    /// The supervisor has ended and waits to be buried.
    Dead,
}

/// Runs a plugin and waits for it.
///
/// # Errors
/// When it could not even be tried; nothing of it ran then.
pub fn run(job: &Job) -> Result<Outcome, PluginError> {
    let began = Instant::now();
    let mut child = spawn(job)?;
    let group = Pid::from_raw(child.id().cast_signed());
    let heard = listen(&mut child, group, &job.request);
    let mut watch = Watch {
        heard,
        open: 2,
        dead: false,
        stdout: Vec::new(),
        stderr: Vec::new(),
    };
    let too_much = watch.until(began + job.cell.timeout + GRACE);
    // While the supervisor is not buried, its number is nobody else's.
    let _ = killpg(group, Signal::SIGKILL);
    watch.until_silent(Instant::now() + GRACE);
    let status = child
        .wait()
        .map_err(PluginError::system("wait for the supervisor"))?;
    let took = began.elapsed();
    Ok(Outcome {
        ended: if too_much {
            Ended::TooMuchOutput
        } else {
            ended(status, took, job.cell.timeout)
        },
        reaped: watch.open == 0 && job.cell.sandbox,
        stdout: watch.stdout,
        stderr: String::from_utf8_lossy(&watch.stderr).into_owned(),
        took,
    })
}

fn spawn(job: &Job) -> Result<Child, PluginError> {
    let cell = serde_json::to_string(&job.cell).map_err(PluginError::system("write the cell"))?;
    let parent = std::process::id().to_string();
    Command::new(&job.program)
        .args(["plugin", "supervise", &cell, &parent])
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(PluginError::system(format!(
            "start {}",
            job.program.display()
        )))
}

fn ended(status: ExitStatus, took: Duration, timeout: Duration) -> Ended {
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(REFUSED) => Ended::Refused,
        Some(TIMED_OUT) if took >= timeout => Ended::TimedOut,
        Some(code @ 129..=192) => Ended::Signalled(i32::from(code) - 128),
        Some(code) => Ended::Exited(code),
        None if took >= timeout => Ended::TimedOut,
        None => Ended::Signalled(status.signal().unwrap_or(0)),
    }
}

fn listen(child: &mut Child, group: Pid, request: &[u8]) -> Receiver<Heard> {
    let (tell, heard) = channel();
    if let Some(mut stdin) = child.stdin.take() {
        let request = request.to_vec();
        // It may end without reading all of it: that shows in its answer.
        thread::spawn(move || stdin.write_all(&request));
    }
    if let Some(stdout) = child.stdout.take() {
        read_in_thread(stdout, tell.clone(), Heard::Stdout);
    }
    if let Some(stderr) = child.stderr.take() {
        read_in_thread(stderr, tell.clone(), Heard::Stderr);
    }
    thread::spawn(move || {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(group), flags) == Err(Errno::EINTR) {}
        tell.send(Heard::Dead)
    });
    heard
}

fn read_in_thread(
    mut pipe: impl Read + Send + 'static,
    tell: Sender<Heard>,
    wrap: fn(Vec<u8>) -> Heard,
) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let told = match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => tell.send(wrap(buffer.iter().copied().take(count).collect())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            if told.is_err() {
                return;
            }
        }
        let _ = tell.send(Heard::Closed);
    });
}

/// What was heard so far.
struct Watch {
    heard: Receiver<Heard>,
    /// Pipes that somebody still holds.
    open: u8,
    dead: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Watch {
    /// Listens until the supervisor is dead, the deadline is over, or there is too much: then true.
    fn until(&mut self, deadline: Instant) -> bool {
        while !self.dead && self.hear(deadline) {
            if self.stdout.len() > STDOUT_LIMIT {
                return true;
            }
        }
        false
    }

    /// Listens until nobody holds the pipes any more: what the plugin started is gone too then.
    fn until_silent(&mut self, deadline: Instant) {
        while (self.open > 0 || !self.dead) && self.hear(deadline) {}
    }

    fn hear(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.heard.recv_timeout(left) {
            Ok(Heard::Stdout(bytes)) => {
                let room = (STDOUT_LIMIT + 1).saturating_sub(self.stdout.len());
                self.stdout.extend(bytes.iter().take(room));
            }
            Ok(Heard::Stderr(bytes)) => {
                self.stderr.extend(bytes);
                let over = self.stderr.len().saturating_sub(STDERR_LIMIT);
                self.stderr.drain(..over);
            }
            Ok(Heard::Closed) => self.open -= 1,
            Ok(Heard::Dead) => self.dead = true,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
        }
        true
    }
}
