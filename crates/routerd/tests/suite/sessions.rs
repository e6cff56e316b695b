//! Scripted sessions: what a user types and exactly what comes back.
//!
//! A `*.session` file holds comments (`#`), commands (`$ …`), and below each command what it printed (what it
//! said on standard output, then on standard error) and its exit status if that is not 0 (`[exit 3]`). Commands
//! are `routerctl …`, programs of the system, and
//!
//! - `daemon start|stop|kill`: the daemon of this session;
//! - `await COMMAND`: the command again and again until it succeeds and prints something;
//! - `occupy PORT`: somebody else listens on this UDP port;
//! - `write FILE` with the content below it, up to a line `.`.
//!
//! `/work` stands for the session's own folder.
//!
//! `UPDATE_GOLDEN=1` writes what came back into the file.

use std::fmt::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::{Daemon, until};
use super::namespace::{examples, isolated, onprem_links, words};

/// A private key that only ever stood here, so that its public half is known.
const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n";

struct Session {
    folder: tempfile::TempDir,
    daemon: Daemon,
    occupied: Vec<UdpSocket>,
    transcript: String,
}

impl Session {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary directory");
        for name in ["two-site-onprem.yaml", "two-site-cloud.yaml"] {
            let text = std::fs::read_to_string(examples().join(name)).expect("example");
            let keys = folder.path().join("keys").display().to_string();
            let text = text.replace("/var/lib/routerd/keys", &keys);
            std::fs::write(folder.path().join(name), text).expect("write");
        }
        std::fs::write(folder.path().join("private.key"), KEY).expect("write");
        std::env::set_current_dir(folder.path()).expect("enter folder");
        Self {
            daemon: Daemon::new(folder.path()),
            folder,
            occupied: Vec::new(),
            transcript: String::new(),
        }
    }

    /// Replays a session and gives what it should read like.
    fn replay(mut self, script: &str) -> String {
        let mut lines = script.lines();
        while let Some(line) = lines.next() {
            let Some(command) = line.strip_prefix("$ ") else {
                if line.starts_with('#') || line.is_empty() && self.transcript.is_empty() {
                    let _ = writeln!(self.transcript, "{line}");
                }
                continue;
            };
            if self
                .transcript
                .lines()
                .last()
                .is_some_and(|l| !l.starts_with('#'))
            {
                self.transcript.push('\n');
            }
            let _ = writeln!(self.transcript, "$ {command}");
            if let Some(file) = command.strip_prefix("write ") {
                let content: Vec<&str> = lines.by_ref().take_while(|l| *l != ".").collect();
                let content = content.join("\n") + "\n";
                let placed = content.replace("/work/", &format!("{}/", self.place()));
                std::fs::write(file, placed).expect("write");
                let _ = writeln!(self.transcript, "{content}.");
                continue;
            }
            let (code, said) = self.command(command);
            self.transcript.push_str(&self.neutral(&said));
            if code != 0 {
                let _ = writeln!(self.transcript, "[exit {code}]");
            }
        }
        self.transcript
    }

    fn command(&mut self, command: &str) -> (i32, String) {
        match command.split_once(' ') {
            Some(("daemon", "start")) => self.daemon.start(),
            Some(("daemon", "stop")) => self.daemon.stop(),
            Some(("daemon", "kill")) => self.daemon.kill(),
            Some(("occupy", port)) => {
                let socket = UdpSocket::bind(format!("0.0.0.0:{port}"));
                self.occupied.push(socket.expect("a free port"));
            }
            Some(("await", command)) => return self.wait_for(command),
            Some(("routerctl", arguments)) => {
                let arguments: Vec<&str> = arguments.split_whitespace().collect();
                let (code, said) = self.daemon.routerctl(&arguments);
                return (code.into(), said);
            }
            _ => return system(command),
        }
        (0, String::new())
    }

    fn wait_for(&self, command: &str) -> (i32, String) {
        let mut last = (1, String::new());
        until(command, || {
            last = system(command);
            last.0 == 0 && !last.1.is_empty()
        });
        last
    }

    fn place(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Without what differs from run to run.
    fn neutral(&self, said: &str) -> String {
        let said = said.replace(&self.place(), "/work");
        let lines = said.lines().map(|line| {
            let line = line.trim_end();
            if let Some((start, _)) = line.split_once(", pid ") {
                return format!("{start}, pid N, up T\n");
            }
            match line.split_once("Z  ") {
                Some((time, rest)) if time.len() == 19 => format!("YYYY-MM-DDThh:mm:ssZ  {rest}\n"),
                _ => format!("{line}\n"),
            }
        });
        lines.collect()
    }
}

fn system(command: &str) -> (i32, String) {
    let (program, arguments) = words(command);
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{command}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let code = output.status.code().unwrap_or(-1);
    (code, String::from_utf8_lossy(&said).into_owned())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sessions")
}

fn play(name: &str) {
    let path = folder().join(name);
    let script = std::fs::read_to_string(&path).expect("session");
    let said = Session::new().replay(&script);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &said).expect("write");
    }
    let written = std::fs::read_to_string(&path).expect("session");
    assert!(said == written, "{name} went otherwise:\n{said}");
}

#[test]
fn offline() {
    isolated("sessions::offline", || play("offline.session"));
}

#[test]
fn onprem() {
    isolated("sessions::onprem", || {
        onprem_links();
        play("onprem.session");
    });
}

#[test]
fn failure() {
    isolated("sessions::failure", || {
        onprem_links();
        play("failure.session");
    });
}
