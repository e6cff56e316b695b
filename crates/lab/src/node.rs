//! Nodes: a network namespace and a mount namespace each, kept by a holder process.

mod holder;

pub use holder::hold;

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use linux::namespace::Namespaces;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{self, Outcome};

/// Where the nodes' directories are, inside the sandbox and inside every node.
pub const NODES: &str = "/run/lab";

/// How long a program that only asks or sets something may take on a machine that is busy.
pub const SHORT: Duration = Duration::from_secs(10);

/// A node.
#[derive(Debug)]
pub struct Node {
    name: String,
    holder: Child,
    namespaces: Namespaces,
}

impl Node {
    /// Starts the holders of all nodes, then waits for all of them.
    ///
    /// # Errors
    /// When a namespace cannot be made.
    pub fn start_all(names: impl IntoIterator<Item = String>) -> Result<Vec<Self>> {
        let started: Vec<_> = names
            .into_iter()
            .map(|name| Ok((start_holder(&name)?, name)))
            .collect::<Result<_>>()?;
        let ready = |(mut holder, name): (Child, String)| {
            let stdout = holder.stdout.take().context("the holder has no output")?;
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line)?;
            if line.trim() != "ready" {
                bail!("node {name} did not come up");
            }
            let namespaces = Namespaces::of_process(holder.id())?;
            Ok(Self {
                name,
                holder,
                namespaces,
            })
        };
        started.into_iter().map(ready).collect()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id of its holder; `ip … netns PID` takes it.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Its directory, the same path inside and outside.
    pub fn dir(&self) -> PathBuf {
        directory(&self.name)
    }

    /// Where a path that is private to the node is seen from the controller.
    pub fn outside(&self, inside: &str) -> PathBuf {
        for (mount, sub) in holder::PRIVATE {
            if let Ok(rest) = Path::new(inside).strip_prefix(mount) {
                return self.dir().join(sub).join(rest);
            }
        }
        PathBuf::from(inside)
    }

    /// Does something on a thread in its network namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn in_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        Ok(self.namespaces.in_network(work)?)
    }

    /// A program to be run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["internal", "enter", &self.pid().to_string(), "--"])
            .arg(program)
            .env("HOME", self.dir())
            .env("PATH", search_path());
        command
    }

    /// Runs a program inside to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, argv: &[&str], limit: Duration) -> Result<Outcome> {
        let (program, arguments) = argv.split_first().context("no program")?;
        process::run(self.command(program).args(arguments), limit)
            .with_context(|| format!("run {program} in {}", self.name))
    }

    /// Runs a short program inside that must succeed, and returns its output.
    ///
    /// # Errors
    /// When it fails; the message holds its last words.
    pub fn expect(&self, argv: &[&str]) -> Result<String> {
        let outcome = self.run(argv, SHORT)?;
        if !outcome.success() {
            bail!("{}: {}: {}", self.name, argv.join(" "), outcome.complaint());
        }
        Ok(outcome.stdout)
    }

    /// Runs a short program that only talks to the kernel's network, without the detour over the node's
    /// mounts: for what is timed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ask_kernel(&self, argv: &[&str]) -> Result<Outcome> {
        let (program, arguments) = argv.split_first().context("no program")?;
        let mut command = Command::new(program);
        command.args(arguments);
        self.in_network(|| process::run(&mut command, SHORT))?
            .with_context(|| format!("run {program} in {}", self.name))
    }

    /// Writes a setting below `/proc/sys/net`.
    ///
    /// # Errors
    /// When there is no such setting.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{}", name.replace('.', "/"));
        self.in_network(|| fs::write(&path, value))?
            .with_context(|| format!("{}: write {path}", self.name))
    }

    /// Every process inside but the holder.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net"));
        let own = network(self.pid())?;
        let pids = fs::read_dir("/proc")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| *pid != self.pid())
            // A process that has ended in between is none of ours.
            .filter(|pid| network(*pid).is_ok_and(|n| n == own))
            .collect();
        Ok(pids)
    }

    /// Sends a signal to every process inside but the holder, and says to how many.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub fn signal_all(&self, signal: Signal) -> Result<usize> {
        let pids = self.processes()?;
        let reached = |pid: &&u32| kill(Pid::from_raw(**pid as i32), signal).is_ok();
        Ok(pids.iter().filter(reached).count())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The holder may be gone already.
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

/// Where programs are looked for: beside this one first, so that `routerctl` inside is the one of this build.
fn search_path() -> OsString {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let all = beside.into_iter().chain(std::env::split_paths(&inherited));
    // A directory with a colon in its name cannot stand in a search path.
    std::env::join_paths(all).unwrap_or(inherited.clone())
}

/// A node's directory.
pub fn directory(name: &str) -> PathBuf {
    Path::new(NODES).join(name)
}

fn start_holder(name: &str) -> Result<Child> {
    Command::new("/proc/self/exe")
        .args(["internal", "holder", name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start node {name}"))
}

/// Becomes a program inside the namespaces of a process.
///
/// # Errors
/// When they cannot be entered or the program cannot be started.
pub fn enter(pid: u32, argv: &[String]) -> Result<ExitCode> {
    let (program, arguments) = argv.split_first().context("no program")?;
    Namespaces::of_process(pid)?.enter()?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("run {program}"))
}
