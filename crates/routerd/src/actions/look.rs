//! What clouds have of what is asked of them, for doctor: executors in mode *observe*.
//!
//! This changes nothing, so no policy has to let it pass. Doctor waits a moment for answers; an executor that takes
//! longer goes on, and its answer is there for whoever asks next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use api::action::plan::ActionPlan;
use routerd_core::Effective;
use routerd_core::action::{Asker, Book, look_answer};
use routerd_core::doctor::{Answer, Looked};

use super::Actions;
use super::settings::Settings;
use crate::plugins::Start;
use crate::view::lock;

/// How long doctor waits: it is done within two seconds.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The longest that an executor may look: clouds are asked again, not waited for.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Looks that ended this recently are not repeated.
const FRESH: Duration = Duration::from_secs(1);
/// Intents that are looked at in one go; the others wait for the next.
const MOST: usize = 32;
/// Executors that look at the same time.
const SIDE_BY_SIDE: usize = 4;

type Said = (Instant, Result<Looked, String>);

/// The answers so far.
#[derive(Debug, Default)]
pub(super) struct Looks {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    /// When the last look ended, unless something was changed since.
    ended: Option<Instant>,
    said: BTreeMap<String, Said>,
}

impl Looks {
    /// An executor has changed something, or may have: what was seen before says nothing any more.
    pub(super) fn forget(&self) {
        lock(&self.state).ended = None;
    }
}

impl Actions {
    /// What executors say about what a configuration asks of clouds, by the keys of its intents.
    pub(crate) fn look(self: &Arc<Self>, effective: &Arc<Effective>) -> BTreeMap<String, Answer> {
        let (settings, mut plans) = Settings::of(0, effective, &Book::default(), false);
        plans.retain(|plan| settings.executor(&plan.provider).is_some());
        if plans.is_empty() {
            return BTreeMap::new();
        }
        let keys: BTreeSet<String> = plans.iter().map(|p| p.idempotency_key.clone()).collect();
        let mut state = lock(&self.looks.state);
        state.said.retain(|key, _| keys.contains(key));
        let fresh = state.ended.is_some_and(|ended| ended.elapsed() < FRESH);
        let complete = keys.iter().all(|key| state.said.contains_key(key));
        let known = fresh && complete;
        if !state.running && !known {
            let due = due(plans, &state.said);
            let this = Arc::clone(self);
            let thread = thread::Builder::new().name("look at clouds".to_owned());
            // Without a thread there is no look, and doctor says so.
            state.running = thread.spawn(move || this.look_at(&settings, &due)).is_ok();
        }
        let running = |state: &mut State| state.running;
        let waited = self
            .looks
            .ended
            .wait_timeout_while(state, PATIENCE, running);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let answer = |(key, (at, said)): (&String, &Said)| {
            let (age, said) = (at.elapsed().as_secs(), said.clone());
            (key.clone(), Answer { age, said })
        };
        state.said.iter().map(answer).collect()
    }

    fn look_at(&self, settings: &Settings, plans: &[ActionPlan]) {
        for group in plans.chunks(SIDE_BY_SIDE) {
            thread::scope(|scope| {
                for plan in group {
                    scope.spawn(|| {
                        let said = self.look_once(settings, plan);
                        let mut state = lock(&self.looks.state);
                        let key = plan.idempotency_key.clone();
                        state.said.insert(key, (Instant::now(), said));
                    });
                }
            });
        }
        let mut state = lock(&self.looks.state);
        state.running = false;
        state.ended = Some(Instant::now());
        self.looks.ended.notify_all();
    }

    fn look_once(&self, settings: &Settings, plan: &ActionPlan) -> Result<Looked, String> {
        let gone = || "it is not configured any more".to_owned();
        let mut plugin = settings.executor(&plan.provider).ok_or_else(gone)?.clone();
        plugin.timeout = plugin.timeout.min(TIMEOUT);
        let asker = Asker {
            node: &settings.node,
            profile: settings.profiles.get(&plan.provider_ref).ok_or_else(gone)?,
            timeout: plugin.timeout,
        };
        let start = Start {
            name: &plan.provider.executor(),
            plugin: &plugin,
            effective: &settings.effective,
            reason: format!("doctor: {}", plan.name),
        };
        let request = asker.look(plan);
        let (_, said) = self.plugins.ask(&start, &request, |ran| {
            let fault = ran.fault.map(str::to_owned);
            (look_answer(ran), fault)
        });
        said
    }
}

/// What was never answered, then what was answered longest ago.
fn due(mut plans: Vec<ActionPlan>, said: &BTreeMap<String, Said>) -> Vec<ActionPlan> {
    plans.sort_by_key(|plan| said.get(&plan.idempotency_key).map(|(at, _)| *at));
    plans.truncate(MOST);
    plans
}
