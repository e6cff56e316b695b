//! The speakers under test: how each is started as a route reflector, what it holds of memory, and its end.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::clients::SPEAKER;

/// A speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// The daemon of this tree. `Installing`: its best paths become routes of the kernel.
    Routerd,
    Installing,
    Bird,
    Frr,
    OpenBgpd,
    GoBgp,
}

impl Device {
    /// Those of others.
    pub const PEERS: [Self; 4] = [Self::Bird, Self::Frr, Self::OpenBgpd, Self::GoBgp];

    pub fn name(self) -> &'static str {
        match self {
            Self::Routerd | Self::Installing => "routerd",
            Self::Bird => "BIRD",
            Self::Frr => "FRR",
            Self::OpenBgpd => "OpenBGPD",
            Self::GoBgp => "GoBGP",
        }
    }

    fn program(self) -> Result<PathBuf> {
        let candidates: &[&str] = match self {
            Self::Routerd | Self::Installing => {
                let own = std::env::current_exe()?;
                let folder = own.parent().context("a folder of programs")?;
                return Ok(folder.join("routerd"));
            }
            Self::Bird => &["/usr/sbin/bird"],
            Self::Frr => &["/usr/lib/frr/bgpd"],
            // FRR's and OpenBGPD's have the same name.
            Self::OpenBgpd => &["/usr/sbin/bgpd"],
            Self::GoBgp => &["/usr/bin/gobgpd"],
        };
        Ok(candidates
            .iter()
            .map(PathBuf::from)
            .find(|p| p.exists())
            .unwrap_or_default())
    }

    /// Why it cannot be measured here.
    pub fn missing(self) -> Option<String> {
        let package = match self {
            Self::Routerd | Self::Installing => "routerd-bench beside routerd",
            Self::Bird => "bird2",
            Self::Frr => "frr",
            Self::OpenBgpd => "openbgpd",
            Self::GoBgp => "gobgpd",
        };
        let there = self.program().is_ok_and(|program| program.exists());
        (!there).then(|| format!("not installed: {package}"))
    }

    /// What is run, in a folder of its own.
    fn command(self, folder: &Path) -> Result<Command> {
        let mut command = Command::new(self.program()?);
        let config = folder.join("config");
        let text = match self {
            Self::Routerd => include_str!("conf/routerd.yaml").replace("INSTALL", "false"),
            Self::Installing => include_str!("conf/routerd.yaml").replace("INSTALL", "true"),
            Self::Bird => include_str!("conf/bird.conf").to_owned(),
            Self::Frr => include_str!("conf/frr.conf").to_owned(),
            Self::OpenBgpd => {
                include_str!("conf/openbgpd.conf").replace("FOLDER", &folder.display().to_string())
            }
            Self::GoBgp => include_str!("conf/gobgp.toml").to_owned(),
        };
        fs::write(&config, text)?;
        match self {
            Self::Routerd | Self::Installing => command
                .args(["serve", "--config"])
                .arg(&config)
                .arg("--state-file")
                .arg(folder.join("state.db"))
                .arg("--runtime-dir")
                .arg(folder),
            Self::Bird => command
                .arg("-f")
                .arg("-c")
                .arg(&config)
                .arg("-s")
                .arg(folder.join("control"))
                .arg("-P")
                .arg(folder.join("pid")),
            Self::Frr => command
                .args([
                    "-Z",
                    "-n",
                    "-S",
                    "-A",
                    "127.0.0.1",
                    "-P",
                    "0",
                    "-l",
                    "10.99.0.1",
                    "-f",
                ])
                .arg(&config)
                .arg("-i")
                .arg(folder.join("pid"))
                .arg("--vty_socket")
                .arg(folder),
            Self::OpenBgpd => command.arg("-d").arg("-f").arg(&config),
            Self::GoBgp => command
                .args([
                    "-t",
                    "toml",
                    "--api-hosts",
                    "127.0.0.1:50051",
                    "--pprof-disable",
                    "-l",
                    "error",
                    "-f",
                ])
                .arg(&config),
        };
        Ok(command)
    }
}

/// A speaker that runs.
pub struct Running {
    child: Child,
    folder: PathBuf,
}

impl Running {
    /// Starts it and waits until it listens.
    pub fn start(device: Device) -> Result<Self> {
        if let Some(reason) = device.missing() {
            bail!("{reason}");
        }
        let folder = PathBuf::from(format!("/run/speaker-{}", device.name().to_lowercase()));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir(&folder)?;
        if device == Device::OpenBgpd {
            // Where its package has the parts without privileges live.
            fs::create_dir_all("/run/openbgpd")?;
        }
        let log = fs::File::create(folder.join("log"))?;
        let child = device
            .command(&folder)?
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", device.name()))?;
        let mut running = Self { child, folder };
        running.await_listener()?;
        Ok(running)
    }

    fn await_listener(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !listens()? {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended ({status}): {}", self.last_words());
            }
            ensure!(
                Instant::now() < deadline,
                "it does not listen: {}",
                self.last_words()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(3)..].join("; ")
    }

    /// Its processes.
    fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.child.id()];
        let mut at = 0;
        while let Some(pid) = pids.get(at) {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"))
                .into_iter()
                .flatten();
            let children = tasks
                .flatten()
                .filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
            let children: Vec<u32> = children
                .flat_map(|line| {
                    line.split_whitespace()
                        .filter_map(|pid| pid.parse().ok())
                        .collect::<Vec<_>>()
                })
                .collect();
            pids.extend(children);
            at += 1;
        }
        pids
    }

    /// Memory in MB once it has settled: resident, and the part of it that is not a page of a file.
    pub fn memory(&self) -> (f64, f64) {
        let pids = self.pids();
        let now = |key| pids.iter().map(|pid| status(*pid, key)).sum::<f64>() / 1024.0;
        let deadline = Instant::now() + Duration::from_secs(3);
        let mut before = now("VmRSS:");
        loop {
            std::thread::sleep(Duration::from_millis(250));
            let after = now("VmRSS:");
            if (after - before).abs() < 0.25 || Instant::now() > deadline {
                return (after, now("RssAnon:"));
            }
            before = after;
        }
    }

    /// Processor seconds so far.
    pub fn cpu(&self) -> f64 {
        self.pids().iter().map(|pid| on_cpu(*pid)).sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for pid in self.pids().into_iter().rev() {
            let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// Whether somebody listens on the speaker's port.
fn listens() -> Result<bool> {
    let table = fs::read_to_string("/proc/net/tcp")?;
    let six = fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    let port = format!(":{:04X}", SPEAKER.port());
    let listening = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(&port)) && words.nth(1) == Some("0A")
    };
    Ok(table.lines().chain(six.lines()).any(listening))
}

/// Kilobytes of a process.
fn status(pid: u32, key: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(key));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kilobytes.unwrap_or_default()
}

fn on_cpu(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let nanos = tasks.flatten().filter_map(|task| {
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}
