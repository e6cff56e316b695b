//! Executors and daemons that die at every step: no change twice, nothing forgotten, an end with a name.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::bench::{Bench, OPEN};
use crate::daemon::{Daemon, until, until_within};
use crate::namespace::isolated;

/// Somebody has to ask for every change; the daemon only looks by itself.
fn by_hand() -> String {
    OPEN.replace("requireApproval: false", "requireApproval: true")
}

fn count(bench: &Bench, mode: &str, nic: &str) -> usize {
    let asked = bench.asked();
    let this = |line: &&String| line.starts_with(mode) && line.ends_with(&format!(" {nic}"));
    asked.iter().filter(this).count()
}

/// The processes with a word in their command line that begins like this. None but those of this test can be
/// seen.
fn processes(word: &str) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.any(|seen| seen.starts_with(word.as_bytes()))
    })
    .map(Pid::from_raw)
    .collect()
}

/// Executors that are alive: a script is handed to its interpreter as a descriptor.
fn executors() -> Vec<Pid> {
    processes("/dev/fd/")
}

/// Runs `routerctl` beside the test.
fn beside(bench: &Bench, arguments: &'static [&'static str]) -> thread::JoinHandle<(u8, String)> {
    let folder = bench.folder.path().to_owned();
    thread::spawn(move || Daemon::new(&folder).routerctl(arguments))
}

/// Everything that goes wrong with an executor alone.
fn executor() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.daemon.start();
    bench.apply(&bench.configuration(&by_hand(), "3s"));
    let faults = [
        "hang-before",
        "exit-before",
        "silent-after",
        "exit-after",
        "garble",
        "hang-after",
        "refuse",
    ];
    for (index, fault) in faults.into_iter().enumerate() {
        for mode in ["observe", "execute", "rollback"] {
            // These change something, which a look does not.
            if mode == "observe" && fault.ends_with("after") {
                continue;
            }
            let nic = format!("{fault}-{mode}");
            bench.import("ensure-forwarding-enabled", &nic);
            let id = bench.states().len().to_string();
            trial(&bench, &id, &nic, mode, fault);
        }
        assert!(executors().is_empty(), "{index}: {fault}");
    }
    bench.said(0, &["action", "journal", "--verify"]);
    bench.daemon.stop();
}

fn trial(bench: &Bench, id: &str, nic: &str, mode: &str, fault: &str) {
    let state = || bench.states()[id.parse::<usize>().expect("a number") - 1].clone();
    bench.said(0, &["action", "approve", id]);
    if mode == "rollback" {
        bench.said(0, &["action", "execute", "--approved", id]);
        bench.said(0, &["action", "approve", "--rollback", id]);
    }
    // Makes the cloud's folder, the first time.
    bench.said(0, &["action", "preflight", "azure"]);
    bench.fault(nic, &format!("{mode}:{fault}"));
    let verb = if mode == "rollback" {
        "rollback"
    } else {
        "execute"
    };
    let said = bench.said(1, &["action", verb, "--approved", id]);
    let lost = fault != "refuse";
    match mode {
        "observe" => assert_eq!(state(), "approved", "{nic}: {said}"),
        _ if lost => assert!(
            said.contains("unknown") || said.contains("waits"),
            "{nic}: {said}"
        ),
        _ => assert!(
            said.contains("permission: Microsoft.Network"),
            "{nic}: {said}"
        ),
    }
    // Once more: it looks first, and does only what is still to be done.
    let again = bench.said(0, &["action", verb, "--approved", id]);
    let done = mode != "observe" && fault.ends_with("after");
    let expected = if done { 1 } else { 2 };
    if mode != "observe" && lost {
        assert_eq!(
            count(bench, mode, nic),
            expected,
            "{nic}: {again}\n{:?}",
            bench.asked()
        );
    }
    let end = if mode == "rollback" {
        "rolledBack"
    } else {
        "succeeded"
    };
    assert_eq!(state(), end, "{nic}");
    assert_eq!(
        bench.is_true("ipForwarding", nic),
        mode != "rollback",
        "{nic}"
    );
    if mode != "rollback" {
        bench.said(0, &["action", "approve", "--rollback", id]);
        bench.said(0, &["action", "rollback", "--approved", id]);
        assert!(!bench.is_true("ipForwarding", nic), "{nic}");
    }
}

/// An executor is killed from outside, with everything that it started.
fn killed_from_outside() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.daemon.start();
    bench.apply(&bench.configuration(&by_hand(), "60s"));
    bench.import("ensure-forwarding-enabled", "nic");
    bench.said(0, &["action", "approve", "1"]);
    bench.said(0, &["action", "execute", "--dry-run", "1"]);
    bench.fault("nic", "execute:hang-after");
    let asked = beside(&bench, &["action", "execute", "--approved", "1"]);
    until("it hangs", || bench.cloud().join("hangs-nic").exists());
    assert_eq!(bench.states(), ["running"]);
    // Nobody else gets at its target meanwhile: the second one waits its turn.
    let second = beside(&bench, &["action", "execute", "--approved", "1"]);
    // The shell may just be starting a command: a second process with its name, gone the next moment.
    let alive = executors();
    assert!(!alive.is_empty());
    for pid in alive {
        let _ = kill(pid, Signal::SIGKILL);
    }
    let (code, said) = asked.join().expect("routerctl ends");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("killed by signal 9"), "{said}");
    let (code, said) = second.join().expect("routerctl ends");
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        (bench.states(), count(&bench, "execute", "nic")),
        (vec!["succeeded".to_owned()], 1)
    );
    bench.daemon.stop();
}

/// Starts executors that stand still at five different steps, one a NIC.
fn five_steps(bench: &Bench, nics: [&str; 5]) -> [thread::JoinHandle<(u8, String)>; 2] {
    bench.said(0, &["action", "approve", "1", "2", "3", "4", "5"]);
    bench.said(0, &["action", "execute", "--approved", "4", "5"]);
    bench.said(0, &["action", "approve", "--rollback", "4", "5"]);
    let faults = [
        "observe:hang-before",
        "execute:hang-before",
        "execute:hang-after",
        "rollback:hang-before",
        "rollback:hang-after",
    ];
    for (nic, fault) in nics.into_iter().zip(faults) {
        bench.fault(nic, fault);
    }
    let asked = [
        beside(bench, &["action", "execute", "--approved", "1", "2", "3"]),
        beside(bench, &["action", "rollback", "--approved", "4", "5"]),
    ];
    let hangs = |nic| bench.cloud().join(format!("hangs-{nic}")).exists();
    until("all five hang", || nics.into_iter().all(hangs));
    asked
}

/// One kill of the daemon while five executors stand at five different steps.
fn daemon() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.daemon.start();
    bench.apply(&bench.configuration(&by_hand(), "10s"));
    let nics = ["a", "b", "c", "d", "e"];
    for nic in nics {
        bench.import("ensure-forwarding-enabled", nic);
    }
    let asked = five_steps(&bench, nics);
    assert!(executors().len() >= 5 && processes("supervise").len() == 5);
    bench.daemon.kill();
    for asked in asked {
        assert_eq!(asked.join().expect("routerctl ends").0, 1);
    }
    until("executors go with their daemon", || executors().is_empty());

    bench.daemon.start();
    assert_eq!(
        bench.states(),
        ["approved", "unknown", "unknown", "unknown", "unknown"]
    );
    bench.said(0, &["action", "journal", "--verify"]);
    // The lease stands, since nobody saw them go.
    let said = bench.said(1, &["action", "execute", "--approved", "2"]);
    assert!(said.contains("(leased)"), "{said}");
    assert_eq!(count(&bench, "execute", "b"), 1);
    let goes_on = |verb, ids: &[&str]| {
        let words = [&["action", verb, "--approved"], ids].concat();
        until_within("the leases end", Duration::from_secs(60), || {
            bench.daemon.routerctl(&words).0 == 0
        });
    };
    goes_on("execute", &["1", "2", "3"]);
    goes_on("rollback", &["4", "5"]);
    assert_eq!(
        bench.states(),
        [
            "succeeded",
            "succeeded",
            "succeeded",
            "rolledBack",
            "rolledBack"
        ]
    );
    let counts = |mode| nics.map(|nic| count(&bench, mode, nic));
    assert_eq!(counts("execute"), [1, 2, 1, 1, 1], "{:?}", bench.asked());
    assert_eq!(counts("rollback"), [0, 0, 0, 2, 1], "{:?}", bench.asked());
    assert_eq!(
        nics.map(|nic| bench.is_true("ipForwarding", nic)),
        [true, true, true, false, false]
    );
    bench.said(0, &["action", "approve", "--rollback", "1", "2", "3"]);
    bench.said(0, &["action", "rollback", "--approved", "1", "2", "3"]);
    assert!(nics.iter().all(|nic| !bench.is_true("ipForwarding", nic)));
    bench.said(0, &["action", "journal", "--verify"]);
    bench.daemon.stop();
}

#[test]
fn an_executor_that_fails_at_any_step_is_looked_after() {
    isolated(
        "actions::faults::an_executor_that_fails_at_any_step_is_looked_after",
        executor,
    );
}

#[test]
fn an_executor_killed_from_outside_leaves_its_turn_to_the_next() {
    isolated(
        "actions::faults::an_executor_killed_from_outside_leaves_its_turn_to_the_next",
        killed_from_outside,
    );
}

#[test]
fn a_daemon_killed_at_every_step_changes_nothing_twice() {
    isolated(
        "actions::faults::a_daemon_killed_at_every_step_changes_nothing_twice",
        daemon,
    );
}
