//! Addresses: ours, and captured ones that an agent put on the OS.

use std::collections::BTreeSet;

use api::IfName;
use ipnet::IpNet;

use crate::host::Host;
use crate::observed::Address;
use crate::plan::Action;
use crate::plan::desired::Desired;
use crate::plan::steps::{Stage, Steps};
use crate::sysctl::{Sysctl, SysctlKey};

/// An address that is there already is not doubled, whoever added it.
pub(super) fn diff_addresses(desired: &Desired<'_>, host: &Host<'_>, steps: &mut Steps) {
    for ((ifname, net), owner) in &desired.unwanted {
        let action = Action::RemoveAddress {
            ifname: (*ifname).clone(),
            net: *net,
        };
        steps.push(Stage::FreeCapturedAddress, owner, action);
    }
    for ((ifname, net), owner) in &desired.addresses {
        if host.address(ifname, *net).is_none() {
            let action = Action::AddAddress {
                ifname: (*ifname).clone(),
                net: *net,
            };
            steps.push(Stage::AddAddress, owner, action);
        }
    }
    let ours = host.observed.addresses.iter().filter(|a| a.owned);
    let leaving = ours.filter(|address| {
        let place = (&address.ifname, address.net);
        !desired.addresses.contains_key(&place)
            && !desired.unwanted.contains_key(&place)
            && !goes_with_its_link(&address.ifname, desired, host)
    });
    // Secondary ones first: they would go with their primary one, and then be missing.
    let (secondary, primary): (BTreeSet<_>, _) = leaving.partition(|address| address.secondary);
    for address in secondary.iter().chain(&primary) {
        remove(address, &secondary, desired, host, steps);
    }
}

fn goes_with_its_link(ifname: &IfName, desired: &Desired<'_>, host: &Host<'_>) -> bool {
    let link = host.link(ifname);
    link.is_some_and(|link| host.is_our_link(ifname, link)) && !desired.is_tunnel(ifname)
}

/// Removing the first address of a subnet takes the others of the subnet with it, unless the kernel is told
/// to promote them: it is, where others are there.
fn remove(
    address: &Address,
    leaving: &BTreeSet<&Address>,
    desired: &Desired<'_>,
    host: &Host<'_>,
    steps: &mut Steps,
) {
    let key = SysctlKey::PromoteSecondaries;
    let own = host.sysctl(&address.ifname, key).unwrap_or(0);
    let all = host.setting(&Sysctl::all(key)).unwrap_or(0);
    let promote = own == 0 && all == 0 && takes_others_along(address, leaving, desired, host);
    let set = |value, from| Action::SetSysctl {
        sysctl: Sysctl::on(&address.ifname, key),
        value,
        from,
    };
    if promote {
        steps.clean_up(Stage::RemoveAddress, set(1, own));
    }
    let action = Action::RemoveAddress {
        ifname: address.ifname.clone(),
        net: address.net,
    };
    steps.clean_up(Stage::RemoveAddress, action);
    if promote {
        steps.clean_up(Stage::RemoveAddress, set(own, 1));
    }
}

fn takes_others_along(
    address: &Address,
    leaving: &BTreeSet<&Address>,
    desired: &Desired<'_>,
    host: &Host<'_>,
) -> bool {
    if address.secondary {
        return false;
    }
    let ifname = &address.ifname;
    let others = host.addresses(ifname).iter();
    let staying = others.filter(|other| other.secondary && !leaving.contains(*other));
    let mut staying = staying.map(|other| other.net);
    // What this plan adds comes before, and therefore second.
    let coming = desired.addresses.range((ifname, IpNet::default())..);
    let coming = coming.take_while(|((name, _), _)| *name == ifname);
    let mut coming = coming.map(|((_, net), _)| *net);
    let same_subnet = |other: IpNet| other.trunc() == address.net.trunc();
    staying.any(same_subnet) || coming.any(same_subnet)
}
