//! The negative proof: with the cloud's part taken away, the same traffic ends in the fabric, and only
//! there.
//!
//! A secondary address makes `.9` one of the NIC's own: packets to it and from it pass its check even
//! without the forwarding flag, in every cloud. So the flag is shown with the address unassigned, and where
//! the cloud allows it (Azure) with a route in place of the address.

use std::net::UdpSocket;

use anyhow::{Context, Result, bail};

use super::losses::LinkCount;
use super::trial::{SOON, Trial};
use crate::eventually::eventually;
use crate::fabric::routes::{Route, RouteTarget};
use crate::fabric::state::{NicAddress, NicId};
use crate::fabric::{Cloud, FabricState, StateError};
use crate::probe::MARKER;
use crate::probe::ping::ping;
use crate::topology::Site;

/// Packets in a one-way probe.
const COUNT: u64 = 5;

/// Address unassigned, forwarding off, a route in place of the address; then all as before.
pub(super) fn run(trial: &mut Trial<'_>) -> Result<()> {
    let captured = Site::Onprem.client_address();
    let nic = NicId::from(trial.two_site().names().router_nic);
    change(trial, |state| state.unassign(&nic, captured).map(drop))?;
    no_answer(trial, "unassigned-never-arrives", "address-not-assigned");
    arrives(trial, "forwarding-on-passes");
    change(trial, |state| state.set_forwarding(&nic, false).map(drop))?;
    never_arrives(trial, "forwarding-off-drops", "source-not-of-nic");
    if trial.two_site().cloud == Cloud::Azure {
        route_in_place(trial, &nic)?;
    }
    change(trial, |state| state.set_forwarding(&nic, true).map(drop))?;
    let address = NicAddress {
        name: "ipconfig-onprem-capture".to_owned(),
        address: captured,
        public: None,
    };
    change(trial, |state| state.assign(&nic, address, false))?;
    traffic(trial, "traffic-after-fabric-restored");
    Ok(())
}

pub(super) fn change<T>(
    trial: &Trial<'_>,
    change: impl FnOnce(&mut FabricState) -> Result<T, StateError>,
) -> Result<T> {
    let fabric = trial.two_site().fabric();
    trial.lab().change_fabric(&fabric, change)
}

/// Azure: a user's `/32` to the router captures as well, and needs the flag.
fn route_in_place(trial: &mut Trial<'_>, nic: &NicId) -> Result<()> {
    let table = trial.two_site().names().route_table.into();
    let name = "onprem-capture";
    change(trial, |state| {
        let router = state.nics().get(nic).and_then(|nic| nic.addresses.first());
        let target = router.map_or(RouteTarget::Nothing, |a| RouteTarget::Address(a.address));
        let prefix = Site::Onprem.client_address().into();
        let priority = 0;
        let route = Route {
            prefix,
            target,
            priority,
        };
        state.put_route(&table, name, route)
    })?;
    no_answer(trial, "route-needs-forwarding", "destination-not-of-nic");
    change(trial, |state| state.set_forwarding(nic, true).map(drop))?;
    traffic(trial, "route-captures");
    change(trial, |state| state.remove_route(&table, name).map(drop))
}

pub(super) fn traffic(trial: &mut Trial<'_>, id: &str) {
    trial.check(id, |trial| {
        trial.wait_for_traffic(SOON)?;
        Ok((true, "both ways".to_owned()))
    });
}

/// A ping from the cloud client must end in the fabric for that reason.
pub(super) fn no_answer(trial: &mut Trial<'_>, id: &str, reason: &'static str) {
    trial.check(id, |trial| {
        let fabric = trial.two_site().fabric();
        let drops = trial.lab().engine().drops();
        let before = drops.get(&fabric, reason);
        let ping = ping(trial.client(Site::Cloud)?, Site::Onprem.client_address(), 2)?;
        let counted = drops.get(&fabric, reason) - before;
        let detail = format!(
            "{reason} +{counted}, {}/{} answered",
            ping.received, ping.sent
        );
        Ok((
            ping.received == 0 && counted >= u64::from(ping.sent),
            detail,
        ))
    });
}

/// Packets from the on-prem client reach the cloud client, whether answers would come back or not.
pub(super) fn arrives(trial: &mut Trial<'_>, id: &str) {
    trial.check(id, |trial| {
        let (from, to) = sockets(trial)?;
        eventually("a packet from on-prem", SOON, || {
            from.send(MARKER)?;
            to.recv(&mut [0; 128]).context("nothing arrives")
        })?;
        let address = Site::Onprem.client_address();
        Ok((true, format!("udp from {address} arrives")))
    });
}

/// The same packets end in the fabric: every one of them that gets there is counted, none arrives.
pub(super) fn never_arrives(trial: &mut Trial<'_>, id: &str, reason: &'static str) {
    trial.check(id, |trial| {
        let fabric = trial.two_site().fabric();
        let drops = trial.lab().engine().drops();
        let before = drops.get(&fabric, reason);
        let (from, to) = sockets(trial)?;
        let link = LinkCount::begin(trial)?;
        for _ in 0..COUNT {
            from.send(MARKER)?;
        }
        let counted = eventually(&format!("{COUNT} packets counted"), SOON, || {
            let lost = link.lost(trial)?;
            match drops.get(&fabric, reason) - before {
                counted if counted > 0 && counted + lost >= COUNT => Ok(counted),
                counted => bail!("{reason} +{counted}, {lost} lost on the way"),
            }
        })?;
        let arrived = to.recv(&mut [0; 128]).is_ok();
        let detail = format!("{reason} +{counted} of {COUNT} sent, arrived: {arrived}");
        Ok((!arrived, detail))
    });
}

/// A socket on the on-prem client, and one on the cloud client that does not wait.
fn sockets(trial: &Trial<'_>) -> Result<(UdpSocket, UdpSocket)> {
    let bind = |site: Site| {
        let node = trial.client(site)?;
        let address = (site.client_address(), 0);
        node.in_network(|| UdpSocket::bind(address))?
            .context("bind a socket")
    };
    let (from, to) = (bind(Site::Onprem)?, bind(Site::Cloud)?);
    to.set_nonblocking(true)?;
    from.connect(to.local_addr()?)?;
    Ok((from, to))
}
