//! The other speakers: how each is configured, started, told and asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What it announces, with a large community.
pub const THEIRS: &str = "10.77.60.5/32";
/// What we announce.
pub const OURS: &str = "10.77.60.9/32";
/// The large community of [`THEIRS`].
pub const COMMUNITY: &str = "65000:1:7";
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

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn configure(&self) {
        let text = match self.kind {
            Kind::Bird => self.bird(),
            Kind::Frr => self.frr(),
            Kind::GoBgp => self.gobgp(),
            Kind::OpenBgpd => self.openbgpd(),
            Kind::ExaBgp => self.exabgp(),
        };
        fs::write(self.file("conf"), text).expect("configuration");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(self.file("conf"), private).expect("permissions");
    }

    fn bird(&self) -> String {
        let word = |yes: bool, word: &'static str| if yes { word } else { "" };
        let (case, asn) = (self.case, self.case.their_asn());
        format!(
            "router id 10.99.0.2;\nlog \"{log}\" all;\nprotocol device {{}}\n\
             protocol bfd {{ interface \"p0\" {{ min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }}; }}\n\
             protocol static theirs {{ ipv4; route {THEIRS} blackhole {{ bgp_large_community.add((65000,1,7)); }}; }}\n\
             protocol bgp r {{ local 10.99.0.2 as {asn}; neighbor 10.99.0.1 as 65000; direct; hold time 9;\n\
             connect delay time 1; connect retry time 1; error wait time 1, 2; {rr} {passive} {password} {bfd}\n\
             graceful restart; ipv4 {{ import all; export where source = RTS_STATIC; next hop self; add paths on; }}; }}\n",
            log = self.file("log"),
            rr = word(case.role == Role::Reflector, "rr client;"),
            passive = word(!case.we_wait, "passive yes;"),
            password = word(case.password, "password \"between-two-speakers\";"),
            bfd = word(case.bfd, "bfd;"),
        )
    }

    fn frr(&self) -> String {
        let line = |yes: bool, line: &str| {
            if yes {
                format!("{line}\n")
            } else {
                String::new()
            }
        };
        let (case, asn) = (self.case, self.case.their_asn());
        let mut text = format!(
            "hostname peer\nrouter bgp {asn}\n bgp router-id 10.99.0.2\n no bgp ebgp-requires-policy\n \
             no bgp network import-check\n bgp graceful-restart\n neighbor 10.99.0.1 remote-as 65000\n \
             neighbor 10.99.0.1 timers 3 9\n neighbor 10.99.0.1 timers connect 1\n"
        );
        text += &line(!case.we_wait, " neighbor 10.99.0.1 passive");
        text += &line(
            case.password,
            &format!(" neighbor 10.99.0.1 password {PASSWORD}"),
        );
        text += &format!(" address-family ipv4 unicast\n  network {THEIRS} route-map LC\n");
        text += &line(
            case.role == Role::Reflector,
            "  neighbor 10.99.0.1 route-reflector-client",
        );
        text += "  neighbor 10.99.0.1 addpath-tx-all-paths\n exit-address-family\n";
        text += &format!("route-map LC permit 10\n set large-community {COMMUNITY}\n");
        text
    }

    fn gobgp(&self) -> String {
        let case = self.case;
        let mut text = format!(
            "[global.config]\nas = {}\nrouter-id = \"10.99.0.2\"\nlocal-address-list = [\"10.99.0.2\"]\n\
             [[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.99.0.1\"\npeer-as = 65000\n",
            case.their_asn()
        );
        if case.password {
            text += &format!("auth-password = \"{PASSWORD}\"\n");
        }
        text += &format!(
            "[neighbors.transport.config]\npassive-mode = {}\n",
            !case.we_wait
        );
        text += "[neighbors.timers.config]\nhold-time = 9\nkeepalive-interval = 3\nconnect-retry = 1\n\
                 idle-hold-time-after-reset = 1\n";
        if case.role == Role::Reflector {
            text += "[neighbors.route-reflector.config]\nroute-reflector-client = true\n\
                     route-reflector-cluster-id = \"10.99.0.2\"\n";
        }
        text += "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 20\n\
                 [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n\
                 [neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n\
                 [neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 4\n";
        text
    }

    fn openbgpd(&self) -> String {
        let word = |yes: bool, word: &str| {
            if yes {
                format!("  {word}\n")
            } else {
                String::new()
            }
        };
        let case = self.case;
        format!(
            "AS {asn}\nrouter-id 10.99.0.2\nlisten on 10.99.0.2\nfib-update no\nnexthop qualify via default\n\
             socket \"{socket}\"\nnetwork {THEIRS} set large-community {COMMUNITY}\n\
             neighbor 10.99.0.1 {{\n  remote-as 65000\n  holdtime 9\n{passive}{rr}{password}}}\n\
             allow from any\nallow to any\n",
            asn = case.their_asn(),
            socket = self.file("sock"),
            passive = word(!case.we_wait, "passive"),
            rr = word(case.role == Role::Reflector, "route-reflector"),
            password = word(
                case.password,
                &format!("tcp md5sig password \"{PASSWORD}\"")
            ),
        )
    }

    fn exabgp(&self) -> String {
        let word = |yes: bool, word: &str| {
            if yes {
                format!("  {word}\n")
            } else {
                String::new()
            }
        };
        let case = self.case;
        let script = format!(
            "#!/bin/sh\ncat >> {} &\nwhile :; do cat {}; done\n",
            self.file("heard"),
            self.file("say")
        );
        fs::write(self.file("talk"), script).expect("script");
        let made = Command::new("mkfifo").arg(self.file("say")).status();
        assert!(made.expect("mkfifo").success());
        format!(
            "process talk {{ run /bin/sh {talk}; encoder json; }}\n\
             neighbor 10.99.0.1 {{\n  router-id 10.99.0.2;\n  local-address 10.99.0.2;\n  local-as {asn};\n\
             \x20 peer-as 65000;\n  hold-time 9;\n{passive}{password}\
             \x20 capability {{ graceful-restart 20; route-refresh; add-path send/receive; }}\n\
             \x20 api {{ processes [ talk ]; receive {{ parsed; update; }} }}\n\
             \x20 static {{ route {THEIRS} next-hop self large-community [ {COMMUNITY} ]; }}\n}}\n",
            talk = self.file("talk"),
            asn = case.their_asn(),
            passive = word(!case.we_wait, "passive true;"),
            password = word(case.password, &format!("md5-password \"{PASSWORD}\";")),
        )
    }

    /// Starts its processes.
    pub fn run(&mut self) {
        let conf = self.file("conf");
        let again = Path::new(&self.file("out")).exists();
        let log = fs::File::create(self.file("out")).expect("log");
        let mut command = match self.kind {
            Kind::Bird => {
                let (control, pid) = (self.file("ctl"), self.file("pid"));
                let mut bird = inside(&["bird", "-f", "-c", &conf, "-s", &control, "-P", &pid]);
                // What a service manager says after a crash: that forwarding went on.
                bird.args(again.then_some("-R"));
                bird
            }
            Kind::Frr => {
                let (pid, folder) = (self.file("pid"), self.file(""));
                inside(&[
                    "/usr/lib/frr/bgpd",
                    "-Z",
                    "-n",
                    "-f",
                    &conf,
                    "-i",
                    &pid,
                    "--vty_socket",
                    &folder,
                    "-A",
                    "127.0.0.1",
                    "-P",
                    "0",
                    "-l",
                    "10.99.0.2",
                ])
            }
            Kind::GoBgp => inside(&[
                "gobgpd",
                "-t",
                "toml",
                "-f",
                &conf,
                "--api-hosts",
                "127.0.0.1:50051",
                "--pprof-disable",
            ]),
            Kind::OpenBgpd => inside(&["/usr/sbin/bgpd", "-d", "-f", &conf]),
            Kind::ExaBgp => {
                let mut command = inside(&["exabgp", &conf]);
                command.env("exabgp_daemon_user", "root");
                command.env("exabgp_api_cli", "false");
                command.env(
                    "exabgp_tcp_bind",
                    if self.case.we_wait { "" } else { "10.99.0.2" },
                );
                command.env("exabgp_tcp_port", "179");
                command
            }
        };
        command.stdin(Stdio::null());
        command.stdout(log.try_clone().expect("log")).stderr(log);
        self.children.push(command.spawn().expect("it starts"));
        if self.kind == Kind::GoBgp {
            super::until("GoBGP answers", || self.ask(&["gobgp", "global"]).is_some());
            self.announce(true);
        }
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        // OpenBGPD and ExaBGP have processes of their own, which see the end of their parent.
        self.children.clear();
    }

    pub fn signal(&self, signal: Signal) {
        for child in &self.children {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), signal);
        }
    }

    fn ask(&self, words: &[&str]) -> Option<String> {
        let output = inside(words).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }

    fn frr_says(&self, commands: &[&str]) -> Option<String> {
        let folder = self.file("");
        let mut words = vec!["vtysh", "--vty_socket", &folder];
        words.extend(commands.iter().flat_map(|command| ["-c", command]));
        self.ask(&words)
    }

    /// Announces [`THEIRS`], or withdraws it.
    pub fn announce(&self, on: bool) {
        let (control, socket) = (self.file("ctl"), self.file("sock"));
        match self.kind {
            Kind::Bird => {
                let verb = if on { "enable" } else { "disable" };
                self.ask(&["birdc", "-s", &control, verb, "theirs"]);
            }
            Kind::Frr => {
                let router = format!("router bgp {}", self.case.their_asn());
                let network = match on {
                    true => format!("network {THEIRS} route-map LC"),
                    false => format!("no network {THEIRS}"),
                };
                self.frr_says(&[
                    "configure terminal",
                    &router,
                    "address-family ipv4 unicast",
                    &network,
                ]);
            }
            Kind::GoBgp if on => {
                self.ask(&[
                    "gobgp",
                    "global",
                    "rib",
                    "add",
                    THEIRS,
                    "nexthop",
                    "10.99.0.2",
                    "large-community",
                    COMMUNITY,
                ]);
            }
            Kind::GoBgp => drop(self.ask(&["gobgp", "global", "rib", "del", THEIRS])),
            Kind::OpenBgpd if on => {
                self.ask(&[
                    "bgpctl",
                    "-s",
                    &socket,
                    "network",
                    "add",
                    THEIRS,
                    "large-community",
                    COMMUNITY,
                ]);
            }
            Kind::OpenBgpd => {
                self.ask(&["bgpctl", "-s", &socket, "network", "delete", THEIRS]);
            }
            Kind::ExaBgp => {
                let line = match on {
                    true => format!(
                        "announce route {THEIRS} next-hop self large-community [ {COMMUNITY} ]\n"
                    ),
                    false => format!("withdraw route {THEIRS} next-hop self\n"),
                };
                fs::write(self.file("say"), line).expect("it listens");
            }
        }
    }

    /// Whether it has heard [`OURS`].
    pub fn has_ours(&self) -> bool {
        let (control, socket) = (self.file("ctl"), self.file("sock"));
        let said = match self.kind {
            Kind::Bird => self.ask(&["birdc", "-s", &control, "show", "route", OURS]),
            Kind::Frr => self.frr_says(&["show bgp ipv4 unicast"]),
            Kind::GoBgp => self.ask(&["gobgp", "global", "rib"]),
            Kind::OpenBgpd => self.ask(&["bgpctl", "-s", &socket, "show", "rib"]),
            Kind::ExaBgp => return self.exabgp_has_ours(),
        };
        said.is_some_and(|said| said.contains(OURS))
    }

    /// The last word about it in what ExaBGP told its process.
    fn exabgp_has_ours(&self) -> bool {
        let heard = fs::read_to_string(self.file("heard")).unwrap_or_default();
        let last = heard.lines().rfind(|line| line.contains(OURS));
        last.is_some_and(|line| line.contains("\"announce\""))
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
        self.kill();
    }
}
