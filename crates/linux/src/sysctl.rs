//! Kernel settings below `/proc/sys`: those of the calling thread's network namespace.

use std::fs;
use std::io;
use std::path::PathBuf;

use api::IfName;
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

/// The settings of `net.ipv4.conf.all`. Those of interfaces come with the links.
///
/// # Errors
/// As [`read`].
pub fn read_all() -> io::Result<Vec<(Sysctl, i32)>> {
    const KEYS: [SysctlKey; 6] = [
        SysctlKey::Forwarding,
        SysctlKey::RpFilter,
        SysctlKey::SendRedirects,
        SysctlKey::ProxyArp,
        SysctlKey::ArpAnnounce,
        SysctlKey::ArpIgnore,
    ];
    let mut values = Vec::with_capacity(KEYS.len());
    for sysctl in KEYS.map(Sysctl::all) {
        if let Some(value) = read(&sysctl)? {
            values.push((sysctl, value));
        }
    }
    Ok(values)
}

/// While it lives, the removal of a primary address of an interface promotes a secondary one instead of
/// removing all of them.
#[derive(Debug)]
pub(crate) struct Promotion {
    path: PathBuf,
    before: String,
}

impl Promotion {
    pub(crate) fn on(ifname: &IfName) -> io::Result<Self> {
        let path = format!("/proc/sys/net/ipv4/conf/{ifname}/promote_secondaries");
        let before = fs::read_to_string(&path)?;
        if before.trim() == "0" {
            fs::write(&path, "1\n")?;
        }
        Ok(Self {
            path: path.into(),
            before,
        })
    }
}

impl Drop for Promotion {
    fn drop(&mut self) {
        // If this fails the interface is gone, and its settings with it.
        let _ = fs::write(&self.path, &self.before);
    }
}

fn path(sysctl: &Sysctl) -> PathBuf {
    PathBuf::from("/proc/sys").join(sysctl.path())
}
