//! What the daemon costs while nothing happens: 10,000 claims are in force, and nobody does anything.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::Row;
use crate::plan::text;
use crate::sandbox::sh;

const CLAIMS: usize = 10_000;

/// How long the daemon is watched: several of its own rounds are in it.
const TIME: Duration = Duration::from_secs(65);

/// How long the claims may take to be in force.
const PATIENCE: Duration = Duration::from_secs(240);

/// Where everything of this bench is; the sandbox has a private `/run`.
const FOLDER: &str = "/run/idle";

pub fn run() -> Result<Vec<Row>> {
    sh(&format!(
        "mkdir -p {FOLDER} && ip link add eth1 type veth peer name other && \
         ip addr add 10.127.0.1/10 dev eth1 && ip link set eth1 up && ip link set other up"
    ))?;
    let file = Path::new(FOLDER).join("router.yaml");
    let key = format!("{FOLDER}/wg-hybrid.key");
    let config = text(CLAIMS)?.replace("/var/lib/routerd/wg-hybrid.key", &key);
    std::fs::write(&file, config)?;
    let daemon = Daemon::start(&file)?;
    daemon.settle()?;
    let (before, started) = (daemon.cpu_seconds()?, Instant::now());
    std::thread::sleep(TIME);
    let used = daemon.cpu_seconds()? - before;
    let share = used / started.elapsed().as_secs_f64() * 100.0;
    drop(daemon);
    let name = "idle CPU of the daemon, 10k claims";
    Ok(vec![Row::less(
        name,
        "% of a core",
        share,
        ("goal", 0.2),
        1.0,
    )])
}

/// Ends with the bench.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already gone is fine; the tunnel it started goes with the namespace of processes.
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = sh("ip link del eth1; ip link del wg-hybrid");
    }
}

fn beside(program: &str) -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(program))
}

impl Daemon {
    fn start(config: &Path) -> Result<Self> {
        let log = std::fs::File::create(Path::new(FOLDER).join("log"))?;
        let child = Command::new(beside("routerd")?)
            .args(["serve", "--runtime-dir", FOLDER, "--state-file"])
            .arg(Path::new(FOLDER).join("routerd.db"))
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start routerd")?;
        Ok(Self(child))
    }

    /// Waits until every claim has its route and the daemon has rested for a while.
    fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let all = format!("test $(ip route show proto 82 | wc -l) -ge {CLAIMS}");
        let mut rested = 0;
        while rested < 10 {
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(Path::new(FOLDER).join("log"))?;
                bail!("the claims are not in force after {PATIENCE:?}:\n{log}");
            }
            let before = self.cpu_seconds()?;
            std::thread::sleep(Duration::from_millis(500));
            let busy = self.cpu_seconds()? - before > 0.05;
            let resting = !busy && sh(&all).is_ok();
            rested = if resting { rested + 1 } else { 0 };
        }
        Ok(())
    }

    /// CPU time of every thread, to the nanosecond.
    fn cpu_seconds(&self) -> Result<f64> {
        let mut nanos = 0_u64;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            // A thread that ends in between is none of those that idle.
            let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else {
                continue;
            };
            let first = text.split_whitespace().next().context("schedstat")?;
            nanos += first.parse::<u64>()?;
        }
        Ok(nanos as f64 / 1e9)
    }
}
