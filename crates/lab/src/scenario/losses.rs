//! Whose loss it is. What an impaired link owns up to is the link's; every packet beyond that is the product's, on a
//! link that is whole every single one.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::trial::Trial;
use crate::probe::ping::ping;
use crate::topology::Site;

/// The link's count when something began that packets are counted of.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkCount {
    before: u64,
}

impl LinkCount {
    /// From now on.
    pub(super) fn begin(trial: &Trial<'_>) -> Result<Self> {
        let before = so_far(trial)?;
        Ok(Self { before })
    }

    /// How many packets the link has lost since.
    pub(super) fn lost(&self, trial: &Trial<'_>) -> Result<u64> {
        Ok(so_far(trial)?.saturating_sub(self.before))
    }

    /// How many of `lost` packets the link does not answer for, and what to say about the rest.
    pub(super) fn beyond(&self, trial: &Trial<'_>, lost: u64) -> Result<(u64, String)> {
        let by_link = self.lost(trial)?;
        let words = match trial.impaired() {
            Some(_) => format!(" (the link lost {by_link} of all)"),
            None => String::new(),
        };
        Ok((lost.saturating_sub(by_link), words))
    }
}

fn so_far(trial: &Trial<'_>) -> Result<u64> {
    trial
        .impaired()
        .map_or(Ok(0), |link| link.lost(trial.lab()))
}

/// Pings from a site's client to the other's: whether every request was answered that the link did not lose, and
/// one at least; and no sooner than the link carries a packet there and back, or it was not impaired at all.
pub(super) fn pings(trial: &Trial<'_>, site: Site, count: u32) -> Result<(bool, String)> {
    let to: Ipv4Addr = site.other().client_address();
    let link = LinkCount::begin(trial)?;
    let ping = ping(trial.client(site)?, to, count)?;
    let missing = u64::from(ping.sent.saturating_sub(ping.received));
    let (beyond, words) = link.beyond(trial, missing)?;
    let fastest = ping.fastest_ms.unwrap_or_default();
    let possible = trial.impaired().map_or(0.0, |link| {
        2.0 * link.quality().fastest().as_secs_f64() * 1000.0
    });
    let mut detail = format!("{}/{} answered{words}", ping.received, ping.sent);
    if possible > 0.0 {
        detail.push_str(&format!(", the fastest after {fastest} ms"));
    }
    let held = ping.received > 0 && beyond == 0 && fastest >= possible;
    Ok((held, detail))
}
