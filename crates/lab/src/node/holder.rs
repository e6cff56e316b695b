//! The process that keeps a node's namespaces and gives the node its own files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{dup2_stderr, pause, sethostname};

use super::{NODES, directory};

/// What every node has for itself, and where it lies in the node's directory. The first is `/run`, where
/// the nodes' directories are seen through a mount of their own.
pub(super) const PRIVATE: [(&str, &str); 3] = [
    ("/run", "run"),
    ("/var/lib", "var-lib"),
    ("/usr/local/etc", "local-etc"),
];

/// Makes the namespaces of a node, says `ready` and waits for the end of the lab.
///
/// # Errors
/// When the kernel refuses a namespace or a mount.
pub fn hold(name: &str) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
        .context("make the node's namespaces")?;
    sethostname(name).context("set the host name")?;
    let root = directory(name);
    for (_, sub) in PRIVATE {
        fs::create_dir_all(root.join(sub)).with_context(|| format!("create {sub} of {name}"))?;
    }
    for sub in ["run/lab", "run/sshd", "run/wireguard", "var-lib/routerd"] {
        fs::create_dir_all(root.join(sub)).with_context(|| format!("create {sub} of {name}"))?;
    }
    own_file(&root, "/etc/hostname", &format!("{name}\n"))?;
    own_file(
        &root,
        "/etc/hosts",
        &format!("127.0.0.1 localhost {name}\n"),
    )?;
    bind(Path::new(NODES), &root.join("run/lab"))?;
    for (mount, sub) in PRIVATE.iter().rev() {
        bind(&root.join(sub), Path::new(mount))?;
    }
    own_sysfs()?;
    let mut stdout = io::stdout();
    writeln!(stdout, "ready").and_then(|()| stdout.flush())?;
    // Whoever reads the lab's words through a pipe must see their end, and a node may outlive them.
    dup2_stderr(File::options().write(true).open("/dev/null")?.as_fd())?;
    loop {
        pause();
    }
}

fn own_file(root: &Path, path: &str, text: &str) -> Result<()> {
    let target = Path::new(path);
    let file = target.file_name().map(|name| root.join(name));
    match file {
        Some(file) if target.exists() => {
            fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
            bind(&file, target)
        }
        _ => Ok(()),
    }
}

/// Binds a directory or file with what is mounted below it.
fn bind(from: &Path, to: &Path) -> Result<()> {
    let nothing = None::<&str>;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(from), to, nothing, flags, nothing)
        .with_context(|| format!("mount {} on {}", from.display(), to.display()))
}

/// `/sys/class/net` shows the interfaces of whoever mounted it.
fn own_sysfs() -> Result<()> {
    let nothing = None::<&str>;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match mount(Some("sysfs"), "/sys", Some("sysfs"), flags, nothing) {
        // Where /sys is masked, a user namespace may not mount it afresh; nodes can do without.
        Ok(()) | Err(Errno::EPERM | Errno::EBUSY) => Ok(()),
        Err(error) => Err(error).context("mount /sys"),
    }
}
