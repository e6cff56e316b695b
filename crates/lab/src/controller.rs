//! The process inside the sandbox that builds a lab, runs what it was started for and serves the control
//! socket.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use linux::namespace::pass;
use nix::unistd::{dup2_stderr, dup2_stdout};

use crate::conditions::Conditions;
use crate::control::server;
use crate::lab::Lab;
use crate::report::Report;
use crate::sandbox::{self, Start};
use crate::scenario::{self, Scenario, Trial};
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
            conditions,
            only_failure,
        } => {
            let what = Run {
                scenario: scenario::find(&scenario)?,
                json,
                keep,
                only_failure,
                conditions,
            };
            run(&start, &what, &Voice::new(json, narrate))
        }
        Task::Up { topology } => up(start, &topology),
    }
}

struct Run {
    scenario: &'static Scenario,
    json: bool,
    keep: bool,
    only_failure: bool,
    conditions: Conditions,
}

fn run(start: &Start, run: &Run, voice: &Voice) -> Result<ExitCode> {
    let (scenario, id) = (run.scenario, run.scenario.id);
    voice.doing("building sites, fabric and underlay");
    let lab = Arc::new(build::build(scenario.parameters.topology(id)?)?);
    server::serve(start.listener.try_clone()?, Arc::clone(&lab))?;
    lab.set_phase("running");
    let mut trial = Trial::new(Arc::clone(&lab), scenario, voice, run.conditions);
    let findings = trial.findings();
    let deliver = || {
        let mut report = findings.lock().unwrap_or_else(PoisonError::into_inner);
        report.seconds = (voice.seconds() * 10.0).round() / 10.0;
        deliver(start, run, &lab, &report, voice).map(|()| report.passed)
    };
    let passed = std::thread::scope(|scope| {
        let (done, end) = mpsc::channel::<()>();
        let watch = scope.spawn(|| watch(run.conditions.limit, end, &lab, &findings, deliver));
        trial.carry_out(scenario);
        drop(done);
        // The watch has ended with it, or ends this process with a verdict of its own.
        drop(watch.join());
        deliver()
    })?;
    let code = u8::from(!passed);
    if run.keep {
        voice.say(&format!(
            "lab {id} is left running: `routerctl lab status`, `routerctl lab down`"
        ));
        stay(start, &lab, code)?;
    }
    Ok(ExitCode::from(code))
}

/// Ends a run that has not ended by itself within its limit: its verdict is failure, with what was found so far.
fn watch(
    limit: Option<u32>,
    end: mpsc::Receiver<()>,
    lab: &Lab,
    findings: &Mutex<Report>,
    deliver: impl Fn() -> Result<bool>,
) {
    let Some(seconds) = limit else {
        return;
    };
    let limit = Duration::from_secs(seconds.into());
    if end.recv_timeout(limit) != Err(RecvTimeoutError::Timeout) {
        return;
    }
    let detail = format!("not ended after {seconds} s, while {}", lab.phase());
    let mut report = findings.lock().unwrap_or_else(PoisonError::into_inner);
    report.add("within-its-limit", false, detail);
    drop(report);
    if let Err(error) = deliver() {
        eprintln!("error: {error:#}");
    }
    std::process::exit(1);
}

/// The evidence, then the verdict.
fn deliver(start: &Start, run: &Run, lab: &Lab, report: &Report, voice: &Voice) -> Result<()> {
    if let Some(file) = &start.evidence
        && !(run.only_failure && report.passed)
    {
        voice.doing("writing evidence");
        evidence::write(file, lab, report).context("write the evidence")?;
    }
    lab.set_phase(if report.passed { "passed" } else { "failed" });
    voice.finish();
    if run.json {
        voice.result(&serde_json::to_string(report)?);
        return Ok(());
    }
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
    Ok(())
}

fn up(start: Start, id: &str) -> Result<ExitCode> {
    let voice = Voice::new(false, false);
    let entry = topology::find(id)?;
    voice.doing("building sites, fabric and underlay");
    let lab = Arc::new(build::build(entry.parameters.topology(id)?)?);
    server::serve(start.listener.try_clone()?, Arc::clone(&lab))?;
    let scenario = scenario::of_topology(entry);
    let mut trial = Trial::new(Arc::clone(&lab), &scenario, &voice, Conditions::default());
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
