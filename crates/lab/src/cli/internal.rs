//! What the lab starts itself as.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::probe::ssh;
use crate::{agent, controller, node, sandbox};

#[derive(Debug, Subcommand)]
pub(super) enum Internal {
    /// Pid 1 of a sandbox.
    Init {
        #[arg(long)]
        detached: bool,
    },
    /// Builds and serves a lab.
    Controller,
    /// Keeps the namespaces of a node.
    Holder { name: String },
    /// Runs a program in a node.
    Enter {
        pid: u32,
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
    /// Runs a program as a user who is not root.
    AsUser {
        passwd: PathBuf,
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
    /// A guest agent that puts an address on an interface again and again.
    Agent {
        interface: String,
        address: String,
        period_ms: u64,
    },
}

impl Internal {
    pub(super) fn carry_out(self) -> Result<ExitCode> {
        match self {
            Self::Init { detached } => sandbox::init(detached),
            Self::Controller => controller::control(),
            Self::Holder { name } => node::hold(&name).map(|()| ExitCode::SUCCESS),
            Self::Enter { pid, argv } => node::enter(pid, &argv),
            Self::AsUser { passwd, argv } => ssh::as_user(&passwd, &argv),
            Self::Agent {
                interface,
                address,
                period_ms,
            } => agent::insist(&interface, &address, period_ms),
        }
    }
}
