//! A daemon as a process, and `routerctl` against it.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use routerctl::Terminal;

const DEADLINE: Duration = Duration::from_secs(20);

/// The daemon of a folder, and what it said.
pub struct Daemon {
    folder: PathBuf,
    program: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// One that does not run yet.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            program: env!("CARGO_BIN_EXE_routerd").into(),
            child: None,
        }
    }

    /// Installs another build of the program, which the next start runs.
    pub fn install(&mut self, program: &Path) {
        self.program = program.to_owned();
    }

    /// Starts it and waits until it has booted.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "the daemon runs already");
        let folder = |name: &str| self.folder.join(name);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder("daemon.log"));
        let child = Command::new(&self.program)
            .arg("serve")
            .arg("--runtime-dir")
            .arg(folder("run"))
            .arg("--state-file")
            .arg(folder("state/routerd.db"))
            .arg("--config")
            .arg(folder("none.yaml"))
            .stdin(Stdio::null())
            .stderr(log.expect("log"))
            .spawn();
        self.child = Some(child.expect("routerd starts"));
        until("the daemon answers", || self.routerctl(&["events"]).0 == 0);
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.end(Child::kill);
        // A program that it was just starting holds the socket for an instant more.
        let socket = self.folder.join("run/routerd.sock");
        until("nobody listens", || UnixStream::connect(&socket).is_err());
    }

    /// Ends it as systemd does; it must say that all is well.
    pub fn stop(&mut self) {
        let status = self.end(|child| {
            let pid = i32::try_from(child.id()).expect("pid");
            Ok(nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::SIGTERM,
            )?)
        });
        assert!(status.success(), "{status}");
    }

    fn end(
        &mut self,
        end: impl FnOnce(&mut Child) -> std::io::Result<()>,
    ) -> std::process::ExitStatus {
        let mut child = self.child.take().expect("the daemon runs");
        end(&mut child).expect("signal");
        child.wait().expect("wait")
    }

    /// Runs `routerctl` and gives its exit code and what it printed.
    pub fn routerctl(&self, arguments: &[&str]) -> (u8, String) {
        let (code, said, wrong) = self.run(arguments);
        (code, said + &wrong)
    }

    /// The same without what it printed to standard error.
    pub fn routerctl_apart(&self, arguments: &[&str]) -> (u8, String) {
        let (code, said, _) = self.run(arguments);
        (code, said)
    }

    fn run(&self, arguments: &[&str]) -> (u8, String, String) {
        let socket = self.folder.join("run/routerd.sock");
        let socket = socket.display().to_string();
        let words = ["routerctl", "--socket", &socket];
        let mut said = Vec::new();
        let mut wrong = Vec::new();
        let mut terminal = Terminal {
            input: Box::new(std::io::empty()),
            out: Box::new(&mut said),
            err: Box::new(&mut wrong),
            colour: false,
        };
        let code = routerctl::run(words.iter().chain(arguments).copied(), &mut terminal);
        drop(terminal);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (code, text(said), text(wrong))
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the daemon runs").id()
    }

    /// Everything the daemon logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("daemon.log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
    }
}

/// Waits until something is so, and says what was not if it never is.
pub fn until(what: &str, holds: impl FnMut() -> bool) {
    until_within(what, DEADLINE, holds);
}

/// The same with a patience of its own.
pub fn until_within(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
