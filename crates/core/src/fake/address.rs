//! Addresses: primary and secondary ones, and what goes with an address that is removed.

use std::net::IpAddr;

use api::IfName;
use ipnet::IpNet;

use super::{FakeKernel, Refusal};
use crate::observed::Address;
use crate::sysctl::{Sysctl, SysctlKey};

impl FakeKernel {
    /// Adds an address; the first one of its subnet is the primary one.
    ///
    /// # Errors
    /// When the link is not there, or the address is.
    pub fn add_address(&mut self, ifname: &IfName, net: IpNet, owned: bool) -> Result<(), Refusal> {
        self.need_link(ifname)?;
        let mut here = self.host.addresses.iter().filter(|a| a.ifname == *ifname);
        if here.clone().any(|a| a.net == net) {
            return Err("File exists");
        }
        let secondary = here.any(|a| same_subnet(a.net, net) && !a.secondary);
        self.host.addresses.insert(Address {
            ifname: ifname.clone(),
            net,
            secondary,
            owned,
        });
        Ok(())
    }

    /// Removes an address, and with the primary one of a subnet all others unless they are promoted.
    pub(crate) fn remove_address(&mut self, ifname: &IfName, net: IpNet) -> Result<(), Refusal> {
        let all = self.host.addresses.iter();
        let found = all.clone().find(|a| a.ifname == *ifname && a.net == net);
        let found = found.cloned().ok_or("Cannot assign requested address")?;
        self.host.addresses.remove(&found);
        self.forget_source(net.addr());
        if found.secondary {
            return Ok(());
        }
        let all = self.host.addresses.iter();
        let orphans = all.filter(|a| a.ifname == *ifname && same_subnet(a.net, net));
        let orphans: Vec<_> = orphans.cloned().collect();
        for orphan in &orphans {
            self.host.addresses.remove(orphan);
        }
        if self.promotes(ifname) {
            for (i, mut orphan) in orphans.into_iter().enumerate() {
                orphan.secondary = i > 0;
                self.host.addresses.insert(orphan);
            }
        } else {
            orphans
                .iter()
                .for_each(|orphan| self.forget_source(orphan.net.addr()));
        }
        Ok(())
    }

    fn promotes(&self, ifname: &IfName) -> bool {
        let key = SysctlKey::PromoteSecondaries;
        let value = |sysctl| self.host.sysctls.get(&sysctl).copied().unwrap_or(0);
        value(Sysctl::all(key)) != 0 || value(Sysctl::on(ifname, key)) != 0
    }

    /// Routes that send from an address go with the last interface that has it.
    pub(crate) fn forget_source(&mut self, address: IpAddr) {
        if !self.is_local(address) {
            let source = |route: &crate::observed::Route| route.preferred_source.map(IpAddr::V4);
            self.host
                .routes
                .retain(|route| source(route) != Some(address));
        }
    }

    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        self.host.addresses.iter().any(|a| a.net.addr() == address)
    }
}

fn same_subnet(a: IpNet, b: IpNet) -> bool {
    matches!((a, b), (IpNet::V4(_), IpNet::V4(_))) && a.trunc() == b.trunc()
}
