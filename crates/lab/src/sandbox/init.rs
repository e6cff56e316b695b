//! Pid 1 of the sandbox.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, dup2_stderr, dup2_stdout, pivot_root, sethostname, setsid};

/// Prepares the sandbox, starts the controller and collects orphans until the controller ends.
///
/// # Errors
/// When the sandbox cannot be prepared.
pub fn init(detached: bool) -> Result<ExitCode> {
    if detached {
        setsid().context("leave the terminal")?;
    } else {
        prctl::set_pdeathsig(Signal::SIGKILL).context("tie the sandbox to its parent")?;
    }
    prepare()?;
    let controller = Command::new("/proc/self/exe")
        .args(["internal", "controller"])
        .spawn()
        .context("start the controller")?;
    // The controller speaks; whoever reads its words must see their end when it closes them.
    let null = File::options().write(true).open("/dev/null")?;
    dup2_stdout(null.as_fd())?;
    dup2_stderr(null.as_fd())?;
    let controller = Pid::from_raw(controller.id() as i32);
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == controller => {
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
            }
            Ok(WaitStatus::Signaled(pid, ..)) if pid == controller => return Ok(ExitCode::from(1)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for processes"),
        }
    }
}

/// In a user namespace `/` belongs to nobody we know, and a program below it could be anybody's: routerd starts
/// no plugin from there. So everything moves below a root that is ours.
fn own_root() -> Result<()> {
    let nothing = None::<&str>;
    let root = Path::new("/run");
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), root, Some("tmpfs"), safe, Some("mode=755")).context("mount tmpfs")?;
    for entry in fs::read_dir("/")? {
        let path = entry?.path();
        let place = root.join(path.strip_prefix("/")?);
        let metadata = fs::symlink_metadata(&path)?;
        if path == root {
            // Mounted over here, and afresh later on.
            fs::create_dir(&place)?;
        } else if metadata.is_symlink() {
            symlink(fs::read_link(&path)?, &place)?;
        } else {
            if metadata.is_dir() {
                fs::create_dir(&place)?;
            } else {
                fs::write(&place, "")?;
            }
            let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(&path), &place, nothing, bind, nothing)
                .with_context(|| format!("bind {}", path.display()))?;
        }
    }
    // Onto itself: the old root lands on top and is taken off.
    chdir(root)?;
    pivot_root(".", ".").context("change the root")?;
    umount2(".", MntFlags::MNT_DETACH).context("leave the old root")?;
    chdir("/").context("go to the new root")
}

/// Private mounts: nothing that happens here is seen outside.
fn prepare() -> Result<()> {
    let nothing = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing).context("make mounts private")?;
    if fs::metadata("/").context("look at /")?.uid() != 0 {
        own_root().context("make a root of our own")?;
    }
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let options = Some("mode=755");
    mount(Some("tmpfs"), "/run", Some("tmpfs"), safe, options).context("mount tmpfs on /run")?;
    if !Path::new("/var/run").is_symlink() {
        let bind = MsFlags::MS_BIND;
        mount(Some("/run"), "/var/run", nothing, bind, nothing).context("mount /var/run")?;
    }
    let strict = safe | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), strict, nothing)
        .context("mount /proc (a container that hides parts of it forbids this)")?;
    sethostname("routerd-lab").context("set the host name")?;
    Ok(())
}
