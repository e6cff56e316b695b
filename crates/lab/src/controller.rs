//! The process inside the sandbox that builds a lab, runs what it was started for and serves the control
//! socket.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use linux::namespace::pass;
use nix::unistd::{dup2_stderr, dup2_stdout};

use crate::control::server;
use crate::lab::Lab;
use crate::sandbox::{self, Start};
use crate::scenario::{self, Trial};
use crate::task::Task;
use crate::voice::Voice;
use crate::{build, evidence, topology};

/// Does what the sandbox was started for.
///
/// # Errors
/// When the lab cannot be built, or a scenario cannot be carried out.
pub fn control() -> Result<ExitCode> {
    let start = sandbox::receive()?;
    match start.task.clone() {
        Task::Run {
            scenario,
            json,
            keep,
            narrate,
        } => run(start, &scenario, &Voice::new(json, narrate), json, keep),
        Task::Up { topology } => up(start, &topology),
    }
}

fn run(start: Start, id: &str, voice: &Voice, json: bool, keep: bool) -> Result<ExitCode> {
    let scenario = scenario::find(id)?;
    voice.doing("building sites, fabric and underlay");
    let lab = Arc::new(build::build(scenario.parameters.topology(id)?)?);
    server::serve(start.listener.try_clone()?, Arc::clone(&lab))?;
    lab.set_phase("running");
    let mut trial = Trial::new(Arc::clone(&lab), scenario, voice);
    let outcome = (scenario.run)(&mut trial);
    let report = trial.conclude(outcome);
    lab.set_phase(if report.passed { "passed" } else { "failed" });
    if let Some(file) = &start.evidence {
        voice.doing("writing evidence");
        evidence::write(file, &lab, &report).context("write the evidence")?;
    }
    voice.finish();
    if json {
        voice.result(&serde_json::to_string(&report)?);
    } else {
        let passed = report.assertions.iter().filter(|a| a.passed).count();
        voice.result(&format!("\n{}", report.table()));
        voice.result(&format!(
            "{}: {} ({passed} of {} assertions) in {:.1} s, WireGuard {}",
            report.scenario,
            if report.passed { "passed" } else { "FAILED" },
            report.assertions.len(),
            report.seconds,
            report.driver.wireguard.as_deref().unwrap_or("not used"),
        ));
    }
    let code = u8::from(!report.passed);
    if keep {
        voice.say(&format!(
            "lab {id} is left running: `routerctl lab status`, `routerctl lab down`"
        ));
        stay(&start, &lab, code)?;
    }
    Ok(ExitCode::from(code))
}

fn up(start: Start, id: &str) -> Result<ExitCode> {
    let voice = Voice::new(false, false);
    let entry = topology::find(id)?;
    voice.doing("building sites, fabric and underlay");
    let lab = Arc::new(build::build(entry.parameters.topology(id)?)?);
    server::serve(start.listener.try_clone()?, Arc::clone(&lab))?;
    let scenario = scenario::of_topology(entry);
    let mut trial = Trial::new(Arc::clone(&lab), &scenario, &voice);
    trial.start_routers()?;
    lab.set_phase("up");
    voice.finish();
    voice.say(&format!(
        "lab {id} is up: `routerctl lab status`, `routerctl lab exec NODE -- CMD`"
    ));
    stay(&start, &lab, 0)?;
    Ok(ExitCode::SUCCESS)
}

/// Lets the process outside go, and stays until the lab is taken down.
fn stay(start: &Start, lab: &Lab, code: u8) -> Result<()> {
    let log = File::create(crate::node::directory("controller.log"))?;
    dup2_stdout(log.as_fd())?;
    dup2_stderr(log.as_fd())?;
    pass::send_line(&start.outside, &code.to_string(), &[])?;
    lab.set_phase("up");
    loop {
        std::thread::park();
    }
}
