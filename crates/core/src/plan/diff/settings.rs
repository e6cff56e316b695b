//! Kernel settings: set where the effective value is not right, given back when nobody needs them.

use api::IfName;

use crate::host::Host;
use crate::ledger::LinkRecord;
use crate::plan::Action;
use crate::plan::desired::Desired;
use crate::plan::steps::{Stage, Steps};
use crate::sysctl::{Scope, Sysctl, SysctlKey};

pub(super) fn diff_settings(desired: &Desired<'_>, host: &Host<'_>, steps: &mut Steps) {
    for (sysctl, wish) in &desired.settings {
        let Some(current) = current(sysctl, host) else {
            continue;
        };
        let all = host.setting(&Sysctl::all(sysctl.key));
        if !is_right(sysctl, current, all, wish.value) {
            let action = Action::SetSysctl {
                sysctl: sysctl.clone(),
                value: wish.value,
                from: current,
            };
            steps.push(Stage::SetSetting, wish.owner, action);
        }
    }
    for sysctl in host.ledger.sysctls.keys() {
        if desired.settings.contains_key(sysctl) {
            continue;
        }
        if let Some((from, value)) = setting_restore(sysctl, host) {
            let sysctl = sysctl.clone();
            let action = Action::SetSysctl {
                sysctl,
                value,
                from,
            };
            steps.clean_up(Stage::RestoreSetting, action);
        }
    }
}

/// What a setting is now; an interface that is still to be made starts with the defaults.
fn current(sysctl: &Sysctl, host: &Host<'_>) -> Option<i32> {
    let is_new = |ifname: &IfName| host.link(ifname).is_none();
    match &sysctl.scope {
        Scope::Interface(ifname) if is_new(ifname) => {
            let default = host.setting(&Sysctl::default_of(sysctl.key));
            Some(default.unwrap_or(0))
        }
        _ => host.setting(sysctl),
    }
}

/// Whether the kernel already behaves as wanted.
fn is_right(sysctl: &Sysctl, current: i32, all: Option<i32>, wanted: i32) -> bool {
    let larger = current.max(all.unwrap_or(0));
    match sysctl.key {
        // The larger of both counts; only 1 (strict) drops packets from other sites.
        SysctlKey::RpFilter => larger != 1,
        SysctlKey::ArpAnnounce | SysctlKey::ArpIgnore => larger >= wanted,
        SysctlKey::Forwarding => current != 0,
        SysctlKey::SendRedirects
        | SysctlKey::ProxyArp
        | SysctlKey::ProxyDelay
        | SysctlKey::PromoteSecondaries
        | SysctlKey::MultipathHashPolicy => current == wanted,
    }
}

/// The present value and the one to give back, for a setting in the ledger that nobody needs any more.
pub(crate) fn setting_restore(sysctl: &Sysctl, host: &Host<'_>) -> Option<(i32, i32)> {
    if let Scope::Interface(ifname) = &sysctl.scope {
        // The settings of a link of ours go with it.
        if host.ledger.links.get(ifname) == Some(&LinkRecord::Created) {
            return None;
        }
    }
    let current = host.setting(sysctl)?;
    let prior = host.ledger.sysctls.get(sysctl)?.restore(current)?;
    if sysctl.key == SysctlKey::Forwarding && prior == 0 && forwarding_became_global(host) {
        return None;
    }
    Some((current, prior))
}

/// Whether somebody switched on forwarding for the whole host since we switched it on for interfaces: by
/// that they also asked for it on ours.
fn forwarding_became_global(host: &Host<'_>) -> bool {
    let global = Sysctl::all(SysctlKey::Forwarding);
    let before = host.ledger.sysctls.get(&global);
    let before = before.is_some_and(|witness| witness.prior == 0);
    before && host.setting(&global).is_some_and(|now| now != 0)
}
