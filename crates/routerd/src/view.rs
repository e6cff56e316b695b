//! What the daemon tells others: the state that the engine publishes, and looks at the host that change
//! nothing and never hold up a repair.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use api::action::control::Proposal;
use api::control::{
    Config, ConfigFile, ConfigFileState, DaemonStatus, Event, PlanReport, Resource, SourceFile,
    Validation,
};
use api::doctor::{AREAS, Report};
use api::dynamic::{EffectiveView, PartView};
use api::federation::{Answer, Request};
use api::status::{Phase, ResourceStatus};
use api::{Diagnostic, ResourceId};
use routerd_core::doctor::{Answer as Look, DynamicState, FederationState, Runtime, SourceRun};
use routerd_core::dynamic::{Merge, Part};
use routerd_core::kernel::KernelError;
use routerd_core::{Effective, Kernel, Ledger, Observed, Plan, config, plan};
use serde_json::json;
use tokio::sync::watch;

use crate::bgp::Bgp;
use crate::engine::{Captures, merged};
use crate::federation::{self, Shared};
use crate::store::{LastRun, Removals, Store, StoreError, digest, timestamp};

/// How many events are shown.
const EVENTS: u32 = 100;

/// Makes a way to look at the host.
pub(crate) type OpenKernel = dyn Fn() -> Result<Box<dyn Kernel + Send>, KernelError> + Send + Sync;

/// What the engine publishes after every pass that changed any of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// The generation in force; absent before the first apply.
    pub(crate) generation: Option<u64>,
    /// Its digest.
    pub(crate) digest: String,
    /// When it was verified, in milliseconds since the epoch.
    pub(crate) since: i64,
    /// What it asks for, with the dynamic parts.
    pub(crate) effective: Arc<Effective>,
    /// What the parts came to.
    pub(crate) merge: Arc<Merge>,
    /// What is doubtful about it, quarantined parts above all.
    pub(crate) doubts: Arc<Vec<Diagnostic>>,
    /// The parts that were merged.
    pub(crate) stock: Arc<Vec<Arc<Part>>>,
    /// What was changed on the host.
    pub(crate) ledger: Arc<Ledger>,
    /// Captured addresses taken off the operating system.
    pub(crate) removals: Removals,
    /// Passes that repaired something.
    pub(crate) repairs: u64,
    /// Why the last pass failed.
    pub(crate) last_error: Option<String>,
}

/// Reads on behalf of clients.
pub(crate) struct View {
    snapshot: RwLock<Arc<Snapshot>>,
    kernel: Box<OpenKernel>,
    captures: Arc<Mutex<dyn Captures>>,
    config_file: PathBuf,
    state_file: PathBuf,
    started: Instant,
    /// Who hears what comes into force.
    listeners: RwLock<Vec<Box<Listener>>>,
    /// What is in force, for those that follow it.
    followed: watch::Sender<Arc<Effective>>,
    federation: Option<Arc<Shared>>,
    speaker: Option<Arc<Bgp>>,
}

/// Hears the generation in force and what it asks for, whenever something is published.
type Listener = dyn Fn(u64, &Arc<Effective>) + Send + Sync;

impl View {
    pub(crate) fn new(
        kernel: Box<OpenKernel>,
        captures: Arc<Mutex<dyn Captures>>,
        config_file: PathBuf,
        state_file: PathBuf,
    ) -> Self {
        Self {
            snapshot: RwLock::default(),
            kernel,
            captures,
            config_file,
            state_file,
            started: Instant::now(),
            listeners: RwLock::default(),
            followed: watch::channel(Arc::default()).0,
            federation: None,
            speaker: None,
        }
    }

    /// Tells of the BGP speaker, too.
    pub(crate) fn with_speaker(mut self, speaker: Arc<Bgp>) -> Self {
        self.speaker = Some(speaker);
        self
    }

    /// Tells of event federation, too.
    pub(crate) fn with_federation(mut self, federation: Arc<Shared>) -> Self {
        self.federation = Some(federation);
        self
    }

    /// Follows what is in force.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Effective>> {
        self.followed.subscribe()
    }

    /// Tells somebody what comes into force. He must not block: it is the reconcile loop that calls.
    pub(crate) fn listen(&self, listener: impl Fn(u64, &Arc<Effective>) + Send + Sync + 'static) {
        let mut listeners = self
            .listeners
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        listeners.push(Box::new(listener));
    }

    /// Replaces what clients see.
    pub(crate) fn publish(&self, snapshot: Snapshot) {
        self.followed.send_if_modified(|known| {
            let changed = !Arc::ptr_eq(known, &snapshot.effective);
            *known = Arc::clone(&snapshot.effective);
            changed
        });
        // A generation that this version cannot read has no digest: nobody knows what it asks for.
        let known = snapshot.generation.filter(|_| !snapshot.digest.is_empty());
        let heard = (known, Arc::clone(&snapshot.effective));
        let mut slot = self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Arc::new(snapshot);
        drop(slot);
        let (Some(generation), effective) = heard else {
            return;
        };
        let listeners = self
            .listeners
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        listeners.iter().for_each(|l| l(generation, &effective));
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The generation in force (0: none), its digest, and what it asks for.
    pub(crate) fn in_force(&self) -> (u64, String, Arc<Effective>) {
        let snapshot = self.snapshot();
        (
            snapshot.generation.unwrap_or_default(),
            snapshot.digest.clone(),
            Arc::clone(&snapshot.effective),
        )
    }

    /// The host as it is now.
    pub(crate) fn host(&self) -> Result<Observed, ReadError> {
        Ok((self.kernel)()?.observe(&routerd_core::observed::Query::default())?)
    }

    /// What the dynamic parts came to.
    pub(crate) fn merge(&self) -> Arc<Merge> {
        Arc::clone(&self.snapshot().merge)
    }

    /// What validation says.
    pub(crate) fn validate(config: &Config) -> Validation {
        let loaded = config::load(config);
        Validation {
            diagnostics: loaded.diagnostics,
            resources: loaded.resources,
        }
    }

    /// The plan for a configuration, or for the one in force; `propose` says what it asks of clouds.
    pub(crate) fn plan(
        &self,
        config: Option<&Config>,
        propose: impl FnOnce(&Arc<Effective>) -> Vec<Proposal>,
    ) -> Result<PlanReport, ReadError> {
        let snapshot = self.snapshot();
        let (effective, diagnostics) = match config {
            Some(config) => {
                let loaded = config::load(config);
                let effective = loaded
                    .effective
                    .ok_or_else(|| ReadError::Invalid(loaded.diagnostics.clone()))?;
                let merged = merged(config, &effective, &snapshot.stock, timestamp());
                let found = doubts(loaded.diagnostics, merged.diagnostics);
                (Arc::new(merged.effective), found)
            }
            None => (
                Arc::clone(&snapshot.effective),
                snapshot.doubts.as_ref().clone(),
            ),
        };
        let (_, plan) = self.look(&effective, &snapshot.ledger, plan::query(&effective))?;
        Ok(PlanReport {
            diagnostics,
            plan: plan.view(),
            proposals: propose(&effective),
        })
    }

    /// The daemon at a glance.
    pub(crate) fn status(&self) -> Result<DaemonStatus, ReadError> {
        let snapshot = self.snapshot();
        let effective = &snapshot.effective;
        let (observed, plan) = self.look(effective, &snapshot.ledger, plan::query(effective))?;
        Ok(DaemonStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            generation: snapshot.generation,
            torn_down: snapshot.generation.is_some() && snapshot.effective.resources.is_empty(),
            verified_at: snapshot.generation.map(|_| snapshot.since),
            in_sync: snapshot.generation.is_some()
                && plan.steps.is_empty()
                && snapshot.last_error.is_none(),
            pending_changes: plan.steps.len(),
            repairs: snapshot.repairs,
            last_error: snapshot.last_error.clone(),
            config_file: self.config_file(&snapshot),
            resources: self.statuses(&snapshot, &observed, &plan)?,
        })
    }

    /// All resources in force.
    pub(crate) fn resources(&self) -> Result<Vec<Resource>, ReadError> {
        let snapshot = self.snapshot();
        let effective = &snapshot.effective;
        let (observed, plan) = self.look(effective, &snapshot.ledger, plan::query(effective))?;
        let mut held = plan::held(effective, &observed, &snapshot.ledger);
        let resources = self
            .statuses(&snapshot, &observed, &plan)?
            .into_iter()
            .filter_map(|status| {
                let declared = effective.resources.get(&status.id)?;
                let held = held.remove(&status.id).unwrap_or_default();
                Some(Resource {
                    api_version: declared.api_version.clone(),
                    id: status.id.clone(),
                    spec: declared.spec.clone(),
                    status,
                    objects: held.iter().map(ToString::to_string).collect(),
                })
            });
        Ok(resources.collect())
    }

    /// What sources said and what became of it.
    pub(crate) fn parts(&self) -> Vec<PartView> {
        routerd_core::dynamic::parts(&self.snapshot().merge)
    }

    /// The configuration that counts, and how it differs from the one that was applied.
    pub(crate) fn effective(&self) -> EffectiveView {
        let snapshot = self.snapshot();
        let found = snapshot.doubts.as_ref().clone();
        routerd_core::dynamic::effective(&snapshot.effective, &snapshot.merge, found)
    }

    /// What happened of late, newest first.
    pub(crate) fn events(&self) -> Result<Vec<Event>, ReadError> {
        Ok(Store::open_to_read(&self.state_file)?.events(EVENTS)?)
    }

    /// Answers about event federation.
    pub(crate) fn federation(&self, request: Request) -> Result<Answer, ReadError> {
        let Some(shared) = &self.federation else {
            return Ok(Answer::Failed(
                "this daemon has no event federation".to_owned(),
            ));
        };
        let now = (shared.clock)();
        let (store, key) = (&shared.store, &shared.node_key);
        Ok(federation::answer(
            store,
            key,
            &shared.intent(),
            now,
            request,
        ))
    }

    /// All metrics in the text format of Prometheus.
    pub(crate) fn metrics(&self) -> Result<String, ReadError> {
        let Some(shared) = &self.federation else {
            return Ok(String::new());
        };
        shared.measure()?;
        Ok(shared.metrics.render())
    }

    /// Status of every resource, with what only this process knows.
    fn statuses(
        &self,
        snapshot: &Snapshot,
        observed: &Observed,
        plan: &Plan,
    ) -> Result<Vec<ResourceStatus>, ReadError> {
        let mut statuses = statuses(snapshot, observed, plan);
        if let (Some(bgp), Some(speaker)) = (&snapshot.effective.bgp, &self.speaker) {
            let standing = speaker.standing().unwrap_or_default();
            routerd_core::bgp::report(bgp, &standing, &mut statuses);
        }
        let Some(shared) = &self.federation else {
            return Ok(statuses);
        };
        let mut facts = shared.facts()?;
        for status in &mut statuses {
            if let Some((facts, trouble)) = facts.remove(&status.id) {
                status.facts.extend(facts);
                if let Some(trouble) = trouble {
                    status.phase = Phase::Degraded;
                    status.message = trouble;
                }
            }
        }
        Ok(statuses)
    }

    /// Checks of one area, or of all; `daemon` says whether the daemon runs, `journal_fault` why it executes no
    /// action, `look` asks executors what their clouds have.
    pub(crate) fn doctor(
        &self,
        area: Option<&str>,
        daemon: bool,
        journal_fault: Option<String>,
        look: &dyn Fn(&Arc<Effective>) -> BTreeMap<String, Look>,
    ) -> Result<Report, ReadError> {
        if let Some(area) = area.filter(|area| !AREAS.contains(area)) {
            return Err(ReadError::UnknownArea(area.to_owned()));
        }
        let snapshot = self.snapshot();
        let effective = &snapshot.effective;
        let query = routerd_core::doctor::query(effective);
        let (observed, plan) = self.look(effective, &snapshot.ledger, query)?;
        let providers = match area {
            None | Some("hybrid") => look(effective),
            Some(_) => BTreeMap::new(),
        };
        let runtime = Runtime {
            daemon,
            generation: snapshot.generation,
            last_error: snapshot.last_error.clone(),
            providers,
            journal_fault,
            federation: self.federation_state(effective)?,
            dynamic: self.dynamic_state(&snapshot)?,
            speaker: self.speaker.as_ref().and_then(|bgp| bgp.standing()),
            rivals: match (area, &self.speaker) {
                (None | Some("bgp"), Some(bgp)) => bgp.rivals(),
                _ => Vec::new(),
            },
        };
        Ok(routerd_core::doctor::doctor(
            area, effective, &observed, &plan, &runtime,
        ))
    }

    /// The dynamic configuration as the checks see it, with or without a daemon.
    fn dynamic_state(&self, snapshot: &Snapshot) -> Result<DynamicState, ReadError> {
        let runs = match self.state_file.exists() {
            true => Store::open_to_read(&self.state_file)?.runs_of_sources()?,
            false => Vec::new(),
        };
        let run = |run: LastRun| {
            let brief = SourceRun {
                began_at: run.began_at,
                failures: run.failures,
                message: run.message,
            };
            (run.source, brief)
        };
        Ok(DynamicState {
            now: timestamp(),
            parts: routerd_core::dynamic::parts(&snapshot.merge),
            runs: runs.into_iter().map(run).collect(),
        })
    }

    /// Event federation as the checks see it: from the store itself, with or without a daemon.
    fn federation_state(
        &self,
        effective: &Effective,
    ) -> Result<Option<FederationState>, ReadError> {
        if effective.federation.groups.is_empty() {
            return Ok(None);
        }
        let state = match &self.federation {
            Some(shared) => shared.state(&effective.federation)?,
            None => federation::state_offline(&self.state_file, &effective.federation)?,
        };
        Ok(Some(state))
    }

    fn look(
        &self,
        effective: &Effective,
        ledger: &Ledger,
        query: routerd_core::observed::Query,
    ) -> Result<(Observed, Plan), ReadError> {
        let mut observed = (self.kernel)()?.observe(&query)?;
        observed.arp_conflicts = lock(&self.captures).conflicts();
        let plan = plan::plan(effective, &observed, ledger);
        Ok((observed, plan))
    }

    fn config_file(&self, snapshot: &Snapshot) -> ConfigFile {
        let name = self.config_file.display().to_string();
        let state = match std::fs::read_to_string(&self.config_file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => ConfigFileState::Absent,
            Err(_) => ConfigFileState::Unreadable,
            Ok(text) => {
                let name = name.clone();
                let files = vec![SourceFile { name, text }];
                if digest(&Config { files }) == snapshot.digest {
                    ConfigFileState::InForce
                } else {
                    ConfigFileState::Differs
                }
            }
        };
        ConfigFile { path: name, state }
    }
}

/// Nobody could look.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The configuration is refused.
    #[error("the configuration is not valid")]
    Invalid(Vec<Diagnostic>),
    /// The kernel did not answer.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Doctor knows no such area.
    #[error("no such area: {0} ({areas})", areas = AREAS.join(", "))]
    UnknownArea(String),
}

/// Locks what a thread that panicked may have held: all that is behind our locks is replaced as a whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is said of a configuration, and what more is said of it with its parts.
fn doubts(of_startup: Vec<Diagnostic>, of_merged: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let more: Vec<Diagnostic> = of_merged
        .into_iter()
        .filter(|found| !of_startup.contains(found))
        .collect();
    of_startup.into_iter().chain(more).collect()
}

fn statuses(snapshot: &Snapshot, observed: &Observed, plan: &Plan) -> Vec<ResourceStatus> {
    let mut statuses = routerd_core::status::status(&snapshot.effective, observed, plan);
    for status in &mut statuses {
        if let Some(count) = removals_of(snapshot, &status.id) {
            status
                .facts
                .insert("osAddressRemovals".to_owned(), json!(count));
        }
    }
    statuses
}

/// How often a claim's address was taken off the operating system; absent where that cannot happen.
fn removals_of(snapshot: &Snapshot, id: &ResourceId) -> Option<u64> {
    let kept_off = snapshot.effective.captures.values().any(|capture| {
        use routerd_core::effective::CaptureMethod::ProviderSecondaryIp;
        capture.owner == *id && matches!(capture.method, ProviderSecondaryIp { .. })
    });
    kept_off.then(|| snapshot.removals.get(id).copied().unwrap_or_default())
}
