//! Azure: NICs, ip-configurations and user-defined routes through Resource Manager.
//!
//! - [`arm`]: one call, its token, long-running operations, reading until settled;
//! - [`converge`]: read, change under `If-Match`, read back, until it is as wanted;
//! - [`resource`]: raw representations and how they are edited without losing a field;
//! - [`forwarding`], [`address`], [`route`]: the verbs; [`preflight`]: could they work;
//! - [`identity`], [`metadata`]: who and where this machine is.

mod address;
mod arm;
mod converge;
mod errors;
mod forwarding;
mod id;
mod identity;
mod locate;
mod metadata;
mod preflight;
mod resource;
mod route;

use std::time::Duration;

use api::action::plan::Target;
use api::action::protocol::{ExecuteSpec, ExecutionContext, PreflightSpec, PreflightStatus};
use api::action::{ErrorClass, Verb};

use crate::executor::{Performer, Provider, Report, Session};
use crate::fault::Fault;
use arm::Arm;
use id::ArmId;
use metadata::Metadata;
use resource::Nic;

/// The Azure executor.
pub struct Azure;

impl Provider for Azure {
    const NAME: &'static str = "azure";

    fn open<'a>(
        session: &'a Session<'a>,
        context: &ExecutionContext,
        deadline: Duration,
    ) -> Result<Box<dyn Performer + 'a>, Fault> {
        Ok(Box::new(Cloud {
            metadata: Metadata::open(session, deadline)?,
            arm: Arm::open(session, context, deadline)?,
        }))
    }
}

/// Azure as one request sees it.
struct Cloud<'a> {
    arm: Arm<'a>,
    metadata: Metadata<'a>,
}

impl Performer for Cloud<'_> {
    fn perform(&self, spec: &ExecuteSpec) -> Result<Report, Fault> {
        match spec.action {
            Verb::EnsureForwardingEnabled => forwarding::perform(self, spec, true),
            Verb::EnsureForwardingDisabled => forwarding::perform(self, spec, false),
            Verb::AssignSecondaryIp => address::perform(self, spec, address::Want::Assigned),
            Verb::UnassignSecondaryIp => address::perform(self, spec, address::Want::Unassigned),
            Verb::EnsureRoute => route::perform(self, spec, route::Want::Present),
            Verb::RemoveRoute => route::perform(self, spec, route::Want::Absent),
        }
    }

    fn preflight(&self, spec: &PreflightSpec) -> PreflightStatus {
        preflight::run(self, spec)
    }
}

impl Cloud<'_> {
    /// The id of the NIC that an action is about: the one named, else this machine's own.
    fn nic_id(&self, target: &Target) -> Result<ArmId, Fault> {
        match &target.nic_ref {
            Some(text) => ArmId::parse(text, "networkInterfaces"),
            None => self.metadata.own_nic(&self.arm),
        }
    }

    /// A NIC, when no operation on it is in progress any more.
    fn nic(&self, id: &ArmId) -> Result<Nic, Fault> {
        self.arm
            .settled(id)?
            .map(Nic::new)
            .ok_or_else(|| no_such_nic(id))
    }
}

/// The address of an action; [`crate::executor`] has checked that it is there.
fn address_of(spec: &ExecuteSpec) -> Result<std::net::Ipv4Addr, Fault> {
    spec.target
        .address
        .map(|address| address.addr())
        .ok_or_else(|| Fault::new(ErrorClass::Invalid, "target.address is missing"))
}

fn no_such_nic(id: &ArmId) -> Fault {
    Fault::new(
        ErrorClass::NotFound,
        format!("there is no network interface {id}"),
    )
    .hint("correct nicRef, or leave it out to let the executor find this machine's NIC")
}
