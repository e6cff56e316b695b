//! The state of one action as a fold over its journal rows.

use api::action::journal::{Actor, Event, State};
use api::action::plan::{ActionPlan, Facts, Undo};
use api::action::protocol::{ActionError, Effect, ErrorClass, ExecuteStatus, Mode, Outcome};
use api::time::Timestamp;

use super::backoff;

/// One action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Its number.
    pub id: u64,
    /// What is to be done.
    pub plan: ActionPlan,
    /// Who proposed it.
    pub imported_by: Actor,
    /// When it was imported.
    pub imported_at: Timestamp,
    /// When its last row was written.
    pub changed_at: Timestamp,
    /// Where it stands.
    pub state: State,
    /// Who approved its execution.
    pub approved_by: Option<Actor>,
    /// Who approved its rollback.
    pub rollback_approved_by: Option<Actor>,
    /// Why its intent went away, before or after it was carried out.
    pub withdrawn: Option<String>,
    /// What was true before the first change.
    pub prior: Option<Prior>,
    /// Facts as last observed.
    pub observed: Facts,
    /// Whether the last look gave an answer.
    pub seen: bool,
    /// How often an executor was started for it.
    pub attempts: u32,
    /// How many runs in a row failed.
    pub failures: u32,
    /// Not tried again by itself before this.
    pub retry_at: Option<Timestamp>,
    /// The executor that runs now.
    pub flight: Option<Flight>,
    /// Until then an executor that was lost may still be alive.
    pub lease_until: Option<Timestamp>,
    /// The last change that was begun: execute or rollback.
    pub last_change: Option<Mode>,
    /// How many changes were begun.
    pub changes: u32,
    /// What was last said about it.
    pub message: String,
    /// Why it last failed.
    pub error: Option<ActionError>,
}

/// What was true before the first change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prior {
    /// The facts, named `prior…`.
    pub facts: Facts,
    /// Whether the effect was there already.
    pub effect: Effect,
}

/// A running executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// What it was asked.
    pub mode: Mode,
    /// How long nobody else may touch the target.
    pub lease_until: Timestamp,
}

/// Two references mean the same thing if they are equal or if one of them is left to be found: which one it will
/// be is not known here. Clouds compare the letters of their ids in either case.
fn may_be_same(a: &Option<String>, b: &Option<String>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
        _ => true,
    }
}

impl Action {
    pub(crate) fn new(id: u64, at: Timestamp, plan: &ActionPlan, by: &Actor) -> Self {
        Self {
            id,
            plan: plan.clone(),
            imported_by: by.clone(),
            imported_at: at,
            changed_at: at,
            state: State::Pending,
            approved_by: None,
            rollback_approved_by: None,
            withdrawn: None,
            prior: None,
            observed: Facts::default(),
            seen: false,
            attempts: 0,
            failures: 0,
            retry_at: None,
            flight: None,
            lease_until: None,
            last_change: None,
            changes: 0,
            message: String::new(),
            error: None,
        }
    }

    pub(crate) fn has_effect_of(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.plan.target, &other.plan.target);
        self.plan.action == other.plan.action
            && self.shares_lane(other)
            && ours.address == theirs.address
            && may_be_same(&ours.route_table_ref, &theirs.route_table_ref)
    }

    /// Whether both may touch the same NIC: never two executors at once for those.
    pub fn shares_lane(&self, other: &Self) -> bool {
        self.plan.provider == other.plan.provider
            && self.plan.provider_ref == other.plan.provider_ref
            && may_be_same(&self.plan.target.nic_ref, &other.plan.target.nic_ref)
    }

    /// Whether a change was begun and not wholly taken back.
    pub fn may_be_in_effect(&self) -> bool {
        self.last_change.is_some() && !matches!(self.state, State::RolledBack | State::Skipped)
    }

    /// Whether a rollback would have something to restore.
    pub fn can_be_undone(&self) -> bool {
        self.plan.undo == Undo::RestorePrior && self.may_be_in_effect() && self.prior.is_some()
    }

    /// The action after an event. `baseline` are the prior facts of a predecessor with the same effect.
    pub(crate) fn after(
        &self,
        at: Timestamp,
        event: &Event,
        baseline: Option<Prior>,
    ) -> Result<Self, String> {
        let mut next = self.clone();
        next.changed_at = at;
        match event {
            Event::Imported { .. } => return Err("imported twice".to_owned()),
            Event::Approved { by, rollback } => next.approve(by, *rollback)?,
            Event::Withdrawn { reason } => next.withdraw(reason)?,
            Event::Started {
                mode,
                attempt,
                lease_until,
                ..
            } => {
                next.start(*mode, *attempt, *lease_until)?;
            }
            Event::Finished { mode, status } => next.finish(at, *mode, status, baseline)?,
            Event::Lost {
                mode,
                reason,
                reaped,
            } => next.lose(at, *mode, reason, *reaped)?,
            Event::Skipped { reason } => next.skip(reason)?,
        }
        Ok(next)
    }

    fn refuse(&self, what: &str) -> String {
        let busy = if self.flight.is_some() {
            " with an executor running"
        } else {
            ""
        };
        format!("{what} in state {}{busy}", self.state)
    }

    fn approve(&mut self, by: &Actor, rollback: bool) -> Result<(), String> {
        if rollback {
            if !self.may_be_in_effect() {
                return Err(self.refuse("rollback approved"));
            }
            self.rollback_approved_by = Some(by.clone());
        } else {
            if self.state != State::Pending {
                return Err(self.refuse("approved"));
            }
            self.state = State::Approved;
            self.approved_by = Some(by.clone());
        }
        Ok(())
    }

    fn withdraw(&mut self, reason: &str) -> Result<(), String> {
        if !self.may_be_in_effect() || self.withdrawn.is_some() {
            return Err(self.refuse("withdrawn"));
        }
        self.withdrawn = Some(reason.to_owned());
        Ok(())
    }

    fn skip(&mut self, reason: &str) -> Result<(), String> {
        let waits = matches!(self.state, State::Pending | State::Approved);
        if !waits || self.flight.is_some() {
            return Err(self.refuse("skipped"));
        }
        self.state = State::Skipped;
        self.withdrawn = Some(reason.to_owned());
        self.message = reason.to_owned();
        Ok(())
    }

    fn start(&mut self, mode: Mode, attempt: u32, lease_until: Timestamp) -> Result<(), String> {
        if self.flight.is_some() {
            return Err(self.refuse("started"));
        }
        if attempt != self.attempts + 1 {
            return Err(format!("attempt {attempt} after {}", self.attempts));
        }
        match mode {
            Mode::DryRun => {}
            Mode::Observe => self.seen = false,
            Mode::Execute => {
                if !matches!(self.state, State::Pending | State::Approved | State::Failed) {
                    return Err(self.refuse("executed"));
                }
                if self.prior.is_none() {
                    return Err("executed before it was observed".to_owned());
                }
                self.state = State::Running;
            }
            Mode::Rollback => {
                if !matches!(self.state, State::Succeeded | State::Failed) || !self.can_be_undone()
                {
                    return Err(self.refuse("rolled back"));
                }
                self.state = State::RollingBack;
            }
        }
        if mode.mutates() {
            self.last_change = Some(mode);
            self.changes += 1;
        }
        self.attempts = attempt;
        self.lease_until = None;
        self.flight = Some(Flight { mode, lease_until });
        Ok(())
    }

    fn land(&mut self, mode: Mode) -> Result<Flight, String> {
        match self.flight.take() {
            Some(flight) if flight.mode == mode => Ok(flight),
            _ => Err(format!("{mode} ended, but was not running")),
        }
    }

    fn lose(
        &mut self,
        at: Timestamp,
        mode: Mode,
        reason: &str,
        reaped: bool,
    ) -> Result<(), String> {
        let flight = self.land(mode)?;
        self.lease_until = (!reaped).then_some(flight.lease_until);
        if mode.mutates() {
            self.state = State::Unknown;
        }
        if mode != Mode::DryRun {
            self.message = reason.to_owned();
            self.error = None;
            self.back_off(at, None);
        }
        Ok(())
    }

    fn finish(
        &mut self,
        at: Timestamp,
        mode: Mode,
        status: &ExecuteStatus,
        baseline: Option<Prior>,
    ) -> Result<(), String> {
        self.land(mode)?;
        if mode != Mode::DryRun {
            self.message = status.message.clone();
            self.error = status.error.clone();
        }
        if !status.observed.is_empty() {
            self.observed = status.observed.clone();
        }
        match mode {
            Mode::DryRun => return Ok(()),
            Mode::Observe => self.looked(status, baseline),
            Mode::Execute => self.executed(status),
            Mode::Rollback => self.rolled_back(status),
        }
        let done = match mode {
            Mode::Observe => status.status == Outcome::Succeeded && self.state != State::Failed,
            _ => !matches!(self.state, State::Failed | State::Unknown),
        };
        if done {
            self.failures = 0;
            self.retry_at = None;
        } else {
            self.back_off(at, status.error.as_ref());
        }
        Ok(())
    }

    fn looked(&mut self, status: &ExecuteStatus, baseline: Option<Prior>) {
        let (Outcome::Succeeded, Some(effect)) = (status.status, status.effect) else {
            return;
        };
        self.seen = true;
        if self.last_change.is_none() {
            // Nothing was changed yet: the freshest look is the baseline, unless a predecessor knows better.
            let seen = || Prior {
                facts: status.observed.as_prior(),
                effect,
            };
            self.prior = Some(baseline.unwrap_or_else(seen));
        }
        if self.state == State::Unknown {
            self.state = self.settled(effect);
        }
    }

    /// What an unknown change turns out to have been.
    fn settled(&self, effect: Effect) -> State {
        let before = self.prior.as_ref().map(|prior| prior.effect);
        match (self.last_change, effect) {
            (Some(Mode::Rollback), effect) if Some(effect) == before => State::RolledBack,
            (Some(Mode::Rollback), Effect::Present) => State::Succeeded,
            (Some(Mode::Rollback), _) => State::Failed,
            (_, Effect::Present) => State::Succeeded,
            (_, Effect::Absent | Effect::Partial) => State::Failed,
        }
    }

    fn executed(&mut self, status: &ExecuteStatus) {
        let timed_out = status
            .error
            .as_ref()
            .is_some_and(|e| e.class == ErrorClass::Timeout);
        self.state = match status.status {
            Outcome::Failed if timed_out => State::Unknown,
            Outcome::Failed => State::Failed,
            // After an earlier attempt something may have been left behind: that must stay visible.
            Outcome::Skipped if self.changes > 1 => State::Failed,
            Outcome::Skipped => State::Skipped,
            Outcome::Succeeded => match self.missing_effect(status) {
                None => State::Succeeded,
                Some(missing) => {
                    self.contradict(missing);
                    State::Failed
                }
            },
        };
    }

    fn missing_effect(&self, status: &ExecuteStatus) -> Option<String> {
        if status.effect != Some(Effect::Present) {
            return Some(
                "the executor says it succeeded, but not that the effect is there".to_owned(),
            );
        }
        let expected = self.plan.expected_effects.0.iter();
        let missing = expected
            .map(|(name, value)| (name, value, status.observed.get(name)))
            .find(|(_, value, seen)| *seen != Some(value.as_str()));
        missing.map(|(name, value, seen)| {
            format!(
                "expected {name}={value}, observed {}",
                seen.unwrap_or("nothing")
            )
        })
    }

    fn rolled_back(&mut self, status: &ExecuteStatus) {
        let timed_out = status
            .error
            .as_ref()
            .is_some_and(|e| e.class == ErrorClass::Timeout);
        let before = self.prior.as_ref().map(|prior| prior.effect);
        self.state = match status.status {
            Outcome::Failed if timed_out => State::Unknown,
            Outcome::Failed | Outcome::Skipped => State::Failed,
            Outcome::Succeeded if status.effect == before => State::RolledBack,
            Outcome::Succeeded => {
                self.contradict(
                    "the executor says it rolled back, but the effect is not as before".to_owned(),
                );
                State::Failed
            }
        };
    }

    fn contradict(&mut self, detail: String) {
        self.message.clone_from(&detail);
        self.error = Some(ActionError {
            class: ErrorClass::Conflict,
            detail,
            hint: None,
            permission: None,
            scope: None,
            retry_after_seconds: None,
        });
    }

    fn back_off(&mut self, at: Timestamp, error: Option<&ActionError>) {
        self.failures = self.failures.saturating_add(1);
        let asked = error.and_then(|error| error.retry_after_seconds);
        let wait = backoff::wait_millis(&self.plan.idempotency_key, self.failures, asked);
        self.retry_at = Some(at.plus_millis(wait));
    }
}
