//! The two stages between the daemon and the plugin, each a process of its own.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Instant;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_no_new_privs, set_pdeathsig};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, fexecve, getegid, geteuid, getppid, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};

use super::user::{self, Account};
use super::{Cell, PluginError, executable, root};

/// Exit status of a stage that could not go on; the plugin did not run then.
pub(super) const REFUSED: u8 = 125;
/// Exit status of a supervisor that killed the plugin when its time was up.
pub(super) const TIMED_OUT: u8 = 124;

/// What limits a plugin: resource and value.
const LIMITS: [(Resource, u64); 5] = [
    (Resource::RLIMIT_CORE, 0),
    (Resource::RLIMIT_DATA, 1 << 30),
    (Resource::RLIMIT_FSIZE, 64 << 20),
    (Resource::RLIMIT_NOFILE, 256),
    (Resource::RLIMIT_NPROC, 256),
];

/// What the second stage needs to know beside the cell.
#[derive(Debug, Serialize, Deserialize)]
struct Inside {
    cell: Cell,
    executable: RawFd,
    uid: u32,
    gid: u32,
    writable: Vec<PathBuf>,
}

/// The stages by the names that [`super::run`] starts them with: `supervise` and `enter`. `parent` is the process
/// that has to be alive.
///
/// Prints what went wrong to standard error and ends with status 125 if the plugin could not be started.
pub fn main(stage: &str, argument: &str, parent: Option<u32>) -> ExitCode {
    let result = match stage {
        "supervise" => read(argument).and_then(|cell| supervise(&cell, parent)),
        "enter" => read(argument).and_then(|inside| enter(&inside)),
        _ => Err(PluginError::System {
            operation: format!("stage {stage}"),
            source: std::io::ErrorKind::InvalidInput.into(),
        }),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(REFUSED)
    })
}

fn read<T: for<'a> Deserialize<'a>>(argument: &str) -> Result<T, PluginError> {
    serde_json::from_str(argument).map_err(PluginError::system("read the cell"))
}

/// First stage, outside: opens what the inside must not look up, and watches the clock.
fn supervise(cell: &Cell, parent: Option<u32>) -> Result<ExitCode, PluginError> {
    let deadline = Instant::now() + cell.timeout;
    die_with_parent()?;
    // The parent may have gone before the line above.
    if parent.is_some_and(|parent| getppid().as_raw().unsigned_abs() != parent) {
        return Ok(ExitCode::from(REFUSED));
    }
    let executable = executable::open(&cell.executable)?;
    let account = user::find(&cell.user)?;
    let inside = Inside {
        cell: cell.clone(),
        executable: executable.as_raw_fd(),
        uid: account.uid.as_raw(),
        gid: account.gid.as_raw(),
        writable: writable(account, cell),
    };
    inherit(&executable)?;
    let ended = Ended::watch()?;
    if cell.sandbox {
        separate(cell.network)?;
    }
    let mut child = start(&inside)?;
    let status = ended.wait(&mut child, deadline)?;
    Ok(status.map_or(ExitCode::from(TIMED_OUT), |status| {
        ExitCode::from(code(status))
    }))
}

/// A shell's way of saying how a process ended.
fn code(status: ExitStatus) -> u8 {
    let signalled = || 128 + status.signal().unwrap_or(0);
    u8::try_from(status.code().unwrap_or_else(signalled)).unwrap_or(u8::MAX)
}

fn die_with_parent() -> Result<(), PluginError> {
    set_pdeathsig(Signal::SIGKILL).map_err(PluginError::system("ask to die with the parent"))
}

/// The executable stays open over the next exec, and, for a script's interpreter, over the one after it.
fn inherit(executable: &OwnedFd) -> Result<(), PluginError> {
    fcntl(executable, FcntlArg::F_SETFD(FdFlag::empty()))
        .map(drop)
        .map_err(PluginError::system("hand on the executable"))
}

/// The folders in the plugin's environment that are its user's own.
fn writable(account: Account, cell: &Cell) -> Vec<PathBuf> {
    let own = |path: &PathBuf| {
        let plain = path.is_absolute() && fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
        // A folder on the way to something hidden would show it.
        let reveals = cell.hidden.iter().any(|hidden| hidden.starts_with(path));
        plain && !reveals && owner(path) == Some(account.uid.as_raw())
    };
    cell.env.values().map(PathBuf::from).filter(own).collect()
}

fn owner(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|metadata| metadata.uid())
}

/// Namespaces of its own for the next process. Without root's rights they are had through a user namespace.
fn separate(network: bool) -> Result<(), PluginError> {
    if !geteuid().is_root() {
        become_in_namespace(Uid::from_raw(0))?;
    }
    let mut flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if !network {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    unshare(flags).map_err(PluginError::system("make namespaces"))
}

/// Makes a user namespace in which this process is `uid`.
fn become_in_namespace(uid: Uid) -> Result<(), PluginError> {
    let (outer_uid, outer_gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(PluginError::system("make a user namespace"))?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{uid} {outer_uid} 1")),
        ("gid_map", format!("{uid} {outer_gid} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(PluginError::system(format!("write {file}")))?;
    }
    Ok(())
}

fn start(inside: &Inside) -> Result<Child, PluginError> {
    let argument = serde_json::to_string(inside).map_err(PluginError::system("write the cell"))?;
    Command::new("/proc/self/exe")
        .args(["plugin", "enter", &argument])
        .spawn()
        .map_err(PluginError::system("start the second stage"))
}

/// Hears when the child ends. A thread could wait for it too, but none can be made once the process namespace of
/// children is another one.
struct Ended(SignalFd);

impl Ended {
    fn watch() -> Result<Self, PluginError> {
        let mask = SigSet::from(Signal::SIGCHLD);
        mask.thread_block()
            .and_then(|()| {
                SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            })
            .map(Self)
            .map_err(PluginError::system("watch for the end of the plugin"))
    }

    /// The child's status; absent if it was killed at the deadline.
    fn wait(
        &self,
        child: &mut Child,
        deadline: Instant,
    ) -> Result<Option<ExitStatus>, PluginError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(status) = child
                .try_wait()
                .map_err(PluginError::system("wait for the plugin"))?
            {
                return Ok(Some(status));
            }
            if left.is_zero() {
                // Process 1 takes everything in its namespace along, and is gone only after it.
                let _ = child.kill();
                let _ = child.wait();
                return Ok(None);
            }
            let mut heard = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            let millis = u16::try_from(left.as_millis().saturating_add(1)).unwrap_or(u16::MAX);
            let _ = poll(&mut heard, PollTimeout::from(millis));
            // One signal may stand for several deaths, hence the question above.
            let _ = self.0.read_signal();
        }
    }
}

/// Second stage, inside: shuts the doors and becomes the plugin.
fn enter(inside: &Inside) -> Result<ExitCode, PluginError> {
    let cell = &inside.cell;
    // The service may run with a mask that hides from the plugin the very folders that are made for it here.
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    if cell.sandbox {
        root::enter(&inside.writable, &cell.hidden, cell.network)?;
    }
    for (resource, limit) in LIMITS {
        setrlimit(resource, limit, limit)
            .map_err(PluginError::system(format!("limit {resource:?}")))?;
    }
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let account = Account {
        uid: inside.uid.into(),
        gid: inside.gid.into(),
    };
    become_user(account, cell.sandbox)?;
    set_no_new_privs().map_err(PluginError::system("refuse new privileges"))?;
    die_with_parent()?;
    exec(inside)
}

fn become_user(account: Account, sandbox: bool) -> Result<(), PluginError> {
    if account.is_reachable() {
        return setgroups(&[account.gid])
            .and_then(|()| setresgid(account.gid, account.gid, account.gid))
            .and_then(|()| setresuid(account.uid, account.uid, account.uid))
            .map_err(PluginError::system("become the plugin's user"));
    }
    if sandbox {
        // Not root's rights, but no other user to give them up to: the exec as somebody who is not root of a
        // namespace of its own drops them.
        return become_in_namespace(account.uid);
    }
    if geteuid() == account.uid {
        return Ok(());
    }
    Err(PluginError::System {
        operation: format!("become user {}", account.uid),
        source: std::io::ErrorKind::PermissionDenied.into(),
    })
}

fn exec(inside: &Inside) -> Result<ExitCode, PluginError> {
    let text =
        |bytes: Vec<u8>| CString::new(bytes).map_err(PluginError::system("write the environment"));
    let program = text(inside.cell.executable.as_os_str().as_bytes().to_owned())?;
    let env = inside.cell.env.iter();
    let env = env
        .map(|(name, value)| text(format!("{name}={value}").into_bytes()))
        .collect::<Result<Vec<_>, _>>()?;
    #[expect(
        unsafe_code,
        reason = "a descriptor that came through exec is only a number here"
    )]
    // SAFETY: the first stage opened it and left it open over the exec; nothing in this process closes it.
    let executable = unsafe { BorrowedFd::borrow_raw(inside.executable) };
    let never = fexecve(executable, &[program], &env).map_err(|error| PluginError::Executable {
        path: inside.cell.executable.clone(),
        reason: std::io::Error::from(error).to_string(),
    })?;
    match never {}
}
