//! One fault after the other: doctor names each first, and is content again when it is undone.
//!
//! What the daemon would repair at once is broken while it is down; doctor then looks by itself.

use anyhow::{Result, bail};
use api::doctor::CheckStatus;

use super::trial::{SOON, Trial};
use crate::config;
use crate::eventually::eventually;
use crate::router;
use crate::topology::Site;

/// A fault.
struct Fault {
    id: &'static str,
    site: Site,
    /// Whether the daemon must be down, because it would repair it.
    without_daemon: bool,
    /// Brings it about, in a shell on the router.
    inject: &'static str,
    /// Undoes what a daemon's start does not.
    undo: &'static str,
    /// The code of doctor's first line.
    code: &'static str,
    /// Whether it is a failure or, where traffic still flows, a warning.
    status: CheckStatus,
}

const fn kept(id: &'static str, site: Site, inject: &'static str, code: &'static str) -> Fault {
    Fault {
        id,
        site,
        without_daemon: true,
        inject,
        undo: "",
        code,
        status: CheckStatus::Fail,
    }
}

const fn foreign(
    id: &'static str,
    inject: &'static str,
    undo: &'static str,
    code: &'static str,
) -> Fault {
    Fault {
        id,
        site: Site::Cloud,
        without_daemon: false,
        inject,
        undo,
        code,
        status: CheckStatus::Fail,
    }
}

const fn harmless(fault: Fault) -> Fault {
    Fault {
        status: CheckStatus::Warn,
        ..fault
    }
}

const FAULTS: &[Fault] = &[
    kept(
        "route-deleted",
        Site::Cloud,
        "ip route del 10.77.60.9/32",
        "delivery-route",
    ),
    kept(
        "proxy-neighbour-gone",
        Site::Onprem,
        "ip neigh del proxy 10.77.60.7 dev ens21",
        "proxy-neighbour",
    ),
    // The path carries full-size packets, so nothing hangs yet.
    harmless(kept(
        "mss-rule-gone",
        Site::Onprem,
        "nft delete table inet routerd_mss",
        "mss-clamp",
    )),
    kept(
        "forwarding-off",
        Site::Cloud,
        "echo 0 > /proc/sys/net/ipv4/conf/wg-hybrid/forwarding",
        "forwarding",
    ),
    kept(
        "captured-address-on-os",
        Site::Cloud,
        "ip address add 10.77.60.9/24 dev eth0",
        "captured-address",
    ),
    kept(
        "tunnel-down",
        Site::Cloud,
        "ip link set wg-hybrid down",
        "overlay-interface",
    ),
    kept(
        "allowed-ips-lost",
        Site::Onprem,
        "wg set wg-hybrid peer \"$(wg show wg-hybrid peers)\" allowed-ips 10.255.60.1/32",
        "allowed-ips",
    ),
    kept(
        "rp-filter-strict",
        Site::Cloud,
        "echo 1 > /proc/sys/net/ipv4/conf/wg-hybrid/rp_filter",
        "rp-filter",
    ),
    harmless(kept(
        "redirects-on",
        Site::Onprem,
        "echo 1 > /proc/sys/net/ipv4/conf/ens21/send_redirects",
        "redirects",
    )),
    foreign(
        "forward-rejected",
        "iptables -I FORWARD -j REJECT",
        "iptables -D FORWARD -j REJECT",
        "firewall-forward",
    ),
    harmless(foreign(
        "overlay-port-closed",
        "nft 'table inet site { chain in { type filter hook input priority 0; \
         ct state established,related accept; udp dport 51820 drop; }; }'",
        "nft delete table inet site",
        "firewall-overlay",
    )),
    // Nothing gets through, answers neither: the session that stands now is the last.
    foreign(
        "overlay-port-dropped",
        "nft 'table inet site { chain in { type filter hook input priority 0; udp dport 51820 drop; }; }'",
        "nft delete table inet site",
        "firewall-overlay",
    ),
    foreign(
        "stale-table-drops",
        "nft 'table inet routerd_filter { chain f { type filter hook forward priority 0; policy drop; }; }'",
        "nft delete table inet routerd_filter",
        "stale-table",
    ),
    harmless(foreign(
        "stale-table",
        "nft 'table inet routerd_filter { chain f { type filter hook forward priority 0; }; }'",
        "nft delete table inet routerd_filter",
        "stale-table",
    )),
    Fault {
        site: Site::Onprem,
        ..foreign(
            "better-route-elsewhere",
            "ip route add 10.77.60.7/32 via 10.77.60.1 dev ens21 metric 5",
            "ip route del 10.77.60.7/32 via 10.77.60.1 dev ens21 metric 5",
            "route-choice",
        )
    },
];

pub(super) fn run(trial: &mut Trial<'_>) -> Result<()> {
    trial.start_routers()?;
    trial.wait_for_traffic(SOON * 2)?;
    for site in Site::BOTH {
        content(trial, site, &format!("content-before/{}", site.router()));
    }
    for fault in FAULTS {
        trial.doing(&format!("fault: {}", fault.id));
        one(trial, fault)?;
    }
    wrong_key(trial)?;
    for site in Site::BOTH {
        content(trial, site, &format!("content-after/{}", site.router()));
    }
    trial.check("traffic-after-faults", |trial| {
        trial.wait_for_traffic(SOON)?;
        Ok((true, "both ways".to_owned()))
    });
    Ok(())
}

fn one(trial: &mut Trial<'_>, fault: &Fault) -> Result<()> {
    if fault.without_daemon {
        trial.crash(fault.site)?;
    }
    trial
        .router(fault.site)?
        .expect(&["sh", "-ec", fault.inject])?;
    trial.check(&format!("named/{}", fault.id), |trial| {
        named_first(trial, fault.site, fault.code, fault.status)
    });
    if !fault.undo.is_empty() {
        trial
            .router(fault.site)?
            .expect(&["sh", "-ec", fault.undo])?;
    }
    if fault.without_daemon {
        trial.restart(fault.site)?;
    }
    settled(trial, fault)
}

/// The next fault must not be shadowed by this one.
fn settled(trial: &mut Trial<'_>, fault: &Fault) -> Result<()> {
    let whole = eventually("doctor is content again", SOON, || {
        let (_, report) = router::doctor(trial.router(fault.site)?, "hybrid")?;
        match report.checks.first() {
            Some(check) if check.status <= CheckStatus::Warn => bail!("{check}"),
            _ => Ok(()),
        }
    });
    if let Err(error) = whole {
        trial.found(&format!("undone/{}", fault.id), false, format!("{error:#}"));
    }
    Ok(())
}

/// A peer key that nobody has: the session dies.
fn wrong_key(trial: &mut Trial<'_>) -> Result<()> {
    trial.doing("fault: wrong-peer-key");
    let site = Site::Onprem;
    let wrong = config::whole(trial.two_site(), site, config::NOBODY);
    router::apply(trial.router(site)?, &wrong)?;
    trial.check("named/wrong-peer-key", |trial| {
        named_first(trial, site, "peer-handshake", CheckStatus::Fail)
    });
    let right = trial.configuration(site)?;
    router::apply(trial.router(site)?, &right)?;
    trial.wait_for_traffic(SOON)
}

fn named_first(
    trial: &Trial<'_>,
    site: Site,
    code: &str,
    status: CheckStatus,
) -> Result<(bool, String)> {
    let (exit, report) = router::doctor(trial.router(site)?, "hybrid")?;
    let Some(first) = report.checks.first() else {
        bail!("doctor has checked nothing");
    };
    let expected_exit = u8::from(status == CheckStatus::Fail);
    let named = first.code == code && first.status == status && exit == expected_exit;
    let detail = format!(
        "exit {exit}; {} {}: {}",
        first.status, first.code, first.detail
    );
    Ok((named, detail))
}

fn content(trial: &mut Trial<'_>, site: Site, id: &str) {
    trial.check(id, |trial| {
        let (exit, report) = router::doctor(trial.router(site)?, "hybrid")?;
        let worst = report.checks.first().map(ToString::to_string);
        let detail = match worst {
            Some(worst) if exit != 0 => format!("{}; {worst}", report.summary),
            _ => report.summary.to_string(),
        };
        let content = exit == 0 && report.summary.pass > 0;
        Ok((content, detail.replace('\n', " ")))
    });
}
