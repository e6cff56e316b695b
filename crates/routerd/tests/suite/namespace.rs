//! A test that starts itself again in fresh network, mount and (if not root) user namespaces.

use std::path::Path;
use std::process::Command;

/// Says to a test that it is inside.
const INSIDE: &str = "ROUTERD_TEST_INSIDE";

/// Runs `test` in fresh namespaces with an empty `/run` and a loopback interface. `name` is the test's own full
/// name. Prints why, and does nothing, where namespaces are not allowed.
pub fn isolated(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        run("mount -t tmpfs tmpfs /run");
        run("ip link set lo up");
        return test();
    }
    // Processes of their own too: what a test leaves behind, a detached tunnel above all, ends with it.
    let flags = ["-nmpf", "--kill-child", "--mount-proc"];
    let user: &[&str] = if is_root() { &[] } else { &["-Ur"] };
    let allowed = Command::new("unshare")
        .args(user)
        .args(flags)
        .arg("true")
        .output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("{name}: not run, since namespaces are not allowed here");
        return;
    }
    let this = std::env::current_exe().expect("this program");
    let status = Command::new("unshare")
        .args(user)
        .args(flags)
        .arg(this)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("PATH", path())
        .status();
    assert!(
        status.expect("unshare runs").success(),
        "{name} failed inside"
    );
}

/// Where programs are found: those of this workspace first.
fn path() -> std::ffi::OsString {
    let ours = Path::new(env!("CARGO_BIN_EXE_routerd")).parent();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let folders = ours.map(Path::to_owned).into_iter();
    let all = folders.chain(std::env::split_paths(&others));
    std::env::join_paths(all).expect("folders")
}

/// Runs a command of words separated by spaces; it must succeed.
pub fn run(command: &str) -> String {
    let (program, arguments) = words(command);
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{command}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {complaint}");
    text
}

/// A command line as its program and its arguments.
pub fn words(command: &str) -> (&str, impl Iterator<Item = &str>) {
    let mut words = command.split_whitespace();
    (words.next().unwrap_or("true"), words)
}

/// The on-prem router's interfaces: a LAN and an uplink.
pub fn onprem_links() {
    link("ens21", "10.77.60.2/24");
    link("ens18", "203.0.113.2/24");
    run("ip route add default via 203.0.113.1");
}

fn link(name: &str, address: &str) {
    run(&format!(
        "ip link add {name} type veth peer name {name}-peer"
    ));
    run(&format!("ip link set {name} up"));
    run(&format!("ip link set {name}-peer up"));
    run(&format!("ip address add {address} dev {name}"));
}

/// Whether this is root, be it of a namespace.
pub fn is_root() -> bool {
    let owner = std::fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m));
    owner.is_ok_and(|uid| uid == 0)
}

/// The folder with example configurations.
pub fn examples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"))
}
