//! BMP as Wireshark's dissector reads it, MRT as bgpdump does; stations that are dead, mute or gone.
//!
//! ```text
//! BIRD in `peer` ── session ── routerd ──┬── BMP 127.0.0.1:11019: this test, tcpdump beside it
//!                                        ├── BMP 127.0.0.1:11020: takes nothing
//!                                        └── BMP 127.0.0.1:11021: nobody
//! ```

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::speakers::{Case, Kind, Role, Speaker, THEIRS};
use super::{apply, installed, is_up, topology};
use crate::daemon::{Daemon, until};
use crate::namespace::isolated;

fn configuration(mrt: &Path, bmp: bool) -> String {
    let stations = if bmp {
        "    bmp:\n    - {address: 127.0.0.1:11019, statisticsInterval: 1s}\n    \
         - {address: 127.0.0.1:11020}\n    - {address: 127.0.0.1:11021}\n"
    } else {
        ""
    };
    format!(
        "apiVersion: net.routerd.net/v1alpha1\nkind: BGPRouter\nmetadata: {{name: main}}\nspec:\n  \
         asn: 65000\n  routerID: 10.99.0.1\n  monitoring:\n{stations}    \
         mrt: {{directory: {}, tableInterval: 1s, keepFiles: 3}}\n---\n\
         apiVersion: net.routerd.net/v1alpha1\nkind: BGPPeer\nmetadata: {{name: other}}\nspec:\n  \
         peerASN: 65000\n  peers: [10.99.0.2]\n  timers: {{profile: fast}}\n",
        mrt.display()
    )
}

/// The station: what it was told, whole messages only.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<u8>>>);

impl Collector {
    fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:11019").expect("listen");
        let collector = Self::default();
        let heard = Arc::clone(&collector.0);
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                heard
                    .lock()
                    .expect("lock")
                    .extend_from_slice(&buffer[..count]);
            }
        });
        collector
    }

    /// The messages of a type.
    fn of(&self, kind: u8) -> Vec<Vec<u8>> {
        let heard = self.0.lock().expect("lock").clone();
        let mut rest = heard.as_slice();
        let mut found = Vec::new();
        while let [3, a, b, c, d, this, ..] = *rest {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            let Some(message) = rest.get(..length) else {
                break;
            };
            if this == kind {
                found.push(message.to_vec());
            }
            rest = &rest[length..];
        }
        found
    }
}

const ROUTES: u8 = 0;
const STATISTICS: u8 = 1;
const DOWN: u8 = 2;
const UP: u8 = 3;
const INITIATION: u8 = 4;
const TERMINATION: u8 = 5;

struct Capture(Child);

impl Capture {
    fn start(file: &Path) -> Self {
        let child = Command::new("tcpdump")
            .args([
                "-Z",
                "root",
                "-i",
                "lo",
                "--immediate-mode",
                "-U",
                "-s",
                "0",
                "-w",
            ])
            .arg(file)
            .arg("tcp port 11019")
            .stderr(Stdio::null())
            .spawn();
        let capture = Self(child.expect("tcpdump"));
        // Its header is written when it listens.
        until("tcpdump listens", || {
            std::fs::metadata(file).is_ok_and(|file| file.len() >= 24)
        });
        capture
    }

    fn stop(mut self) {
        let pid = Pid::from_raw(self.0.id().cast_signed());
        kill(pid, Signal::SIGINT).expect("signal");
        self.0.wait().expect("wait");
    }
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {text}{wrong}");
    text
}

/// The types of messages that Wireshark sees so far: the file may still be written.
fn kinds(pcap: &Path) -> Vec<String> {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(pcap)
        .args([
            "-d",
            "tcp.port==11019,bmp",
            "-Y",
            "bmp",
            "-T",
            "fields",
            "-e",
            "bmp.type",
        ])
        .output();
    let output = output.expect("tshark");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split([',', '\n']).map(str::to_owned).collect()
}

fn tshark(file: &Path, more: &[&str]) -> String {
    let file = file.display().to_string();
    let mut arguments = vec!["-r", &file, "-d", "tcp.port==11019,bmp"];
    arguments.extend(more);
    printed("tshark", &arguments)
}

fn bgpdump(file: &Path) -> String {
    printed("bgpdump", &["-m", &file.display().to_string()])
}

fn files(folder: &Path, sort: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let ours = |path: &std::path::PathBuf| {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.starts_with(sort) && name.ends_with(".mrt"))
    };
    let mut files: Vec<_> = paths.filter(ours).collect();
    files.sort();
    files
}

fn station(daemon: &Daemon, address: &str) -> Value {
    let (_, said) = daemon.routerctl_apart(&["get", "bgp", "monitoring", "-o", "json"]);
    let view: Value = serde_json::from_str(&said).expect("JSON");
    view["stations"][address].clone()
}

fn monitoring() {
    topology();
    let folder = tempfile::tempdir().expect("folder");
    let (pcap, mrt) = (
        folder.path().join("bmp.pcap"),
        folder.path().join("mrt/here"),
    );
    let capture = Capture::start(&pcap);
    let collector = Collector::listen();
    // The backlog takes its connection; nobody reads from it.
    let _mute = TcpListener::bind("127.0.0.1:11020").expect("listen");
    let mut daemon = Daemon::new(folder.path());
    daemon.start();
    apply(&daemon, folder.path(), &configuration(&mrt, true));
    let case = Case {
        role: Role::Internal,
        we_wait: false,
        password: false,
        bfd: false,
    };
    let mut speaker = Speaker::start(Kind::Bird, case, folder.path());
    until("the session is up", || is_up(&daemon));
    until("their route", || {
        speaker.nudge();
        installed(THEIRS)
    });
    until("BMP tells who we are and who is there", || {
        collector.of(INITIATION).len() == 1 && collector.of(UP).len() == 1
    });
    let route = [32, 10, 77, 60, 5];
    let told = |message: &Vec<u8>| message.ends_with(&route);
    until("BMP tells the route", || {
        collector.of(ROUTES).iter().any(told)
    });
    until("BMP counts", || collector.of(STATISTICS).len() >= 2);
    mrt_of_the_session(&daemon, folder.path(), &mrt, &speaker);
    speaker.kill();
    until("BMP tells the end", || collector.of(DOWN).len() == 1);
    until("MRT tells the end", || {
        files(&mrt, "updates.")
            .iter()
            .any(|file| bgpdump(file).contains("STATE|"))
    });
    let nobody = station(&daemon, "127.0.0.1:11021");
    assert!(
        nobody["error"]
            .as_str()
            .is_some_and(|e| e.contains("refused")),
        "{nobody}"
    );
    assert_eq!(
        station(&daemon, "127.0.0.1:11020")["open"],
        true,
        "it only does not read"
    );
    apply(&daemon, folder.path(), &configuration(&mrt, false));
    until("BMP says goodbye", || collector.of(TERMINATION).len() == 1);
    until("all of it is captured", || {
        kinds(&pcap).contains(&TERMINATION.to_string())
    });
    capture.stop();
    dissected(&pcap);
    until("old tables go", || files(&mrt, "rib.").len() == 3);
}

/// Tables, asked for and by the clock, and what happened, as bgpdump prints it.
fn mrt_of_the_session(daemon: &Daemon, folder: &Path, mrt: &Path, speaker: &Speaker) {
    let file = folder.join("table.mrt");
    let name = file.display().to_string();
    let (code, said) = daemon.routerctl(&["bgp", "dump", "--mrt", &name]);
    assert_eq!(code, 0, "{said}");
    let table = bgpdump(&file);
    let line = format!("|B|10.99.0.2|65000|{THEIRS}|");
    assert!(table.contains(&line), "{table}");
    speaker.announce(false);
    until("their withdrawal", || !installed(THEIRS));
    until("the withdrawal is in the file", || {
        let said: String = files(mrt, "updates.")
            .iter()
            .map(|file| bgpdump(file))
            .collect();
        let announced = said.contains(&format!("|A|10.99.0.2|65000|{THEIRS}|"));
        announced && said.contains(&format!("|W|10.99.0.2|65000|{THEIRS}"))
    });
    until("a table by the clock", || !files(mrt, "rib.").is_empty());
}

/// Every message is one that Wireshark knows, and whole.
fn dissected(pcap: &Path) {
    let wrong = "_ws.malformed || _ws.expert.severity == \"Error\"";
    let bad = tshark(pcap, &["-Y", wrong]);
    assert_eq!(bad, "", "malformed");
    let seen = kinds(pcap);
    for kind in [ROUTES, STATISTICS, DOWN, UP, INITIATION, TERMINATION] {
        assert!(
            seen.contains(&kind.to_string()),
            "no message of type {kind}: {seen:?}"
        );
    }
    let whole = tshark(pcap, &["-Y", "bmp", "-V"]);
    for words in ["10.77.60.5/32", "Type: sysName", "BGP ID: 10.99.0.2"] {
        assert!(whole.contains(words), "no {words}:\n{whole}");
    }
}

#[test]
fn bmp_and_mrt() {
    isolated("bgp::monitoring::bmp_and_mrt", monitoring);
}
