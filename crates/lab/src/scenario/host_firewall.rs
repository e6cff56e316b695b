//! A stock OCI image rejects everything that is forwarded. Doctor names the rule; what it says to do,
//! done literally, lets traffic pass.

use anyhow::{Context, Result, bail};

use super::trial::{SOON, Trial};
use crate::agent;
use crate::config;
use crate::probe::ping::ping;
use crate::router;
use crate::topology::Site;

/// How many rules doctor may name before the way is free.
const REMEDIES: usize = 4;

pub(super) fn run(trial: &mut Trial<'_>) -> Result<()> {
    agent::reject_all(trial.router(Site::Cloud)?)?;
    trial.start_routers()?;
    // On a slow machine the handshake comes later than doctor, who would name that first.
    for site in Site::BOTH {
        let (node, peer) = (trial.router(site)?, config::peer_name(site));
        router::fact(node, "WireGuardPeer", &peer, "latestHandshake", SOON)?;
    }
    trial.doing("traffic against the image's own rules");
    trial.check("traffic-rejected", |trial| {
        let to = Site::Onprem.client_address();
        let ping = ping(trial.client(Site::Cloud)?, to, 2)?;
        Ok((ping.received == 0, ping.summary))
    });
    let mut first = true;
    for _ in 0..REMEDIES {
        let Some(remedy) = next_remedy(trial, first)? else {
            break;
        };
        first = false;
        trial.doing(&format!("doing what doctor says: {remedy}"));
        trial.router(Site::Cloud)?.expect(&["sh", "-ec", &remedy])?;
    }
    trial.check("traffic-after-the-fix", |trial| {
        trial.wait_for_traffic(SOON * 2)?;
        Ok((true, "both ways".to_owned()))
    });
    for site in Site::BOTH {
        trial.check(&format!("doctor-hybrid/{}", site.router()), |trial| {
            let (code, report) = router::doctor(trial.router(site)?, "hybrid")?;
            Ok((code == 0, report.summary.to_string()))
        });
    }
    Ok(())
}

/// What doctor says to do first; nothing when it is content. The first time it must be about the firewall
/// and must name the rule.
fn next_remedy(trial: &mut Trial<'_>, first: bool) -> Result<Option<String>> {
    let (code, report) = router::doctor(trial.router(Site::Cloud)?, "hybrid")?;
    let Some(worst) = report.checks.first().filter(|_| code != 0) else {
        if first {
            bail!("doctor is content: {}", report.summary);
        }
        return Ok(None);
    };
    if first {
        let rule = worst.detail.to_lowercase().contains("reject");
        let named = worst.code.starts_with("firewall-") && rule;
        let detail = format!("exit {code}; {worst}").replace('\n', " ");
        trial.found("doctor-names-the-rule", named && code == 1, detail);
    }
    let remedy = worst.remedy.clone();
    let remedy = remedy.with_context(|| format!("doctor has no remedy for {}", worst.code))?;
    Ok(Some(remedy))
}
