//! The daemon is killed, and nobody misses it: with BFD watching the path, and with as many routes as a site may have.

use std::fmt::Write;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::interop::Ping;
use super::speakers::{Case, Kind, Role, Speaker, THEIRS};
use super::{apply, installed, is_up, peer, topology};
use crate::daemon::{Daemon, until, until_within};
use crate::namespace::{isolated, run};

/// Packets, ten milliseconds apart, for longer than BFD needs in these tests,
const LONG: usize = 70;
/// and for longer than a peer can be heard again to have been taken for dead.
const VERY_LONG: usize = 200;

fn router(restart_time: u32, bfd: &str) -> String {
    format!(
        "apiVersion: net.routerd.net/v1alpha1\nkind: BGPRouter\nmetadata: {{name: main}}\nspec:\n  \
         asn: 65000\n  routerID: 10.99.0.1\n  gracefulRestart: {{restartTime: {restart_time}s}}\n  \
         redistribute: {{static: {{allowedPrefixes: [10.77.60.0/24]}}}}\n---\n\
         apiVersion: net.routerd.net/v1alpha1\nkind: IPv4Route\nmetadata: {{name: own}}\n\
         spec: {{destination: 10.77.60.9/32, type: blackhole}}\n---\n\
         apiVersion: net.routerd.net/v1alpha1\nkind: BGPPeer\nmetadata: {{name: other}}\nspec:\n  \
         peerASN: 65000\n  peers: [10.99.0.2]\n  timers: {{profile: fast}}\n{bfd}"
    )
}

/// The watched path as the daemon shows it.
fn path(daemon: &Daemon) -> Value {
    let (code, said) = daemon.routerctl_apart(&["get", "bgp", "bfd", "-o", "json"]);
    assert_eq!(code, 0, "{said}");
    let sessions: Value = serde_json::from_str(&said).expect("JSON");
    sessions[0].clone()
}

/// The process that runs the sessions.
fn bfd_process() -> Option<Pid> {
    let found = Command::new("pgrep")
        .args(["-f", "routerd bfd --socket"])
        .output();
    let text = String::from_utf8(found.expect("pgrep").stdout).expect("text");
    let pid = text.lines().next()?.parse().ok()?;
    Some(Pid::from_raw(pid))
}

/// BFD that is up on both sides.
fn watched(daemon: &Daemon, speaker: &Speaker) {
    until("the session is up", || is_up(daemon));
    until("BFD is up", || path(daemon)["state"] == "up");
    until("the route is there", || installed(THEIRS));
    until("the peer has ours", || speaker.has_ours());
}

/// A daemon with a session of each kind of peer whose BFD says that a session is to end, whatever graceful restart would
/// keep: FRR's always does, BIRD's unless told otherwise.
fn meet(kind: Kind, folder: &TempDir) -> (Daemon, Speaker) {
    topology();
    let mut daemon = Daemon::new(folder.path());
    daemon.start();
    let bfd = router(20, "  bfd: {minRx: 50ms, minTx: 50ms}\n");
    apply(&daemon, folder.path(), &bfd);
    let case = Case {
        role: Role::Internal,
        we_wait: false,
        password: false,
        bfd: true,
    };
    let speaker = Speaker::start(kind, case, folder.path());
    watched(&daemon, &speaker);
    (daemon, speaker)
}

#[test]
fn bfd_goes_on_while_either_side_restarts() {
    isolated(
        "bgp::restart::bfd_goes_on_while_either_side_restarts",
        || {
            let folder = tempfile::tempdir().expect("folder");
            let (mut daemon, mut bird) = meet(Kind::Bird, &folder);
            we_are_killed(&mut daemon, &bird, &folder);
            they_are_killed(&daemon, &mut bird, &folder);
            a_path_fails_while_we_are_gone(&mut daemon, &bird, &folder);
            the_process_is_replaced(&daemon);
            apply(&daemon, folder.path(), &router(20, ""));
            until("the process ends with its last session", || {
                bfd_process().is_none() && !folder.path().join("run/bfd.sock").exists()
            });
            assert!(is_up(&daemon), "a session without BFD stays");
        },
    );
}

#[test]
fn frr_hears_bfd_while_the_daemon_restarts() {
    isolated(
        "bgp::restart::frr_hears_bfd_while_the_daemon_restarts",
        || {
            let folder = tempfile::tempdir().expect("folder");
            let (mut daemon, frr) = meet(Kind::Frr, &folder);
            we_are_killed(&mut daemon, &frr, &folder);
        },
    );
}

fn we_are_killed(daemon: &mut Daemon, speaker: &Speaker, folder: &TempDir) {
    let process = bfd_process().expect("a process runs the sessions");
    let ping = Ping::start(folder);
    daemon.kill();
    ping.more(LONG);
    assert!(installed(THEIRS) && speaker.has_ours(), "kept by both");
    daemon.start();
    watched(daemon, speaker);
    assert_eq!(bfd_process(), Some(process), "the same as before");
    assert_eq!(path(daemon)["falseAlarms"], 0);
    println!("the daemon is killed, with BFD: {}", ping.stop());
}

/// Its BFD ends with it, which is no failure of the path: its connection ended first.
fn they_are_killed(daemon: &Daemon, bird: &mut Speaker, folder: &TempDir) {
    let ping = Ping::start(folder);
    bird.kill();
    until("BFD sees it", || path(daemon)["state"] != "up");
    ping.more(LONG);
    assert!(installed(THEIRS), "the stale route is kept");
    bird.run();
    watched(daemon, bird);
    println!("the peer is killed, with BFD: {}", ping.stop());
}

/// The peer falls silent, connection and all, while there is no daemon: the next one does not wait for it.
fn a_path_fails_while_we_are_gone(daemon: &mut Daemon, bird: &Speaker, folder: &TempDir) {
    daemon.kill();
    bird.signal(Signal::SIGSTOP);
    daemon.start();
    until("BFD is down", || path(daemon)["state"] == "down");
    // Its kernel answers on.
    Ping::start(folder).more(VERY_LONG);
    bird.signal(Signal::SIGCONT);
    watched(daemon, bird);
}

fn the_process_is_replaced(daemon: &Daemon) {
    let first = bfd_process().expect("a process");
    kill(first, Signal::SIGKILL).expect("signal");
    until("another process has the sessions", || {
        bfd_process().is_some_and(|now| now != first) && path(daemon)["state"] == "up"
    });
    until("the session is up", || is_up(daemon));
}

/// Routes of the peer, and those among them that it has no more after our restart.
const ROUTES: u32 = 100_000;
const GONE: u32 = 1_000;
const RESTART_TIME: Duration = Duration::from_secs(10);

/// BIRD with as many routes as it is told to have.
struct Bird {
    folder: TempDir,
    child: Child,
}

impl Bird {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let file = |name: &str| folder.path().join(name).display().to_string();
        let text = format!(
            "router id 10.99.0.2;\nlog \"{}\" all;\nprotocol device {{}}\n\
             protocol static theirs {{ ipv4; route {THEIRS} blackhole;\ninclude \"{}\";\n}}\n\
             protocol bgp r {{ local 10.99.0.2 as 65000; neighbor 10.99.0.1 as 65000; direct; hold time 9;\n\
             connect delay time 1; connect retry time 1; error wait time 1, 2; graceful restart;\n\
             ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }}; }}\n",
            file("log"),
            file("routes")
        );
        fs::write(file("conf"), text).expect("configuration");
        write_routes(&file("routes"), ROUTES);
        let child = Command::new("ip")
            .args(["netns", "exec", "peer", "bird", "-f", "-c", &file("conf")])
            .args(["-s", &file("ctl"), "-P", &file("pid")])
            .stdin(Stdio::null())
            .spawn();
        let child = child.expect("BIRD starts");
        Self { folder, child }
    }

    /// Has fewer routes from now on.
    fn shrink(&self, count: u32) {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        write_routes(&file("routes"), count);
        run(&format!(
            "ip netns exec peer birdc -s {} configure",
            file("ctl")
        ));
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_routes(file: &str, count: u32) {
    let mut text = String::new();
    for n in 0..count {
        let [_, high, middle, low] = n.to_be_bytes();
        let high = high + 64;
        let _ = writeln!(text, "route 10.{high}.{middle}.{low}/32 blackhole;");
    }
    fs::write(file, text).expect("routes");
}

/// What the kernel says of our routes from now on.
struct Monitor {
    file: String,
    child: Child,
}

impl Monitor {
    fn start(folder: &TempDir) -> Self {
        let file = folder.path().join("monitor").display().to_string();
        let output = fs::File::create(&file).expect("file");
        let child = Command::new("ip")
            .args(["monitor", "route"])
            .stdin(Stdio::null())
            .stdout(output)
            .spawn();
        let child = child.expect("ip monitor");
        let monitor = Self { file, child };
        // It listens when it hears this, which must be news each time.
        until("the kernel is heard", || {
            run("ip route add 192.0.2.1/32 dev lo");
            run("ip route del 192.0.2.1/32 dev lo");
            monitor.text().contains("192.0.2.1")
        });
        monitor
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap_or_default()
    }

    /// Changes of routes of BGP, and how many of them are removals.
    fn changes(&self) -> (usize, usize) {
        let text = self.text();
        let ours: Vec<&str> = text.lines().filter(|l| l.contains("proto 83")).collect();
        let removals = ours.iter().filter(|line| line.starts_with("Deleted"));
        (ours.len(), removals.count())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Routes in the kernel as the daemon shows them.
fn standing(daemon: &Daemon) -> u64 {
    let (code, said) = daemon.routerctl_apart(&["get", "bgp", "peers", "-o", "json"]);
    assert_eq!(code, 0, "{said}");
    let view: Value = serde_json::from_str(&said).expect("JSON");
    view["installed"].as_u64().unwrap_or_default()
}

/// Routes that the peer has told of, once it has told of all.
fn told(daemon: &Daemon) -> Option<u64> {
    let family = &peer(daemon)["families"]["ipv4-unicast"];
    let all = family["end_of_rib"] == true;
    family["accepted"].as_u64().filter(|_| all)
}

#[test]
fn a_hundred_thousand_routes_are_not_touched_when_the_daemon_is_killed() {
    let name = "bgp::restart::a_hundred_thousand_routes_are_not_touched_when_the_daemon_is_killed";
    isolated(name, || {
        topology();
        let folder = tempfile::tempdir().expect("folder");
        let mut daemon = Daemon::new(folder.path());
        daemon.start();
        let seconds = u32::try_from(RESTART_TIME.as_secs()).expect("short");
        apply(&daemon, folder.path(), &router(seconds, ""));
        let bird = Bird::start();
        let patience = Duration::from_secs(60);
        let all = u64::from(ROUTES) + 1;
        until_within("all routes are there", patience, || {
            standing(&daemon) == all
        });
        let monitor = Monitor::start(&folder);
        let ping = Ping::start(&folder);
        daemon.kill();
        bird.shrink(ROUTES - GONE);
        daemon.start();
        let begun = Instant::now();
        let left = all - u64::from(GONE);
        until_within("all is told again", patience, || {
            told(&daemon) == Some(left)
        });
        let took = begun.elapsed();
        assert!(took < RESTART_TIME, "{took:?}: nothing is left to be seen");
        assert_eq!(standing(&daemon), all, "stale routes are kept");
        assert_eq!(monitor.changes(), (0, 0), "the kernel was left alone");
        until_within("the stale ones go", patience, || standing(&daemon) == left);
        let swept = begun.elapsed();
        println!("the daemon is killed, with 100,000 routes: {}", ping.stop());
        let gone = usize::try_from(GONE).expect("small");
        until("the kernel has said so", || monitor.changes().0 >= gone);
        assert_eq!(monitor.changes(), (gone, gone), "and nothing else");
        // The daemon's time began when it read its configuration, a little before we saw it answer.
        let least = RESTART_TIME - Duration::from_secs(2);
        assert!(swept >= least, "{swept:?}: too early");
        println!("all told again after {took:.1?}, {GONE} stale routes removed after {swept:.1?}");
        let ups = daemon.log().matches("BGP session up").count();
        assert_eq!(ups, 2, "one session before, one after");
    });
}
