//! Opens a plugin's executable so that what was checked is what runs.
//!
//! Every folder on the way, every link and the file itself must belong to root and be writable by nobody else:
//! otherwise somebody could put another program there. The way is walked one name at a time from `/`, each from
//! the folder opened before, and the file is run from its descriptor: nothing is looked up twice.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open as open_at_root, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::PluginError;

/// As many symbolic links as the kernel follows (`path_resolution(7)`).
const LINKS: usize = 40;

/// Opens an executable for running it.
pub(super) fn open(path: &Path) -> Result<OwnedFd, PluginError> {
    Walk::new(path)?.finish()
}

struct Walk<'p> {
    /// What was asked for, for messages.
    asked: &'p Path,
    /// The folder reached.
    folder: OwnedFd,
    /// Its path, for messages.
    reached: PathBuf,
    /// The names still to walk.
    names: VecDeque<OsString>,
    links: usize,
}

impl<'p> Walk<'p> {
    fn new(asked: &'p Path) -> Result<Self, PluginError> {
        let mut walk = Self {
            asked,
            folder: root()?,
            reached: PathBuf::from("/"),
            names: VecDeque::new(),
            links: 0,
        };
        if !asked.is_absolute() {
            return Err(walk.refuse(asked, "is not an absolute path"));
        }
        walk.push(asked)?;
        Ok(walk)
    }

    fn refuse(&self, path: &Path, reason: &str) -> PluginError {
        PluginError::Executable {
            path: path.to_owned(),
            reason: reason.to_owned(),
        }
    }

    fn failed(&self, path: &Path, error: Errno) -> PluginError {
        self.refuse(path, &std::io::Error::from(error).to_string())
    }

    /// Puts the names of a path before those still to walk.
    fn push(&mut self, path: &Path) -> Result<(), PluginError> {
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name.to_owned()),
                Component::RootDir => {
                    self.folder = root()?;
                    self.reached = PathBuf::from("/");
                }
                Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(self.refuse(path, "leads upward"));
                }
            }
        }
        for name in names.into_iter().rev() {
            self.names.push_front(name);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<OwnedFd, PluginError> {
        self.check_folder()?;
        while let Some(name) = self.names.pop_front() {
            let here = self.reached.join(&name);
            let found = self.open(&name, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
            let stat = fstat(&found).map_err(|e| self.failed(&here, e))?;
            match kind(&stat) {
                SFlag::S_IFLNK => self.follow(&here, &name, &stat)?,
                SFlag::S_IFDIR => {
                    self.folder = found;
                    self.reached = here;
                    self.check_folder()?;
                }
                SFlag::S_IFREG if self.names.is_empty() => return self.take(&here, &name),
                SFlag::S_IFREG => return Err(self.refuse(&here, "is not a folder")),
                _ => return Err(self.refuse(&here, "is not a regular file")),
            }
        }
        Err(self.refuse(self.asked, "is a folder"))
    }

    fn open(&self, name: &OsStr, flags: OFlag) -> Result<OwnedFd, PluginError> {
        openat(&self.folder, name, flags | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|e| self.failed(&self.reached.join(name), e))
    }

    fn check_folder(&self) -> Result<(), PluginError> {
        let stat = fstat(&self.folder).map_err(|e| self.failed(&self.reached, e))?;
        self.check_owner(&self.reached, &stat)
    }

    fn check_owner(&self, path: &Path, stat: &FileStat) -> Result<(), PluginError> {
        if stat.st_uid != 0 {
            return Err(self.refuse(
                path,
                &format!("belongs to user {}, not to root", stat.st_uid),
            ));
        }
        let mode = Mode::from_bits_truncate(stat.st_mode);
        if kind(stat) != SFlag::S_IFLNK && mode.intersects(Mode::S_IWGRP | Mode::S_IWOTH) {
            return Err(self.refuse(path, "is writable by others than root"));
        }
        Ok(())
    }

    fn follow(&mut self, here: &Path, name: &OsStr, stat: &FileStat) -> Result<(), PluginError> {
        self.check_owner(here, stat)?;
        self.links += 1;
        if self.links > LINKS {
            return Err(self.refuse(here, "leads through too many links"));
        }
        let target = readlinkat(&self.folder, name).map_err(|e| self.failed(here, e))?;
        self.push(Path::new(&target))
    }

    /// Opens the file to run it, and checks once more what was opened.
    fn take(&self, here: &Path, name: &OsStr) -> Result<OwnedFd, PluginError> {
        let file = self.open(
            name,
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK,
        )?;
        let stat = fstat(&file).map_err(|e| self.failed(here, e))?;
        self.check_owner(here, &stat)?;
        let mode = Mode::from_bits_truncate(stat.st_mode);
        if kind(&stat) != SFlag::S_IFREG {
            return Err(self.refuse(here, "is not a regular file"));
        }
        if !mode.intersects(Mode::S_IXUSR | Mode::S_IXGRP | Mode::S_IXOTH) {
            return Err(self.refuse(here, "is not executable"));
        }
        if mode.intersects(Mode::S_ISUID | Mode::S_ISGID) {
            return Err(self.refuse(here, "changes its user when it is run"));
        }
        Ok(file)
    }
}

fn root() -> Result<OwnedFd, PluginError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open_at_root("/", flags, Mode::empty()).map_err(PluginError::system("open /"))
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    /// A folder that only root may write to: below the root user's own, since `/tmp` is anybody's.
    fn folder() -> Option<tempfile::TempDir> {
        let root = nix::unistd::geteuid().is_root();
        let folder = tempfile::Builder::new()
            .prefix("routerd-plugin-")
            .tempdir_in("/root");
        root.then(|| folder.expect("a folder"))
    }

    fn program(folder: &Path) -> PathBuf {
        let path = folder.join("program");
        fs::write(&path, "#!/bin/sh\n").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("mode");
        path
    }

    fn reason(path: &Path) -> String {
        open(path).map(drop).expect_err("refused").to_string()
    }

    #[test]
    fn a_program_of_root_is_fit_and_so_are_links_of_root() {
        let Some(folder) = folder() else { return };
        let path = program(folder.path());
        open(&path).expect("fit");
        let link = folder.path().join("link");
        symlink("program", &link).expect("link");
        open(&link).expect("fit");
        let folder_link = folder.path().join("folder-link");
        symlink(folder.path(), &folder_link).expect("link");
        open(&folder_link.join("link")).expect("fit");
    }

    #[test]
    fn what_somebody_else_could_change_is_refused() {
        let Some(folder) = folder() else { return };
        let path = program(folder.path());
        fs::set_permissions(&path, Permissions::from_mode(0o775)).expect("mode");
        assert!(reason(&path).contains("writable by others"));
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("mode");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("mode");
        assert!(reason(&path).contains("writable by others"));
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("mode");
        chown(&path, Some(65534), None).expect("owner");
        assert!(reason(&path).contains("belongs to user 65534"));
        chown(&path, Some(0), None).expect("owner");
        chown(folder.path(), Some(65534), None).expect("owner");
        assert!(reason(&path).contains("belongs to user 65534"));
    }

    #[test]
    fn a_link_of_somebody_else_is_refused() {
        let Some(folder) = folder() else { return };
        program(folder.path());
        let link = folder.path().join("link");
        symlink("program", &link).expect("link");
        std::os::unix::fs::lchown(&link, Some(65534), None).expect("owner");
        assert!(reason(&link).contains("belongs to user 65534"));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let Some(folder) = folder() else { return };
        let path = program(folder.path());
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("mode");
        assert!(reason(&path).contains("not executable"));
        fs::set_permissions(&path, Permissions::from_mode(0o4755)).expect("mode");
        assert!(reason(&path).contains("changes its user"));
        assert!(reason(folder.path()).contains("is a folder"));
        assert!(reason(Path::new("/dev/null")).contains("not a regular file"));
        assert!(reason(Path::new("relative")).contains("not an absolute path"));
        assert!(reason(Path::new("/usr/../etc/passwd")).contains("leads upward"));
        assert!(reason(&folder.path().join("nothing")).contains("No such file"));
        let circle = folder.path().join("circle");
        symlink("circle", &circle).expect("link");
        assert!(reason(&circle).contains("too many links"));
    }
}
