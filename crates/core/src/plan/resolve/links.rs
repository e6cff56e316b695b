//! Links and addresses, and what of both there will be once the plan is done.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use api::IfName;
use ipnet::{IpNet, Ipv4Net};

use crate::Effective;
use crate::host::Host;
use crate::plan::desired::{Desired, LinkWish};

/// Links of others.
pub(super) fn resolve_links<'a>(
    effective: &'a Effective,
    host: &Host<'a>,
    desired: &mut Desired<'a>,
) {
    for (ifname, intent) in &effective.interfaces {
        match host.link(ifname) {
            None => desired.wait(&intent.owner, missing(ifname)),
            Some(link) if !intent.managed && !link.up => {
                desired.wait(&intent.owner, format!("interface {ifname} is down"));
            }
            Some(_) if intent.managed => {
                let wish = LinkWish {
                    owner: &intent.owner,
                    mtu: intent.mtu,
                };
                desired.links.insert(ifname, wish);
            }
            Some(_) => {}
        }
    }
}

/// Addresses to hold.
pub(super) fn resolve_addresses<'a>(
    effective: &'a Effective,
    after: &mut After<'a>,
    desired: &mut Desired<'a>,
) {
    for ((ifname, net), intent) in &effective.addresses {
        match after.link(ifname) {
            Ok(_) => {
                desired.addresses.insert((ifname, *net), &intent.owner);
                after.add_address(ifname, *net);
            }
            Err(reason) => desired.wait(&intent.owner, reason),
        }
    }
}

fn missing(ifname: &IfName) -> String {
    format!("interface {ifname} does not exist")
}

/// Links and IPv4 addresses as they will be after the plan.
#[derive(Debug)]
pub(crate) struct After<'a> {
    links: BTreeMap<&'a IfName, LinkAfter>,
    unavailable: BTreeMap<&'a IfName, String>,
    addresses: BTreeMap<&'a IfName, Vec<Ipv4Net>>,
    own: BTreeSet<Ipv4Addr>,
    captured: BTreeSet<Ipv4Addr>,
}

/// A link as it will be after the plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkAfter {
    pub(crate) up: bool,
    pub(crate) mtu: u32,
}

impl<'a> After<'a> {
    /// Looks ahead. Addresses that are to be added come in with [`After::add_address`].
    pub(super) fn new(effective: &'a Effective, host: &Host<'a>, desired: &Desired<'a>) -> Self {
        let mut after = Self {
            links: BTreeMap::new(),
            unavailable: BTreeMap::new(),
            addresses: BTreeMap::new(),
            own: BTreeSet::new(),
            captured: effective.captures.keys().map(|a| a.addr()).collect(),
        };
        for (ifname, link) in &host.observed.links {
            if host.is_our_link(ifname, link) && !effective.makes(ifname) {
                let reason = format!("interface {ifname} is about to be removed");
                after.unavailable.insert(ifname, reason);
                continue;
            }
            let wish = desired.links.get(ifname);
            let entry = LinkAfter {
                up: link.up || wish.is_some(),
                mtu: wish.and_then(|wish| wish.mtu).unwrap_or(link.mtu),
            };
            after.links.insert(ifname, entry);
        }
        for (ifname, tunnel) in &desired.tunnels {
            let (up, mtu) = (true, tunnel.mtu);
            after.links.insert(ifname, LinkAfter { up, mtu });
        }
        for (ifname, tunnel) in &desired.plain {
            let (up, mtu) = (true, tunnel.mtu);
            after.links.insert(ifname, LinkAfter { up, mtu });
        }
        for (ifname, reason) in &desired.stalled {
            after.links.remove(ifname);
            after.unavailable.insert(ifname, reason.clone());
        }
        for address in &host.observed.addresses {
            let IpNet::V4(net) = address.net else {
                continue;
            };
            let wanted = effective
                .addresses
                .contains_key(&(address.ifname.clone(), address.net));
            if wanted || !address.owned {
                after.add_address(&address.ifname, net.into());
            }
        }
        after
    }

    /// A link, or why it will not be there.
    pub(crate) fn link(&self, ifname: &IfName) -> Result<LinkAfter, String> {
        let reason = || {
            let known = self.unavailable.get(ifname).cloned();
            known.unwrap_or_else(|| missing(ifname))
        };
        self.links.get(ifname).copied().ok_or_else(reason)
    }

    /// A link that packets can leave by, or why there is none.
    pub(crate) fn usable_link(&self, ifname: &IfName) -> Result<LinkAfter, String> {
        let link = self.link(ifname)?;
        if link.up {
            Ok(link)
        } else {
            Err(format!("interface {ifname} is down"))
        }
    }

    /// Names of all links.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a IfName> + '_ {
        self.links.keys().copied()
    }

    /// Whether an interface has an address in a domain. A captured address does not count: it is an agent's
    /// doing.
    pub(crate) fn is_member(&self, ifname: &IfName, domain: Ipv4Net) -> bool {
        let mut nets = self.addresses.get(ifname).into_iter().flatten();
        nets.any(|net| domain.contains(&net.addr()) && !self.captured.contains(&net.addr()))
    }

    /// Whether this is an address of the host.
    pub(crate) fn is_own(&self, address: Ipv4Addr) -> bool {
        self.own.contains(&address)
    }

    /// The interface whose subnet holds an address, by longest prefix; only `device` if that is given.
    pub(crate) fn connected_on(
        &self,
        address: Ipv4Addr,
        device: Option<&IfName>,
    ) -> Option<(Ipv4Net, &'a IfName)> {
        let all = self.addresses.iter();
        all.filter(|(ifname, _)| device.is_none_or(|device| device == **ifname))
            .filter(|(ifname, _)| self.usable_link(ifname).is_ok())
            .flat_map(|(ifname, nets)| nets.iter().map(|net| (*net, *ifname)))
            .filter(|(net, _)| net.contains(&address) && net.prefix_len() < 32)
            .max_by_key(|(net, _)| net.prefix_len())
    }

    fn add_address(&mut self, ifname: &'a IfName, net: IpNet) {
        let IpNet::V4(net) = net else { return };
        let nets = self.addresses.entry(ifname).or_default();
        if !nets.contains(&net) {
            nets.push(net);
        }
        self.own.insert(net.addr());
    }
}
