//! The other speakers: how each is configured, started, told and asked.

mod configure;
mod control;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::interop::Feature;
use super::until;

/// What it announces, with a large community.
pub const THEIRS: &str = "10.77.60.5/32";
/// What we announce.
pub const OURS: &str = "10.77.60.9/32";
/// The large community of [`THEIRS`].
pub const COMMUNITY: &str = "65000:1:7";
/// The large community of [`OURS`].
pub const OUR_COMMUNITY: &str = "65000:2:9";
/// The password of sessions that have one.
pub const PASSWORD: &str = "between-two-speakers";

/// What the other speaker is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An internal peer.
    Internal,
    /// Our client.
    Client,
    /// Our reflector.
    Reflector,
    /// An external peer.
    External,
}

impl Role {
    pub const ALL: [Self; 4] = [
        Self::Internal,
        Self::Client,
        Self::Reflector,
        Self::External,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Internal => "internal peer",
            Self::Client => "our client",
            Self::Reflector => "our reflector",
            Self::External => "external peer",
        }
    }
}

/// A session to be tried.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub role: Role,
    /// Whether we wait for its connection, and it makes one; else the other way round.
    pub we_wait: bool,
    pub password: bool,
    pub bfd: bool,
}

impl Case {
    pub fn their_asn(self) -> u32 {
        if self.role == Role::External {
            65001
        } else {
            65000
        }
    }
}

/// A speaker of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bird,
    Frr,
    GoBgp,
    OpenBgpd,
    ExaBgp,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Bird,
        Self::Frr,
        Self::GoBgp,
        Self::OpenBgpd,
        Self::ExaBgp,
    ];

    /// Why something cannot be tried with it, if it cannot.
    pub fn cannot(self, feature: Feature) -> Option<&'static str> {
        match (self, feature) {
            (Self::GoBgp | Self::OpenBgpd | Self::ExaBgp, Feature::PathFailure) => {
                Some("it has no BFD")
            }
            (Self::OpenBgpd, Feature::RefreshByUs) => Some(
                "OpenBGPD 7.7 ignores requests for families that were negotiated (openbgpd-portable issue 46, fixed since)",
            ),
            (Self::ExaBgp, Feature::RefreshByUs) => Some(
                "ExaBGP 4.2.21 drops the session with an exception of its own when it answers (`'RouteRefresh' object is not \
                 iterable`)",
            ),
            (Self::GoBgp, Feature::RefreshByThem) => {
                Some("GoBGP keeps what came and never asks for it again; it answers requests")
            }
            (Self::OpenBgpd, Feature::TheirRestart) => Some(
                "OpenBGPD offers graceful restart without families, for the end of RIB and as a helper: its routes are not to \
                 be kept over its own restart",
            ),
            (Self::ExaBgp, Feature::Session(Role::Reflector, _)) => {
                Some("ExaBGP has no RIB: it reflects nothing")
            }
            _ => None,
        }
    }

    /// Whether it keeps routes that it was told; ExaBGP only passes them on.
    pub fn has_rib(self) -> bool {
        self != Self::ExaBgp
    }

    /// The name of its page.
    pub fn page(self) -> String {
        self.name().to_lowercase()
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Bird => "BIRD",
            Self::Frr => "FRR",
            Self::GoBgp => "GoBGP",
            Self::OpenBgpd => "OpenBGPD",
            Self::ExaBgp => "ExaBGP",
        }
    }

    /// Its Debian package.
    pub fn package(self) -> &'static str {
        match self {
            Self::Bird => "bird2",
            Self::Frr => "frr",
            Self::GoBgp => "gobgpd",
            Self::OpenBgpd => "openbgpd",
            Self::ExaBgp => "exabgp",
        }
    }
}

/// One that runs in the namespace `peer`; it ends with this value.
pub struct Speaker {
    kind: Kind,
    case: Case,
    folder: PathBuf,
    children: Vec<Child>,
}

/// A command in the peer's namespace.
fn inside(words: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "peer"]).args(words);
    command
}

impl Speaker {
    /// Configures and starts it; it announces [`THEIRS`].
    pub fn start(kind: Kind, case: Case, folder: &Path) -> Self {
        let folder = folder.join(format!("{kind:?}-{:?}-{}", case.role, case.we_wait));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("folder");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(&folder, open).expect("permissions");
        // FRR and OpenBGPD become other users.
        let passable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let parent = folder.parent().expect("a folder above");
        fs::set_permissions(parent, passable).expect("permissions");
        let mut speaker = Self {
            kind,
            case,
            folder,
            children: Vec::new(),
        };
        speaker.configure();
        speaker.run();
        speaker
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Starts its processes; those of its service that still run stay.
    pub fn run(&mut self) {
        let conf = self.file("conf");
        let again = Path::new(&self.file("out")).exists();
        let mut command = match self.kind {
            Kind::Bird => {
                let (control, pid) = (self.file("ctl"), self.file("pid"));
                let mut bird = inside(&["bird", "-f", "-c", &conf, "-s", &control, "-P", &pid]);
                // What a service manager says after a crash: that forwarding went on.
                bird.args(again.then_some("-R"));
                bird
            }
            Kind::Frr => {
                if self.children.is_empty() {
                    self.frr_services();
                }
                let mut bgpd = self.frr_daemon("bgpd");
                bgpd.args(["-l", "10.99.0.2"]);
                bgpd
            }
            Kind::GoBgp => {
                let mut words = vec!["gobgpd", "-t", "toml", "-f", &conf];
                words.extend(["--api-hosts", "127.0.0.1:50051", "--pprof-disable"]);
                inside(&words)
            }
            Kind::OpenBgpd => {
                // The home of its user, in which it locks itself up.
                fs::create_dir_all("/run/openbgpd").expect("folder");
                inside(&["/usr/sbin/bgpd", "-d", "-v", "-f", &conf])
            }
            Kind::ExaBgp => {
                let mut command = inside(&["exabgp", &conf]);
                let bind = if self.case.we_wait { "" } else { "10.99.0.2" };
                let settings = [
                    ("daemon_user", "root"),
                    ("api_cli", "false"),
                    ("tcp_bind", bind),
                    ("tcp_port", "179"),
                ];
                command.envs(settings.map(|(name, value)| (format!("exabgp_{name}"), value)));
                let _ = fs::remove_file(self.file("voice"));
                command
            }
        };
        self.spawn(&mut command, "out");
        if self.kind == Kind::GoBgp {
            until("GoBGP answers", || self.ask(&["gobgp", "global"]).is_some());
            self.announce(true);
        }
    }

    /// FRR's forwarding plane, without which it keeps nothing over a restart, and its BFD.
    fn frr_services(&mut self) {
        let mut zebra = self.frr_daemon("zebra");
        self.spawn(&mut zebra, "zebra.out");
        let socket = PathBuf::from(self.file("zserv"));
        until("zebra listens", || socket.exists());
        if self.case.bfd {
            let mut bfdd = self.frr_daemon("bfdd");
            bfdd.arg("--bfdctl").arg(self.file("bfdctl"));
            self.spawn(&mut bfdd, "bfdd.out");
        }
    }

    fn frr_daemon(&self, name: &str) -> Command {
        let program = format!("/usr/lib/frr/{name}");
        let (conf, pid) = (self.file("conf"), self.file(&format!("{name}.pid")));
        let (zebra, folder) = (self.file("zserv"), self.file(""));
        let mut words = vec![program.as_str(), "-f", &conf, "-i", &pid, "-z", &zebra];
        words.extend(["--vty_socket", &folder, "-A", "127.0.0.1", "-P", "0"]);
        inside(&words)
    }

    fn spawn(&mut self, command: &mut Command, log: &str) {
        let log = fs::File::create(self.file(log)).expect("log");
        command.stdin(Stdio::null());
        command.stdout(log.try_clone().expect("log")).stderr(log);
        self.children.push(command.spawn().expect("it starts"));
    }

    /// Ends it without a word; other processes of its service stay.
    pub fn kill(&mut self) {
        // OpenBGPD and ExaBGP have processes of their own, which see the end of their parent.
        if let Some(mut child) = self.children.pop() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn signal(&self, signal: Signal) {
        for child in &self.children {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), signal);
        }
    }

    /// What it says of itself, for a failure.
    pub fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.file(name)).unwrap_or_default();
        format!("{}\n{}", read("out"), read("log"))
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- {} ({:?})", self.kind.name(), self.case);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        while !self.children.is_empty() {
            self.kill();
        }
    }
}
