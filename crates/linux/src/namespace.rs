//! Namespaces of other processes: opening, entering, and making sockets and TAP devices in them.
//!
//! What the namespaces are for is the caller's business.

pub mod pass;
mod tap;

pub use tap::Tap;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::sched::{CloneFlags, setns};

/// Something about a namespace or a TAP device went wrong.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {object}: {source}")]
pub struct NamespaceError {
    operation: &'static str,
    object: String,
    source: io::Error,
}

impl NamespaceError {
    fn new(operation: &'static str, object: impl ToString, source: impl Into<io::Error>) -> Self {
        Self {
            operation,
            object: object.to_string(),
            source: source.into(),
        }
    }
}

/// The network, mount and host-name namespaces of a process. They live as long as this value, even when
/// the process ends.
#[derive(Debug)]
pub struct Namespaces {
    network: File,
    mount: File,
    uts: File,
}

impl Namespaces {
    /// Opens the namespaces of a process.
    ///
    /// # Errors
    /// When there is no such process, or it may not be looked at.
    pub fn of_process(pid: u32) -> Result<Self, NamespaceError> {
        let open = |kind: &str| {
            let path = format!("/proc/{pid}/ns/{kind}");
            File::open(&path).map_err(|e| NamespaceError::new("open", &path, e))
        };
        Ok(Self {
            network: open("net")?,
            mount: open("mnt")?,
            uts: open("uts")?,
        })
    }

    /// Moves the calling process into them. It must have one thread: the kernel refuses to change the
    /// mount namespace of more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(&self) -> Result<(), NamespaceError> {
        let all = [
            (&self.network, CloneFlags::CLONE_NEWNET, "network"),
            (&self.uts, CloneFlags::CLONE_NEWUTS, "host name"),
            (&self.mount, CloneFlags::CLONE_NEWNS, "mount"),
        ];
        for (file, kind, name) in all {
            setns(file.as_fd(), kind)
                .map_err(|e| NamespaceError::new("enter namespace", name, e))?;
        }
        Ok(())
    }

    /// Does something on a thread of its own inside the network namespace, and waits for it. Sockets made
    /// there stay in that namespace wherever they are used.
    ///
    /// # Errors
    /// When the kernel refuses to let the thread in.
    pub fn in_network<T: Send>(
        &self,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, NamespaceError> {
        let network = self.network.as_fd();
        let inside = move || {
            setns(network, CloneFlags::CLONE_NEWNET)
                .map_err(|e| NamespaceError::new("enter namespace", "network", e))?;
            Ok(work())
        };
        std::thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}
