//! Runs plugins: programs of others, kept away from what they do not need.
//!
//! ```text
//! daemon ── run ──► supervisor (this program again) ── unshare ──► process 1 of the sandbox ── exec ──► plugin
//! ```
//!
//! The supervisor opens and checks the executable, kills everything when the time is up, whether the daemon still
//! lives or not, and goes with the daemon. Both run single-threaded from the start, so that nothing has to be
//! done between fork and exec of a program with threads. The plugin is process 1 of its process namespace: when
//! it ends, the kernel ends all that it started.
//!
//! What the plugin gets: its environment and nothing of ours; a read-only `/usr` and `/etc`, a `/tmp` of its own,
//! no other file systems; a user without rights; the network only if it is said so; limits on memory, processes,
//! files and time.

mod cell;
mod executable;
mod folder;
mod root;
mod run;
mod user;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use cell::main;
pub use folder::lend;
pub use run::{Ended, Outcome, run};

/// The most that is read of a plugin's standard output, in bytes.
pub const STDOUT_LIMIT: usize = 4 << 20;
/// The most that is kept of a plugin's standard error, in bytes: its end.
pub const STDERR_LIMIT: usize = 64 << 10;
/// The user of plugins that name none.
pub const DEFAULT_USER: &str = "nobody";

/// A plugin to run.
#[derive(Debug, Clone)]
pub struct Job {
    /// The program that is started as `PROGRAM plugin STAGE CELL` and calls [`main`].
    pub program: PathBuf,
    /// Where it runs.
    pub cell: Cell,
    /// What it reads from its standard input.
    pub request: Vec<u8>,
}

/// Where a plugin runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The plugin.
    pub executable: PathBuf,
    /// Its whole environment. Neither stage has any of it: both run with more rights than the plugin.
    pub env: BTreeMap<String, String>,
    /// Its user.
    pub user: String,
    /// Whether it sees only what it needs.
    pub sandbox: bool,
    /// Whether it has the network that the daemon has.
    pub network: bool,
    /// Folders and files that it must not see even where it could.
    pub hidden: Vec<PathBuf>,
    /// After this it is killed with all that it started.
    pub timeout: Duration,
}

/// A plugin could not be started: nothing of it ran.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The executable is not fit to be run.
    #[error("{}: {reason}", path.display())]
    Executable {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder that its environment names is not its own.
    #[error("{} belongs to user {owner}, not to {user}: the plugin cannot write to it", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        user: String,
    },
    /// There is no such user.
    #[error("there is no user {0}")]
    User(String),
    /// The system refused something.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: String,
        /// What it said.
        source: std::io::Error,
    },
}

impl PluginError {
    fn system<E: Into<std::io::Error>>(operation: impl Into<String>) -> impl FnOnce(E) -> Self {
        let operation = operation.into();
        move |source| Self::System {
            operation,
            source: source.into(),
        }
    }
}

/// Whether a plugin could be started: its executable is fit, its user exists.
///
/// # Errors
/// What stands in the way.
pub fn check(executable: &Path, user: &str) -> Result<(), PluginError> {
    executable::open(executable)?;
    user::find(user).map(drop)
}
