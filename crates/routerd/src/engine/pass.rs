//! One pass over the host: observe, plan, record, apply, until the plan is empty.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::ResourceId;
use api::plan::{PlanLine, PlanView, Waiting};
use routerd_core::kernel::{KernelError, StepError};
use routerd_core::plan::Action;
use routerd_core::{Effective, Ledger, Observed, Plan, Step, dynamic, plan};

use super::Engine;
use crate::bgp::Wish;
use crate::store::{Removals, StoreError};
use crate::view::lock;

/// Rounds of a repair: what one round makes possible (a key, a link) the next one uses. More than this is a
/// fight, which the pace of passes limits.
const REPAIR_ROUNDS: usize = 4;

/// What stood in the way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The host could not be looked at.
    #[error(transparent)]
    Observe(#[from] KernelError),
    /// A step failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// What would be changed could not be recorded, so it was not changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Everything was done and the host still differs.
    #[error("the host still differs after the change: {rest}")]
    Unsettled {
        /// On whose behalf something is left to do.
        owner: Option<ResourceId>,
        /// What.
        rest: String,
    },
}

/// What a pass did.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    /// Steps that were done, in order.
    pub(super) done: Vec<PlanLine>,
    /// What the last plan still waits for.
    pub(super) waiting: Vec<Waiting>,
    /// Whether the last plan was empty.
    pub(super) settled: bool,
}

impl Pass {
    /// What was done, as people read it.
    pub(super) fn into_view(self) -> PlanView {
        PlanView {
            steps: self.done,
            waiting: self.waiting,
        }
    }
}

/// The host and what to do about it.
struct Look {
    observed: Observed,
    plan: Plan,
}

impl Engine {
    /// Brings the host as near to `target` as it goes: a step that fails does not keep the others from being
    /// done. The first failure is handed back.
    pub(super) fn attempt(&mut self, target: &Effective) -> (Pass, Option<Trouble>) {
        let mut pass = Pass::default();
        let trouble = self.attempt_rounds(target, &mut pass);
        (pass, trouble.unwrap_or_else(Some))
    }

    fn attempt_rounds(
        &mut self,
        target: &Effective,
        pass: &mut Pass,
    ) -> Result<Option<Trouble>, Trouble> {
        let mut trouble = None;
        let mut look = self.look(target)?;
        for _ in 0..REPAIR_ROUNDS {
            if look.plan.steps.is_empty() || trouble.is_some() {
                break;
            }
            self.record(&look)?;
            let mut rest = look.plan.steps.as_slice();
            while !rest.is_empty() {
                let (done, failure) = self.apply_steps(target, rest, pass);
                rest = rest.get(done + 1..).unwrap_or_default();
                trouble = trouble.or(failure.map(Trouble::Step));
            }
            look = self.look(target)?;
        }
        self.conclude(target, look, pass)?;
        Ok(trouble)
    }

    /// Brings the host to `target` and does not return well before it is seen there: nothing left to do, and
    /// nothing waits that did not have to wait from the start. Stops at the first step that fails.
    pub(super) fn prove(&mut self, target: &Effective) -> (Pass, Option<Trouble>) {
        let mut pass = Pass::default();
        let trouble = self.prove_rounds(target, &mut pass).err();
        (pass, trouble)
    }

    fn prove_rounds(&mut self, target: &Effective, pass: &mut Pass) -> Result<(), Trouble> {
        let mut look = self.look(target)?;
        let deadline = Instant::now() + self.patience;
        let excused = owners(&look.plan.waiting);
        let mut pause = Duration::ZERO;
        while let Some(rest) = unfinished(&look.plan, &excused) {
            if Instant::now() >= deadline {
                return Err(rest);
            }
            // What was done may take a moment to show.
            std::thread::sleep(pause);
            pause = (pause * 2).clamp(Duration::from_millis(1), Duration::from_millis(100));
            if !look.plan.steps.is_empty() {
                self.record(&look)?;
                let (_, failure) = self.apply_steps(target, &look.plan.steps, pass);
                failure.map_or(Ok(()), Err)?;
            }
            look = self.look(target)?;
        }
        Ok(self.conclude(target, look, pass)?)
    }

    /// Does steps up to the first that fails; says how many were done.
    fn apply_steps(
        &mut self,
        target: &Effective,
        steps: &[Step],
        pass: &mut Pass,
    ) -> (usize, Option<StepError>) {
        let failure = self.kernel.apply(steps).err();
        let count = failure.as_ref().map_or(steps.len(), |e| e.index);
        let done = steps.get(..count).unwrap_or(steps);
        pass.done.extend(done.iter().map(Step::line));
        self.count_removals(target, done);
        (count, failure)
    }

    fn look(&mut self, target: &Effective) -> Result<Look, Trouble> {
        let mut observed = self.kernel.observe(&plan::query(target))?;
        observed.arp_conflicts = lock(&self.captures).conflicts();
        self.gateways = Some(dynamic::gateways(&observed));
        let plan = plan::plan(target, &observed, &self.state.ledger);
        Ok(Look { observed, plan })
    }

    /// On the disk before the host changes.
    fn record(&mut self, look: &Look) -> Result<(), StoreError> {
        let ledger = plan::record(&self.state.ledger, &look.plan, &look.observed);
        self.keep_ledger(ledger)
    }

    /// The end of a pass: the ledger forgets what is restored, captured addresses are answered for.
    fn conclude(
        &mut self,
        target: &Effective,
        look: Look,
        pass: &mut Pass,
    ) -> Result<(), StoreError> {
        lock(&self.captures).update(&plan::responders(target, &look.observed));
        if let Some(speaker) = &self.speaker {
            speaker.update(Wish::new(target, &look.observed));
        }
        pass.settled = look.plan.steps.is_empty();
        pass.waiting = look.plan.waiting;
        let ledger = plan::settle(&self.state.ledger, target, &look.observed);
        self.keep_ledger(ledger)
    }

    fn keep_ledger(&mut self, ledger: Ledger) -> Result<(), StoreError> {
        if ledger != *self.state.ledger {
            self.store.save_ledger(&ledger)?;
            self.state.ledger = Arc::new(ledger);
            self.publish();
        }
        Ok(())
    }

    fn count_removals(&mut self, target: &Effective, done: &[Step]) {
        let mut added = Removals::new();
        for step in done.iter().filter(|step| is_captured_address(target, step)) {
            *added.entry(step.owner.clone()).or_default() += 1;
        }
        if added.is_empty() {
            return;
        }
        if let Err(error) = self.store.count_removals(&added) {
            tracing::warn!("{error}");
        }
        for (id, count) in added {
            *self.state.removals.entry(id).or_default() += count;
        }
    }
}

/// What is left of a plan; absent if nothing is.
fn unfinished(plan: &Plan, excused: &BTreeSet<ResourceId>) -> Option<Trouble> {
    let unsettled = |owner: &ResourceId, rest: String| Trouble::Unsettled {
        owner: Some(owner.clone()),
        rest,
    };
    let step = plan.steps.first();
    let step = step.map(|step| unsettled(&step.owner, step.line().to_string()));
    let waits = || plan.waiting.iter().find(|w| !excused.contains(&w.owner));
    step.or_else(|| {
        waits().map(|w| unsettled(&w.owner, format!("{} waits: {}", w.owner, w.reason)))
    })
}

fn owners(waiting: &[Waiting]) -> BTreeSet<ResourceId> {
    waiting.iter().map(|w| w.owner.clone()).collect()
}

/// Whether a step takes a captured address off the operating system.
fn is_captured_address(target: &Effective, step: &Step) -> bool {
    let Action::RemoveAddress { net, .. } = &step.action else {
        return false;
    };
    let mut captures = target.captures.iter();
    captures.any(|(address, capture)| capture.owner == step.owner && net.addr() == address.addr())
}
