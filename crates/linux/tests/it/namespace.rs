//! A fresh network namespace for each test.

use std::process::Command;
use std::thread;

/// Set for the process that runs inside the namespace.
const INSIDE: &str = "ROUTERD_TEST_NAMESPACE";

/// Runs the body of the calling test in a fresh network namespace with `lo` up. Works for root and, where user
/// namespaces are allowed, for everybody: the test program starts itself once more for this one test.
pub fn fresh(body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        run("ip link set lo up");
        body();
        return;
    }
    let thread = thread::current();
    let test = thread.name().expect("the test harness names its threads");
    let flags: &[&str] = if nix::unistd::geteuid().is_root() {
        &["--net"]
    } else {
        &["--user", "--map-root-user", "--net"]
    };
    let output = Command::new("unshare")
        .args(flags)
        .arg(std::env::current_exe().expect("own path"))
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{test} did not run:\n{text}");
    print!("{text}");
}

/// Runs a command line and returns what it printed.
#[track_caller]
pub fn run(command: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", command])
        .output()
        .expect("sh");
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
