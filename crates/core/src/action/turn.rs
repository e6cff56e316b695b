//! Whether one action may go on now, and how far.

use api::action::control::Refusal;
use api::action::journal::State;
use api::action::plan::{Precondition, Undo, Verb};
use api::action::protocol::{Effect, Mode};

use super::book::Book;
use super::policy::{Gate, Request};
use super::record::Action;
use super::schedule::{Run, World, outdated};

/// Why an action does not go on now.
pub(crate) enum Block {
    /// It waits.
    Hold(Refusal),
    /// Its reason is gone: it is to be given up.
    GiveUp(String),
}

pub(crate) fn refusal(code: &str, reason: impl Into<String>) -> Refusal {
    Refusal {
        code: code.to_owned(),
        reason: reason.into(),
        hint: None,
    }
}

pub(crate) fn hold<T>(code: &str, reason: impl Into<String>) -> Result<T, Block> {
    Err(Block::Hold(refusal(code, reason)))
}

/// One action whose turn it may be.
pub(crate) struct Turn<'a> {
    pub(crate) run: &'a Run,
    pub(crate) book: &'a Book,
    pub(crate) world: World<'a>,
    pub(crate) action: &'a Action,
}

impl Turn<'_> {
    pub(crate) fn execute(&self) -> Result<(Mode, String), Block> {
        let action = self.action;
        match action.state {
            State::Unknown => return self.look_first(),
            State::Pending | State::Approved | State::Failed => {}
            State::Succeeded | State::RolledBack | State::Skipped => {
                return hold("finished", format!("it is {}", action.state));
            }
            State::Running | State::RollingBack => {
                return hold("running", "its executor is running");
            }
        }
        if let Some(reason) = &action.withdrawn {
            return hold("withdrawn", reason);
        }
        self.is_newest()?;
        self.is_current()?;
        let approved = action.approved_by.is_some();
        let policy = self.admitted(Request::change(false, approved))?;
        if self.run.is_automatic() && action.last_change == Some(Mode::Rollback) {
            return hold("rolled-back-by-hand", "somebody began to roll it back");
        }
        self.preconditions_hold()?;
        self.predecessors_are_done()?;
        self.backed_off()?;
        if action.last_change.is_none() && !self.run.has_looked(action.id) {
            return Ok((Mode::Observe, policy));
        }
        if action.prior.is_none() || (action.last_change.is_none() && !action.seen) {
            return hold(
                "not-observed",
                format!("it could not be looked at: {}", action.message),
            );
        }
        self.facts_hold()?;
        Ok((Mode::Execute, policy))
    }

    pub(crate) fn rollback(&self) -> Result<(Mode, String), Block> {
        let action = self.action;
        self.has_something_to_undo()?;
        if action.state == State::Unknown {
            return self.look_first();
        }
        if !matches!(action.state, State::Succeeded | State::Failed) {
            return hold("running", format!("it is {}", action.state));
        }
        let approved = action.rollback_approved_by.is_some();
        let policy = self.admitted(Request::change(true, approved))?;
        if self.run.is_automatic() && self.will_be_superseded() {
            return hold("superseded", "a newer action is about to do the same");
        }
        self.followers_are_undone()?;
        self.backed_off()?;
        Ok((Mode::Rollback, policy))
    }

    pub(crate) fn dry_execute(&self) -> Result<(Mode, String), Block> {
        let policy = self.admitted(Request::look(false))?;
        Ok((Mode::DryRun, policy))
    }

    /// The protocol has no dry run of a rollback: what it would do follows from what is there now and what was
    /// there before.
    pub(crate) fn dry_rollback(&self) -> Result<(Mode, String), Block> {
        self.has_something_to_undo()?;
        let policy = self.admitted(Request::look(true))?;
        if self.run.has_looked(self.action.id) {
            return hold("done", "it had its turn in this run");
        }
        Ok((Mode::Observe, policy))
    }

    fn look_first(&self) -> Result<(Mode, String), Block> {
        let policy = self.admitted(Request::look(false))?;
        self.backed_off()?;
        if self.run.has_looked(self.action.id) {
            let reason = format!(
                "nobody knows what its executor did: {}",
                self.action.message
            );
            return hold("unknown", reason);
        }
        Ok((Mode::Observe, policy))
    }

    fn has_something_to_undo(&self) -> Result<(), Block> {
        let action = self.action;
        if action.plan.undo == Undo::None {
            return hold("undo-none", "its plan says that it cannot be taken back");
        }
        if !action.can_be_undone() {
            return hold("nothing-to-undo", format!("it is {}", action.state));
        }
        match self.book.successor(action) {
            Some(later) => hold(
                "superseded",
                format!(
                    "action {} stands on the same prior facts: roll that one back",
                    later.id
                ),
            ),
            None => Ok(()),
        }
    }

    fn newer_generation(&self, action: &Action) -> Option<&Action> {
        let latest = self.book.latest(&action.plan.idempotency_key)?;
        (latest.id != action.id).then_some(latest)
    }

    fn is_newest(&self) -> Result<(), Block> {
        match self.newer_generation(self.action) {
            Some(latest) => hold(
                "superseded",
                format!("action {} is a newer generation of it", latest.id),
            ),
            None => Ok(()),
        }
    }

    fn will_be_superseded(&self) -> bool {
        let waits = |other: &&Action| matches!(other.state, State::Pending | State::Approved);
        let mut others = self.book.open().filter(waits);
        others.any(|other| other.id > self.action.id && other.has_effect_of(self.action))
    }

    /// The fence: an action whose reason has changed is not carried out.
    fn is_current(&self) -> Result<(), Block> {
        let plan = &self.action.plan;
        if let Some(reason) = outdated(plan, self.world.decisions) {
            return Err(Block::GiveUp(reason));
        }
        for condition in &plan.preconditions {
            if let Precondition::NotAfter { at } = condition
                && self.world.now > *at
            {
                return Err(Block::GiveUp(format!("it was to be done before {at}")));
            }
        }
        Ok(())
    }

    /// The policy that lets the request pass.
    fn admitted(&self, request: Request) -> Result<String, Block> {
        // What a person approved waits for a person to start it.
        let approved = request.approved && !self.run.is_automatic();
        let mut furthest = Gate::NoPolicy;
        let mut refusing = None;
        for (name, policy) in self.world.policies {
            let begun = self.run.begun_under(name);
            let request = Request {
                approved,
                begun,
                ..request
            };
            match policy.admit(&self.action.plan, request, self.world.now) {
                Ok(()) => return Ok(name.clone()),
                Err(gate) if gate > furthest => {
                    furthest = gate;
                    refusing = Some(name);
                }
                Err(_) => {}
            }
        }
        let by = refusing
            .map(|name| format!("ProviderActionPolicy/{name}: "))
            .unwrap_or_default();
        let hint = (furthest == Gate::Approval).then(|| {
            let rollback = if request.rollback { " --rollback" } else { "" };
            format!("routerctl action approve {}{rollback}", self.action.id)
        });
        Err(Block::Hold(Refusal {
            code: furthest.code().to_owned(),
            reason: format!("{by}{furthest}"),
            hint,
        }))
    }

    pub(crate) fn executor_is_there(&self) -> Result<(), Block> {
        let plan = &self.action.plan;
        match self.world.profiles.get(&plan.provider_ref) {
            None => hold(
                "no-profile",
                format!("there is no CloudProviderProfile/{}", plan.provider_ref),
            ),
            Some(provider) if *provider != plan.provider => hold(
                "other-provider",
                format!(
                    "CloudProviderProfile/{} is {provider}, not {}",
                    plan.provider_ref, plan.provider
                ),
            ),
            Some(provider) if !self.world.executors.contains(provider) => hold(
                "no-executor",
                format!(
                    "there is no Plugin/{} with execute.providerAction",
                    provider.executor()
                ),
            ),
            Some(_) => Ok(()),
        }
    }

    pub(crate) fn target_is_free(&self) -> Result<(), Block> {
        match self.book.busy(self.action, self.world.now) {
            None => Ok(()),
            Some(other) => match other.lease_until {
                Some(until) if other.flight.is_none() => hold(
                    "leased",
                    format!(
                        "a lost executor of action {} may be alive until {until}",
                        other.id
                    ),
                ),
                _ => hold(
                    "target-busy",
                    format!("action {} is changing the same target", other.id),
                ),
            },
        }
    }

    fn preconditions_hold(&self) -> Result<(), Block> {
        for condition in &self.action.plan.preconditions {
            match condition {
                Precondition::NotBefore { at } if self.world.now < *at => {
                    return hold("precondition", format!("not before {at}"));
                }
                Precondition::ActionSucceeded { idempotency_key } => {
                    let other = self.book.latest(idempotency_key);
                    if other.is_none_or(|other| other.state != State::Succeeded) {
                        return hold(
                            "precondition",
                            format!("`{idempotency_key}` has not succeeded"),
                        );
                    }
                }
                // `NotAfter` is part of the fence; facts are known only after a look.
                _ => {}
            }
        }
        Ok(())
    }

    fn facts_hold(&self) -> Result<(), Block> {
        for condition in &self.action.plan.preconditions {
            if let Precondition::Fact { name, equals } = condition {
                let seen = self.action.observed.get(name);
                if seen != Some(equals.as_str()) {
                    let seen = seen.unwrap_or("nothing");
                    return hold(
                        "precondition",
                        format!("{name} is to be {equals}, observed {seen}"),
                    );
                }
            }
        }
        Ok(())
    }

    /// What no policy lets pass is not waited for: somebody else takes care of it.
    fn predecessors_are_done(&self) -> Result<(), Block> {
        let unfinished = |other: &&Action| {
            other.withdrawn.is_none()
                && self.newer_generation(other).is_none()
                && !matches!(
                    other.state,
                    State::Succeeded | State::Skipped | State::RolledBack
                )
                && self.is_wanted(other)
        };
        let mut before = self
            .book
            .open()
            .filter(|other| must_precede(other, self.action));
        match before.find(unfinished) {
            Some(other) => hold(
                "order",
                format!(
                    "action {} ({}) comes first; it is {}",
                    other.id, other.plan.action, other.state
                ),
            ),
            None => Ok(()),
        }
    }

    fn is_wanted(&self, other: &Action) -> bool {
        let look = Request::look(false);
        let mut policies = self.world.policies.values();
        policies.any(|policy| policy.admit(&other.plan, look, self.world.now).is_ok())
    }

    /// In reverse order: what attracts packets goes before what lets them flow.
    fn followers_are_undone(&self) -> Result<(), Block> {
        if self.was_there_before(self.action) {
            return Ok(());
        }
        let stands = |other: &&Action| other.can_be_undone() && !self.was_there_before(other);
        let mut after = self
            .book
            .open()
            .filter(|other| must_precede(self.action, other));
        match after.find(stands) {
            Some(other) => hold(
                "order",
                format!(
                    "action {} ({}) has to be rolled back first",
                    other.id, other.plan.action
                ),
            ),
            None => Ok(()),
        }
    }

    fn was_there_before(&self, action: &Action) -> bool {
        action
            .prior
            .as_ref()
            .is_some_and(|prior| prior.effect == Effect::Present)
    }

    /// A person may try again at any time; the daemon waits, longer each time. What is wrong with the whole cloud
    /// or the identity holds back every action on the NIC.
    fn backed_off(&self) -> Result<(), Block> {
        if !self.run.is_automatic() {
            return Ok(());
        }
        let waits = |other: &&Action| {
            let concerned = other.id == self.action.id
                || (other.shares_lane(self.action)
                    && other
                        .error
                        .as_ref()
                        .is_some_and(|e| e.class.is_target_wide()));
            concerned && other.retry_at.is_some_and(|at| at > self.world.now)
        };
        match self
            .book
            .open()
            .filter(waits)
            .max_by_key(|other| other.retry_at)
        {
            Some(other) => {
                let until = other.retry_at.unwrap_or_default();
                hold(
                    "back-off",
                    format!(
                        "action {} failed {} times; until {until}",
                        other.id, other.failures
                    ),
                )
            }
            None => Ok(()),
        }
    }
}

/// The order of actions on one NIC: what makes packets flow comes before what attracts them, and goes after it.
pub(crate) fn rank(verb: Verb) -> u8 {
    match verb {
        Verb::EnsureForwardingEnabled => 0,
        Verb::AssignSecondaryIp => 1,
        Verb::EnsureRoute => 2,
        Verb::RemoveRoute => 3,
        Verb::UnassignSecondaryIp => 4,
        Verb::EnsureForwardingDisabled => 5,
    }
}

/// Whether `first` has to be done before `then`: on one NIC, and about the same address where both have one.
fn must_precede(first: &Action, then: &Action) -> bool {
    let (a, b) = (&first.plan, &then.plan);
    let related = a.target.address.is_none()
        || b.target.address.is_none()
        || a.target.address == b.target.address;
    related && rank(a.action) < rank(b.action) && first.id != then.id && first.shares_lane(then)
}
