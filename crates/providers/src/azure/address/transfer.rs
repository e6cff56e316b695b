//! Bringing an address to a NIC from wherever it is.
//!
//! From another NIC there are two ways: the atomic move, a preview that only some subscriptions have, and
//! removing it there and adding it here. Between the two halves nobody holds the address; when the second
//! half fails, the first is taken back.

use std::cell::RefCell;
use std::time::Duration;

use api::action::ErrorClass;
use serde_json::{Value, json};

use super::Task;
use crate::azure::arm::MOVE;
use crate::azure::converge::{Patience, Step};
use crate::azure::id::ArmId;
use crate::azure::locate::Holder;
use crate::azure::no_such_nic;
use crate::azure::resource::{Nic, new_config, without_id};
use crate::fault::Fault;

/// A move in two halves is not begun with less time than this.
const MOVE_TIME: Duration = Duration::from_secs(8);
/// The longest time kept back for taking the first half back.
const LONGEST_RESERVE: Duration = Duration::from_secs(60);

/// Where an address goes.
pub(super) struct Placing {
    /// To which NIC.
    pub(super) nic: ArmId,
    /// Under which name, if the NIC has none of that name.
    pub(super) name: String,
    /// With which ip-configuration; absent: a plain new one.
    pub(super) config: Option<Value>,
    /// At which place of the NIC's list; absent: the end.
    pub(super) position: Option<usize>,
}

impl Placing {
    pub(super) fn new(nic: ArmId, name: String) -> Self {
        Self {
            nic,
            name,
            config: None,
            position: None,
        }
    }

    /// The NIC that an address was taken from, as it was there.
    fn back_to(holder: &Holder) -> Self {
        Self {
            nic: holder.nic.clone(),
            name: holder.name.clone(),
            config: Some(holder.config.clone()),
            position: Some(holder.position),
        }
    }
}

/// Where an address has gone.
pub(super) struct Placed {
    pub(super) changed: bool,
    /// The name of the ip-configuration.
    pub(super) name: String,
}

impl Task<'_> {
    /// Brings the address to a NIC. The caller has made sure that it may be taken from `holder`.
    pub(super) fn place(&self, to: &Placing, holder: Option<&Holder>) -> Result<Placed, Fault> {
        match holder.filter(|holder| holder.nic != to.nic) {
            None => self.add(to),
            Some(holder) => self.fetch(to, holder),
        }
    }

    /// Brings the address from another NIC.
    fn fetch(&self, to: &Placing, holder: &Holder) -> Result<Placed, Fault> {
        let client = &self.cloud.arm.client;
        self.check_time()?;
        let at_once = self.move_at_once(to, holder)?;
        if !at_once {
            self.check_time()?;
        }
        let reserve = (client.remaining() / 4).min(LONGEST_RESERVE);
        let placed = client.reserving(reserve, || {
            if !at_once {
                self.remove(&holder.nic)?;
            }
            self.add(to)
        });
        match placed {
            Ok(placed) => Ok(Placed {
                changed: true,
                ..placed
            }),
            Err(fault) => Err(self.take_back(to, holder, fault)),
        }
    }

    /// A move that could not be taken back is not begun.
    fn check_time(&self) -> Result<(), Fault> {
        if self.cloud.arm.client.remaining() >= MOVE_TIME {
            return Ok(());
        }
        Err(Fault::new(
            ErrorClass::Timeout,
            format!(
                "too little time left to move {}; nothing was changed",
                self.address
            ),
        )
        .hint("give the executor's plugin a longer timeout"))
    }

    /// Takes the address from a NIC; says whether anything was changed.
    pub(super) fn remove(&self, from: &ArmId) -> Result<bool, Fault> {
        let converged = self.cloud.converge(from, |resource| {
            let nic = Nic::new(resource.ok_or_else(|| no_such_nic(from))?.clone());
            Ok(match nic.config_of(self.address) {
                None => Step::Done,
                Some((_, config)) if config.is_primary() => {
                    return Err(Fault::new(
                        ErrorClass::Conflict,
                        format!("{} has become the primary address of {from}", self.address),
                    ));
                }
                Some(_) => Step::Put(nic.without(self.address)),
            })
        })?;
        Ok(converged.changed)
    }

    /// Gives a NIC the address, which nobody else holds.
    fn add(&self, to: &Placing) -> Result<Placed, Fault> {
        let name = RefCell::new(String::new());
        let converged = self.cloud.converge(&to.nic, |resource| {
            let nic = Nic::new(resource.ok_or_else(|| no_such_nic(&to.nic))?.clone());
            if let Some((_, config)) = nic.config_of(self.address) {
                *name.borrow_mut() = config.name().to_owned();
                return Ok(Step::Done);
            }
            let free = nic.free_name(&to.name);
            let config = self.config(to, &nic, &free)?;
            Ok(Step::Put(nic.with_config(config, to.position)))
        })?;
        Ok(Placed {
            changed: converged.changed,
            name: name.into_inner(),
        })
    }

    fn config(&self, to: &Placing, nic: &Nic, name: &str) -> Result<Value, Fault> {
        if let Some(config) = &to.config {
            let mut config = without_id(config.clone());
            config["name"] = json!(name);
            return Ok(config);
        }
        let subnet = nic.subnet().ok_or_else(|| {
            Fault::new(ErrorClass::Invalid, format!("{} is in no subnet", to.nic))
        })?;
        Ok(new_config(name, self.address, subnet))
    }

    /// The atomic move, which leaves no moment without a holder. Says no when this subscription does not have it, we
    /// may not use it, or it fails again and again without effect.
    fn move_at_once(&self, to: &Placing, holder: &Holder) -> Result<bool, Fault> {
        let target = self.cloud.nic(&to.nic)?;
        let Some(subnet) = target.subnet() else {
            return Ok(false);
        };
        let network = ArmId::parse(subnet, "subnets")?.parent();
        let name = target.free_name(&to.name);
        let body = json!({"moveIpConfigurationItems": [{
            "sourceIpConfiguration": {"id": holder.nic.child("ipConfigurations", &holder.name).as_str()},
            "targetIpConfiguration": {"id": to.nic.child("ipConfigurations", &name).as_str()},
        }]});
        let arm = &self.cloud.arm;
        let path = format!("{network}/moveIpConfigurations");
        let mut patience = Patience::default();
        while patience.is_left() {
            let written = match arm.post(&path, MOVE, body.clone()) {
                Ok(written) => written,
                Err(fault) if is_absent(&fault) => return Ok(false),
                Err(fault) => return Err(fault),
            };
            patience.spend(&written);
            let Some(fault) = written.fault() else {
                return Ok(true);
            };
            if self.has_left(holder)? {
                return Ok(true);
            }
            patience.rest(&arm.client, &fault)?;
        }
        Ok(false)
    }

    /// After a move whose end is not known: whether the address has left its NIC. Adding it to the target is
    /// what may remain to be done then.
    fn has_left(&self, holder: &Holder) -> Result<bool, Fault> {
        let source = self.cloud.nic(&holder.nic)?;
        Ok(source.config_of(self.address).is_none())
    }

    /// The second half failed: the address goes back to where it was.
    fn take_back(&self, to: &Placing, holder: &Holder, fault: Fault) -> Fault {
        let (address, nic, from) = (self.address, to.nic.name(), holder.nic.name());
        match self.add(&Placing::back_to(holder)) {
            Ok(_) => fault.context(format!(
                "could not move {address} to {nic}, it is on {from} as before"
            )),
            Err(second) => fault
                .context(format!(
                    "could not move {address} to {nic}, nor give it back to {from} ({second})"
                ))
                .hint("run the action again to complete the move, or roll it back"),
        }
    }
}

/// Whether a refusal means that the move is not on offer here; nothing was changed then.
fn is_absent(fault: &Fault) -> bool {
    matches!(
        fault.class(),
        ErrorClass::NotFound | ErrorClass::Invalid | ErrorClass::Authorization
    ) || fault.to_string().contains("NotRegistered")
}
