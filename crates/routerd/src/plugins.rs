//! Plugins of this daemon: started in their sandbox, asked, and recorded.
//!
//! What a plugin may be told and may say is decided by `routerd_core::plugin`; how it is kept apart is done by
//! `linux::plugin`. Any thread may run a plugin; the thread that does waits for it.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use api::plugin::{
    Capability, PluginRequest, PluginResult, PluginRun, PluginRunReport, PluginStatus, PluginView,
};
use linux::plugin::{Cell, DEFAULT_USER, Ended, Job, Outcome};
use routerd_core::Effective;
use routerd_core::action::Ran;
use routerd_core::effective::PluginIntent;
use routerd_core::key::KeySource;
use routerd_core::plugin::{self, Occasion, redact};
use serde::Serialize;

use crate::store::{PluginRuns, StoreError, timestamp};
use crate::view::lock;

/// Variables that name a folder: such a folder below the state folder is made for the plugin's user.
const FOLDER_NAMES: [&str; 2] = ["_DIR", "_HOME"];
/// As much of standard error as a record keeps, in bytes: its end.
const RECORDED: usize = 4 << 10;

/// Runs the plugins of a configuration.
#[derive(Debug)]
pub(crate) struct Plugins {
    /// The program that makes the sandbox: this one.
    program: PathBuf,
    /// Where the daemon keeps its state: no plugin sees it.
    state: PathBuf,
    /// What else no plugin sees.
    hidden: Vec<PathBuf>,
    runs: Mutex<PluginRuns>,
}

/// A plugin could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRun {
    /// It is not configured.
    #[error("there is no Plugin/{0}")]
    Unknown(String),
    /// It speaks another protocol.
    #[error("Plugin/{0} executes provider actions and answers nothing else")]
    Executor(String),
}

/// One start of a plugin.
pub(crate) struct Start<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// How it is configured.
    pub(crate) plugin: &'a PluginIntent,
    /// The configuration that it belongs to.
    pub(crate) effective: &'a Effective,
    /// Why, for its record: `manual`, `interval`, `execute action 7` …
    pub(crate) reason: String,
}

impl Plugins {
    /// Plugins of the daemon with this database; `hidden` are files and folders beside its state that they must
    /// not see.
    pub(crate) fn open(
        program: PathBuf,
        database: &Path,
        hidden: Vec<PathBuf>,
    ) -> Result<Self, StoreError> {
        let state = database.parent().unwrap_or(Path::new("/"));
        Ok(Self {
            program,
            state: state.to_owned(),
            hidden,
            runs: Mutex::new(PluginRuns::open(database)?),
        })
    }

    /// Runs a plugin and waits for its result: at most its timeout, and a moment to end it. A run without a
    /// result changes nothing but the record of the run. What the result has passed its capabilities.
    pub(crate) fn run(
        &self,
        effective: &Effective,
        name: &str,
        reason: &str,
        occasion: Occasion,
    ) -> Result<PluginRunReport, NotRun> {
        let unknown = || NotRun::Unknown(name.to_owned());
        let intent = effective.plugins.get(name).ok_or_else(unknown)?;
        if intent
            .capabilities
            .contains(&Capability::ExecuteProviderAction)
        {
            return Err(NotRun::Executor(name.to_owned()));
        }
        let request: PluginRequest = plugin::request(effective, intent, occasion);
        let start = Start {
            name,
            plugin: intent,
            effective,
            reason: reason.to_owned(),
        };
        let (run, result) = self.ask(&start, &request, |ran| match read(intent, ran) {
            Ok(status) => (Some(status), None),
            Err(problem) => (None, Some(problem)),
        });
        Ok(PluginRunReport { run, result })
    }

    /// Runs a plugin with any request; `read` says what its answer is and what is wrong with it.
    pub(crate) fn ask<T>(
        &self,
        start: &Start<'_>,
        request: &impl Serialize,
        read: impl FnOnce(Ran<'_>) -> (T, Option<String>),
    ) -> (PluginRun, T) {
        let started_at = timestamp();
        let cell = self.cell(start);
        let sandbox = sandbox(&cell);
        let outcome = self.start(start, cell, request);
        let (ended, stdout, stderr, took, reaped) = match &outcome {
            Ok(ran) => (
                fault(ran),
                ran.stdout.as_slice(),
                ran.stderr.as_str(),
                ran.took,
                ran.reaped,
            ),
            Err(error) => (
                Some(error.clone()),
                [].as_slice(),
                "",
                Default::default(),
                true,
            ),
        };
        let ran = Ran {
            fault: ended.as_deref(),
            stdout,
            reaped,
        };
        let (answer, problem) = read(ran);
        let mut run = PluginRun {
            id: 0,
            plugin: start.name.to_owned(),
            reason: start.reason.clone(),
            started_at,
            millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            ok: problem.is_none(),
            outcome: redact(&problem.unwrap_or_else(|| "exit status 0".to_owned())),
            stderr: tail(&redact(stderr)),
            sandbox,
        };
        self.record(&mut run);
        (run, answer)
    }

    /// All plugins of a configuration, whether they could be started, and how they ran last.
    pub(crate) fn list(&self, effective: &Effective) -> Result<Vec<PluginView>, StoreError> {
        let mut last = lock(&self.runs).last()?;
        let view = |(name, plugin): (&String, &PluginIntent)| {
            let checked = self.check(plugin);
            PluginView {
                name: name.clone(),
                executable: plugin.executable.display().to_string(),
                capabilities: plugin.capabilities.iter().copied().collect(),
                problem: checked.err(),
                last_run: last.remove(name),
            }
        };
        Ok(effective.plugins.iter().map(view).collect())
    }

    /// Whether a plugin could be started, with a folder of its own where it is to have one.
    fn check(&self, plugin: &PluginIntent) -> Result<(), String> {
        linux::plugin::check(&plugin.executable, user(plugin)).map_err(|e| e.to_string())?;
        folders(plugin).try_for_each(|folder| {
            let lent = linux::plugin::lend(folder, &self.state, user(plugin));
            lent.map_err(|error| error.to_string())
        })
    }

    /// The newest runs of one plugin or of all, newest first.
    pub(crate) fn runs(
        &self,
        plugin: Option<&str>,
        limit: u32,
    ) -> Result<Vec<PluginRun>, StoreError> {
        lock(&self.runs).newest(plugin, limit)
    }

    fn start(
        &self,
        start: &Start<'_>,
        cell: Cell,
        request: &impl Serialize,
    ) -> Result<Outcome, String> {
        for folder in folders(start.plugin) {
            if let Err(error) = linux::plugin::lend(folder, &self.state, &cell.user) {
                tracing::warn!("Plugin/{}: {error}", start.name);
            }
        }
        let mut request = serde_json::to_vec(request).map_err(|e| format!("write request: {e}"))?;
        request.push(b'\n');
        let job = Job {
            program: self.program.clone(),
            cell,
            request,
        };
        linux::plugin::run(&job).map_err(|error| error.to_string())
    }

    fn cell(&self, start: &Start<'_>) -> Cell {
        let plugin = start.plugin;
        let mut hidden = vec![self.state.clone()];
        hidden.extend(self.hidden.iter().cloned());
        hidden.extend(key_files(start.effective));
        Cell {
            executable: plugin.executable.clone(),
            env: plugin.env.clone(),
            user: user(plugin).to_owned(),
            sandbox: plugin.sandbox,
            network: plugin
                .capabilities
                .iter()
                .any(|capability| capability.needs_network()),
            hidden,
            timeout: plugin.timeout,
        }
    }

    /// A record that cannot be kept stops nothing.
    fn record(&self, run: &mut PluginRun) {
        match lock(&self.runs).add(run) {
            Ok(id) => run.id = id,
            Err(error) => tracing::warn!("{error}"),
        }
        if !run.ok {
            let PluginRun {
                plugin,
                reason,
                outcome,
                ..
            } = run;
            tracing::warn!(reason, "Plugin/{plugin}: {outcome}");
        }
    }
}

fn user(plugin: &PluginIntent) -> &str {
    plugin.user.as_deref().unwrap_or(DEFAULT_USER)
}

/// What a result says, if the plugin may say it.
fn read(plugin: &PluginIntent, ran: Ran<'_>) -> Result<PluginStatus, String> {
    if let Some(fault) = ran.fault {
        return Err(fault.to_owned());
    }
    let result = serde_json::from_slice(ran.stdout);
    let PluginResult::PluginResult(answer) =
        result.map_err(|error| format!("its result does not read: {error}"))?;
    plugin::admit(plugin, &answer.status).map_err(|refused| refused.to_string())?;
    Ok(answer.status)
}

/// How a run ended, unless it was well; with the last words of the plugin.
fn fault(outcome: &Outcome) -> Option<String> {
    if outcome.ended == Ended::Exited(0) {
        return None;
    }
    let words = outcome.stderr.lines().rfind(|line| !line.trim().is_empty());
    Some(match words {
        Some(words) => format!("{}: {}", outcome.ended, words.trim()),
        None => outcome.ended.to_string(),
    })
}

/// The end of a text, cut at a character.
fn tail(text: &str) -> String {
    let mut from = text.len().saturating_sub(RECORDED);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.get(from..).unwrap_or_default().to_owned()
}

fn folders(plugin: &PluginIntent) -> impl Iterator<Item = &Path> {
    let names_folder =
        |name: &str| name == "HOME" || FOLDER_NAMES.iter().any(|end| name.ends_with(end));
    let variables = plugin.env.iter();
    variables
        .filter(move |(name, _)| names_folder(name))
        .map(|(_, value)| Path::new(value))
}

/// The files that hold keys of this router.
fn key_files(effective: &Effective) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for tunnel in effective.wireguard.values() {
        if let KeySource::File(path) = &tunnel.private_key {
            files.push(path.clone());
        }
        let peers = tunnel.peers.values();
        files.extend(peers.filter_map(|peer| peer.preshared_key.clone()));
    }
    files
}

/// How the sandbox is made, in words.
fn sandbox(cell: &Cell) -> String {
    let mut words = vec![format!("user {}", cell.user), "no-new-privs".to_owned()];
    if cell.sandbox {
        words.extend(["mount", "pid", "ipc", "uts"].map(str::to_owned));
        words.extend((!cell.network).then(|| "net".to_owned()));
    }
    words.join(", ")
}
