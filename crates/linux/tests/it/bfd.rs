//! BFD sessions with ourselves, with BIRD and with FRR's bfdd:
//!
//! ```text
//! this namespace                 peer's namespace
//! near 10.98.0.1/24 ──────────── far 10.98.0.2/24
//! lo   10.99.0.1                 lo  10.99.0.2      over several hops
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::num::NonZeroU8;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bgp::bfd::{Settings, State};
use linux::bfd::{Bfd, Ends, Event, Notice, Reach};
use linux::namespace::Namespaces;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::namespace::{fresh, run};

const LIMIT: Duration = Duration::from_secs(20);
/// 50 ms, three times: the floor on real networks.
const INTERVAL: Duration = Duration::from_millis(50);
const MULTIPLIER: u8 = 3;
/// Longer than any false alarm is taken for one.
const LONG: Duration = Duration::from_secs(2);

/// A namespace with a link to this one.
struct Far(Child);

impl Far {
    fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec sleep 1000"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout");
        BufReader::new(stdout).read_line(&mut line).expect("ready");
        run(&format!(
            "ip link add near type veth peer name far netns {}; ip addr add 10.98.0.1/24 dev near; \
             ip link set near up; ip addr add 10.99.0.1/32 dev lo",
            child.id()
        ));
        let far = Self(child);
        far.run(
            "ip link set lo up; ip addr add 10.98.0.2/24 dev far; ip link set far up; \
             ip addr add 10.99.0.2/32 dev lo; ip route add 10.99.0.1/32 via 10.98.0.1",
        );
        run("ip route add 10.99.0.2/32 via 10.98.0.2");
        far
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.0.id()));
        command.arg(program);
        command
    }

    fn run(&self, script: &str) {
        let status = self.command("sh").args(["-ec", script]).status();
        assert!(status.expect("nsenter").success(), "{script}");
    }

    fn start(&self, program: &str, arguments: &[&str]) -> Process {
        let mut command = self.command(program);
        command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Process(command.spawn().expect("start"))
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that ends with this value, even if it is stopped.
struct Process(Child);

impl Process {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).expect("signal");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn settings() -> Settings {
    Settings {
        min_tx: INTERVAL,
        min_rx: INTERVAL,
        detect_multiplier: NonZeroU8::new(MULTIPLIER).expect("not 0"),
        control_plane_independent: false,
    }
}

/// From the near end, or from the far end.
fn single(end: u8) -> Ends {
    let interface = if end == 1 { "near" } else { "far" };
    Ends {
        remote: Ipv4Addr::new(10, 98, 0, end + 1),
        local: None,
        reach: Reach::SingleHop {
            interface: Some(interface.parse().expect("name")),
        },
    }
}

fn multi(remote: u8, local: u8) -> Ends {
    Ends {
        remote: Ipv4Addr::new(10, 99, 0, remote),
        local: Some(Ipv4Addr::new(10, 99, 0, local)),
        reach: Reach::MultiHop {
            // BIRD begins with the system's default of 64 here, FRR with 255.
            least_hop_limit: 60,
        },
    }
}

/// What is known of the sessions from their events.
struct Watch {
    events: Receiver<Event>,
    last: BTreeMap<Ends, Event>,
}

impl Watch {
    /// Waits for a session to be in a state; returns the event that brought it there.
    #[track_caller]
    fn reach(&mut self, ends: &Ends, state: State) -> Event {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(event) = self.last.get(ends)
                && event.transition.to == state
            {
                return event.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left);
            let event = event.unwrap_or_else(|_| panic!("{ends:?} is not {state} in time"));
            self.last.insert(event.ends.clone(), event);
        }
    }
}

fn start(random: u64, sessions: &[Ends]) -> (Bfd, Watch) {
    let (tell, events) = channel();
    let notify = move |notice| match notice {
        Notice::Changed(event) => drop(tell.send(event)),
        other => println!("{other:?}"),
    };
    let bfd = Bfd::start(random, notify).expect("start");
    let wanted: BTreeMap<_, _> = sessions.iter().map(|e| (e.clone(), settings())).collect();
    bfd.update(wanted).expect("update");
    let last = BTreeMap::new();
    (bfd, Watch { events, last })
}

/// Both kinds of session come up, are seen to fail in time when the peer stops, and come back.
fn meet(peer: &Process, bfd: &Bfd, watch: &mut Watch, name: &str) {
    let sessions = [single(1), multi(2, 1)];
    for ends in &sessions {
        watch.reach(ends, State::Up);
    }
    // Until the new intervals are agreed on both sides.
    let deadline = Instant::now() + LIMIT;
    let agreed = |bfd: &Bfd| {
        let overview = bfd.overview().expect("overview");
        let fast = |ends: &Ends| {
            let view = &overview.sessions[ends];
            view.detection_time <= INTERVAL * MULTIPLIER.into()
                && view.transmit_interval == Some(INTERVAL)
        };
        sessions.iter().all(fast)
    };
    while !agreed(bfd) {
        assert!(Instant::now() < deadline, "{name}: {:?}", bfd.overview());
        std::thread::sleep(INTERVAL);
    }
    let stopped = Instant::now();
    peer.signal(Signal::SIGSTOP);
    for ends in &sessions {
        let took = watch.reach(ends, State::Down).at - stopped;
        println!("{name}: {:?} down after {took:?}", ends.reach);
        // A host with more to do than this test may be late by a few intervals.
        assert!(took <= INTERVAL * (u32::from(MULTIPLIER) + 6), "{took:?}");
    }
    std::thread::sleep(LONG);
    peer.signal(Signal::SIGCONT);
    for ends in &sessions {
        watch.reach(ends, State::Up);
    }
    let overview = bfd.overview().expect("overview");
    assert!(overview.sessions.values().all(|view| view.patience == 1));
}

#[test]
fn sessions_with_ourselves_come_up_and_end_without_a_failure() {
    fresh(|| {
        let far = Far::new();
        let sessions = [single(1), multi(2, 1)];
        let (near, mut watch) = start(1, &sessions);
        let namespaces = Namespaces::of_process(far.0.id()).expect("namespaces");
        let theirs = [single(0), multi(1, 2)];
        let begin = |random| {
            namespaces
                .in_network(|| start(random, &theirs))
                .expect("enter")
        };
        let (peer, mut their_watch) = begin(2);
        for (ends, their) in sessions.iter().zip(&theirs) {
            watch.reach(ends, State::Up);
            their_watch.reach(their, State::Up);
        }
        // Ends in order: this side hears that it is no failure.
        peer.update(BTreeMap::new()).expect("update");
        for ends in &sessions {
            let event = watch.reach(ends, State::Down);
            assert_eq!(event.transition.remote, State::AdminDown);
        }
        drop(peer);
        // The link goes away: that is seen as a failure, and the session comes back with the link.
        let (_peer, _) = begin(3);
        watch.reach(&single(1), State::Up);
        run("ip link set near down");
        watch.reach(&single(1), State::Down);
        run("ip link set near up");
        watch.reach(&single(1), State::Up);
        drop(near);
    });
}

#[test]
fn bird_meets_us() {
    fresh(|| {
        let far = Far::new();
        let folder = TempDir::new().expect("folder");
        let file = |name: &str| folder.path().join(name).display().to_string();
        fs::write(
            file("conf"),
            "router id 10.98.0.2;\nprotocol device {}\nprotocol bfd {\n\
             interface \"far\" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; };\n\
             multihop { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; };\n\
             neighbor 10.98.0.1 dev \"far\" local 10.98.0.2;\n\
             neighbor 10.99.0.1 local 10.99.0.2 multihop yes;\n}\n",
        )
        .expect("configuration");
        let (conf, control, pid) = (file("conf"), file("ctl"), file("pid"));
        let arguments = ["-f", "-c", &conf, "-s", &control, "-P", &pid];
        let bird = far.start("bird", &arguments);
        let (bfd, mut watch) = start(4, &[single(1), multi(2, 1)]);
        meet(&bird, &bfd, &mut watch, "BIRD");
    });
}

#[test]
fn frr_meets_us() {
    fresh(|| {
        let far = Far::new();
        let folder = TempDir::new().expect("folder");
        let path = folder.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("open to frr");
        fs::write(path.join("zebra.conf"), "hostname z\n").expect("configuration");
        fs::write(
            path.join("bfdd.conf"),
            "hostname b\nbfd\n peer 10.98.0.1 interface far\n  receive-interval 50\n  \
             transmit-interval 50\n  detect-multiplier 3\n  no shutdown\n \
             peer 10.99.0.1 multihop local-address 10.99.0.2\n  receive-interval 50\n  \
             transmit-interval 50\n  detect-multiplier 3\n  no shutdown\n",
        )
        .expect("configuration");
        let zebra = start_frr(&far, path, "zebra");
        let deadline = Instant::now() + LIMIT;
        while !path.join("zserv").exists() {
            assert!(Instant::now() < deadline, "zebra does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        let bfdd = start_frr(&far, path, "bfdd");
        let (bfd, mut watch) = start(5, &[single(1), multi(2, 1)]);
        meet(&bfdd, &bfd, &mut watch, "FRR");
        drop(zebra);
    });
}

fn start_frr(far: &Far, path: &Path, daemon: &str) -> Process {
    let file = |name: String| path.join(name).display().to_string();
    let program = format!("/usr/lib/frr/{daemon}");
    let (conf, pid) = (
        file(format!("{daemon}.conf")),
        file(format!("{daemon}.pid")),
    );
    let (socket, folder) = (file("zserv".to_owned()), file(String::new()));
    let arguments = [
        "-f",
        &conf,
        "-i",
        &pid,
        "-z",
        &socket,
        "--vty_socket",
        &folder,
        "-A",
        "127.0.0.1",
        "-P",
        "0",
    ];
    far.start(&program, &arguments)
}
