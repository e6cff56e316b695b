//! The negative proof: with the cloud's part taken away, the same traffic ends in the fabric, and only
//! there.

use anyhow::{Result, bail};

use super::trial::{SOON, Trial};
use crate::fabric::state::{NicAddress, NicId};
use crate::probe::ping::ping;
use crate::topology::Site;

/// Forwarding off, address unassigned, and each put back.
pub(super) fn run(trial: &mut Trial<'_>) -> Result<()> {
    let fabric = trial.two_site().fabric();
    let nic = NicId::from(trial.two_site().router_nic());
    trial
        .lab()
        .change_fabric(&fabric, |state| state.set_forwarding(&nic, false))?;
    dropped(
        trial,
        "forwarding-off-drops",
        Site::Onprem,
        "source-not-of-nic",
    )?;
    trial
        .lab()
        .change_fabric(&fabric, |state| state.set_forwarding(&nic, true))?;

    let captured = Site::Onprem.client_address();
    trial
        .lab()
        .change_fabric(&fabric, |state| state.unassign(&nic, captured))?;
    dropped(
        trial,
        "unassigned-never-arrives",
        Site::Cloud,
        "address-not-assigned",
    )?;
    let address = NicAddress {
        name: "ipconfig-onprem-capture".to_owned(),
        address: captured,
        public: None,
    };
    trial
        .lab()
        .change_fabric(&fabric, |state| state.assign(&nic, address, false))?;
    trial.check("traffic-after-fabric-restored", |trial| {
        trial.wait_for_traffic(SOON)?;
        Ok((true, "both ways".to_owned()))
    });
    Ok(())
}

/// A ping from `site` must end in the fabric for that reason.
fn dropped(trial: &mut Trial<'_>, id: &str, site: Site, reason: &'static str) -> Result<()> {
    let fabric = trial.two_site().fabric();
    trial.check(id, |trial| {
        let drops = trial.lab().engine().drops();
        let before = drops.get(&fabric, reason);
        let to = site.other().client_address();
        let ping = ping(trial.client(site)?, to, 2)?;
        let counted = drops.get(&fabric, reason) - before;
        if ping.received > 0 {
            bail!("{} answers came", ping.received);
        }
        let detail = format!("{reason} +{counted}, 0/{} answered", ping.sent);
        Ok((counted >= u64::from(ping.sent), detail))
    });
    Ok(())
}
