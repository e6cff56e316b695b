//! Kernel settings below `/proc/sys`: those of the calling thread's network namespace.

use std::fs;
use std::io;
use std::path::PathBuf;

use routerd_core::sysctl::{Sysctl, SysctlKey};

/// Reads a setting; absent if the interface (or, on an old kernel, the setting) does not exist.
///
/// # Errors
/// When the file exists but cannot be read or holds no number.
pub fn read(sysctl: &Sysctl) -> io::Result<Option<i32>> {
    match fs::read_to_string(path(sysctl)) {
        Ok(text) => text.trim().parse().map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a setting.
///
/// # Errors
/// When the interface does not exist or `/proc/sys` is read-only.
pub fn write(sysctl: &Sysctl, value: i32) -> io::Result<()> {
    // Without truncation or creation: this is a value, not a file.
    let mut file = fs::OpenOptions::new().write(true).open(path(sysctl))?;
    io::Write::write_all(&mut file, format!("{value}\n").as_bytes())
}

/// The settings of `all` and `default`, but those of `net.ipv4.neigh`. Those of interfaces come with the links.
///
/// # Errors
/// As [`read`].
pub fn read_shared() -> io::Result<Vec<(Sysctl, i32)>> {
    let mut values = Vec::new();
    for key in SysctlKey::EVERY {
        if key == SysctlKey::ProxyDelay {
            continue;
        }
        let both = [Sysctl::all(key), Sysctl::default_of(key)];
        for sysctl in both
            .into_iter()
            .filter(|sysctl| key.exists_in(&sysctl.scope))
        {
            if let Some(value) = read(&sysctl)? {
                values.push((sysctl, value));
            }
        }
    }
    Ok(values)
}

fn path(sysctl: &Sysctl) -> PathBuf {
    PathBuf::from("/proc/sys").join(sysctl.path())
}
