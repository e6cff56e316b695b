//! The command line of `routerctl action` and `routerctl plugin`.

use std::path::PathBuf;

use api::action::journal::Head;
use clap::{ArgGroup, Args, Subcommand};

use crate::cli::Show;

#[derive(Debug, Subcommand)]
pub(crate) enum ActionVerb {
    /// Take in action plans: of files, or once more what the configuration asks for
    ///
    /// A file holds plans as YAML or JSON: one, a list, `actionPlans: [...]`, or the result of a plugin. A plan that was
    /// taken in before changes nothing; nothing is executed before a ProviderActionPolicy lets it.
    Import(Import),
    /// List actions, where they stand and what holds them back
    List(Show),
    /// Show everything about one action, its journal included
    Show(One),
    /// Allow actions, on behalf of the user who calls
    Approve(Approve),
    /// Execute actions, as far as policies let them; exit status 1 if one fails
    Execute(Run),
    /// Print the journal: what was done, when, on whose behalf
    Journal(Journal),
    /// Take actions back: what was observed before the first change is restored
    Rollback(Rollback),
    /// Ask a cloud's executor whether it could do what is going to be asked; exit status 1 if not
    Preflight(Preflight),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true).multiple(true))]
pub(crate) struct Import {
    /// File with plans, or - for standard input; may be repeated
    #[arg(value_name = "FILE", group = "source")]
    pub(crate) files: Vec<PathBuf>,
    /// Ask again for what the configuration asks for, where it was rolled back or skipped
    #[arg(long, group = "source")]
    pub(crate) again: bool,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// Number of the action
    pub(crate) id: u64,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// Numbers of the actions
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<u64>,
    /// Allow the rollback instead of the execution
    #[arg(long)]
    pub(crate) rollback: bool,
    #[command(flatten)]
    pub(crate) show: Show,
}

/// How far to go.
#[derive(Debug, Clone, Copy, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct How {
    /// Ask the executor what it would do; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do it, where it is approved or needs no approval
    #[arg(long)]
    pub(crate) approved: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Numbers of the actions; all whose turn it is without any
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<u64>,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true))]
pub(crate) struct Rollback {
    /// Numbers of the actions
    #[arg(value_name = "ID", group = "which")]
    pub(crate) ids: Vec<u64>,
    /// All that can be taken back, the last one first
    #[arg(long, group = "which")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Debug, Args)]
pub(crate) struct Journal {
    /// Only rows of this action
    pub(crate) id: Option<u64>,
    /// Only rows after this number
    #[arg(long, value_name = "ROW", default_value_t = 0)]
    pub(crate) after: u64,
    /// Recompute the chain of all rows; exit status 1 if one was edited, moved or removed
    #[arg(long)]
    pub(crate) verify: bool,
    /// An end of the journal that was noted earlier, as the daemon logs it: the journal must still contain it
    #[arg(long, value_name = "ROW:HASH", requires = "verify", value_parser = head)]
    pub(crate) head: Option<Head>,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Debug, Args)]
pub(crate) struct Preflight {
    /// A cloud (`azure`), or the name of a CloudProviderProfile
    pub(crate) provider: String,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginVerb {
    /// List plugins, whether they could be started, and how they ran last
    List(Show),
    /// Show the records of runs, newest first
    Runs {
        /// Name of one plugin
        name: Option<String>,
        #[command(flatten)]
        show: Show,
    },
    /// Run a plugin now and show its result; its action plans are taken in
    Run {
        /// Name of the plugin
        name: String,
        /// Use nothing of the result
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        show: Show,
    },
}

/// `7:3f2a…`, a row and its hash.
fn head(text: &str) -> Result<Head, String> {
    let wrong = || "write ROW:HASH with the 64 hexadecimal digits of the hash".to_owned();
    let (seq, hash) = text.split_once(':').ok_or_else(wrong)?;
    let seq = seq.parse().map_err(|_| wrong())?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    let hash = is_hash.then(|| hash.to_ascii_lowercase());
    hash.map(|hash| Head { seq, hash }).ok_or_else(wrong)
}
