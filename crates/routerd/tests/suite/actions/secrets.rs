//! What an executor must not read, and what must not be found anywhere but in an executor.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;

use super::bench::{Bench, OPEN, files};
use crate::daemon::until;
use crate::namespace::isolated;

/// A credential of the form that Azure's metadata service hands out.
const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJwbGFudGVkLWJ5LWEtdGVzdCJ9.cGxhbnRlZC1zaWduYXR1cmU";

/// The last part, which no redaction leaves standing by accident.
const NEEDLE: &[u8] = b"cGxhbnRlZC1zaWduYXR1cmU";

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

/// Whether a process has the bytes anywhere in its memory.
fn remembers(pid: u32, needle: &[u8]) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).expect("memory");
    let mut seen = 0;
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').expect("a range");
        let (from, to) = range.split_once('-').expect("a range");
        let address = |text| u64::from_str_radix(text, 16).expect("an address");
        let (from, to) = (address(from), address(to));
        if !rest.starts_with("rw") || memory.seek(SeekFrom::Start(from)).is_err() {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(to - from).expect("a size")];
        // The end of a mapping may not be there to read.
        let mut length = 0;
        while let Ok(count @ 1..) = memory.read(&mut bytes[length..]) {
            length += count;
        }
        seen += length;
        if contains(&bytes[..length], needle) {
            return true;
        }
    }
    assert!(seen > 1 << 20, "only {seen} bytes could be read");
    false
}

/// Everything that is on the disk of the daemon, and everything that it tells.
fn traces(bench: &Bench) -> Vec<(String, Vec<u8>)> {
    let mut traces: Vec<_> = files(&bench.path("state"))
        .into_iter()
        .filter(|path| !path.starts_with(bench.cloud()))
        .map(|path| (path.display().to_string(), fs::read(&path).expect("read")))
        .collect();
    traces.push(("log".to_owned(), bench.daemon.log().into()));
    for arguments in [
        ["action", "list", "-o", "json"].as_slice(),
        &["action", "journal", "-o", "json"],
        &["action", "show", "1", "-o", "json"],
        &["plugin", "list", "-o", "json"],
        &["plugin", "runs", "-o", "json"],
        &["status", "-o", "json"],
        &["get", "-o", "json"],
        &["events", "-o", "json"],
        &["doctor", "-o", "json"],
    ] {
        let (_, said) = bench.daemon.routerctl(arguments);
        traces.push((arguments.join(" "), said.into()));
    }
    traces
}

fn plant(bench: &Bench) {
    fs::write(bench.cloud().join("token"), TOKEN).expect("planted");
    fs::set_permissions(
        bench.cloud().join("token"),
        fs::Permissions::from_mode(0o644),
    )
    .expect("mode");
}

/// The executor with something done at its start.
fn executor_that(bench: &Bench, does: &str) {
    let (head, rest) = include_str!("executor.sh").split_once('\n').expect("lines");
    bench.program("executor", &format!("{head}\n{does}\n{rest}"));
}

fn credentials() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    executor_that(&bench, "read -r token < $CLOUD_DIR/token");
    bench.daemon.start();
    bench.apply(&bench.configuration(
        &OPEN.replace("requireApproval: false", "requireApproval: true"),
        "10s",
    ));
    bench.import("ensure-forwarding-enabled", "nic");
    bench.said(0, &["action", "approve", "1"]);
    bench.said(0, &["action", "preflight", "azure"]);
    plant(&bench);
    bench.said(0, &["action", "execute", "--approved", "1"]);
    let pid = bench.daemon.pid();
    assert!(!remembers(pid, NEEDLE), "in the daemon's memory");
    // The search finds what is there.
    assert!(remembers(pid, b"ensure-forwarding-enabled"));
    for (what, text) in traces(&bench) {
        assert!(!contains(&text, NEEDLE), "{what}");
    }

    // One that prints what it must not, in every way it can.
    executor_that(
        &bench,
        "read -r token < $CLOUD_DIR/token
echo \"Authorization: Bearer $token\" >&2; echo \"token=$token\" >&2; echo \"$token\" >&2
case $(cat $CLOUD_DIR/leak) in
    json) echo \"{\\\"kind\\\":\\\"ExecuteActionResult\\\",\\\"status\\\":{\\\"status\\\":\\\"failed\\\",\\\"message\\\":\\\"GET with $token failed\\\",\\\"observed\\\":{\\\"a\\\":\\\"$token\\\"},\\\"error\\\":{\\\"class\\\":\\\"authentication\\\",\\\"detail\\\":\\\"access_token=$token\\\",\\\"hint\\\":\\\"$token\\\"}}}\"; exit 0 ;;
    garbage) echo \"{\\\"$token\\\": 1}\"; exit 0 ;;
    exit) exit 3 ;;
esac",
    );
    bench.said(0, &["action", "approve", "--rollback", "1"]);
    for leak in ["json", "garbage", "exit"] {
        fs::write(bench.cloud().join("leak"), leak).expect("written");
        bench.said(1, &["action", "rollback", "--approved", "1"]);
        bench.said(1, &["action", "preflight", "azure"]);
    }
    let traces = traces(&bench);
    for (what, text) in &traces {
        assert!(!contains(text, NEEDLE), "{what}");
    }
    let runs = traces
        .iter()
        .find(|(what, _)| what.starts_with("plugin runs"));
    assert!(contains(&runs.expect("runs").1, b"[redacted]"));
    bench.daemon.stop();
}

fn out_of_reach() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let probe = format!(
        "{{ cat {0}/state/routerd.db* {0}/state/*keys/* {0}/keys/* {0}/router.yaml /proc/[0-9]*/mem
            ls {0}/state; ls {0}/run
            find /etc /home /mnt /root /run /srv /tmp /var -name 'routerd.db*' -o -name routerd.sock -o -name wg.key; }} 2>/dev/null > $CLOUD_DIR/loot
        id -u > $CLOUD_DIR/id",
        bench.folder.path().display()
    );
    executor_that(&bench, &probe);
    fs::create_dir(bench.path("keys")).expect("folder");
    fs::write(bench.path("keys/wg.key"), "secret").expect("key");
    bench.daemon.start();
    bench.apply(&bench.configuration(OPEN, "20s"));
    bench.import("ensure-forwarding-enabled", "nic");
    until("it ran", || bench.cloud().join("id").exists());
    until("it is done", || bench.states() == ["succeeded"]);
    let loot = fs::read_to_string(bench.cloud().join("loot")).expect("loot");
    // Its own folder is the one thing of ours that it sees.
    let seen: Vec<_> = loot.lines().filter(|line| *line != "cloud").collect();
    assert!(seen.is_empty(), "{seen:?}");
    assert_eq!(
        fs::read_to_string(bench.cloud().join("id")).expect("id"),
        "65534\n"
    );
    bench.daemon.stop();
}

#[test]
fn no_credential_is_left_anywhere() {
    isolated(
        "actions::secrets::no_credential_is_left_anywhere",
        credentials,
    );
}

#[test]
fn database_keys_and_socket_are_out_of_an_executors_reach() {
    isolated(
        "actions::secrets::database_keys_and_socket_are_out_of_an_executors_reach",
        out_of_reach,
    );
}
