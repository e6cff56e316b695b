//! Which build the processes of user-space tunnels run, and which of them could not be taken over.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::IfName;
use routerd_core::observed::Build;

use crate::tunnel::program;

/// How long a device is left alone after a take-over that failed.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// What is known of builds, in all clones.
#[derive(Debug, Clone)]
pub(crate) struct Builds {
    program: PathBuf,
    /// What the program was when we started; one that is replaced meanwhile is the next daemon's business.
    ours: Option<String>,
    /// Devices that could not be taken over.
    kept: Arc<Mutex<BTreeMap<IfName, Kept>>>,
}

/// A take-over that failed.
#[derive(Debug)]
struct Kept {
    reason: String,
    since: Instant,
}

impl Builds {
    /// Those of processes that run this program.
    pub(crate) fn of(program: PathBuf) -> Self {
        Self {
            ours: program::identity(&program).ok(),
            kept: Arc::default(),
            program,
        }
    }

    /// What a process of this build is to us.
    pub(crate) fn rate(&self, ifname: &IfName, build: &str) -> Build {
        let replaced = program::identity(&self.program).ok() != self.ours;
        if replaced || self.ours.as_deref().is_none_or(|ours| ours == build) {
            return Build::Current;
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.get(ifname) {
            Some(kept) if kept.since.elapsed() < KEPT_FOR => Build::Kept(kept.reason.clone()),
            _ => Build::Other,
        }
    }

    /// Notes how a take-over went. If it failed, the old process goes on, and is [`Build::Kept`] for a while.
    pub(crate) fn note(&self, ifname: &IfName, taken_over: Result<(), String>) {
        if let Err(reason) = taken_over {
            tracing::warn!(%ifname, reason, "no take-over: the old process goes on");
            let since = Instant::now();
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert(ifname.clone(), Kept { reason, since });
        }
    }
}
