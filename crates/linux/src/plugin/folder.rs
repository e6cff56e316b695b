//! Folders that a plugin keeps things in between its runs.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Component, Path};

use super::{PluginError, user};

/// Makes a folder below `state` for a plugin's user, mode 0700, if it is not there yet. What is there stays as it
/// is. A path that is not below `state` is left alone.
///
/// # Errors
/// When it cannot be made or given to the user, or is there and somebody else's: the plugin could not use it.
pub fn lend(folder: &Path, state: &Path, user: &str) -> Result<(), PluginError> {
    let plain = |c: Component<'_>| !matches!(c, Component::ParentDir | Component::CurDir);
    let below = folder.starts_with(state) && folder != state && folder.components().all(plain);
    if !below {
        return Ok(());
    }
    let account = user::find(user)?;
    if let Ok(metadata) = fs::symlink_metadata(folder) {
        return match metadata.uid() == account.uid.as_raw() {
            true => Ok(()),
            false => Err(PluginError::Folder {
                path: folder.to_owned(),
                owner: metadata.uid(),
                user: user.to_owned(),
            }),
        };
    }
    make(folder)
        .and_then(|()| {
            let (uid, gid) = (account.uid.as_raw(), account.gid.as_raw());
            chown(folder, Some(uid), Some(gid))
        })
        .map_err(PluginError::system(format!(
            "make {} for {user}",
            folder.display()
        )))
}

fn make(folder: &Path) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
    }
    DirBuilder::new().mode(0o700).create(folder)
}
