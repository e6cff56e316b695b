//! A test that starts itself again in fresh network, mount and (if not root) user namespaces.

use std::path::Path;
use std::process::{Command, Stdio};

/// Says to a test that it is inside.
const INSIDE: &str = "ROUTERD_TEST_INSIDE";

/// Says which part of a test it is, inside.
const PART: &str = "ROUTERD_TEST_PART";

/// Runs `test` in fresh namespaces with an empty `/run` and a loopback interface. `name` is the test's own full
/// name. Prints why, and does nothing, where namespaces are not allowed.
pub fn isolated(name: &str, test: impl FnOnce()) {
    if is_inside() {
        prepare();
        return test();
    }
    let Some(mut command) = again(name) else {
        return;
    };
    let status = command.status().expect("unshare runs");
    assert!(status.success(), "{name} failed inside");
}

/// Says which part alone is run.
const ONLY: &str = "ROUTERD_TEST_ONLY";

/// Runs `test` once for each part, all at the same time, each in namespaces of its own and with a variable in its
/// environment. True: all were run, and we are outside.
pub fn isolated_each(
    name: &str,
    parts: &[&'static str],
    variable: (&str, &Path),
    test: impl FnOnce(&'static str),
) -> bool {
    if is_inside() {
        prepare();
        let part = std::env::var(PART).expect("a part");
        test(parts.iter().find(|p| **p == part).expect("a known part"));
        return false;
    }
    let only = std::env::var(ONLY).ok();
    let chosen = |part: &&&str| only.as_ref().is_none_or(|only| only == **part);
    let mut running = Vec::new();
    for part in parts.iter().filter(chosen) {
        let Some(mut command) = again(name) else {
            return false;
        };
        let command = command.env(PART, part).env(variable.0, variable.1);
        let command = command.stdin(Stdio::null());
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let child = child.expect("unshare runs");
        running.push((part, std::thread::spawn(move || child.wait_with_output())));
    }
    let mut failed = Vec::new();
    for (part, thread) in running {
        let output = thread.join().expect("thread").expect("output");
        print!("{}", String::from_utf8_lossy(&output.stdout));
        if !output.status.success() {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            failed.push(part);
        }
    }
    assert!(failed.is_empty(), "{name} failed inside: {failed:?}");
    only.is_none()
}

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

fn prepare() {
    run("mount -t tmpfs tmpfs /run");
    run("ip link set lo up");
}

/// This test once more, in namespaces of its own; absent where those are not allowed.
fn again(name: &str) -> Option<Command> {
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
        return None;
    }
    let this = std::env::current_exe().expect("this program");
    let mut command = Command::new("unshare");
    command
        .args(user)
        .args(flags)
        .arg(this)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("PATH", path());
    Some(command)
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
