//! Benches run in namespaces of their own: nothing of the machine's network is touched.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

const INSIDE: &str = "ROUTERD_BENCH_INSIDE";

/// Whether this is the program that was run again: nothing outside can be reached any more.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs this program again in new mount and network namespaces (and a user namespace when not root), with
/// a private `/run` and `/var/run`.
pub fn enter() -> Result<()> {
    if is_inside() {
        // A thousand sessions have a descriptor each, at both ends.
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
        return sh(
            "mount -t tmpfs none /run && mkdir -p /run/netns /run/wireguard && ip link set lo up",
        );
    }
    let mut unshare = Command::new("unshare");
    if linux_uid() != 0 {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args([
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--",
    ]);
    let error = unshare
        .arg(std::env::current_exe()?)
        .args(std::env::args().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(error).context("run unshare")
}

fn linux_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").map_or(0, |m| m.uid())
}

/// Runs a shell line and fails with what it said.
pub fn sh(line: &str) -> Result<()> {
    output(line).map(drop)
}

/// Runs a shell line and gives what it printed.
pub fn output(line: &str) -> Result<String> {
    let output = Command::new("sh")
        .args(["-c", line])
        .output()
        .with_context(|| format!("run {line}"))?;
    if !output.status.success() {
        bail!(
            "{line}: {}{}",
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
