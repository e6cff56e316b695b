//! With the last IPv4 address of an interface the kernel removes all routes, neighbours and proxy neighbours on it,
//! whosever they are and whether or not they need an address. They are put back at once.

use std::collections::{BTreeSet, HashSet};

use api::IfName;
use ipnet::IpNet;
use routerd_core::Step;
use routerd_core::plan::Action;

use super::{Host, observe};
use crate::netlink::image::{self, Image};
use crate::netlink::{Error, address, link};

/// What would go with the addresses that are removed.
pub(super) struct Endangered {
    devices: BTreeSet<u32>,
    images: Vec<Image>,
}

impl Endangered {
    /// By these steps.
    pub(super) fn by(host: &mut Host, steps: &[Step]) -> Result<Self, Error> {
        let removed: HashSet<(&IfName, IpNet)> = steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::RemoveAddress { ifname, net } => Some((ifname, *net)),
                _ => None,
            })
            .collect();
        let mut endangered = Self {
            devices: BTreeSet::new(),
            images: Vec::new(),
        };
        if !removed.is_empty() {
            endangered.devices = bared(host, &removed)?;
        }
        if !endangered.devices.is_empty() {
            endangered.images = image::dump(&mut host.route, &endangered.devices)?;
        }
        Ok(endangered)
    }

    /// What cannot be put back, such as a route whose source was the address, is logged: the removal itself is done, and
    /// failing it would bring nothing back.
    pub(super) fn restore(self, host: &mut Host) {
        if self.images.is_empty() {
            return;
        }
        if let Err(error) = image::restore(&mut host.route, &self.devices, self.images) {
            tracing::warn!(%error, "put back what went with the last address of an interface");
        }
    }
}

/// The interfaces that lose an IPv4 address and keep none.
fn bared(host: &mut Host, removed: &HashSet<(&IfName, IpNet)>) -> Result<BTreeSet<u32>, Error> {
    let names = observe::names(&link::dump(&mut host.route)?);
    let addresses = address::dump(&mut host.route, &names, |_| false)?;
    let (mut losing, mut keeping) = (HashSet::new(), HashSet::new());
    for address in addresses.iter().filter(|a| a.net.addr().is_ipv4()) {
        let goes = removed.contains(&(&address.ifname, address.net));
        let set = if goes { &mut losing } else { &mut keeping };
        set.insert(&address.ifname);
    }
    Ok(names
        .iter()
        .filter(|(_, ifname)| losing.contains(ifname) && !keeping.contains(ifname))
        .map(|(index, _)| *index)
        .collect())
}
