//! Which NIC holds an address.

use std::net::Ipv4Addr;

use api::action::ErrorClass;
use serde_json::Value;

use super::Cloud;
use super::id::ArmId;
use super::resource::Nic;
use crate::fault::Fault;

/// The NIC that holds an address.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    /// Its id.
    pub(super) nic: ArmId,
    /// The ip-configuration there: its name,
    pub(super) name: String,
    /// what to send to have it again,
    pub(super) config: Value,
    /// its place in the list,
    pub(super) position: usize,
    /// and whether it is the primary one, which cannot be taken away.
    pub(super) primary: bool,
}

impl Holder {
    /// The NIC as holder, if it holds the address.
    pub(super) fn of(nic: &Nic, address: Ipv4Addr) -> Option<Self> {
        let (position, config) = nic.config_of(address)?;
        Some(Self {
            nic: nic.id().ok()?,
            name: config.name().to_owned(),
            config: config.for_put(),
            position,
            primary: config.is_primary(),
        })
    }
}

impl Cloud<'_> {
    /// Who holds an address in the network of `own`: `own` itself, a NIC of its resource group, or one of those
    /// named in `others`. A NIC elsewhere stays unseen; Azure then refuses the address.
    ///
    /// # Errors
    /// When a read fails other than for want of permission: a role on the own NIC alone sees only that.
    pub(super) fn holder(
        &self,
        own: &Nic,
        address: Ipv4Addr,
        others: &[String],
    ) -> Result<Option<Holder>, Fault> {
        if let Some(holder) = Holder::of(own, address) {
            return Ok(Some(holder));
        }
        let group = own.id()?.group();
        let path = format!("{group}/providers/Microsoft.Network/networkInterfaces");
        let near = visible(self.arm.list(&path))?.unwrap_or_default();
        let found = near
            .into_iter()
            .map(Nic::new)
            .filter(|nic| same_network(nic, own))
            .find_map(|nic| Holder::of(&nic, address));
        if found.is_some() {
            return Ok(found);
        }
        for text in others {
            let id = ArmId::parse(text, "networkInterfaces")?;
            let nic = visible(self.arm.settled(&id))?.flatten().map(Nic::new);
            let holder = nic.and_then(|nic| Holder::of(&nic, address));
            if holder.is_some() {
                return Ok(holder);
            }
        }
        Ok(None)
    }
}

/// What may not be read is not there for us.
fn visible<T>(read: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(fault) if fault.class() == ErrorClass::Authorization => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Two networks may use the same addresses.
fn same_network(one: &Nic, other: &Nic) -> bool {
    let network = |nic: &Nic| {
        let subnet = ArmId::parse(nic.subnet()?, "subnets").ok()?;
        Some(subnet.parent())
    };
    network(one) == network(other)
}
