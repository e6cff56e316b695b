//! The command line itself. `docs/reference/cli.md` is made from it.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use api::control::{DEFAULT_CONFIG, DEFAULT_SOCKET};
use api::doctor::AREAS;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use crate::cli_action::{ActionVerb, PluginVerb};
use crate::cli_federation::FederationVerb;

/// Plans, applies and inspects the configuration of this node.
///
/// Exit status: 0 ok, 1 failed, 2 invalid input, 3 changes pending (`plan`).
#[derive(Debug, Parser)]
#[command(name = "routerctl", version, disable_help_subcommand = true)]
pub struct Cli {
    /// Control socket of the daemon
    #[arg(long, global = true, value_name = "SOCKET", env = "ROUTERD_SOCKET", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Check a configuration without a daemon and without looking at the host
    Validate(Validate),
    /// Show what applying a configuration would change; exit status 3 if anything
    Plan(Plan),
    /// Put a configuration into force: verified, or taken back
    Apply(Apply),
    /// List resources and what became of them
    Get(Get),
    /// Show everything about one resource
    Describe(Describe),
    /// Show the daemon and all resources on one screen
    Status(Show),
    /// Show what happened of late, newest first
    Events(Show),
    /// Show what plugins and events add to the configuration and mask of it
    #[command(subcommand)]
    Dynamic(Dynamic),
    /// Look at events that nodes tell each other, and emit them
    Federation {
        /// What to do.
        #[command(subcommand)]
        verb: FederationVerb,
    },
    /// Say what is wrong on this host and how to fix it; exit status 1 on a failure
    Doctor(Doctor),
    /// Take something out of the BGP speaker (what it knows: `get bgp`, `describe bgp`)
    Bgp {
        /// What to do.
        #[command(subcommand)]
        verb: BgpVerb,
    },
    /// Look at what is to be done in clouds, allow it, do it, take it back
    Action {
        /// What to do.
        #[command(subcommand)]
        verb: ActionVerb,
    },
    /// Look at plugins and run them
    Plugin {
        /// What to do.
        #[command(subcommand)]
        verb: PluginVerb,
    },
    /// Give the host back as it was before routerd, and forget the configuration
    Teardown(Show),
    /// Print the JSON Schema of the configuration
    Schema,
    /// Print completions for a shell
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Show the versions of this program and of the daemon
    Version(Show),
    /// Run whole sites in network namespaces (needs `routerd-lab` beside this program)
    #[command(disable_help_flag = true)]
    Lab {
        /// Arguments of the lab; `routerctl lab --help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// Which configuration.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// Configuration: a file, a directory with *.yaml, or - for standard input; may be repeated
    #[arg(short, long = "file", value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(crate) files: Vec<PathBuf>,
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Show {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Table,
    /// YAML
    Yaml,
    /// JSON
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Compare the host with what is in force instead of with a file
    #[arg(long, conflicts_with = "files")]
    pub(crate) in_force: bool,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Kind of resource, in any case, plural or shortened; all kinds without it
    pub(crate) kind: Option<String>,
    /// Name of one resource; after `bgp`: peers, routes, bfd, next-hops, monitoring or events
    pub(crate) name: Option<String>,
    /// After `bgp routes`: a destination, of which every path is listed
    pub(crate) destination: Option<String>,
    #[command(flatten)]
    pub(crate) bgp: BgpRoutes,
    #[command(flatten)]
    pub(crate) show: Show,
}

/// Which routes of BGP.
#[derive(Debug, Args)]
pub(crate) struct BgpRoutes {
    /// `bgp routes`: those that were refused, and why
    #[arg(long, conflicts_with_all = ["received_from", "sent_to"])]
    pub(crate) rejected: bool,
    /// `bgp routes`: those that a peer announced and policy accepted
    #[arg(long, value_name = "PEER", conflicts_with = "sent_to")]
    pub(crate) received_from: Option<IpAddr>,
    /// `bgp routes`: those that a peer was sent
    #[arg(long, value_name = "PEER")]
    pub(crate) sent_to: Option<IpAddr>,
    /// `bgp events`: go on until interrupted
    #[arg(long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BgpVerb {
    /// Write all accepted paths as an MRT table (RFC 6396), for bgpdump and its like
    Dump {
        /// The file; `-` for standard output
        #[arg(long, value_name = "FILE")]
        mrt: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// KIND/NAME, or KIND followed by NAME; `bgp` followed by a destination says why a path is best
    pub(crate) resource: String,
    /// Name, if the first argument is only the kind
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Area to check; all without it
    #[arg(value_parser = PossibleValuesParser::new(AREAS))]
    pub(crate) area: Option<String>,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dynamic {
    /// List what sources said and what became of it
    List(Offline),
    /// Show everything about one source
    Describe {
        /// The source, as `list` shows it
        source: String,
        #[command(flatten)]
        offline: Offline,
    },
    /// Show the configuration that counts: as applied, less what is masked, with what was added
    Render(Offline),
    /// Show how it differs from the configuration as applied
    Diff(Offline),
}

/// Where to look instead of asking the daemon.
#[derive(Debug, Args)]
pub(crate) struct Offline {
    /// Merge this configuration, without a daemon: a file, or a directory with *.yaml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Read what sources said from this database, without a daemon
    #[arg(long, value_name = "FILE")]
    pub(crate) state_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) show: Show,
}
