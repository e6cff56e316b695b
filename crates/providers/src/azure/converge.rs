//! Read, change under `If-Match`, read back — until the resource is as wanted.
//!
//! Every change of a verb goes through here. The reading back is the next round's reading: a round that finds
//! the resource as wanted ends the work. What a lost answer, a race or a failed operation left behind is thus
//! found out, never guessed.

use api::action::ErrorClass;
use serde_json::Value;

use super::Cloud;
use super::arm::Written;
use super::id::ArmId;
use super::resource::Resource;
use crate::fault::Fault;
use crate::http::client::Client;

/// When the attempt is given up: after this many lost races, or a quarter as many writes without effect.
const PATIENCE: u32 = 16;
/// What a write that was carried out, or may have been, uses up of it.
const WRITE: u32 = 4;

/// How much patience is left with a change that does not want to succeed.
#[derive(Debug, Default)]
pub(super) struct Patience {
    spent: u32,
}

impl Patience {
    /// Whether another try makes sense.
    pub(super) fn is_left(&self) -> bool {
        self.spent < PATIENCE
    }

    /// Counts a try.
    pub(super) fn spend(&mut self, written: &Written) {
        self.spent += match written {
            Written::Raced(_) => 1,
            Written::Done | Written::Unsure(_) => WRITE,
        };
    }

    /// Waits before the next try, as long as the cloud asks for.
    ///
    /// # Errors
    /// Where there is no time for it, what went wrong: that says more than that there was no time.
    pub(super) fn rest(&self, client: &Client<'_>, fault: &Fault) -> Result<(), Fault> {
        let pause = client.backoff(self.spent).max(fault.pause());
        client
            .pause(pause, "another try")
            .map_err(|_| fault.clone())
    }
}

/// What a resource still lacks.
pub(super) enum Step {
    /// Nothing.
    Done,
    /// This representation.
    Put(Value),
    /// Its removal.
    Delete,
}

/// A resource that is as wanted.
pub(super) struct Converged {
    /// What is there now.
    pub(super) after: Option<Resource>,
    /// Whether we changed it, as far as can be known.
    pub(super) changed: bool,
}

impl Cloud<'_> {
    /// Brings a resource into the shape that `decide` wants.
    ///
    /// # Errors
    /// What `decide` refuses, what Azure refuses, or the last failure when the tries or the time are used up.
    pub(super) fn converge(
        &self,
        id: &ArmId,
        decide: impl Fn(Option<&Resource>) -> Result<Step, Fault>,
    ) -> Result<Converged, Fault> {
        let mut changed = false;
        let mut last = None;
        let mut patience = Patience::default();
        while patience.is_left() {
            let now = self.arm.settled(id)?;
            let written = match mend(decide(now.as_ref())?, now.as_ref()) {
                Step::Done => {
                    return Ok(Converged {
                        after: now,
                        changed,
                    });
                }
                Step::Put(body) => self.arm.put(id, body, now.as_ref())?,
                Step::Delete => self.arm.delete(id, now.as_ref())?,
            };
            changed |= !matches!(written, Written::Raced(_));
            patience.spend(&written);
            last = written.fault();
            if let Some(fault) = &last {
                patience.rest(&self.arm.client, fault)?;
            }
        }
        Err(last.unwrap_or_else(|| {
            Fault::new(
                ErrorClass::Conflict,
                format!("{id} was written and is still not as wanted"),
            )
            .hint("somebody else keeps changing it")
        }))
    }
}

/// A resource whose last operation failed is not in place even if it reads so: it is written once more.
fn mend(step: Step, now: Option<&Resource>) -> Step {
    match (step, now) {
        (Step::Done, Some(resource)) if resource.is_failed() => Step::Put(resource.for_put()),
        (step, _) => step,
    }
}
