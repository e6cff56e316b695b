//! The user that a plugin runs as.

use std::fs;

use nix::unistd::{Gid, Uid, User};

use super::PluginError;

/// A user and the group of his own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
}

/// Finds a user by name.
pub(super) fn find(name: &str) -> Result<Account, PluginError> {
    let found =
        User::from_name(name).map_err(PluginError::system(format!("look up user {name}")))?;
    let user = found.ok_or_else(|| PluginError::User(name.to_owned()))?;
    Ok(Account {
        uid: user.uid,
        gid: user.gid,
    })
}

impl Account {
    /// Whether this process can become that user: as root, in a user namespace that knows him.
    pub(super) fn is_reachable(self) -> bool {
        Uid::effective().is_root()
            && knows("/proc/self/uid_map", self.uid.as_raw())
            && knows("/proc/self/gid_map", self.gid.as_raw())
    }
}

/// Whether an id is in a map of `user_namespaces(7)`: lines of first id inside, first id outside, count.
fn knows(map: &str, id: u32) -> bool {
    let text = fs::read_to_string(map).unwrap_or_default();
    text.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(first)), _, Some(Ok(count))) => {
                (first..first + count).contains(&u64::from(id))
            }
            _ => false,
        }
    })
}
