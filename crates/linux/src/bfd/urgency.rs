//! How early the thread of the sessions runs, and that it waits for no page of memory.

use std::fmt;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// Before everything that is not real-time; most that is real-time on a host has more.
const PRIORITY: i32 = 10;
/// The best that a thread without real-time scheduling can have.
const NICE: i32 = -20;

/// What the host allowed the thread.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Urgency {
    /// How it is scheduled.
    pub scheduling: Scheduling,
    /// Whether its memory stays where it is.
    pub memory_locked: bool,
    /// What was asked for and refused, and why.
    pub refused: Vec<String>,
}

/// How a thread is scheduled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduling {
    /// `SCHED_RR` with this priority.
    RealTime(i32),
    /// With this nice value.
    Nice(i32),
    /// Like any other.
    #[default]
    Ordinary,
}

impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RealTime(priority) => write!(f, "real-time, priority {priority}"),
            Self::Nice(value) => write!(f, "nice {value}"),
            Self::Ordinary => f.write_str("ordinary"),
        }
    }
}

/// Asks for exact timers, for real-time scheduling or what comes next to it, and for memory that is not taken away.
pub(super) fn hurry() -> Urgency {
    let mut urgency = Urgency::default();
    let mut refused = |what: &str, errno: Errno| {
        urgency.refused.push(format!("{what}: {}", errno.desc()));
    };
    if let Err(errno) = nix::sys::prctl::set_timerslack(1) {
        refused("exact timers", errno);
    }
    urgency.scheduling = match real_time() {
        Ok(()) => Scheduling::RealTime(PRIORITY),
        Err(errno) => {
            refused("real-time scheduling", errno);
            match nice() {
                Ok(()) => Scheduling::Nice(NICE),
                Err(errno) => {
                    refused("a nice value", errno);
                    Scheduling::Ordinary
                }
            }
        }
    };
    urgency.memory_locked = match lock_memory() {
        Ok(()) => true,
        Err(errno) => {
            refused("locked memory", errno);
            false
        }
    };
    urgency
}

fn real_time() -> Result<(), Errno> {
    let parameters = libc::sched_param {
        sched_priority: PRIORITY,
    };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    #[expect(unsafe_code, reason = "nix does not wrap sched_setscheduler")]
    // SAFETY: a pointer to a whole sched_param, which the kernel reads; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    Errno::result(result).map(drop)
}

fn nice() -> Result<(), Errno> {
    #[expect(unsafe_code, reason = "nix does not wrap setpriority")]
    // SAFETY: numbers only; 0 is the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    Errno::result(result).map(drop)
}

/// What the process has mapped by now, as far as it is in use: text above all. What it maps later is not bound, so that no
/// limit can make an allocation fail.
fn lock_memory() -> Result<(), Errno> {
    #[expect(unsafe_code, reason = "nix wraps mlockall in a feature of its own")]
    // SAFETY: flags only.
    let result = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_ONFAULT) };
    Errno::result(result).map(drop)
}
