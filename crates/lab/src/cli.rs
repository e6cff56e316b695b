//! The command line of `routerd-lab`, which is also that of `routerctl lab`.

mod internal;
mod run;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cloud::api;
use crate::conditions::{Conditions, Driver};
use crate::control::{Fault, Reply, Request, client};
use crate::fabric::quality::LinkQuality;
use crate::impair::{By, Wish};
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

#[derive(Debug, Default, Args)]
struct RunArgs {
    /// Their ids, one after the other; `all` runs every one.
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Leave the lab running afterwards.
    #[arg(long)]
    keep: bool,
    /// Write configurations, statuses, routes, the matrix and checksums to FILE.tar.gz; never secrets.
    #[arg(long, value_name = "FILE.tar.gz")]
    evidence: Option<PathBuf>,
    /// The same, but only of a scenario that fails.
    #[arg(long, value_name = "FILE.tar.gz", conflicts_with = "evidence")]
    evidence_if_failed: Option<PathBuf>,
    /// What the link between the sites is like in each direction: delay=50ms,jitter=20ms,loss=1%,reorder=2% or some
    /// of these. Where packets get lost, 1 MiB is copied in place of 100.
    #[arg(long, value_name = "QUALITY")]
    impair: Option<LinkQuality>,
    /// Who impairs; by default the kernel's netem where there is one.
    #[arg(long, requires = "impair")]
    impair_by: Option<By>,
    /// Fail unless the tunnels run on this driver.
    #[arg(long)]
    driver: Option<Driver>,
    /// MiB to copy each way where a scenario copies.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=100))]
    copy: Option<u32>,
    /// Seconds after which a scenario ends with a verdict of failure.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

impl RunArgs {
    fn conditions(&self) -> Conditions {
        let by = self.impair_by;
        Conditions {
            impair: self.impair.map(|quality| Wish { quality, by }),
            driver: self.driver,
            copy: self.copy,
            limit: self.limit,
        }
    }
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
        Verb::Run(args) => match &args.scenarios[..] {
            [all] if all == "all" => run::each(scenario::ALL.iter().map(|s| s.id), &args),
            [id] => run::one(id, &args, false),
            ids => run::each(ids.iter().map(String::as_str), &args),
        },
        Verb::Demo => run::one("two-site-azure", &RunArgs::default(), true),
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

fn up(topology: String) -> Result<ExitCode> {
    topology::find(&topology)?;
    let (listener, _) = client::bind(&topology)?;
    sandbox::launch(&Task::Up { topology }, listener, None, true)
}
