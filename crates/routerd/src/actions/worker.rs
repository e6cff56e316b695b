//! What the daemon does by itself: it follows what comes into force, and carries on what needs no person.

use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use api::action::journal::State;
use api::action::plan::Precondition;
use api::time::Timestamp;
use routerd_core::action::{Action, Run};

use super::drive::Asked;
use super::{Actions, Trouble};
use crate::store::timestamp;

/// How often to look at actions that wait for something that nobody announces: a window, a fact in a cloud.
const LOOK: Duration = Duration::from_secs(30);
/// How long to wait after the journal could not be written.
const PAUSE: Duration = Duration::from_secs(1);
/// Nothing waits: until somebody changes something.
const IDLE: Duration = Duration::from_secs(3600);

impl Actions {
    /// Starts the thread; it ends when [`Self::stop`] is called.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let this = Arc::clone(self);
        let thread = thread::Builder::new().name("actions".to_owned());
        thread.spawn(move || this.work())
    }

    /// No executor is started any more. Those that run are given a moment; then they end with the daemon.
    pub(crate) fn stop(&self) {
        self.desk().stopping = true;
        self.changed.notify_all();
    }

    fn work(self: Arc<Self>) {
        let mut seen = 0;
        while let Some(fresh) = self.wait(seen) {
            if fresh && let Err(error) = self.follow() {
                tracing::warn!("follow the configuration: {error}");
            }
            let run = Run::automatic();
            match self.drive(run, &Asked::automatic(), &mut |_| ()) {
                Ok(_) | Err(Trouble::Idle | Trouble::Tampered(_)) => {}
                Err(error) => tracing::warn!("carry on actions: {error}"),
            }
            seen = self.desk().last_row();
        }
    }

    /// Takes up what came into force; once more after a moment if the journal cannot be written now.
    fn follow(&self) -> Result<(), Trouble> {
        let followed = self.desk().follow();
        if let Err(Trouble::Store(_)) = &followed {
            thread::sleep(PAUSE);
            self.desk().follow_again();
        }
        followed
    }

    /// Waits for something to do; absent when the end was asked for, otherwise whether something came into force.
    fn wait(&self, seen: u64) -> Option<bool> {
        let desk = self.desk();
        let actions = desk.book().open();
        let due = actions.filter_map(|action| due(action, timestamp())).min();
        let patience = due.unwrap_or(IDLE);
        let nothing =
            |desk: &mut super::Desk| !desk.stopping && !desk.is_fresh() && desk.last_row() == seen;
        let waited = self.changed.wait_timeout_while(desk, patience, nothing);
        let (desk, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (!desk.stopping).then(|| desk.is_fresh())
    }
}

/// When to look at an action again, if nobody says anything before.
fn due(action: &Action, now: Timestamp) -> Option<Duration> {
    let over = matches!(action.state, State::Succeeded) && action.withdrawn.is_none();
    if over || action.flight.is_some() {
        return None;
    }
    let conditions = action.plan.preconditions.iter();
    let not_before = conditions.filter_map(|condition| match condition {
        Precondition::NotBefore { at } => Some(*at),
        _ => None,
    });
    let times = action.retry_at.into_iter().chain(action.lease_until);
    let next = times.chain(not_before).filter(|at| *at > now).min();
    // A moment more, so that the time has really come.
    let until = next.map(|at| Duration::from_millis(at.millis_since(now) + 10));
    Some(until.map_or(LOOK, |until| until.min(LOOK)))
}
