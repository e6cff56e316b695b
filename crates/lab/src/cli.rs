//! The command line of `routerd-lab`, which is also that of `routerctl lab`.

mod internal;
mod show;

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cloud::api;
use crate::control::{Fault, Reply, Request, client};
use crate::scenario;
use crate::task::Task;
use crate::{sandbox, topology};

/// Multi-site fabrics on this machine: real packets, real programs, no cloud account.
#[derive(Debug, Parser)]
#[command(name = "routerd-lab", bin_name = "routerctl lab", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Scenarios and topologies.
    List {
        /// Ids of scenarios only, one a line.
        #[arg(long)]
        plain: bool,
    },
    /// Run a scenario and say what passed.
    Run(RunArgs),
    /// The main job, told step by step.
    Demo,
    /// Build a topology with routerd running in it and leave it running.
    Up {
        /// Its id.
        topology: String,
    },
    /// End a running lab.
    Down {
        /// Which; may be left out if only one runs.
        lab: Option<String>,
    },
    /// Nodes, links, fabrics and dropped packets of a running lab.
    Status {
        /// Which lab; may be left out if only one runs.
        #[arg(long)]
        lab: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a program in a node.
    Exec {
        /// Which lab; may be left out if only one runs.
        #[arg(long)]
        lab: Option<String>,
        /// The node.
        node: String,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
    /// Break a node or a link, or repair it.
    Break {
        /// Which lab; may be left out if only one runs.
        #[arg(long)]
        lab: Option<String>,
        /// A node, an underlay link, or NODE/INTERFACE.
        target: String,
        /// What to do.
        fault: FaultName,
        /// Milliseconds of delay, or percent of loss.
        value: Option<f64>,
    },
    /// Serve a cloud's API alone, for any client to be pointed at.
    Api(api::ApiArgs),
    #[command(hide = true, subcommand)]
    Internal(internal::Internal),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Its id; `all` runs every scenario, one after the other.
    scenario: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Leave the lab running afterwards.
    #[arg(long)]
    keep: bool,
    /// Write configurations, statuses, routes, the matrix and checksums to FILE.tar.gz; never secrets.
    #[arg(long, value_name = "FILE.tar.gz")]
    evidence: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FaultName {
    /// Pull the cable.
    Cut,
    /// Let nothing pass, with the cable plugged in.
    Blackhole,
    /// Power a node off.
    Kill,
    /// Stop every process of a node.
    Freeze,
    /// Delay packets by VALUE milliseconds in each direction.
    Delay,
    /// Lose VALUE percent of the packets in each direction.
    Loss,
    /// Make everything whole again.
    Repair,
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match carry_out(cli.verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn carry_out(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::List { plain } => {
            show::list(plain);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Run(args) if args.scenario == "all" => run_all(&args),
        Verb::Run(args) => run(&args, false),
        Verb::Demo => run(
            &RunArgs {
                scenario: "two-site-azure".to_owned(),
                json: false,
                keep: false,
                evidence: None,
            },
            true,
        ),
        Verb::Up { topology } => up(topology),
        Verb::Down { lab } => ask(lab.as_deref(), &Request::Down),
        Verb::Status { lab, json } => {
            let lab = client::choose(lab.as_deref())?;
            match client::ask(&lab, &Request::Status)? {
                Reply::Status(status) if json => println!("{status:#}"),
                Reply::Status(status) => show::status(&status),
                other => bail!("unexpected answer {other:?}"),
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Exec { lab, node, argv } => {
            let term = client::terminal();
            ask(lab.as_deref(), &Request::Exec { node, argv, term })
        }
        Verb::Break {
            lab,
            target,
            fault,
            value,
        } => {
            let fault = fault_of(fault, value)?;
            ask(lab.as_deref(), &Request::Break { target, fault })
        }
        Verb::Api(args) => api::run(&args),
        Verb::Internal(internal) => internal.carry_out(),
    }
}

fn fault_of(name: FaultName, value: Option<f64>) -> Result<Fault> {
    let fault = match (name, value) {
        (FaultName::Delay, Some(ms)) if (0.0..=60_000.0).contains(&ms) => Fault::Delay(ms as u32),
        (FaultName::Loss, Some(percent)) => Fault::Loss(percent),
        (FaultName::Delay, _) => bail!("delay needs milliseconds, 0 to 60000"),
        (FaultName::Loss, None) => bail!("loss needs a percentage"),
        (_, Some(_)) => bail!("only delay and loss take a value"),
        (FaultName::Cut, None) => Fault::Cut,
        (FaultName::Blackhole, None) => Fault::Blackhole,
        (FaultName::Kill, None) => Fault::Kill,
        (FaultName::Freeze, None) => Fault::Freeze,
        (FaultName::Repair, None) => Fault::Repair,
    };
    Ok(fault)
}

fn ask(lab: Option<&str>, request: &Request) -> Result<ExitCode> {
    let lab = client::choose(lab)?;
    match client::ask(&lab, request)? {
        Reply::Exited(code) => return Ok(ExitCode::from(code)),
        Reply::Done(what) => println!("{what}"),
        other => bail!("unexpected answer {other:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn run(args: &RunArgs, narrate: bool) -> Result<ExitCode> {
    scenario::find(&args.scenario)?;
    let evidence = args
        .evidence
        .as_ref()
        .map(|path| File::create(path).with_context(|| format!("create {}", path.display())));
    let name = match client::bind(&args.scenario) {
        Ok(bound) => Ok(bound),
        // The same scenario may well run several times at once.
        Err(_) => client::bind(&format!("{}-{}", args.scenario, std::process::id())),
    };
    let (listener, path) = name?;
    let task = Task::Run {
        scenario: args.scenario.clone(),
        json: args.json,
        keep: args.keep,
        narrate,
    };
    let code = sandbox::launch(&task, listener, evidence.transpose()?, args.keep);
    if !args.keep {
        // Nobody listens any more.
        drop(std::fs::remove_file(path));
    }
    code
}

/// Every scenario in a process of its own.
fn run_all(args: &RunArgs) -> Result<ExitCode> {
    if args.keep || args.evidence.is_some() {
        bail!("--keep and --evidence are for one scenario");
    }
    let mut failed = Vec::new();
    for scenario in scenario::ALL {
        let mut arguments = vec![OsString::from("run"), scenario.id.into()];
        arguments.extend(args.json.then(|| OsString::from("--json")));
        let status = std::process::Command::new("/proc/self/exe")
            .args(arguments)
            .status()?;
        if !status.success() {
            failed.push(scenario.id);
        }
    }
    let passed = scenario::ALL.len() - failed.len();
    eprintln!("{passed} of {} scenarios passed", scenario::ALL.len());
    if !failed.is_empty() {
        eprintln!("failed: {}", failed.join(", "));
    }
    Ok(ExitCode::from(u8::from(!failed.is_empty())))
}

fn up(topology: String) -> Result<ExitCode> {
    topology::find(&topology)?;
    let (listener, _) = client::bind(&topology)?;
    sandbox::launch(&Task::Up { topology }, listener, None, true)
}
