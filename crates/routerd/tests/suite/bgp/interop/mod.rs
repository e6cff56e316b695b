//! Each speaker as each kind of peer, with us waiting and with us connecting: all speakers at the same time, each in
//! namespaces of its own.

mod matrix;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

pub use matrix::Feature;
use matrix::{Log, publish};

use super::speakers::{
    COMMUNITY, Case, Kind, OUR_COMMUNITY, OURS, PASSWORD, Role, Speaker, THEIRS,
};
use super::{admin, apply, installed, is_up, peer, topology};
use crate::daemon::{Daemon, until};
use crate::namespace::{isolated_each, run};

/// Packets that may be under way when the count ends.
const IN_FLIGHT: usize = 1;
/// Where the parts leave what they saw.
const RESULTS: &str = "ROUTERD_TEST_RESULTS";

fn configuration(case: Case, announce: bool) -> String {
    let asn = case.their_asn();
    let mut text = format!(
        "apiVersion: net.routerd.net/v1alpha1\nkind: BGPRouter\nmetadata: {{name: main}}\nspec:\n  \
         asn: 65000\n  routerID: 10.99.0.1\n  gracefulRestart: {{restartTime: 20s}}\n  \
         communities: {{set: {{out: [\"{OUR_COMMUNITY}\"]}}}}\n",
    );
    if announce {
        text += "  redistribute: {static: {allowedPrefixes: [10.77.60.0/24]}}\n";
    }
    let _ = write!(
        text,
        "---\napiVersion: net.routerd.net/v1alpha1\nkind: IPv4Route\nmetadata: {{name: own}}\n\
         spec: {{destination: {OURS}, type: blackhole}}\n---\n\
         apiVersion: net.routerd.net/v1alpha1\nkind: BGPPeer\nmetadata: {{name: other}}\nspec:\n  \
         peerASN: {asn}\n  peers: [10.99.0.2]\n  passiveMode: {wait}\n  timers: {{profile: fast}}\n  \
         addPath: {{receive: true, send: 4}}\n",
        wait = case.we_wait
    );
    if case.password {
        let _ = writeln!(text, "  password: {PASSWORD}");
    }
    if case.bfd {
        text += "  bfd: {minRx: 50ms, minTx: 50ms}\n";
    }
    if case.role == Role::Client {
        text += "  routeReflectorClient: true\n";
    }
    if case.role == Role::External {
        let all = "{allowedPrefixes: [0.0.0.0/0]}";
        let _ = write!(text, "  importPolicy: {all}\n  exportPolicy: {all}\n");
    }
    text
}

/// Packets to an address, ten milliseconds apart, until told to stop.
pub(super) struct Ping {
    child: std::process::Child,
    file: PathBuf,
}

impl Ping {
    /// Starts, and waits until some came back.
    pub(super) fn start(folder: &TempDir) -> Self {
        let file = folder.path().join("ping");
        let out = std::fs::File::create(&file).expect("file");
        let child = Command::new("ping")
            .args(["-i", "0.01", "10.77.60.5"])
            .stdout(Stdio::from(out))
            .spawn();
        let child = child.expect("ping");
        let ping = Self { child, file };
        ping.more(20);
        ping
    }

    fn came(&self) -> usize {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.matches("bytes from").count()
    }

    /// Waits until so many more came back.
    pub(super) fn more(&self, count: usize) {
        let enough = self.came() + count;
        until("packets come back", || self.came() >= enough);
    }

    /// How many were sent and how many came back: all.
    pub(super) fn stop(mut self) -> String {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, Signal::SIGINT).expect("signal");
        self.child.wait().expect("ping");
        let text = std::fs::read_to_string(&self.file).expect("what it said");
        let line = text.lines().find(|line| line.contains("transmitted"));
        let line = line.unwrap_or_else(|| panic!("{text}"));
        let words = line.split([' ', ',']);
        let numbers: Vec<usize> = words.filter_map(|word| word.parse().ok()).collect();
        let (sent, came) = (numbers[0], numbers[1]);
        assert!(sent - came <= IN_FLIGHT, "{came} of {sent}");
        format!("{came} of {sent} packets came through")
    }
}

fn counter(daemon: &Daemon, name: &str) -> u64 {
    peer(daemon)["counters"][name].as_u64().unwrap_or(0)
}

/// One session, from nothing to routes both ways, a withdrawal either way, and refreshes.
fn basics(daemon: &Daemon, folder: &TempDir, kind: Kind, case: Case, log: &mut Log) -> Speaker {
    let start = Instant::now();
    // First, so that a speaker that connects is not refused: some try again only after two minutes.
    apply(daemon, folder.path(), &configuration(case, true));
    let speaker = Speaker::start(kind, case, folder.path());
    let feature = Feature::Session(case.role, case.we_wait);
    let title = format!("{} {feature:?}", kind.name());
    until(&format!("{title}: session up"), || is_up(daemon));
    let up = start.elapsed();
    until(&format!("{title}: {THEIRS} in the kernel"), || {
        speaker.nudge();
        installed(THEIRS)
    });
    until(&format!("{title}: {OURS} at the peer"), || {
        speaker.has_ours()
    });
    let took = start.elapsed();
    log.note(
        feature,
        format!(
            "up {:.1} s after its start{}, `/32`s both ways after {:.1} s",
            up.as_secs_f64(),
            if case.password { ", MD5" } else { "" },
            took.as_secs_f64()
        ),
    );
    let (_, said) = daemon.routerctl(&["get", "bgp", "routes", THEIRS]);
    assert!(said.contains(COMMUNITY), "no large community: {said}");
    until("our large community at the peer", || {
        speaker.has_our_community()
    });
    withdrawals(&speaker, daemon, folder, case);
    refreshes(&speaker, kind, daemon, folder);
    speaker
}

fn withdrawals(speaker: &Speaker, daemon: &Daemon, folder: &TempDir, case: Case) {
    speaker.announce(false);
    until("their withdrawal", || !installed(THEIRS));
    speaker.announce(true);
    until("their second announcement", || installed(THEIRS));
    apply(daemon, folder.path(), &configuration(case, false));
    until("our withdrawal", || !speaker.has_ours());
    apply(daemon, folder.path(), &configuration(case, true));
    until("our second announcement", || speaker.has_ours());
}

fn refreshes(speaker: &Speaker, kind: Kind, daemon: &Daemon, folder: &TempDir) {
    if kind.cannot(Feature::RefreshByUs).is_none() {
        let before = counter(daemon, "updates_in");
        admin(folder.path(), "\"refresh-in\"");
        until("their routes told again", || {
            speaker.nudge();
            counter(daemon, "updates_in") > before
        });
    }
    if kind.cannot(Feature::RefreshByThem).is_some() {
        return;
    }
    let before = counter(daemon, "refreshes_in");
    speaker.ask_refresh();
    until("their request", || {
        speaker.nudge();
        counter(daemon, "refreshes_in") > before
    });
    until("our routes, still", || speaker.has_ours());
}

/// The daemon is killed: packets go on, and neither side misses the other's routes for a moment.
fn our_restart(speaker: &Speaker, daemon: &mut Daemon, folder: &TempDir, log: &mut Log) {
    let ping = Ping::start(folder);
    daemon.kill();
    ping.more(50);
    assert!(installed(THEIRS), "the route went with the daemon");
    assert!(speaker.has_ours(), "the peer did not keep our route");
    daemon.start();
    until("up again", || is_up(daemon));
    until("the route is fresh", || {
        speaker.nudge();
        let (_, said) = daemon.routerctl(&["get", "bgp", "routes"]);
        said.contains(THEIRS)
    });
    assert!(speaker.has_ours(), "the peer lost our route");
    let mut seen = ping.stop();
    if speaker.kind().has_rib() {
        seen += ", our route kept by it";
    }
    log.note(Feature::OurRestart, seen);
}

/// The peer is killed: its routes are kept until it is back.
fn their_restart(speaker: &mut Speaker, daemon: &Daemon, folder: &TempDir, log: &mut Log) {
    let ping = Ping::start(folder);
    speaker.kill();
    until("the session is seen to end", || !is_up(daemon));
    assert!(installed(THEIRS), "the stale route is not kept");
    speaker.run();
    until("up again", || is_up(daemon));
    until("told again", || {
        speaker.nudge();
        let families = peer(daemon)["families"].to_string();
        families.contains("\"stale\":0") && families.contains("\"accepted\":1")
    });
    assert!(installed(THEIRS), "the route went");
    log.note(Feature::TheirRestart, ping.stop());
}

/// The detection time, once both ends are up and send as fast as they agreed to: a session begins with seconds, and a
/// busy host may have raised it since by a false alarm.
fn detection_time(daemon: &Daemon) -> Option<Duration> {
    let (_, said) = daemon.routerctl_apart(&["get", "bgp", "bfd", "-o", "json"]);
    let view: Value = serde_json::from_str(&said).unwrap_or_default();
    let session = &view[0];
    let time: Duration = serde_json::from_value(session["detectionTime"].clone()).ok()?;
    let up = session["state"] == "up" && session["remoteState"] == "up";
    let fast = Duration::from_millis(1)..Duration::from_secs(1);
    (up && fast.contains(&time)).then_some(time)
}

/// The peer's path fails: BFD ends the session, and what graceful restart would keep as well.
fn path_failure(speaker: &Speaker, daemon: &Daemon, log: &mut Log) {
    let mut detection = None;
    until("BFD is up and fast", || {
        detection = detection_time(daemon);
        detection.is_some()
    });
    let start = Instant::now();
    speaker.signal(Signal::SIGSTOP);
    until("the route goes", || !installed(THEIRS));
    let took = start.elapsed();
    // The hold time is nine seconds.
    let limit = Duration::from_secs(3);
    assert!(took < limit, "{took:?}: hold time, not BFD");
    until("the session is down", || !is_up(daemon));
    speaker.signal(Signal::SIGCONT);
    until("the route is back", || {
        speaker.nudge();
        installed(THEIRS)
    });
    let seen = format!(
        "route gone after {} ms, the detection time being {:?}",
        took.as_millis(),
        detection.unwrap_or_default()
    );
    log.note(Feature::PathFailure, seen);
}

/// Routes have identifiers in both directions.
fn add_path(daemon: &Daemon, log: &mut Log) {
    let said = peer(daemon)["capabilities"].to_string();
    for direction in ["add-path-receive", "add-path-send"] {
        assert!(said.contains(direction), "{said}");
    }
    let (_, said) = daemon.routerctl_apart(&["get", "bgp", "routes", THEIRS, "-o", "json"]);
    let routes: Value = serde_json::from_str(&said).expect("JSON");
    let id = routes[0]["path_id"].as_u64().expect("a path identifier");
    log.note(
        Feature::AddPath,
        format!("its path has the identifier {id}"),
    );
}

fn interop(kind: Kind) {
    topology();
    let folder = tempfile::tempdir().expect("folder");
    let mut daemon = Daemon::new(folder.path());
    daemon.start();
    let mut log = Log::new(kind);
    let can = |feature| kind.cannot(feature).is_none();
    for role in Role::ALL {
        for we_wait in [true, false] {
            if !can(Feature::Session(role, we_wait)) {
                continue;
            }
            let case = Case {
                role,
                we_wait,
                password: role != Role::Internal,
                bfd: role == Role::External && we_wait && can(Feature::PathFailure),
            };
            let mut speaker = basics(&daemon, &folder, kind, case, &mut log);
            if role == Role::Internal && !we_wait {
                add_path(&daemon, &mut log);
            }
            if role == Role::Client && we_wait && can(Feature::OurRestart) {
                our_restart(&speaker, &mut daemon, &folder, &mut log);
            }
            // GoBGP is told its route after its start: it connects late enough not to say "that is all" before.
            if role == Role::Client && we_wait && can(Feature::TheirRestart) {
                their_restart(&mut speaker, &daemon, &folder, &mut log);
            }
            if case.bfd {
                path_failure(&speaker, &daemon, &mut log);
            }
        }
    }
    for (feature, seen) in [
        (Feature::Withdraw, "in every session above"),
        (Feature::RefreshByUs, "in every session above"),
        (Feature::RefreshByThem, "in every session above"),
        (Feature::LargeCommunities, "in every session above"),
        (Feature::Md5, "in the sessions above that say so"),
    ] {
        if can(feature) {
            log.note(feature, seen);
        }
    }
    let said = daemon.log();
    assert!(!said.contains(PASSWORD), "the password is in the log");
    log.check();
    log.store(Path::new(&std::env::var(RESULTS).expect("a folder")));
}

fn version(kind: Kind) -> String {
    run(&format!("dpkg-query -W -f ${{Version}} {}", kind.package()))
}

#[test]
fn speakers() {
    let results = tempfile::tempdir().expect("folder");
    let parts = Kind::ALL.map(Kind::name);
    let name = "bgp::interop::speakers";
    let all = isolated_each(name, &parts, (RESULTS, results.path()), |part| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == part);
        interop(kind.expect("a speaker"));
    });
    if all {
        let versions = Kind::ALL.map(|kind| (kind, version(kind)));
        publish(results.path(), &versions);
    }
}
