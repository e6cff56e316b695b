//! The first field report, step by step: what a person did to a subscription by routerd's executor, and that
//! nothing of it was left in the end.
//!
//! Three rounds from the same baseline: plans that were imported, a claim that asks for a secondary address, a claim
//! that asks for a route. Nothing in it is told to be a lab: the executor finds the metadata service and Resource
//! Manager where Azure has them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::losses::pings;
use super::operator::{CONFIG_NAME, Operator, difference, plans};
use super::trial::Trial;
use super::two_site::{direction, gateways, ssh_keeps_source, tcp_keeps_source};
use super::{fabric_rules, secrecy};
use crate::config::{self, CloudCapture};
use crate::probe::ssh::Ssh;
use crate::probe::tcp;
use crate::router;
use crate::topology::Site;

pub(super) fn run(trial: &mut Trial<'_>) -> Result<()> {
    router::install("azure-provider-executor")?;
    let clients = [trial.client(Site::Cloud)?, trial.client(Site::Onprem)?];
    let ssh = Ssh::serve(&clients);
    for node in clients {
        tcp::serve(node)?;
    }
    let gateways_before = gateways(trial)?;
    let baseline = reset(trial)?;
    trial.start_routers_with(|trial, site| trial.configuration_with(site, CloudCapture::ByHand))?;
    let imported = too_narrow(trial)?;
    imported_plans(trial, &imported, &ssh)?;
    back_to(trial, "imported", &imported, &baseline);
    // The long way over operations in progress has been gone; it takes seconds for each change.
    let cloud = trial.cloud()?;
    cloud.with(|azure| azure.site_mut().operation_time = Duration::ZERO);
    proposed(trial, "claim", CloudCapture::SecondaryIp, &ssh, &baseline)?;
    proposed(trial, "route", CloudCapture::RouteTable, &ssh, &baseline)?;
    trial.check("gateways-unchanged", |trial| {
        let after = gateways(trial)?;
        Ok((after == gateways_before, after.join(" | ")))
    });
    trial.check("journal-whole", |trial| {
        let (code, journal) = Operator::new(trial)?.action(&["journal", "--verify"])?;
        let rows = journal["rows"].as_array().map_or(0, Vec::len);
        let head = journal["head"]["seq"].as_u64();
        Ok((code == 0 && rows > 0, format!("{rows} rows, head {head:?}")))
    });
    secrecy::run(trial);
    Ok(())
}

/// What stands in the subscription before anything is done: one address, no forwarding, and for the router's identity
/// a role on its NIC alone.
fn reset(trial: &mut Trial<'_>) -> Result<Value> {
    trial.doing("baseline reset through the cloud's own API");
    let operator = Operator::new(trial)?;
    operator.change_nic(|nic| {
        nic["properties"]["enableIPForwarding"] = false.into();
        if let Some(configs) = nic["properties"]["ipConfigurations"].as_array_mut() {
            configs.retain(|config| config["name"] != CONFIG_NAME);
        }
    })?;
    operator.grant_only(&[&operator.nic]);
    let baseline = operator.picture()?;
    let nic = &baseline["networkInterface"]["properties"];
    let addresses = nic["ipConfigurations"].as_array().map_or(0, Vec::len);
    let detail = format!(
        "ipForwarding={}, {addresses} address",
        nic["enableIPForwarding"]
    );
    let held = nic["enableIPForwarding"] == false && addresses == 1;
    trial.found("baseline-reset", held, detail);
    Ok(baseline)
}

fn configure(trial: &Trial<'_>, capture: CloudCapture) -> Result<()> {
    let config = trial.configuration_with(Site::Cloud, capture)?;
    router::apply(trial.router(Site::Cloud)?, &config).map(drop)
}

/// A role on the NIC alone does not do: preflight says so before anything is done, and Azure when it is tried all the
/// same. Returns the numbers of the imported plans.
fn too_narrow(trial: &mut Trial<'_>) -> Result<[u64; 2]> {
    trial.doing("importing plans; preflight with a role on the NIC alone");
    let captured = Site::Onprem.client_address();
    let operator = Operator::new(trial)?;
    let ids = operator.import(&plans(&operator.nic, &format!("{captured}/32")))?;
    let [forwarding, address] = ids[..] else {
        bail!("two plans were imported as {ids:?}");
    };
    let (code, reports) = operator.action(&["preflight", "azure"])?;
    let missing = missing_permissions(&reports);
    let (run_code, runs) = operator.execute(&[forwarding])?;
    let error = runs
        .first()
        .map(|run| run["error"].clone())
        .unwrap_or_default();
    let named = |scope: &str| missing.iter().any(|found| found.ends_with(scope));
    let both = named("join/action on ce-subnet") && named("join/action on ce-nsg");
    let own = missing
        .iter()
        .any(|found| found.contains("networkInterfaces"));
    let detail = format!("exit {code}; missing {}", missing.join(", "));
    let tried = ["class", "permission", "scope"].map(|name| text(&error[name]));
    let scope = tried[2].rsplit('/').next().unwrap_or_default().to_owned();
    let said =
        tried[0] == "authorization" && tried[1].ends_with("/join/action") && !scope.is_empty();
    let said_detail = format!("exit {run_code}; {}: {} on {scope}", tried[0], tried[1]);
    trial.found(
        "preflight-names-permission-and-scope",
        code == 1 && both && !own,
        detail,
    );
    trial.found(
        "execution-refused-by-azure",
        run_code == 1 && said,
        said_detail,
    );
    let operator = Operator::new(trial)?;
    operator.grant_only(&[&operator.group]);
    let (code, reports) = operator.action(&["preflight", "azure"])?;
    let checks = reports[0]["status"]["checks"]
        .as_array()
        .map_or(0, Vec::len);
    let identity = text(&reports[0]["status"]["identity"]);
    let passed = code == 0 && missing_permissions(&reports).is_empty() && checks > 0;
    let detail = format!("exit {code}; {checks} checks as {}", last_part(&identity));
    trial.found("preflight-with-wider-role", passed, detail);
    Ok([forwarding, address])
}

/// `PERMISSION on NAME` for each that a preflight finds missing.
fn missing_permissions(reports: &Value) -> Vec<String> {
    let reports = reports.as_array().into_iter().flatten();
    let checks = reports.flat_map(|r| r["status"]["checks"].as_array().into_iter().flatten());
    let failed = checks.filter(|c| c["status"] == "fail" && c["permission"].is_string());
    failed
        .map(|check| {
            let (permission, scope) = (text(&check["permission"]), text(&check["scope"]));
            format!("{permission} on {}", last_part(&scope))
        })
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn last_part(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// The two plans one after the other, with what the fabric does in between.
fn imported_plans(trial: &mut Trial<'_>, ids: &[u64; 2], ssh: &Result<Ssh>) -> Result<()> {
    let [forwarding, address] = *ids;
    trial.doing("what the fabric does before anything is done");
    fabric_rules::no_answer(
        trial,
        "without-address-never-arrives",
        "address-not-assigned",
    );
    fabric_rules::never_arrives(trial, "without-forwarding-dropped", "source-not-of-nic");
    trial.doing("executing ensure-forwarding-enabled once more");
    trial.check("forwarding-enabled", |trial| {
        let operator = Operator::new(trial)?;
        let (code, runs) = operator.again(&[forwarding])?;
        let prior = operator.show(forwarding)?["prior"]["priorIpForwarding"].clone();
        let run = runs.first().context("nothing was run")?;
        let held = code == 0 && run["changed"] == true && prior == "false";
        let detail = format!(
            "action {forwarding} {}: {}; priorIpForwarding={}",
            text(&run["state"]),
            text(&run["message"]),
            text(&prior)
        );
        Ok((held, detail))
    });
    fabric_rules::arrives(trial, "with-forwarding-passes");
    fabric_rules::no_answer(trial, "still-without-address", "address-not-assigned");
    trial.doing("approving and executing assign-secondary-ip");
    trial.check("address-assigned", |trial| {
        let (code, runs) = Operator::new(trial)?.execute(&[address])?;
        let run = runs.first().context("nothing was run")?;
        let detail = format!(
            "action {address} {}: {}",
            text(&run["state"]),
            text(&run["message"])
        );
        Ok((
            code == 0 && run["changed"] == true && detail.contains(CONFIG_NAME),
            detail,
        ))
    });
    conversations(trial, "imported", ssh);
    Ok(())
}

/// Ping and ssh both ways with the source kept; nothing on the host looks wrong to doctor.
fn conversations(trial: &mut Trial<'_>, round: &str, ssh: &Result<Ssh>) {
    fabric_rules::traffic(trial, &format!("{round}/traffic"));
    for site in Site::BOTH {
        let way = direction(site);
        trial.check(&format!("{round}-ping/{way}"), |trial| {
            pings(trial, site, 3)
        });
        tcp_keeps_source(trial, &format!("{round}-tcp-source-kept/{way}"), site);
        ssh_keeps_source(trial, &format!("{round}-ssh/{way}"), site, ssh);
    }
    trial.check(&format!("{round}/doctor-hybrid"), |trial| {
        let (code, report) = router::doctor(trial.router(Site::Cloud)?, "hybrid")?;
        let provider = report.checks.iter().find(|check| check.code == "provider");
        let provider = provider.map_or_else(String::new, ToString::to_string);
        Ok((code == 0, format!("{}; {provider}", report.summary)))
    });
}

/// Rolls back after the configuration was applied once more, as in the field report, where the executor's environment
/// was lost by that. What attracts packets goes first, and the subscription is as it was.
fn back_to(trial: &mut Trial<'_>, round: &str, ids: &[u64], baseline: &Value) {
    trial.doing("applying once more, then rolling back");
    trial.check(&format!("{round}/rolled-back-in-reverse"), |trial| {
        let node = trial.router(Site::Cloud)?;
        let file = std::fs::read_to_string(node.outside(api::control::DEFAULT_CONFIG))?;
        router::apply(node, &config::with_unrelated(&file))?;
        let operator = Operator::new(trial)?;
        let (code, runs) = operator.roll_back(ids)?;
        let order: Vec<String> = runs.iter().map(|run| text(&run["action"])).collect();
        let back = runs.iter().all(|run| run["state"] == "rolledBack");
        let reversed = order
            .last()
            .is_some_and(|last| last == "ensure-forwarding-enabled");
        let said: Vec<String> = runs.iter().map(said_of).collect();
        let held = code == 0 && back && reversed && runs.len() == ids.len();
        router::apply(node, &file)?;
        Ok((held, said.join("; ")))
    });
    trial.check(&format!("{round}/as-the-baseline"), |trial| {
        let now = Operator::new(trial)?.picture()?;
        let differs = difference(baseline, &now, "");
        let detail = differs
            .clone()
            .unwrap_or_else(|| "NIC and route table equal, but for ETag and state".to_owned());
        Ok((differs.is_none(), detail))
    });
    fabric_rules::no_answer(
        trial,
        &format!("{round}/gone-from-the-fabric"),
        "address-not-assigned",
    );
}

/// A claim asks for it: the daemon proposes, a person approves.
fn proposed(
    trial: &mut Trial<'_>,
    round: &str,
    capture: CloudCapture,
    ssh: &Result<Ssh>,
    baseline: &Value,
) -> Result<()> {
    trial.doing(&format!("{round}: the claim asks, the daemon proposes"));
    configure(trial, capture)?;
    let ids = trial.eventually("two actions are proposed", |trial| {
        match Operator::new(trial)?.proposed()? {
            ids if ids.len() == 2 => Ok(ids),
            ids => bail!("proposed are {ids:?}"),
        }
    })?;
    trial.check(&format!("{round}/doctor-names-the-provider"), |trial| {
        let (code, report) = router::doctor(trial.router(Site::Cloud)?, "hybrid")?;
        let first = report
            .checks
            .first()
            .context("doctor has checked nothing")?;
        Ok((
            code == 1 && first.code == "provider",
            one_line(&first.to_string()),
        ))
    });
    trial.check(&format!("{round}/nothing-without-approval"), |trial| {
        let operator = Operator::new(trial)?;
        let (_, report) = operator.action(&["execute", "--approved"])?;
        let runs = report["runs"].as_array().cloned().unwrap_or_default();
        let held = runs.iter().filter_map(|run| run["held"]["code"].as_str());
        let codes: Vec<&str> = held.collect();
        let untouched = difference(baseline, &operator.picture()?, "").is_none();
        Ok((
            untouched && codes.contains(&"needs-approval"),
            codes.join(", "),
        ))
    });
    trial.check(&format!("{round}/executed"), |trial| {
        let (code, runs) = Operator::new(trial)?.execute(&ids)?;
        let said: Vec<String> = runs.iter().map(said_of).collect();
        let done = runs.len() == 2
            && runs
                .iter()
                .all(|run| run["state"] == "succeeded" && run["changed"] == true);
        Ok((code == 0 && done, said.join("; ")))
    });
    conversations(trial, round, ssh);
    drift(trial, round, capture)?;
    back_to(trial, round, &ids, baseline);
    Ok(())
}

/// Somebody switches forwarding off in the cloud's console: with a route the fabric drops at once, and doctor names the
/// provider, whatever the host looks like.
fn drift(trial: &mut Trial<'_>, round: &str, capture: CloudCapture) -> Result<()> {
    trial.doing("somebody switches forwarding off by hand");
    let forward = |trial: &Trial<'_>, on: bool| {
        let change = |nic: &mut Value| nic["properties"]["enableIPForwarding"] = on.into();
        Operator::new(trial)?.change_nic(change).map(drop)
    };
    forward(trial, false)?;
    if capture == CloudCapture::RouteTable {
        fabric_rules::no_answer(
            trial,
            &format!("{round}/without-forwarding-dropped"),
            "destination-not-of-nic",
        );
    }
    trial.check(&format!("{round}/doctor-names-the-drift"), |trial| {
        trial.eventually("doctor sees it", |trial| {
            let (code, report) = router::doctor(trial.router(Site::Cloud)?, "hybrid")?;
            let first = report
                .checks
                .first()
                .context("doctor has checked nothing")?;
            let seen =
                code == 1 && first.code == "provider" && first.detail.contains("may not forward");
            if !seen {
                bail!("{first}");
            }
            Ok((true, one_line(&first.to_string())))
        })
    });
    forward(trial, true)
}

/// An action of a run: what it is, where it stands, what was said or what holds it back.
fn said_of(run: &Value) -> String {
    let said = match run["held"]["reason"].as_str() {
        Some(reason) => format!("waits: {reason}"),
        None => text(&run["message"]),
    };
    format!("{} {}: {said}", text(&run["action"]), text(&run["state"]))
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}
