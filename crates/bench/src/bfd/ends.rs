//! The processes at the ends, and how each implementation is configured.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::num::NonZeroU8;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bgp::bfd::Settings;
use linux::bfd::{Bfd, Ends, Notice, Reach};

use super::log::{self, Change};
use super::{OUR_END, Session, seconds};

const MULTIPLIER: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ours,
    Bird,
    Frr,
}

impl Kind {
    /// Ours first.
    pub(super) const ALL: [Self; 3] = [Self::Ours, Self::Bird, Self::Frr];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "routerd",
            Self::Bird => "bird",
            Self::Frr => "frr",
        }
    }
}

/// One end, with all its sessions.
pub(super) struct End {
    kind: Kind,
    folder: String,
    children: Vec<Child>,
    /// The process that runs the sessions.
    pub(super) pid: u32,
}

impl End {
    pub(super) fn start(kind: Kind, namespace: &str, sessions: &[Session]) -> Result<Self> {
        let folder = format!("/run/bfd/{namespace}");
        fs::create_dir_all(&folder)?;
        // FRR becomes another user.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
        let mut end = Self {
            kind,
            folder,
            children: Vec::new(),
            pid: 0,
        };
        match kind {
            Kind::Ours => end.ours(namespace, sessions)?,
            Kind::Bird => end.bird(namespace, sessions)?,
            Kind::Frr => end.frr(namespace, sessions)?,
        }
        end.pid = end.children.last().map_or(0, Child::id);
        Ok(end)
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// `ip netns exec` becomes the program: its pid is the program's.
    fn spawn(&mut self, namespace: &str, words: &[&str]) -> Result<()> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(self.file("out"))?;
        let child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .args(words)
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {}", words[0]))?;
        self.children.push(child);
        Ok(())
    }

    fn ours(&mut self, namespace: &str, sessions: &[Session]) -> Result<()> {
        let program = std::env::current_exe()?.display().to_string();
        let sessions: Vec<String> = sessions
            .iter()
            .map(|(interface, remote, interval)| format!("{interface}/{remote}/{interval}"))
            .collect();
        let mut words = vec![program.as_str(), OUR_END];
        words.extend(sessions.iter().map(String::as_str));
        self.spawn(namespace, &words)
    }

    fn bird(&mut self, namespace: &str, sessions: &[Session]) -> Result<()> {
        let mut text = format!(
            "router id 10.98.0.1;\nlog \"{}\" all;\ntimeformat log \"%F %T.%6f\";\nprotocol device {{}}\n\
             protocol bfd b {{ debug {{ states, events }};\n",
            self.file("log")
        );
        for (interface, remote, interval) in sessions {
            writeln!(
                text,
                "interface \"{interface}\" {{ min rx interval {interval} ms; min tx interval {interval} ms; \
                 multiplier {MULTIPLIER}; }};\nneighbor {remote} dev \"{interface}\";"
            )?;
        }
        text += "}\n";
        fs::write(self.file("conf"), text)?;
        let (conf, control, pid) = (self.file("conf"), self.file("ctl"), self.file("pid"));
        self.spawn(
            namespace,
            &["bird", "-f", "-c", &conf, "-s", &control, "-P", &pid],
        )
    }

    fn frr(&mut self, namespace: &str, sessions: &[Session]) -> Result<()> {
        let mut text = format!(
            "hostname b\nlog file {} debugging\nlog timestamp precision 6\ndebug bfd peer\nbfd\n",
            self.file("log")
        );
        for (interface, remote, interval) in sessions {
            writeln!(
                text,
                " peer {remote} interface {interface}\n  receive-interval {interval}\n  \
                 transmit-interval {interval}\n  detect-multiplier {MULTIPLIER}\n  no shutdown\n exit"
            )?;
        }
        fs::write(self.file("bfdd.conf"), text)?;
        fs::write(self.file("zebra.conf"), "hostname z\n")?;
        let socket = self.file("zserv");
        self.frr_daemon(namespace, "zebra")?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::metadata(&socket).is_err() {
            if Instant::now() > deadline {
                bail!(
                    "zebra does not start: {}",
                    fs::read_to_string(self.file("out"))?
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.frr_daemon(namespace, "bfdd")
    }

    fn frr_daemon(&mut self, namespace: &str, daemon: &str) -> Result<()> {
        let program = format!("/usr/lib/frr/{daemon}");
        let conf = self.file(&format!("{daemon}.conf"));
        let pid = self.file(&format!("{daemon}.pid"));
        let (socket, folder) = (self.file("zserv"), self.folder.clone());
        let own = ["-A", "127.0.0.1", "-P", "0"];
        let mut words = vec![program.as_str(), "-f", &conf, "-i", &pid];
        words.extend(["-z", &socket, "--vty_socket", &folder]);
        words.extend(own);
        self.spawn(namespace, &words)
    }

    /// Everything that this end has said of its sessions.
    pub(super) fn changes(&self) -> Result<Vec<Change>> {
        let (file, parse): (_, fn(&str) -> Option<Change>) = match self.kind {
            Kind::Ours => ("out", log::ours),
            Kind::Bird => ("log", log::bird),
            Kind::Frr => ("log", log::frr),
        };
        let text = fs::read(self.file(file)).unwrap_or_default();
        Ok(String::from_utf8_lossy(&text)
            .lines()
            .filter_map(parse)
            .collect())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One end of ours: sessions as `INTERFACE/ADDRESS/MILLISECONDS`, changes on standard output.
pub fn our_end(sessions: &[String]) -> Result<()> {
    let mut wanted = BTreeMap::new();
    for session in sessions {
        let mut parts = session.split('/');
        let mut next = || parts.next().context("INTERFACE/ADDRESS/MILLISECONDS");
        let interface = Some(next()?.parse()?);
        let remote = next()?.parse()?;
        let interval = Duration::from_millis(next()?.parse()?);
        let reach = Reach::SingleHop { interface };
        let local = None;
        let settings = Settings {
            min_tx: interval,
            min_rx: interval,
            detect_multiplier: NonZeroU8::new(MULTIPLIER).context("not 0")?,
            control_plane_independent: true,
        };
        wanted.insert(
            Ends {
                remote,
                local,
                reach,
            },
            settings,
        );
    }
    let (tell, notices) = channel();
    // The other end lives as long as the process.
    let notify = move |notice| drop(tell.send(notice));
    let bfd = Bfd::start(u64::from(std::process::id()) << 32 | 1, notify)?;
    bfd.update(wanted)?;
    eprintln!("{:?}", bfd.overview()?.urgency);
    let mut out = std::io::stdout();
    for notice in notices {
        if let Notice::Changed(event) = notice {
            let at = seconds() - event.at.elapsed().as_secs_f64();
            let (remote, transition) = (event.ends.remote, event.transition);
            writeln!(
                out,
                "{at:.6} {remote} {} {}",
                transition.from, transition.to
            )?;
        } else {
            eprintln!("{notice:?}");
        }
    }
    Ok(())
}
