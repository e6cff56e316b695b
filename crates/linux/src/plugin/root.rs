//! The file system that a plugin sees: programs and settings of the host to read, a `/tmp` of its own to write.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use super::PluginError;

/// What a program needs to start. Links among them (`/bin` to `usr/bin`) stay links.
const SHOWN: [&str; 8] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "etc", "opt"];
/// Where `/etc/resolv.conf` may lead.
const RESOLVERS: [&str; 3] = [
    "run/systemd/resolve",
    "run/resolvconf",
    "run/NetworkManager",
];
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Where the new root is put together: a folder of every host that is not shown itself.
const SITE: &str = "/sys";

const NOTHING: Option<&str> = None;

/// Makes this process and its children see the new root only. Needs a mount namespace and a process namespace of
/// its own.
pub(super) fn enter(
    writable: &[PathBuf],
    hidden: &[PathBuf],
    network: bool,
) -> Result<(), PluginError> {
    private()?;
    let root = Path::new(SITE);
    tmpfs(
        root,
        "mode=0755,size=1m",
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
    )?;
    let resolvers: &[&str] = if network { &RESOLVERS } else { &[] };
    for name in SHOWN.iter().chain(resolvers) {
        show(root, name)?;
    }
    for path in hidden {
        hide(root, path)?;
    }
    devices(root)?;
    folder(&root.join("tmp"))?;
    tmpfs(
        &root.join("tmp"),
        "mode=1777,size=64m",
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
    )?;
    processes(root)?;
    for path in writable {
        let place = below(root, path);
        folder(&place)?;
        bind(path, &place, MsFlags::empty())?;
    }
    let flags = MsFlags::MS_REMOUNT
        | MsFlags::MS_BIND
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV;
    mount(NOTHING, root, NOTHING, flags, NOTHING)
        .map_err(PluginError::system("make the new root read-only"))?;
    change_root(root)
}

fn private() -> Result<(), PluginError> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NOTHING, "/", NOTHING, flags, NOTHING).map_err(PluginError::system("make mounts private"))
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn folder(path: &Path) -> Result<(), PluginError> {
    fs::create_dir_all(path).map_err(PluginError::system(format!(
        "make folder {}",
        path.display()
    )))
}

fn tmpfs(at: &Path, options: &str, flags: MsFlags) -> Result<(), PluginError> {
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options)).map_err(PluginError::system(
        format!("mount tmpfs on {}", at.display()),
    ))
}

fn bind(from: &Path, to: &Path, flags: MsFlags) -> Result<(), PluginError> {
    mount(Some(from), to, NOTHING, MsFlags::MS_BIND | flags, NOTHING)
        .map_err(PluginError::system(format!("bind {}", from.display())))
}

fn show(root: &Path, name: &str) -> Result<(), PluginError> {
    let (host, place) = (Path::new("/").join(name), root.join(name));
    let Ok(metadata) = fs::symlink_metadata(&host) else {
        return Ok(());
    };
    if metadata.is_symlink() {
        return fs::read_link(&host)
            .and_then(|target| symlink(target, &place))
            .map_err(PluginError::system(format!("copy link {}", host.display())));
    }
    folder(&place)?;
    bind(&host, &place, MsFlags::MS_REC)?;
    read_only(&place).map_err(PluginError::system(format!(
        "make {} read-only",
        host.display()
    )))
}

/// Makes a mount and all mounts below it read-only: `mount(2)` can only do one at a time, and not at once.
fn read_only(place: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(place.as_os_str().as_bytes())?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    #[expect(unsafe_code, reason = "no crate here wraps mount_setattr(2)")]
    // SAFETY: the path ends with a zero byte, the attributes are a whole `mount_attr` of the size that is given,
    // and the kernel keeps neither pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Covers what would be seen below the folders that are shown.
fn hide(root: &Path, path: &Path) -> Result<(), PluginError> {
    let place = below(root, path);
    match fs::symlink_metadata(&place) {
        Ok(metadata) if metadata.is_dir() => tmpfs(&place, "mode=0000,size=4k", MsFlags::MS_RDONLY),
        Ok(metadata) if metadata.is_file() => {
            bind(Path::new("/dev/null"), &place, MsFlags::empty())
        }
        _ => Ok(()),
    }
}

fn devices(root: &Path) -> Result<(), PluginError> {
    let dev = root.join("dev");
    folder(&dev)?;
    for name in DEVICES {
        let (host, place) = (Path::new("/dev").join(name), dev.join(name));
        fs::write(&place, "").map_err(PluginError::system(format!("make {}", place.display())))?;
        bind(&host, &place, MsFlags::empty())?;
    }
    // A script's interpreter is handed the script by this name.
    symlink("/proc/self/fd", dev.join("fd")).map_err(PluginError::system("make /dev/fd"))
}

fn processes(root: &Path) -> Result<(), PluginError> {
    let place = root.join("proc");
    folder(&place)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &place, Some("proc"), flags, NOTHING)
        .map_err(PluginError::system("mount proc"))
}

/// `pivot_root(2)` onto itself: the old root lands on top and is taken off.
fn change_root(root: &Path) -> Result<(), PluginError> {
    chdir(root)
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| umount2(".", MntFlags::MNT_DETACH))
        .and_then(|()| chdir("/"))
        .map_err(PluginError::system("change the root"))
}
