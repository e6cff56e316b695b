//! Forwarding of a NIC: `properties.enableIPForwarding`.
//!
//! Facts: `nicRef`, `ipForwarding`.

use api::action::plan::Facts;
use api::action::protocol::{Effect, ExecuteSpec, Mode};

use super::converge::Step;
use super::resource::Nic;
use super::{Cloud, no_such_nic};
use crate::executor::Report;
use crate::fault::Fault;

pub(super) fn perform(
    cloud: &Cloud<'_>,
    spec: &ExecuteSpec,
    wanted: bool,
) -> Result<Report, Fault> {
    let id = cloud.nic_id(&spec.target)?;
    let target = match spec.mode {
        Mode::Rollback => match spec.prior.get("priorIpForwarding") {
            Some("true") => true,
            Some("false") => false,
            _ => return Err(no_prior()),
        },
        _ => wanted,
    };
    let (nic, changed) = if spec.mode.mutates() {
        let converged = cloud.converge(&id, |resource| {
            let nic = Nic::new(resource.ok_or_else(|| no_such_nic(&id))?.clone());
            Ok(if nic.forwarding() == target {
                Step::Done
            } else {
                Step::Put(nic.with_forwarding(target))
            })
        })?;
        let after = converged.after.ok_or_else(|| no_such_nic(&id))?;
        (Nic::new(after), converged.changed)
    } else {
        let nic = cloud.nic(&id)?;
        let changed = spec.mode == Mode::DryRun && nic.forwarding() != target;
        (nic, changed)
    };
    let on = nic.forwarding();
    let mut observed = Facts::default();
    observed.set("nicRef", &id);
    observed.set("ipForwarding", on);
    Ok(Report {
        changed,
        message: message(spec.mode, changed, target, on),
        effect: match (on == wanted, nic.is_failed()) {
            (true, false) => Effect::Present,
            (true, true) => Effect::Partial,
            (false, _) => Effect::Absent,
        },
        observed,
        undo_available: changed && spec.mode != Mode::Rollback,
    })
}

fn message(mode: Mode, changed: bool, target: bool, on: bool) -> String {
    match (mode, changed) {
        (Mode::Observe, _) => format!("ipForwarding={on}"),
        (Mode::DryRun, true) => format!("would set ipForwarding={target}"),
        (Mode::Execute, true) => format!("set ipForwarding={target}"),
        (Mode::Rollback, true) => format!("restored ipForwarding={target}"),
        (_, false) => format!("ipForwarding={on} already"),
    }
}

fn no_prior() -> Fault {
    Fault::new(
        api::action::ErrorClass::Invalid,
        "the prior facts do not say whether forwarding was on",
    )
}
