//! The programs under test in a node: `routerd serve`, and `routerctl` as a person would use it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::control::DEFAULT_CONFIG;
use api::doctor;
use serde_json::Value;

use crate::eventually::eventually;
use crate::node::{NODES, Node, SHORT};
use crate::process::{self, Outcome};

/// How long the daemon may take to answer after its start.
const START: Duration = Duration::from_secs(10);

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts `routerd serve` in a node and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer; the message holds the end of its log.
    pub fn start(node: &Node) -> Result<Self> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(log_file(node))?;
        let child = node
            .command(program("routerd")?)
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start routerd")?;
        let daemon = Self { child };
        eventually("routerd answers", START, || status(node))
            .with_context(|| format!("{}: {}", node.name(), last_words(node)))?;
        Ok(daemon)
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn crash(mut self) -> Result<()> {
        self.child.kill().context("kill routerd")?;
        self.child.wait().context("wait for routerd")?;
        Ok(())
    }
}

/// A program beside our own.
///
/// # Errors
/// When it is not there.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("find our own program")?;
    let path = own.with_file_name(name);
    if !path.is_file() {
        bail!(
            "{} is missing\nhint: build it with `cargo build --workspace --bins`",
            path.display()
        );
    }
    Ok(path)
}

/// Where a program of ours is, for every node, once it is installed.
pub fn installed(name: &str) -> PathBuf {
    Path::new(NODES).join("programs").join(name)
}

/// Installs a program of ours for every node: a copy that belongs to root and that nobody else can write to, as
/// routerd demands of a plugin.
///
/// # Errors
/// When the program is not there or cannot be copied.
pub fn install(name: &str) -> Result<()> {
    let (from, to) = (program(name)?, installed(name));
    fs::create_dir_all(to.parent().unwrap_or(Path::new(NODES)))?;
    fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Where a node's daemon writes its log.
pub fn log_file(node: &Node) -> PathBuf {
    node.dir().join("routerd.log")
}

fn last_words(node: &Node) -> String {
    let text = fs::read_to_string(log_file(node)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    let lines: Vec<&str> = lines.into_iter().rev().collect();
    format!("the log ends with: {}", lines.join(" | "))
}

/// Runs `routerctl` in a node to its end.
///
/// # Errors
/// When it cannot be started.
pub fn routerctl(node: &Node, arguments: &[&str]) -> Result<Outcome> {
    let mut command: Command = node.command(program("routerctl")?);
    let outcome = process::run(command.args(arguments), SHORT * 2);
    outcome.with_context(|| format!("{}: run routerctl {}", node.name(), arguments.join(" ")))
}

/// Runs `routerctl … -o json`, which must succeed, and reads what it prints.
///
/// # Errors
/// With its last words when it fails.
pub fn query(node: &Node, arguments: &[&str]) -> Result<Value> {
    let arguments = [arguments, &["-o", "json"]].concat();
    let outcome = routerctl(node, &arguments)?;
    if !outcome.success() {
        let words = arguments.join(" ");
        bail!(
            "{}: routerctl {words}: {}",
            node.name(),
            outcome.complaint()
        );
    }
    serde_json::from_str(&outcome.stdout).context("routerctl prints no JSON")
}

/// `routerctl status`.
///
/// # Errors
/// When the daemon does not answer.
pub fn status(node: &Node) -> Result<Value> {
    query(node, &["status"])
}

/// Writes a node's configuration file and applies it.
///
/// # Errors
/// With the diagnostics when it is refused or taken back.
pub fn apply(node: &Node, config: &str) -> Result<Outcome> {
    let file = node.outside(DEFAULT_CONFIG);
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(&file, config).with_context(|| format!("write {}", file.display()))?;
    let outcome = routerctl(node, &["apply"])?;
    if !outcome.success() {
        bail!("{}: routerctl apply: {}", node.name(), outcome.complaint());
    }
    Ok(outcome)
}

/// A fact in the status of a resource, as soon as it is there.
///
/// # Errors
/// When it does not appear in time.
pub fn fact(node: &Node, kind: &str, name: &str, fact: &str, limit: Duration) -> Result<String> {
    eventually(&format!("{kind}/{name} has {fact}"), limit, || {
        fact_now(node, kind, name, fact)
    })
}

/// A fact in the status of a resource, words or a number.
///
/// # Errors
/// When it is not there.
pub fn fact_now(node: &Node, kind: &str, name: &str, fact: &str) -> Result<String> {
    let resource = query(node, &["get", kind, name])?;
    let resource = resource.get(0).unwrap_or(&resource);
    let value = &resource["status"]["facts"][fact];
    let number = value.as_u64().map(|number| number.to_string());
    let text = value.as_str().map(str::to_owned).or(number);
    text.with_context(|| format!("status is {}", resource["status"]))
}

/// Runs `routerctl doctor AREA` and reads its report, whatever its verdict; with the daemon away it checks
/// the host itself.
///
/// # Errors
/// When it prints no report.
pub fn doctor(node: &Node, area: &str) -> Result<(u8, doctor::Report)> {
    let outcome = routerctl(node, &["doctor", area, "-o", "json"])?;
    let report = serde_json::from_str(&outcome.stdout)
        .with_context(|| format!("{}: no report: {}", node.name(), outcome.complaint()))?;
    let code = outcome.status.and_then(|s| s.code());
    let code = code.and_then(|c| u8::try_from(c).ok());
    Ok((code.unwrap_or(u8::MAX), report))
}
