//! Links of others: properties that routerd may set, and their return.

use api::IfName;

use crate::host::Host;
use crate::ledger::LinkRecord;
use crate::observed::Link;
use crate::plan::Action;
use crate::plan::desired::Desired;
use crate::plan::steps::{Stage, Steps};

pub(super) fn diff_links(desired: &Desired<'_>, host: &Host<'_>, steps: &mut Steps) {
    for (ifname, wish) in &desired.links {
        let Some(link) = host.link(ifname) else {
            continue;
        };
        let mtu = wish.mtu.filter(|mtu| *mtu != link.mtu);
        let up = (!link.up).then_some(true);
        if mtu.is_some() || up.is_some() {
            let ifname = (*ifname).clone();
            steps.push(
                Stage::SetLink,
                wish.owner,
                Action::SetLink { ifname, mtu, up },
            );
        }
    }
    for (ifname, record) in &host.ledger.links {
        let Some(link) = host.link(ifname) else {
            continue;
        };
        let (mtu, up) = link_restore(ifname, record, link, desired, host);
        if mtu.is_some() || up.is_some() {
            let ifname = ifname.clone();
            steps.clean_up(Stage::RestoreLink, Action::SetLink { ifname, mtu, up });
        }
    }
}

/// The MTU and state that a link has to get back.
pub(crate) fn link_restore(
    ifname: &IfName,
    record: &LinkRecord,
    link: &Link,
    desired: &Desired<'_>,
    host: &Host<'_>,
) -> (Option<u32>, Option<bool>) {
    let LinkRecord::Adopted { mtu, up, addressed } = record else {
        return (None, None);
    };
    let wish = desired.links.get(ifname);
    let mtu_free = wish.is_none_or(|wish| wish.mtu.is_none());
    let mtu = mtu.filter(|_| mtu_free).and_then(|m| m.restore(link.mtu));
    let up = up
        .filter(|_| wish.is_none())
        .and_then(|u| u.restore(link.up));
    // A link that others came to use since is not taken down under them, nor one that we still use. A link
    // that is down carries no routes, so any route came since.
    let taken = || {
        (!addressed && host.has_foreign_address(ifname))
            || host.has_foreign_route(ifname)
            || desired.uses(ifname)
    };
    (mtu, up.filter(|up| *up || !taken()))
}
