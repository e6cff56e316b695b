//! What each speaker is told and asked while it runs.

use std::fs;

use super::{COMMUNITY, Kind, OUR_COMMUNITY, OURS, Speaker, THEIRS, inside, until};

impl Speaker {
    pub(super) fn ask(&self, words: &[&str]) -> Option<String> {
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
            Kind::ExaBgp if on => self.say(&format!(
                "announce route {THEIRS} next-hop self path-information 7 large-community [ {COMMUNITY} ]"
            )),
            Kind::ExaBgp => self.say(&format!("withdraw route {THEIRS} next-hop self path-information 7")),
        }
    }

    /// Tells ExaBGP a line through its process.
    fn say(&self, line: &str) {
        let voice = self.file("voice");
        until("ExaBGP listens", || fs::exists(&voice).unwrap_or(false));
        let pipe = fs::read_to_string(voice).expect("the name of a pipe");
        fs::write(pipe, format!("{line}\n")).expect("it listens");
    }

    /// Has it ask for our routes once more.
    pub fn ask_refresh(&self) {
        let (control, socket) = (self.file("ctl"), self.file("sock"));
        match self.kind {
            Kind::Bird => drop(self.ask(&["birdc", "-s", &control, "reload", "in", "r"])),
            Kind::Frr => drop(self.frr_says(&["clear bgp ipv4 unicast * soft in"])),
            Kind::OpenBgpd => {
                drop(self.ask(&["bgpctl", "-s", &socket, "neighbor", "10.99.0.1", "refresh"]));
            }
            Kind::ExaBgp => self.say("announce route-refresh ipv4 unicast"),
            Kind::GoBgp => unreachable!("it never asks"),
        }
    }

    /// Makes it look at what it has to do. BIRD 2.0.12 sleeps on a first UPDATE that it has queued, until a timer
    /// or a command wakes it.
    pub fn nudge(&self) {
        if self.kind == Kind::Bird {
            self.ask(&["birdc", "-s", &self.file("ctl"), "show", "status"]);
        }
    }

    /// Whether it has heard [`OURS`].
    pub fn has_ours(&self) -> bool {
        self.says_of_ours().contains(OURS)
    }

    /// Whether [`OURS`] came with [`OUR_COMMUNITY`], however it writes that.
    pub fn has_our_community(&self) -> bool {
        let said = self.says_of_ours();
        let numbers = said.split(|c: char| !c.is_ascii_digit());
        let numbers: Vec<&str> = numbers.filter(|word| !word.is_empty()).collect();
        numbers.join(":").contains(OUR_COMMUNITY)
    }

    fn says_of_ours(&self) -> String {
        let (control, socket) = (self.file("ctl"), self.file("sock"));
        let said = match self.kind {
            Kind::Bird => self.ask(&["birdc", "-s", &control, "show", "route", OURS, "all"]),
            Kind::Frr => self.frr_says(&[&format!("show bgp ipv4 unicast {OURS}")]),
            Kind::GoBgp => self.ask(&["gobgp", "global", "rib"]),
            Kind::OpenBgpd => self.ask(&["bgpctl", "-s", &socket, "show", "rib", "detail"]),
            Kind::ExaBgp => self.heard_of_ours(),
        };
        said.unwrap_or_default()
    }

    /// The last word about it in what ExaBGP told its process, unless that was a withdrawal.
    fn heard_of_ours(&self) -> Option<String> {
        let heard = fs::read_to_string(self.file("heard")).ok()?;
        let last = heard.lines().rfind(|line| line.contains(OURS))?;
        last.contains("\"announce\"").then(|| last.to_owned())
    }
}
