//! A run: one action after the other as the engine says, executors of different targets side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use api::action::control::{self, Progress, RunReport};
use api::action::journal::{Actor, Event, State};
use api::action::protocol::Mode;
use routerd_core::action::{Action, Asker, Next, Run, answer, rollback_preview};

use super::desk::Desk;
use super::settings::Settings;
use super::{Actions, Trouble};
use crate::plugins::Start;
use crate::store::timestamp;

/// Executors of one run at the same time.
const SIDE_BY_SIDE: usize = 8;
/// How long executors may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(10);
/// How long to wait after a row could not be written.
const PAUSE: Duration = Duration::from_secs(1);
/// How long to wait for the end of an executor that another run started, before looking again.
const OTHERS: Duration = Duration::from_secs(5);

/// Who asked for a run, and for what.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The actions; none: all whose turn it is.
    ids: BTreeSet<u64>,
    rollback: bool,
    dry_run: bool,
    /// Whether a person waits for the outcome.
    by: Option<Actor>,
}

impl Asked {
    /// A person's request.
    pub(crate) fn by(by: Actor, request: &control::RunRequest, rollback: bool) -> Self {
        Self {
            ids: request.ids.iter().copied().collect(),
            rollback,
            dry_run: request.dry_run,
            by: Some(by),
        }
    }

    pub(super) fn automatic() -> Self {
        Self {
            ids: BTreeSet::new(),
            rollback: false,
            dry_run: false,
            by: None,
        }
    }

    fn run(&self, by: Actor) -> Run {
        let ids = self.ids.iter().copied();
        match self.rollback {
            true => Run::rollback(ids, self.dry_run, by),
            false => Run::execute(ids, self.dry_run, by),
        }
    }

    /// Whether a request without numbers is about this action.
    fn concerns(&self, action: &Action) -> bool {
        if !self.ids.is_empty() {
            return self.ids.contains(&action.id);
        }
        if self.rollback {
            return action.can_be_undone();
        }
        matches!(
            action.state,
            State::Pending | State::Approved | State::Running | State::Failed | State::Unknown
        )
    }
}

/// An executor that is started.
struct Flight {
    action: Action,
    mode: Mode,
    settings: Arc<Settings>,
}

/// What a step of a run was.
enum Step {
    /// An executor is to be started: its row is written.
    Start(Box<Flight>),
    /// A row was written, of this action.
    Recorded(u64),
    /// Nothing until an executor of this run ends, or at all.
    Nothing,
    /// Nothing until an executor of another run ends.
    Others,
}

impl Actions {
    /// Does what a person asks for and says how it goes. Blocks until it is done: call it on a thread of its own.
    pub(crate) fn run(
        self: &Arc<Self>,
        asked: &Asked,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<RunReport, Trouble> {
        self.current().know(&asked.ids)?;
        let by = asked.by.clone().unwrap_or_else(Actor::daemon);
        self.drive(asked.run(by), asked, tell)
    }

    pub(super) fn drive(
        self: &Arc<Self>,
        mut run: Run,
        asked: &Asked,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<RunReport, Trouble> {
        let (land, landed) = channel();
        let mut done = BTreeMap::new();
        let mut order = Vec::new();
        let mut flying = 0;
        loop {
            if flying < SIDE_BY_SIDE {
                match self.step(&mut run, asked)? {
                    Step::Start(flight) => {
                        flying += 1;
                        order.push(flight.action.id);
                        tell(Progress::Started(flight.announce()));
                        self.launch(*flight, asked.previews_rollback(), &land);
                        continue;
                    }
                    Step::Recorded(id) => {
                        order.push(id);
                        done.extend(self.desk().book().get(id).map(|a| (id, recorded(a))));
                        continue;
                    }
                    Step::Others if flying == 0 => {
                        self.wait_for_others();
                        continue;
                    }
                    Step::Nothing if flying == 0 => break,
                    Step::Nothing | Step::Others => {}
                }
            }
            let Some(ended) = self.await_landing(&landed) else {
                break;
            };
            flying -= 1;
            tell(Progress::Ended(ended.clone()));
            done.insert(ended.id, ended);
        }
        self.report(&run, asked, &order, done)
    }

    /// One step, its row written.
    fn step(&self, run: &mut Run, asked: &Asked) -> Result<Step, Trouble> {
        let mut desk = self.desk();
        if desk.stopping {
            return Ok(Step::Nothing);
        }
        let settings = desk.trusted_settings()?;
        match run.next(desk.book(), settings.world(timestamp())) {
            Next::Record(id, event) => {
                desk.append(vec![(id, event)])?;
                Ok(Step::Recorded(id))
            }
            Next::Start(id, mode) => begin(&mut desk, run, id, mode, settings),
            Next::Nothing if asked.by.is_some() && others_fly(&desk, run, &settings, asked) => {
                Ok(Step::Others)
            }
            Next::Nothing => Ok(Step::Nothing),
        }
    }

    /// Starts an executor on a thread of its own, which also writes down what came of it: whoever waits may go
    /// away.
    fn launch(self: &Arc<Self>, flight: Flight, preview: bool, land: &Sender<control::Run>) {
        let (this, told) = (Arc::clone(self), land.clone());
        let (action, mode) = (flight.action.clone(), flight.mode);
        let body = move || {
            let event = this.fly(&flight);
            let _ = told.send(this.land(flight.action, event, preview));
        };
        let thread = thread::Builder::new().name(format!("action {}", action.id));
        if let Err(error) = thread.spawn(body) {
            let event = Event::Lost {
                mode,
                reason: format!("start a thread: {error}"),
                reaped: true,
            };
            let _ = land.send(self.land(action, event, preview));
        }
    }

    /// Runs an executor to its end.
    fn fly(&self, flight: &Flight) -> Event {
        let (settings, plan, mode) = (&flight.settings, &flight.action.plan, flight.mode);
        let plugin = settings.executor(&plan.provider);
        let profile = settings.profiles.get(&plan.provider_ref);
        let (Some(plugin), Some(profile)) = (plugin, profile) else {
            return Event::Lost {
                mode,
                reason: "its executor is not configured".to_owned(),
                reaped: true,
            };
        };
        let asker = Asker {
            node: &settings.node,
            profile,
            timeout: plugin.timeout,
        };
        let start = Start {
            name: &plan.provider.executor(),
            plugin,
            effective: &settings.effective,
            reason: format!("{mode} action {}", flight.action.id),
        };
        let request = asker.request(&flight.action, mode);
        let (_, event) = self.plugins.ask(&start, &request, |ran| {
            let event = answer(mode, ran);
            let problem = match &event {
                Event::Lost { reason, .. } => Some(reason.clone()),
                _ => None,
            };
            (event, problem)
        });
        event
    }

    /// Writes down what came of an executor, however long that takes: until then nobody touches its target.
    fn land(&self, begun: Action, event: Event, preview: bool) -> control::Run {
        let id = begun.id;
        let mut desk = self.desk();
        loop {
            match desk.append(vec![(id, event.clone())]) {
                Err(Trouble::Store(error)) if !desk.stopping => {
                    tracing::error!("action {id}: {error}; trying again");
                    let waited = self.changed.wait_timeout(desk, PAUSE);
                    desk = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                Err(error) => {
                    tracing::error!("action {id}: what came of it is not in the journal: {error}");
                    break;
                }
                Ok(()) => break,
            }
        }
        let action = desk.book().get(id).cloned().unwrap_or(begun);
        drop(desk);
        self.looks.forget();
        self.changed.notify_all();
        ended(&action, event, preview)
    }

    /// Waits until an executor of this run has ended; not for ever once the end was asked for.
    fn await_landing(&self, landed: &Receiver<control::Run>) -> Option<control::Run> {
        let mut asked_at = None;
        loop {
            match landed.recv_timeout(PAUSE / 4) {
                Ok(ended) => return Some(ended),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if self.desk().stopping => {
                    let since: Instant = *asked_at.get_or_insert_with(Instant::now);
                    if since.elapsed() > GRACE {
                        return None;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn wait_for_others(&self) {
        let desk = self.desk();
        let seen = desk.last_row();
        let nothing = |desk: &mut Desk| desk.last_row() == seen && !desk.stopping;
        drop(self.changed.wait_timeout_while(desk, OTHERS, nothing));
    }

    /// What became of every action that was asked for.
    fn report(
        &self,
        run: &Run,
        asked: &Asked,
        order: &[u64],
        mut done: BTreeMap<u64, control::Run>,
    ) -> Result<RunReport, Trouble> {
        let desk = self.desk();
        let settings = desk.settings()?;
        let world = settings.world(timestamp());
        let concerned = desk.book().actions().filter(|a| asked.concerns(a));
        let ids = order.iter().copied().chain(concerned.map(|a| a.id));
        let mut told = BTreeSet::new();
        let mut runs = Vec::new();
        for id in ids.filter(|id| told.insert(*id)) {
            let Some(action) = desk.book().get(id) else {
                continue;
            };
            let had_turn = done.contains_key(&id);
            let mut entry = done.remove(&id).unwrap_or_else(|| recorded(action));
            entry.state = action.state;
            let over = |code: &str| code == "done" || had_turn && code == "finished";
            entry.held = run
                .held(desk.book(), world, action)
                .filter(|refusal| !over(&refusal.code));
            runs.push(entry);
        }
        Ok(RunReport { runs })
    }
}

impl Asked {
    fn previews_rollback(&self) -> bool {
        self.rollback && self.dry_run
    }
}

impl Flight {
    fn announce(&self) -> control::Start {
        control::Start {
            id: self.action.id,
            name: self.action.plan.name.clone(),
            action: self.action.plan.action,
            mode: self.mode,
        }
    }
}

/// Writes that an executor is about to be started.
fn begin(
    desk: &mut Desk,
    run: &Run,
    id: u64,
    mode: Mode,
    settings: Arc<Settings>,
) -> Result<Step, Trouble> {
    let action = desk.book().get(id).ok_or(Trouble::NoAction(id))?.clone();
    let timeout = settings
        .executor(&action.plan.provider)
        .map_or(Duration::ZERO, |plugin| plugin.timeout);
    let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let started = run.started(&action, mode, timestamp(), timeout);
    desk.append(vec![(id, started)])?;
    Ok(Step::Start(Box::new(Flight {
        action,
        mode,
        settings,
    })))
}

/// Whether an action that was asked for waits for an executor that another run started.
fn others_fly(desk: &Desk, run: &Run, settings: &Settings, asked: &Asked) -> bool {
    let now = timestamp();
    let waits = |action: &&Action| {
        let held = run.held(desk.book(), settings.world(now), action);
        held.is_some_and(|refusal| matches!(refusal.code.as_str(), "running" | "target-busy"))
    };
    let mut concerned = desk.book().actions().filter(|a| asked.concerns(a));
    concerned.any(|action| {
        waits(&action)
            && desk
                .book()
                .busy(action, now)
                .is_some_and(|other| other.flight.is_some())
    })
}

/// An action as it stands, without a word of an executor.
fn recorded(action: &Action) -> control::Run {
    control::Run {
        id: action.id,
        name: action.plan.name.clone(),
        action: action.plan.action,
        mode: None,
        state: action.state,
        changed: false,
        message: action.message.clone(),
        held: None,
        error: None,
    }
}

/// What an executor said about an action.
fn ended(action: &Action, event: Event, preview: bool) -> control::Run {
    let mut run = recorded(action);
    match event {
        Event::Finished { mode, status } => {
            run.mode = Some(mode);
            run.changed = status.changed;
            run.message = status.message;
            run.error = status.error;
        }
        Event::Lost { mode, reason, .. } => {
            run.mode = Some(mode);
            run.message = reason;
        }
        _ => {}
    }
    if preview && run.error.is_none() {
        (run.changed, run.message) = rollback_preview(action);
    }
    run
}
