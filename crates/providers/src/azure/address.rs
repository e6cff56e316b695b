//! Secondary addresses of a NIC: ip-configurations.
//!
//! Facts: `nicRef`, `address`; of whoever holds the address `holder` (absent: nobody), `ipConfigName`,
//! `ipConfig` (what to send to have it again) and `ipConfigPosition`.

mod transfer;

use std::net::Ipv4Addr;

use api::action::ErrorClass;
use api::action::plan::Facts;
use api::action::protocol::{Effect, ExecuteSpec, Mode};
use serde_json::Value;

use super::id::ArmId;
use super::locate::Holder;
use super::{Cloud, address_of};
use crate::executor::Report;
use crate::fault::Fault;
use transfer::Placing;

/// What an action wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// The address on the NIC.
    Assigned,
    /// The address not on the NIC.
    Unassigned,
}

/// One action on one address.
pub(super) struct Task<'a> {
    pub(super) cloud: &'a Cloud<'a>,
    pub(super) spec: &'a ExecuteSpec,
    pub(super) nic: ArmId,
    pub(super) address: Ipv4Addr,
}

pub(super) fn perform(cloud: &Cloud<'_>, spec: &ExecuteSpec, want: Want) -> Result<Report, Fault> {
    let task = Task {
        cloud,
        spec,
        nic: cloud.nic_id(&spec.target)?,
        address: address_of(spec)?,
    };
    let seen = task.look()?;
    let holder = seen.holder.as_ref();
    let done = match (spec.mode, want) {
        (Mode::Observe, _) => Done::looked(&task, holder),
        (Mode::DryRun, Want::Assigned) => task.rehearse_assign(holder)?,
        (Mode::DryRun, Want::Unassigned) => task.rehearse_unassign(holder)?,
        (Mode::Execute, Want::Assigned) => task.assign(holder)?,
        (Mode::Execute, Want::Unassigned) => task.unassign(holder)?,
        (Mode::Rollback, Want::Assigned) => task.undo_assign(holder)?,
        (Mode::Rollback, Want::Unassigned) => task.undo_unassign(holder)?,
    };
    let now = if spec.mode.mutates() {
        task.look()?
    } else {
        seen
    };
    Ok(task.report(want, done, &now))
}

/// Where the address is.
struct Seen {
    holder: Option<Holder>,
    /// Whether the last operation on our NIC failed: what it shows may not be what the packets see.
    failed: bool,
}

/// Whether something was changed, and what to say about it.
pub(super) struct Done {
    changed: bool,
    message: String,
}

impl Done {
    fn nothing(message: String) -> Self {
        Self {
            changed: false,
            message,
        }
    }

    fn changed(changed: bool, message: String) -> Self {
        Self { changed, message }
    }

    fn looked(task: &Task<'_>, holder: Option<&Holder>) -> Self {
        Self::nothing(match holder {
            Some(holder) => format!("{} is on {}", task.address, holder.nic.name()),
            None => format!("{} is on no NIC", task.address),
        })
    }
}

impl Task<'_> {
    /// Who holds the address now.
    fn look(&self) -> Result<Seen, Fault> {
        let own = self.cloud.nic(&self.nic)?;
        let mut others = self.spec.parameters.placement_group.clone();
        others.extend(self.prior("priorHolder").map(str::to_owned));
        Ok(Seen {
            holder: self.cloud.holder(&own, self.address, &others)?,
            failed: own.is_failed(),
        })
    }

    fn is_ours(&self, holder: &Holder) -> bool {
        holder.nic == self.nic
    }

    fn prior(&self, name: &str) -> Option<&str> {
        self.spec.prior.get(name)
    }

    /// Whether the address may be taken from this NIC.
    fn may_take_from(&self, nic: &ArmId) -> bool {
        let parameters = &self.spec.parameters;
        parameters.allow_reassignment
            || parameters
                .placement_group
                .iter()
                .any(|member| nic.is(member))
    }

    fn name(&self) -> String {
        self.spec
            .parameters
            .name
            .clone()
            .unwrap_or_else(|| format!("routerd-{}", self.address.to_string().replace('.', "-")))
    }

    /// Why an assignment cannot be begun, if it cannot.
    fn refuse_assign(&self, holder: Option<&Holder>) -> Option<Fault> {
        let holder = holder.filter(|holder| !self.is_ours(holder))?;
        if holder.primary {
            return Some(Fault::new(
                ErrorClass::Conflict,
                format!("{} is the primary address of {}", self.address, holder.nic),
            ));
        }
        (!self.may_take_from(&holder.nic)).then(|| {
            Fault::new(
                ErrorClass::Conflict,
                format!("{} is held by {}", self.address, holder.nic),
            )
            .hint("set allowReassignment, or name that NIC in placementGroup")
        })
    }

    fn rehearse_assign(&self, holder: Option<&Holder>) -> Result<Done, Fault> {
        if let Some(fault) = self.refuse_assign(holder) {
            return Err(fault);
        }
        let nic = self.nic.name();
        Ok(match holder {
            Some(holder) if self.is_ours(holder) => self.already_ours(holder),
            Some(holder) => Done::changed(
                true,
                format!(
                    "would move {} from {} to {nic}",
                    self.address,
                    holder.nic.name()
                ),
            ),
            None => Done::changed(true, format!("would assign {} to {nic}", self.address)),
        })
    }

    fn assign(&self, holder: Option<&Holder>) -> Result<Done, Fault> {
        if let Some(fault) = self.refuse_assign(holder) {
            return Err(fault);
        }
        let ours = holder.filter(|holder| self.is_ours(holder));
        let already = ours.map(|holder| self.already_ours(holder));
        let placed = self.place(&Placing::new(self.nic.clone(), self.name()), holder)?;
        match already {
            Some(done) if !placed.changed => Ok(done),
            _ => Ok(Done::changed(
                placed.changed,
                format!(
                    "assigned {} to {} (ip-config {})",
                    self.address,
                    self.nic.name(),
                    placed.name
                ),
            )),
        }
    }

    fn already_ours(&self, holder: &Holder) -> Done {
        Done::nothing(format!(
            "{} is on {} already (ip-config {})",
            self.address,
            self.nic.name(),
            holder.name
        ))
    }

    fn rehearse_unassign(&self, holder: Option<&Holder>) -> Result<Done, Fault> {
        Ok(match self.removable(holder)? {
            Some(name) => Done::changed(
                true,
                format!(
                    "would unassign {} from {} (ip-config {name})",
                    self.address,
                    self.nic.name()
                ),
            ),
            None => self.not_ours(),
        })
    }

    fn unassign(&self, holder: Option<&Holder>) -> Result<Done, Fault> {
        let name = self.removable(holder)?;
        // Also where it is gone already: a removal that failed half-way is brought to its end.
        let removed = self.remove(&self.nic)?;
        Ok(match name {
            Some(name) => Done::changed(
                removed,
                format!(
                    "unassigned {} from {} (ip-config {name})",
                    self.address,
                    self.nic.name()
                ),
            ),
            None => Done {
                changed: removed,
                ..self.not_ours()
            },
        })
    }

    /// The name of our ip-configuration with the address, if there is one.
    fn removable(&self, holder: Option<&Holder>) -> Result<Option<String>, Fault> {
        match holder.filter(|holder| self.is_ours(holder)) {
            Some(holder) if holder.primary => Err(Fault::new(
                ErrorClass::Invalid,
                format!(
                    "{} is the primary address of {}, which Azure never lets go",
                    self.address, self.nic
                ),
            )),
            Some(holder) => Ok(Some(holder.name.clone())),
            None => Ok(None),
        }
    }

    fn not_ours(&self) -> Done {
        Done::nothing(format!("{} is not on {}", self.address, self.nic.name()))
    }

    /// Back to who held the address before: nobody, us, or another NIC.
    fn undo_assign(&self, holder: Option<&Holder>) -> Result<Done, Fault> {
        let Some(before) = self.prior("priorHolder") else {
            return self.unassign(holder);
        };
        if self.nic.is(before) {
            return Ok(Done::nothing(format!(
                "{} was on {} before, left alone",
                self.address,
                self.nic.name()
            )));
        }
        let before = ArmId::parse(before, "networkInterfaces")?;
        self.restore(before, holder, |current| self.is_ours(current))
    }

    /// The address on our NIC again, if it was there.
    fn undo_unassign(&self, holder: Option<&Holder>) -> Result<Done, Fault> {
        match self.prior("priorHolder") {
            Some(before) if self.nic.is(before) => {
                self.restore(self.nic.clone(), holder, |current| {
                    self.may_take_from(&current.nic)
                })
            }
            _ => Ok(Done::nothing(format!(
                "{} was not on {} before, left alone",
                self.address,
                self.nic.name()
            ))),
        }
    }

    /// Puts the address back where it was, with the ip-configuration that it had.
    fn restore(
        &self,
        before: ArmId,
        holder: Option<&Holder>,
        may_take: impl Fn(&Holder) -> bool,
    ) -> Result<Done, Fault> {
        if let Some(current) = holder
            && current.nic != before
            && !may_take(current)
        {
            return Err(Fault::new(
                ErrorClass::Conflict,
                format!(
                    "{} was on {before} and is held by {} now, which is not ours to take it from",
                    self.address, current.nic
                ),
            ));
        }
        let config = self
            .prior("priorIpConfig")
            .map(serde_json::from_str::<Value>);
        let Some(Ok(config)) = config else {
            return Err(Fault::new(
                ErrorClass::Invalid,
                "the prior facts do not say what the ip-configuration was",
            ));
        };
        let position = self
            .prior("priorIpConfigPosition")
            .and_then(|text| text.parse().ok());
        let name = self
            .prior("priorIpConfigName")
            .unwrap_or_default()
            .to_owned();
        let placing = Placing {
            nic: before,
            name,
            config: Some(config),
            position,
        };
        let placed = self.place(&placing, holder)?;
        Ok(Done::changed(
            placed.changed,
            format!(
                "restored {} on {} (ip-config {})",
                self.address,
                placing.nic.name(),
                placed.name
            ),
        ))
    }

    fn report(&self, want: Want, done: Done, seen: &Seen) -> Report {
        let mut observed = Facts::default();
        observed.set("nicRef", &self.nic);
        observed.set("address", self.address);
        if let Some(holder) = &seen.holder {
            observed.set("holder", &holder.nic);
            observed.set("ipConfigName", &holder.name);
            observed.set("ipConfig", &holder.config);
            observed.set("ipConfigPosition", holder.position);
        }
        Report {
            changed: done.changed,
            message: done.message,
            effect: self.effect(want, seen),
            observed,
            undo_available: done.changed && self.spec.mode != Mode::Rollback,
        }
    }

    fn effect(&self, want: Want, seen: &Seen) -> Effect {
        let holder = seen.holder.as_ref();
        let ours = holder.is_some_and(|holder| self.is_ours(holder));
        let moved_from = self
            .prior("priorHolder")
            .is_some_and(|before| !self.nic.is(before));
        match (want, ours) {
            (Want::Assigned, true) | (Want::Unassigned, false) if seen.failed => Effect::Partial,
            (Want::Assigned, true) | (Want::Unassigned, false) => Effect::Present,
            // Taken from its old NIC and given to nobody: a move that was cut off.
            (Want::Assigned, false) if moved_from && holder.is_none() => Effect::Partial,
            _ => Effect::Absent,
        }
    }
}
