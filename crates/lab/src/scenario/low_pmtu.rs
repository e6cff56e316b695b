//! An underlay that carries less than the routers' links: what fits is found, followed when it changes, and told to the
//! senders to the byte, whatever carries the packets.

pub(super) mod sizes;

use std::time::Duration;

use anyhow::{Result, bail};
use ipnet::Ipv4Net;

use super::fabric_rules::change;
use super::trial::{SOON, Trial};
use crate::config::{self, Carrier};
use crate::eventually::eventually;
use crate::fabric::security::{Access, Direction, SecurityRule};
use crate::fabric::underlay::Impairment;
use crate::probe::tcp;
use crate::router;
use crate::slowness::slowed;
use crate::topology::Site;

/// What the underlay carries at first.
const FIRST: u16 = 1300;
/// What it becomes while a transfer runs.
const LOWER: u16 = 1280;
/// What it becomes later.
const LATER: [u16; 3] = [1400, 1500, 9000];
/// What it carries when it says nothing. WireGuard pads to 16 bytes what is shorter than the MTU, so that is how exactly
/// a search below the MTU can be: 1388 is 60 more than a multiple.
const SILENT: u16 = 1388;
/// Where everything is tried that can carry packets: the least that IPv6 allows, and the usual.
const WHOLE: [u16; 2] = [LOWER, 1500];
/// The variable that has everything tried everywhere.
const EVERYWHERE: &str = "ROUTERD_LAB_ALL_SIZES";
/// What is sent, and how long it may take.
struct Amounts {
    /// Bytes that are sent before anything is known.
    at_once: u64,
    /// How long they take at most. A transfer that waits for a measurement, or for a packet that nobody will ever pass on,
    /// takes longer.
    no_wait: Duration,
    /// Bytes that are sent while the underlay changes.
    during: u64,
}

const USUAL: Amounts = Amounts {
    at_once: 4 << 20,
    no_wait: Duration::from_secs(3),
    during: 24 << 20,
};
/// Where packets get lost on the way: a few Mbit/s, and a tail that is lost waits for its timer.
const LOSSY: Amounts = Amounts {
    at_once: 1 << 20,
    no_wait: Duration::from_secs(15),
    during: 3 << 20,
};
/// The underlay's links that both routers hang on.
const LINKS: [&str; 2] = ["cloud-uplink", "onprem-uplink"];

pub(super) fn run(trial: &mut Trial<'_>) -> Result<()> {
    for site in Site::BOTH {
        tcp::serve(trial.client(site)?)?;
    }
    open_rules(trial)?;
    set_underlay(trial, FIRST)?;
    trial.start_routers()?;
    trial.wait_for_traffic(SOON * 2)?;
    bulk(trial, "at-once");
    sizes::exact(trial, Carrier::Wireguard, FIRST);
    becomes_smaller(trial);
    sizes::exact(trial, Carrier::Wireguard, LOWER);
    others(trial, LOWER)?;
    for mtu in LATER {
        set_underlay(trial, mtu)?;
        forget(trial)?;
        carry_by(trial, Carrier::Wireguard)?;
        sizes::exact(trial, Carrier::Wireguard, mtu);
        others(trial, mtu)?;
    }
    fragments_forced(trial)?;
    silent(trial)
}

/// What else can carry packets, over this underlay.
fn others(trial: &mut Trial<'_>, underlay: u16) -> Result<()> {
    if !WHOLE.contains(&underlay) && std::env::var_os(EVERYWHERE).is_none() {
        return Ok(());
    }
    let all = Carrier::ALL.into_iter();
    for carrier in all.filter(|carrier| *carrier != Carrier::Wireguard) {
        carry_by(trial, carrier)?;
        bulk(trial, &format!("{carrier}-{underlay}"));
        sizes::exact(trial, carrier, underlay);
    }
    Ok(())
}

/// The cloud lets the plain tunnels in, which a person does who trusts the network.
fn open_rules(trial: &Trial<'_>) -> Result<()> {
    let names = trial.two_site().names();
    change(trial, |state| {
        let rules = state.rule_sets().get(&names.rules.into());
        let mut rules = rules.cloned().unwrap_or_default();
        rules.extend(Carrier::ALL.into_iter().filter_map(|carrier| {
            let (protocol, ports) = carrier.needs()?;
            Some(SecurityRule {
                name: carrier.to_string(),
                priority: 100,
                direction: Direction::Inbound,
                access: Access::Allow,
                protocol: Some(protocol),
                remote: Ipv4Net::default(),
                ports,
            })
        }));
        state.put_rule_set(names.rules.into(), rules);
        Ok(())
    })
}

fn set_underlay(trial: &Trial<'_>, mtu: u16) -> Result<()> {
    trial.doing(&format!("the underlay carries {mtu}"));
    for link in LINKS {
        if !trial.lab().engine().set_link_mtu(link, mtu) {
            bail!("no link {link}");
        }
    }
    Ok(())
}

/// What hosts learned of a path counts for ten minutes; this is what then happens.
fn forget(trial: &Trial<'_>) -> Result<()> {
    for site in Site::BOTH {
        for node in [trial.router(site)?, trial.client(site)?] {
            node.expect(&["ip", "route", "flush", "cache"])?;
        }
    }
    Ok(())
}

fn carry_by(trial: &Trial<'_>, carrier: Carrier) -> Result<()> {
    trial.doing(&format!("carried by {carrier}"));
    trial.on_both(|trial, site| {
        let config = trial.configuration_over(site, carrier)?;
        router::apply(trial.router(site)?, &config)?;
        Ok(())
    })?;
    trial.wait_for_traffic(SOON * 2)
}

fn amounts(trial: &Trial<'_>) -> &'static Amounts {
    match trial.conditions().lossy() {
        true => &LOSSY,
        false => &USUAL,
    }
}

/// Both sites send, the first connections since something changed.
fn bulk(trial: &mut Trial<'_>, what: &str) {
    let amounts = amounts(trial);
    trial.check(&format!("bulk-{what}"), |trial| {
        let moved = trial.on_both(|trial, site| {
            let to = site.other().client_address();
            tcp::bulk(trial.client(site)?, to, amounts.at_once)
        })?;
        let whole = moved.values().all(|bulk| bulk.sent == bulk.arrived);
        let seconds = moved.values().map(|bulk| bulk.seconds).fold(0.0, f64::max);
        let detail = format!("{} MiB each way in {seconds:.2} s", amounts.at_once >> 20);
        let at_once = seconds < slowed(amounts.no_wait).as_secs_f64();
        Ok((whole && at_once, detail))
    });
}

/// The underlay changes under a transfer in each direction.
fn becomes_smaller(trial: &mut Trial<'_>) {
    let amounts = amounts(trial);
    trial.doing("the underlay becomes smaller while both sites send");
    trial.check("bulk-while-it-changes", |trial| {
        let moved = trial.on_both(|trial, site| {
            let to = site.other().client_address();
            if site == Site::Onprem {
                // Meanwhile the other transfer is under way.
                tcp::bulk(trial.client(site)?, to, amounts.at_once)?;
                set_underlay(trial, LOWER)?;
            }
            tcp::bulk(trial.client(site)?, to, amounts.during)
        })?;
        let whole = moved.values().all(|bulk| bulk.sent == bulk.arrived);
        let seconds = moved.values().map(|bulk| bulk.seconds).fold(0.0, f64::max);
        let mebibytes = amounts.during >> 20;
        let detail = format!("{mebibytes} MiB each way in {seconds:.1} s, {FIRST} → {LOWER}");
        Ok((whole, detail))
    });
}

/// Senders that never hear of errors: packets are cut although they forbid it.
fn fragments_forced(trial: &mut Trial<'_>) -> Result<()> {
    let mtu = LOWER;
    set_underlay(trial, mtu)?;
    trial.on_both(|trial, site| {
        let config = trial.configuration_over(site, Carrier::Wireguard)?;
        let config = config::with_fragments_forced(&config);
        router::apply(trial.router(site)?, &config)
    })?;
    for site in Site::BOTH {
        trial.check(&format!("forced-fragments/{}", sizes::way(site)), |trial| {
            let to = site.other().client_address();
            let larger = u32::from(mtu) - Carrier::Wireguard.overhead() + 1;
            eventually("one byte more passes", SOON, || {
                let answer = sizes::ping(trial.client(site)?, to, larger)?;
                if !answer.success() {
                    bail!("{}", answer.complaint());
                }
                Ok(())
            })?;
            Ok((true, format!("{larger} bytes that forbid fragments pass")))
        });
    }
    carry_by(trial, Carrier::Wireguard)
}

/// An underlay that drops what is too large and tells nobody: only asking the peer helps.
fn silent(trial: &mut Trial<'_>) -> Result<()> {
    set_underlay(trial, SILENT)?;
    for link in LINKS {
        let silent = Impairment {
            silent: true,
            ..Impairment::default()
        };
        trial.lab().engine().impair(link, silent);
    }
    forget(trial)?;
    carry_by(trial, Carrier::Wireguard)?;
    sizes::measured(trial, Carrier::Wireguard, SILENT, "silent");
    bulk(trial, "silent");
    Ok(())
}
