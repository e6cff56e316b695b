//! The sandbox that a lab lives in: a user namespace where we are not root, and mount, pid, network, host
//! name and IPC namespaces of its own.
//!
//! ```text
//! routerd-lab run …          outside: makes the namespaces, waits, passes the exit status on
//! └─ internal init           pid 1 inside: mounts, collects orphans; when it ends, everything ends
//!    └─ internal controller  builds the lab and serves its control socket
//!       ├─ internal holder   one for every node, keeps its namespaces
//!       └─ routerd, sshd, …  whatever runs in the nodes
//! ```
//!
//! Taking it down is the kernel's work: whatever ends pid 1 ends every process, and with them go the
//! namespaces, devices, routes and mounts. Nothing outside is ever changed.

mod init;

pub use init::init;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use linux::namespace::pass;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::task::Task;

/// What the controller was started with.
#[derive(Debug)]
pub struct Start {
    /// What to do.
    pub task: Task,
    /// The control socket, bound outside.
    pub listener: UnixListener,
    /// Where the evidence goes, opened outside.
    pub evidence: Option<fs::File>,
    /// The line to the process outside: it ends when that process does.
    pub outside: UnixStream,
}

/// Makes a sandbox and starts the controller in it. With `detached` returns as soon as the controller says
/// that it is ready; otherwise when everything has ended.
///
/// # Errors
/// When this machine does not let us make namespaces; the message says what to change.
pub fn launch(
    task: &Task,
    listener: UnixListener,
    evidence: Option<fs::File>,
    detached: bool,
) -> Result<ExitCode> {
    make_namespaces()?;
    let (channel, inside) = UnixStream::pair().context("make a socket pair")?;
    let mut init = Command::new("/proc/self/exe");
    init.args(["internal", "init"]);
    if detached {
        init.arg("--detached");
    }
    let mut child = init
        .stdin(Stdio::from(OwnedFd::from(inside)))
        .spawn()
        .context("start the first process of the sandbox")?;
    drop(init);
    let mut fds = vec![listener.as_fd()];
    fds.extend(evidence.as_ref().map(AsFd::as_fd));
    let line = serde_json::to_string(task)?;
    pass::send_line(&channel, &line, &fds).context("hand the task to the sandbox")?;
    if detached && let Some((line, _)) = pass::receive_line(&channel)? {
        let code: u8 = line.parse().context("read the controller's answer")?;
        return Ok(ExitCode::from(code));
    }
    let status = child.wait().context("wait for the sandbox")?;
    // A sandbox that was ended by a signal has no code of its own.
    let code = status.code().and_then(|c| u8::try_from(c).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

/// Inside: takes over what [`launch`] handed in on standard input.
///
/// # Errors
/// When standard input is not that line.
pub fn receive() -> Result<Start> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let outside = UnixStream::from(stdin);
    let (line, fds) = pass::receive_line(&outside)?.context("nothing was handed in")?;
    let mut fds = fds.into_iter();
    let listener = fds.next().context("no control socket was handed in")?;
    Ok(Start {
        task: serde_json::from_str(&line).context("read the task")?,
        listener: UnixListener::from(listener),
        evidence: fds.next().map(fs::File::from),
        outside,
    })
}

/// Moves this process into new namespaces; its next child becomes pid 1 of them.
fn make_namespaces() -> Result<()> {
    let private = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    if geteuid().is_root() {
        match unshare(private) {
            Ok(()) => return Ok(()),
            // Root of a container may lack the capability but still be allowed a user namespace.
            Err(Errno::EPERM) => {}
            Err(error) => bail!("make namespaces: {error}"),
        }
    }
    let (uid, gid) = (geteuid(), getegid());
    if let Err(error) = unshare(private | CloneFlags::CLONE_NEWUSER) {
        bail!("make a user namespace: {error}\n{}", user_namespace_hint());
    }
    let map = |file: &str, text: String| {
        let path = format!("/proc/self/{file}");
        fs::write(&path, text).with_context(|| format!("write {path}\n{}", user_namespace_hint()))
    };
    map("setgroups", "deny".to_owned())?;
    map("uid_map", format!("0 {uid} 1"))?;
    map("gid_map", format!("0 {gid} 1"))
}

/// Why this machine may refuse, as far as it tells.
fn user_namespace_hint() -> String {
    let setting = |path: &str| fs::read_to_string(path).map(|t| t.trim().to_owned());
    let off = [
        ("user.max_user_namespaces", "0", "10000"),
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ];
    let mut hint = "hint: run it as root, or allow unprivileged user namespaces".to_owned();
    for (key, blocking, value) in off {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        if setting(&path).is_ok_and(|now| now == blocking) {
            hint.push_str(&format!(": `sysctl -w {key}={value}`"));
        }
    }
    hint
}
