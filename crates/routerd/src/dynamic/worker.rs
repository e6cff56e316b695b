//! Runs plugins whose time has come and takes in what they say.
//!
//! A plugin runs because events wait for an `EventSubscription` or a `DynamicConfigSource`, or because the time of
//! a `DynamicConfigSource` has come. Each run has a thread of its own, so that one that hangs holds up no other; of
//! one source at most one runs at a time. Timers and what was taken are in the database: a restart neither
//! forgets a run nor repeats one that succeeded.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use api::action::control::ImportRequest;
use api::action::journal::Actor;
use api::event::Event;
use api::plugin::{PluginStatus, Trigger, TriggerKind};
use api::time::Timestamp;
use routerd_core::Effective;
use routerd_core::dynamic::{self, PartState, Run};
use routerd_core::federation::intent::SubscriptionIntent;
use routerd_core::plugin::Occasion;

use super::{Key, Shelf, key};
use crate::actions::Actions;
use crate::engine::Outbox;
use crate::store::{DueBatch, EventStore, LastRun, StoreError};
use crate::view::{View, lock};

/// The longest time between two looks, for what nobody announces.
const LOOK: Duration = Duration::from_secs(60);
/// Between the name of a source and a group, where the source listens to groups.
const IN: char = '@';

/// Makes parts.
pub(crate) struct Worker {
    shelf: Arc<Shelf>,
    events: Arc<EventStore>,
    actions: Arc<Actions>,
    view: Arc<View>,
    outbox: Outbox,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    woken: bool,
    stopping: bool,
    /// Sources whose time came and whose plugin runs.
    running: BTreeSet<String>,
    /// The last event that was looked at for facts that ended.
    ends_seen: i64,
    /// Parts whose action plans are in the journal.
    imported: BTreeSet<Key>,
}

/// A run to be made.
struct Job {
    /// Whose word it is going to be: `EventSubscription/clients`.
    source: String,
    plugin: String,
    trigger: Trigger,
    events: Vec<Event>,
    /// The longest that its word counts, in milliseconds.
    ttl: Option<u64>,
}

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Refused(#[from] dynamic::Refusal),
    #[error("{0}")]
    Plugin(String),
}

impl Worker {
    pub(crate) fn new(
        shelf: Arc<Shelf>,
        events: Arc<EventStore>,
        actions: Arc<Actions>,
        view: Arc<View>,
        outbox: Outbox,
    ) -> Arc<Self> {
        Arc::new(Self {
            shelf,
            events,
            actions,
            view,
            outbox,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Starts the thread; it ends when [`Self::stop`] is called.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let this = Arc::clone(self);
        let told = Arc::downgrade(self);
        self.events.on_new(move || {
            if let Some(worker) = told.upgrade() {
                worker.wake();
            }
        });
        let thread = thread::Builder::new().name("dynamic".to_owned());
        thread.spawn(move || this.work())
    }

    /// There may be something to do. Returns at once.
    pub(crate) fn wake(&self) {
        lock(&self.state).woken = true;
        self.changed.notify_all();
    }

    /// No plugin is started any more. Those that run end with the daemon, and run again after the next start.
    pub(crate) fn stop(&self) {
        lock(&self.state).stopping = true;
        self.changed.notify_all();
    }

    fn work(self: Arc<Self>) {
        let mut patience = Duration::ZERO;
        while self.wait(patience) {
            patience = match self.turn() {
                Ok(next) => {
                    let left = next.map(|at| at.millis_since(self.shelf.now()));
                    left.map_or(LOOK, |left| Duration::from_millis(left).min(LOOK))
                }
                Err(error) => {
                    tracing::warn!("dynamic configuration: {error}");
                    LOOK
                }
            };
        }
    }

    /// Waits for something to do; false when the end was asked for.
    fn wait(&self, patience: Duration) -> bool {
        let quiet = |state: &mut State| !state.woken && !state.stopping;
        let state = lock(&self.state);
        let waited = self.changed.wait_timeout_while(state, patience, quiet);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.woken = false;
        !state.stopping
    }

    /// Does what is due; says when something is due next.
    fn turn(self: &Arc<Self>) -> Result<Option<Timestamp>, StoreError> {
        let (generation, _, effective) = self.view.in_force();
        if generation == 0 {
            return Ok(None);
        }
        self.end_facts()?;
        self.shelf.prune()?;
        self.import_plans();
        let batch = self.start_batches(&effective)?;
        let source = self.start_sources(&effective);
        Ok([batch, source].into_iter().flatten().min())
    }

    /// Facts that are over take their parts along.
    fn end_facts(&self) -> Result<(), StoreError> {
        let from = lock(&self.state).ends_seen;
        let (ends, seen) = self.events.ends_after(from)?;
        let mut ended = false;
        for event in &ends {
            ended |= self.shelf.end(event)?;
        }
        lock(&self.state).ends_seen = seen;
        if ended {
            self.outbox.wake("dynamic");
        }
        Ok(())
    }

    /// Action plans of parts that count enter the journal; importing twice imports once.
    fn import_plans(&self) {
        for judged in &self.view.merge().parts {
            let key = key(&judged.part);
            let counts = judged.state == PartState::Active && !judged.part.action_plans.is_empty();
            if !counts || lock(&self.state).imported.contains(&key) {
                continue;
            }
            let request = ImportRequest {
                plans: judged.part.action_plans.clone(),
                again: false,
            };
            let by = Actor {
                name: key.0.clone(),
                uid: None,
            };
            match self.actions.import(&request, &by) {
                Ok(_) => drop(lock(&self.state).imported.insert(key)),
                Err(error) => tracing::warn!("{}: import action plans: {error}", key.0),
            }
        }
    }

    /// Starts plugins for which events wait.
    fn start_batches(
        self: &Arc<Self>,
        effective: &Arc<Effective>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let subscriptions = subscriptions(effective);
        let (batches, next) = self.events.take_due(self.shelf.now(), &subscriptions)?;
        for batch in batches {
            let this = Arc::clone(self);
            let effective = Arc::clone(effective);
            spawn(&batch.subscription.clone(), move || {
                let result = this.run_batch(&effective, &batch);
                let result = result.as_ref().copied().map_err(String::as_str);
                let now = this.shelf.now();
                if let Err(error) = this.events.finish_run(now, batch.run, result) {
                    tracing::warn!("{}: {error}", batch.subscription);
                }
            });
        }
        Ok(next)
    }

    fn run_batch(&self, effective: &Effective, batch: &DueBatch) -> Result<(), String> {
        let mut events = Vec::new();
        for event in &batch.events {
            // A fact that is known to be over is none, in whatever order the two came.
            if !self.events.is_ended(event).map_err(|e| e.to_string())? {
                events.push(event.clone());
            }
        }
        let Some(topic) = events.first().map(|event| event.kind.clone()) else {
            return Ok(());
        };
        let (source, ttl) = match batch.subscription.rsplit_once(IN) {
            Some((source, _)) => {
                let name = source.rsplit('/').next().unwrap_or_default();
                let ttl = effective.sources.get(name).and_then(|intent| intent.ttl);
                (source.to_owned(), ttl.map(millis))
            }
            None => (format!("EventSubscription/{}", batch.subscription), None),
        };
        let job = Job {
            source,
            plugin: batch.plugin.clone(),
            trigger: Trigger {
                kind: TriggerKind::Event,
                topic: Some(topic),
            },
            events,
            ttl,
        };
        self.run(effective, job).map_err(|error| error.to_string())
    }

    /// Starts plugins whose time has come.
    fn start_sources(self: &Arc<Self>, effective: &Arc<Effective>) -> Option<Timestamp> {
        let now = self.shelf.now();
        let last = self.shelf.runs();
        let mut next = Vec::new();
        for intent in effective.sources.values() {
            let source = intent.owner.to_string();
            let run = last.get(&source);
            let due = intent.due(run.map(|run| (run.began_at, run.failures)), now);
            match due {
                Some(at) if at <= now => self.start_source(effective, intent.owner.name.clone()),
                due => next.extend(due),
            }
        }
        next.into_iter().min()
    }

    fn start_source(self: &Arc<Self>, effective: &Arc<Effective>, name: String) {
        if !lock(&self.state).running.insert(name.clone()) {
            return;
        }
        let this = Arc::clone(self);
        let effective = Arc::clone(effective);
        spawn(&name.clone(), move || {
            this.run_source(&effective, &name);
            lock(&this.state).running.remove(&name);
            this.wake();
        });
    }

    fn run_source(&self, effective: &Effective, name: &str) {
        let Some(intent) = effective.sources.get(name) else {
            return;
        };
        let source = intent.owner.to_string();
        let began_at = self.shelf.now();
        let failures = self.shelf.runs().get(&source).map_or(0, |run| run.failures);
        let job = Job {
            source: source.clone(),
            plugin: intent.plugin.clone(),
            trigger: Trigger {
                kind: TriggerKind::Interval,
                topic: None,
            },
            events: Vec::new(),
            ttl: intent.ttl.map(millis),
        };
        let problem = self
            .run(effective, job)
            .err()
            .map(|error| error.to_string());
        let run = LastRun {
            source,
            began_at,
            failures: problem.as_ref().map_or(0, |_| failures.saturating_add(1)),
            message: problem,
        };
        if let Err(error) = self.shelf.note_run(run) {
            tracing::warn!("{error}");
        }
    }

    /// Runs a plugin and takes in what it says. A run that fails changes nothing but the record of the run.
    fn run(&self, effective: &Effective, job: Job) -> Result<(), Failed> {
        let (generation, digest, _) = self.view.in_force();
        let before = self.shelf.latest();
        let occasion = Occasion {
            trigger: job.trigger.clone(),
            startup_config_hash: digest,
            generation,
            previous_part: before.get(&job.source).map_or(0, |part| part.generation),
            now: self.shelf.now(),
            events: job.events.clone(),
        };
        let plugins = self.actions.plugins();
        let report = plugins
            .run(effective, &job.plugin, &job.source, occasion)
            .map_err(|error| Failed::Plugin(error.to_string()))?;
        let status = report.result.ok_or(Failed::Plugin(report.run.outcome))?;
        self.take(effective, &job, status)
    }

    fn take(
        &self,
        effective: &Effective,
        job: &Job,
        mut status: PluginStatus,
    ) -> Result<(), Failed> {
        let events = std::mem::take(&mut status.events);
        let now = self.shelf.now();
        let run = Run {
            source: &job.source,
            plugin: &job.plugin,
            ttl: job.ttl,
            events: &job.events,
            now,
        };
        let outdated = self.shelf.take(&run, status)??;
        for event in outdated {
            tracing::info!("{}: event {event} is older than what is known", job.source);
        }
        self.outbox.wake("dynamic");
        let own = own_events(effective, events);
        if !own.is_empty() {
            self.events.append(now, own)?;
        }
        Ok(())
    }
}

/// Events that a plugin emits are this node's word, in a group that it belongs to.
fn own_events(effective: &Effective, events: Vec<Event>) -> Vec<Event> {
    let groups = &effective.federation.groups;
    let own = |mut event: Event| {
        let group = groups.get(&event.group)?;
        event.source_node.clone_from(&group.node);
        Some(event)
    };
    events.into_iter().filter_map(own).collect()
}

/// All that wait for events: subscriptions, and sources once for each group.
fn subscriptions(effective: &Effective) -> BTreeMap<String, SubscriptionIntent> {
    let federation = &effective.federation;
    let mut all = federation.subscriptions.clone();
    for (intent, group) in effective
        .sources
        .values()
        .filter(|intent| !intent.topics.is_empty())
        .flat_map(|intent| federation.groups.keys().map(move |group| (intent, group)))
    {
        all.insert(
            format!("{}{IN}{group}", intent.owner),
            intent.subscription(group),
        );
    }
    all
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A thread of its own. Where the system has none left, what was taken runs again after the next start.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) {
    // The kernel keeps fifteen bytes of a name.
    let name: String = name.chars().take(15).collect();
    if let Err(error) = thread::Builder::new().name(name.clone()).spawn(body) {
        tracing::error!("start a thread for {name}: {error}");
    }
}
