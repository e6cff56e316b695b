//! What routerd changed on this host that the kernel cannot mark as ours, and what was there before.
//!
//! The ledger is written to disk before the change is made, so a crash in between costs at most a
//! restore of the value that is still there.

use std::collections::BTreeMap;

use api::IfName;
use serde::{Deserialize, Serialize};

use crate::sysctl::Sysctl;

/// Prior values, kept from the first change until the restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The value each setting had before routerd first set it.
    pub sysctls: BTreeMap<Sysctl, i32>,
    /// What each link was before routerd first touched it.
    pub links: BTreeMap<IfName, LinkRecord>,
}

/// What a link was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkRecord {
    /// It was not there: routerd made it.
    Created,
    /// It was there with this MTU and state.
    Adopted {
        /// MTU in bytes.
        mtu: u32,
        /// Administratively up.
        up: bool,
    },
}
